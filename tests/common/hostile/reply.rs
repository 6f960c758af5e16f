//! What the server does with one request: bytes, and what comes before and after them.

use std::time::Duration;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) delay: Duration,
    pub(super) then: Then,
}

/// What comes after a reply's bytes.
#[derive(Clone, Debug)]
pub enum Then {
    /// The next request on this connection is read.
    KeepAlive,
    /// The connection is closed in good order.
    Close,
    /// The connection is reset; bytes that the client has not read yet are lost.
    Reset,
    /// Nothing more, and the connection stays open until the client goes away.
    Hang,
    /// These bytes again and again, with a pause after each time, until the client goes away.
    Repeat(Vec<u8>, Duration),
}

impl Reply {
    /// A proper answer with this status and no body.
    pub fn new(status: u16) -> Self {
        let length = if status == 204 {
            ""
        } else {
            "content-length: 0\r\n"
        };
        Self::raw(format!("HTTP/1.1 {status} Scripted\r\n{length}\r\n"))
    }

    /// These bytes and nothing else, whatever they are.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            delay: Duration::ZERO,
            then: Then::KeepAlive,
        }
    }

    /// Puts a header in.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let at = self.end_of_head() - 2;
        self.bytes
            .splice(at..at, format!("{name}: {value}\r\n").into_bytes());
        self
    }

    /// Gives an answer made by [`Reply::new`] a body and its true length.
    pub fn body(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        let head = String::from_utf8(self.bytes)
            .expect("a head made here is text")
            .replace("content-length: 0\r\n", "");
        self.bytes = head.into_bytes();
        let mut reply = self
            .header("content-type", content_type)
            .header("content-length", &body.as_ref().len().to_string());
        reply.bytes.extend_from_slice(body.as_ref());
        reply
    }

    /// Waits before the first byte.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends only the first `bytes` bytes, then closes.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.bytes.truncate(bytes);
        self.then(Then::Close)
    }

    /// What comes afterwards.
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    fn end_of_head(&self) -> usize {
        super::seen::head_length(&self.bytes).expect("a reply with headers has a head")
    }
}
