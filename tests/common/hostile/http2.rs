//! HTTP/2 as far as a test needs it (RFC 9113): a connection on which every request is answered as
//! a script says, frame by frame. Of the headers of requests only the names are unpacked; the tests
//! count requests and look at their bodies. Every request must have one `:authority` and no `host`:
//! some servers refuse a request that has both.

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
    /// `GOAWAY` that names no request: none of those without an answer was looked at, and none will
    /// be.
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
    let mut names = Names::default();
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
            HEADERS => {
                assert_eq!(
                    flags & !LAST,
                    END_HEADERS,
                    "the headers are one plain frame"
                );
                let names = names.read(&payload);
                let count = |wanted| names.iter().filter(|name| **name == wanted).count();
                assert_eq!(
                    (count(Name::Authority), count(Name::Host)),
                    (1, 0),
                    "`:authority` and `host` of a request"
                );
            }
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

/// The name of a header field, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Authority,
    Host,
    Other,
}

/// Reads the names of header fields (RFC 7541) without unpacking their values.
#[derive(Default)]
struct Names {
    /// Those that the client has added to its table, the newest first.
    added: Vec<Name>,
}

impl Names {
    fn read(&mut self, mut block: &[u8]) -> Vec<Name> {
        let mut names = Vec::new();
        while let Some(first) = block.first() {
            // An entry of the table, a new entry of it, a new size of it, or a field that is not
            // added.
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7);
                    names.push(self.name(index));
                }
                0x40..0x80 => {
                    let name = self.literal(&mut block, 6);
                    self.added.insert(0, name);
                    names.push(name);
                }
                0x20..0x40 => {
                    integer(&mut block, 5);
                }
                0x00..0x20 => names.push(self.literal(&mut block, 4)),
            }
        }
        names
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Name {
        // "host" as it is and in the Huffman code of RFC 7541.
        const HOST: [&[u8]; 2] = [b"host", &[0x9c, 0xe8, 0x4f]];
        let name = match integer(block, prefix) {
            0 if HOST.contains(&string(block)) => Name::Host,
            0 => Name::Other,
            index => self.name(index),
        };
        string(block);
        name
    }

    /// The static table has 61 entries; those that were added follow.
    fn name(&self, index: usize) -> Name {
        match index {
            1 => Name::Authority,
            38 => Name::Host,
            0..=61 => Name::Other,
            index => self.added[index - 62],
        }
    }
}

/// An integer that begins in the low bits of a byte (RFC 7541, section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> usize {
    let largest = (1 << prefix) - 1;
    let mut value = usize::from(block[0]) & largest;
    let mut rest = &block[1..];
    if value == largest {
        let mut shift = 0;
        loop {
            let byte = usize::from(rest[0]);
            rest = &rest[1..];
            value += (byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    value
}

/// A string, packed or not (RFC 7541, section 5.2).
fn string<'a>(block: &mut &'a [u8]) -> &'a [u8] {
    let length = integer(block, 7);
    let (string, rest) = block.split_at(length);
    *block = rest;
    string
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
