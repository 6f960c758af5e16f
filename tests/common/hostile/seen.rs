//! A request as it arrived, and how it is read. Strict: the client has to send proper HTTP/1.1.

use std::io::{self, ErrorKind, Read};
use std::time::Instant;

use super::Wire;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counted from 1 over all connections, in the order in which requests were complete.
    pub number: usize,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// When it was complete.
    pub at: Instant,
    pub method: String,
    pub path: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The user whose membership is to be set.
    pub fn user(&self) -> Option<u64> {
        self.path
            .rsplit_once("/user/users/")?
            .1
            .strip_suffix("/membership")?
            .parse()
            .ok()
    }

    /// The flag that is to be set, where the body is exactly one of the two that there are.
    pub fn flag(&self) -> Option<bool> {
        match self.body.as_slice() {
            br#"{"mfaOptOut": true}"# => Some(true),
            br#"{"mfaOptOut": false}"# => Some(false),
            _ => None,
        }
    }
}

/// `None` where the client closed between two requests.
pub(super) fn read_request(
    wire: &mut Wire,
    connection: usize,
    unread: &mut Vec<u8>,
) -> io::Result<Option<Seen>> {
    let head = loop {
        if let Some(length) = head_length(unread) {
            break unread.drain(..length).collect::<Vec<_>>();
        }
        if !read_more(wire, unread)? {
            return if unread.is_empty() {
                Ok(None)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            };
        }
    };
    let mut seen = parse_head(&head, connection).ok_or_else(|| improper(&head))?;
    let length = match seen.header("content-length") {
        Some(length) => length.parse().map_err(|_| improper(&head))?,
        None => 0,
    };
    while unread.len() < length {
        if !read_more(wire, unread)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    seen.body = unread.drain(..length).collect();
    seen.at = Instant::now();
    Ok(Some(seen))
}

fn improper(head: &[u8]) -> io::Error {
    io::Error::other(format!(
        "not a proper request: {:?}",
        String::from_utf8_lossy(head)
    ))
}

fn read_more(wire: &mut Wire, unread: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let count = wire.read(&mut buffer)?;
    unread.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}

fn parse_head(head: &[u8], connection: usize) -> Option<Seen> {
    let mut lines = std::str::from_utf8(head).ok()?.trim_end().split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path, "HTTP/1.1", None) =
        (words.next()?, words.next()?, words.next()?, words.next())
    else {
        return None;
    };
    let headers = lines
        .map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<Option<Vec<_>>>()?;
    let method = method.to_owned();
    let path = path.to_owned();
    Some(Seen {
        number: 0,
        connection,
        at: Instant::now(),
        method,
        path,
        headers,
        body: Vec::new(),
    })
}

/// Up to and with the empty line.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}
