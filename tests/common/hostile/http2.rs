//! HTTP/2 as far as a test needs it (RFC 9113): a connection on which every request is answered as a script says, frame
//! by frame. Headers of requests are not unpacked; the tests count requests and look at their bodies.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::Wire;

/// What comes back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// The status 204.
    NoContent,
    /// `RST_STREAM` with `REFUSED_STREAM`: the request was not looked at.
    Refused,
    /// `RST_STREAM` with `INTERNAL_ERROR`: whether the request was looked at, nobody knows.
    Cut,
    /// `GOAWAY` that names no request: none of those without an answer was looked at, and none will be.
    GoAway,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// `END_STREAM` of `HEADERS` and `DATA`, `ACK` of `SETTINGS` and `PING`.
const LAST: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 204`, the ninth entry of the static table of RFC 7541.
const STATUS_204: u8 = 0x89;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// Serves one connection to its end. The script is asked for every request, with its body.
pub fn serve(mut wire: Wire, mut script: impl FnMut(&[u8]) -> Frames) -> io::Result<()> {
    let mut preface = [0; 24];
    wire.read_exact(&mut preface)?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    send(&mut wire, (SETTINGS, 0), 0, &[])?;
    let mut bodies = HashMap::<u32, Vec<u8>>::new();
    loop {
        let Frame {
            kind,
            flags,
            stream,
            payload,
        } = read(&mut wire)?;
        match kind {
            SETTINGS if flags & LAST == 0 => send(&mut wire, (SETTINGS, LAST), 0, &[])?,
            PING if flags & LAST == 0 => send(&mut wire, (PING, LAST), 0, &payload)?,
            DATA => bodies.entry(stream).or_default().extend(payload),
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & LAST != 0 {
            let frames = script(&bodies.remove(&stream).unwrap_or_default());
            answer(&mut wire, stream, frames)?;
            if frames == Frames::GoAway {
                return wire.wait_for_end();
            }
        }
    }
}

fn answer(wire: &mut Wire, stream: u32, frames: Frames) -> io::Result<()> {
    match frames {
        Frames::NoContent => send(wire, (HEADERS, LAST | END_HEADERS), stream, &[STATUS_204]),
        Frames::Refused => send(wire, (RST_STREAM, 0), stream, &REFUSED_STREAM.to_be_bytes()),
        Frames::Cut => send(wire, (RST_STREAM, 0), stream, &INTERNAL_ERROR.to_be_bytes()),
        Frames::GoAway => send(wire, (GOAWAY, 0), 0, &[0; 8]),
    }
}

fn send(wire: &mut Wire, (kind, flags): (u8, u8), stream: u32, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len())
        .expect("frames of tests are short")
        .to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    wire.write_all(&[&head, payload].concat())?;
    wire.flush()
}

fn read(wire: &mut Wire) -> io::Result<Frame> {
    let mut head = [0; 9];
    wire.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("a frame fits into memory")];
    wire.read_exact(&mut payload)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload,
    })
}
