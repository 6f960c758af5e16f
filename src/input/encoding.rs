//! Detects the encoding of a text while all of it is read for the first time. A byte order mark
//! counts most, then the user's choice, then whether the text is valid UTF-8. Otherwise the
//! encoding is a guess, and is reported as one.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::error::{Error, Kind, Result};

/// Number of bytes from which an encoding is guessed.
const SHOWN: usize = 1 << 20;

/// The encoding of a text and what else was seen while it was read.
#[derive(Clone, Debug)]
pub(super) struct DetectedEncoding {
    pub(super) encoding: &'static Encoding,
    /// Whether the text begins with a byte order mark.
    pub(super) bom: bool,
    /// Whether the encoding is a guess.
    pub(super) guessed: bool,
    /// Whether the text has zero bytes, which no table has.
    pub(super) nul: bool,
    /// Length in bytes of the inflated text without the Ctrl-Z with which DOS marked the end of a
    /// text.
    pub(super) cut: Option<u64>,
}

/// Watches a text while it is read for the first time.
#[derive(Default)]
pub(super) struct EncodingProbe {
    head: Vec<u8>,
    length: u64,
    /// The bytes at the end of the last piece that may begin a character.
    open: Vec<u8>,
    broken_line: Option<u64>,
    lines: u64,
    nul: bool,
    ctrl_z: u64,
    /// The detector, which is used once the text has turned out not to be UTF-8.
    detector: Option<EncodingDetector>,
    /// Number of bytes that the detector has been shown.
    shown: usize,
}

impl EncodingProbe {
    /// Reads the whole text; returns `false` if it has more than `limit` bytes.
    pub(super) fn read_all(&mut self, from: &mut impl Read, limit: u64) -> io::Result<bool> {
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = match from.read(&mut piece) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                self.end();
                return Ok(true);
            }
            self.take(&piece[..read]);
            if self.length > limit {
                return Ok(false);
            }
        }
    }

    /// Notes a character that is cut off at the end of the text.
    fn end(&mut self) {
        let open = std::mem::take(&mut self.open);
        if self.broken_line.is_none() && !open.is_empty() {
            self.broken_line = Some(self.lines + 1);
            self.show(&open);
        }
    }

    fn take(&mut self, piece: &[u8]) {
        const HEAD: usize = 4096;
        if self.head.len() < HEAD {
            self.head
                .extend_from_slice(&piece[..piece.len().min(HEAD - self.head.len())]);
        }
        self.length += piece.len() as u64;
        self.nul = self.nul || memchr::memchr(0, piece).is_some();
        let trailing = piece.iter().rev().take_while(|b| **b == 0x1a).count() as u64;
        self.ctrl_z = if trailing == piece.len() as u64 {
            self.ctrl_z + trailing
        } else {
            trailing
        };
        if self.broken_line.is_none() {
            self.check_utf8(piece);
        }
        if self.broken_line.is_some() && self.shown < SHOWN {
            self.show(piece);
        }
    }

    fn show(&mut self, piece: &[u8]) {
        let detector = self
            .detector
            .get_or_insert_with(|| EncodingDetector::new(Iso2022JpDetection::Deny));
        detector.feed(piece, false);
        self.shown += piece.len();
    }

    fn check_utf8(&mut self, piece: &[u8]) {
        let joined;
        let whole = if self.open.is_empty() {
            piece
        } else {
            joined = [self.open.as_slice(), piece].concat();
            &joined
        };
        let error = match simdutf8::basic::from_utf8(whole) {
            Ok(_) => None,
            Err(_) => std::str::from_utf8(whole).err(),
        };
        let valid = error.map_or(whole.len(), |error| error.valid_up_to());
        self.lines += memchr::memchr_iter(b'\n', &whole[..valid]).count() as u64;
        if error.is_some_and(|error| error.error_len().is_some()) {
            self.broken_line = Some(self.lines + 1);
        }
        self.open = whole[valid..].to_vec();
    }

    pub(super) fn finish(
        self,
        name: &str,
        wanted: Option<&'static Encoding>,
    ) -> Result<DetectedEncoding> {
        let marked = if self.head.starts_with(&[0xff, 0xfe, 0, 0]) {
            None
        } else {
            Encoding::for_bom(&self.head)
        };
        let (encoding, guessed) = match (marked, wanted) {
            (Some((encoding, _)), _) | (None, Some(encoding)) => (encoding, false),
            (None, None) if self.nul && looks_like_utf16(&self.head) => {
                return Err(unmarked_utf16(name));
            }
            (None, None) => self
                .detector
                .as_ref()
                .map_or((UTF_8, false), |detector| (guess(detector), true)),
        };
        if let Some(line) = self.broken_line.filter(|_| encoding == UTF_8) {
            return Err(
                Error::new(Kind::Input, format!("{name}:{line}: is not valid UTF-8")).help(
                    "save it as UTF-8, or say what it is with --encoding, such as --encoding \
                    windows-1252",
                ),
            );
        }
        let wide = encoding == UTF_16LE || encoding == UTF_16BE;
        let cut = (!wide && self.ctrl_z > 0).then(|| self.length - self.ctrl_z);
        Ok(DetectedEncoding {
            encoding,
            bom: marked.is_some(),
            guessed,
            nul: self.nul && !wide,
            cut,
        })
    }
}

/// Guesses the encoding of a text that is not Unicode. Digits and commas are the same in all such
/// encodings.
fn guess(detector: &EncodingDetector) -> &'static Encoding {
    detector.guess(None, Utf8Detection::Deny)
}

/// Checks whether every second byte is zero, as in Latin text in UTF-16.
fn looks_like_utf16(head: &[u8]) -> bool {
    let zeros = |from: usize| {
        head.iter()
            .skip(from)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let even = zeros(0);
    let odd = zeros(1);
    head.len() >= 4 && even.abs_diff(odd) * 2 > head.len() / 2
}

fn unmarked_utf16(name: &str) -> Error {
    Error::new(
        Kind::Input,
        format!("{name} looks like UTF-16 without a byte order mark"),
    )
    .help("save it as UTF-8, or give --encoding utf-16le or --encoding utf-16be")
}
