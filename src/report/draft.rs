//! The report in the making: a header, then rows in the order in which they are handed in, in a file whose name nobody looks
//! for, with the hash of what is in it. Which row comes next, and how the file gets its name, is decided elsewhere.

use std::io::{self, BufWriter, Write};

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::report::files::{self, Paths};
use crate::report::line;

/// The report in the making, in a file whose name nobody looks for.
pub(super) struct Draft {
    out: BufWriter<Hashed>,
    has_header: bool,
}

/// A file and the hash of what is in it.
struct Hashed {
    file: NamedTempFile,
    hasher: blake3::Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Draft {
    pub(super) fn new(paths: &Paths) -> Result<Self> {
        let file = files::temporary(&paths.report).map_err(|error| cant_be_written(&error))?;
        let hashed = Hashed { file, hasher: blake3::Hasher::new() };
        Ok(Self { out: BufWriter::with_capacity(1 << 16, hashed), has_header: false })
    }

    /// Begins with the header, of which there is one however often the run was taken up again.
    pub(super) fn begin(&mut self, header: &str) -> Result<()> {
        if std::mem::replace(&mut self.has_header, true) {
            return Ok(());
        }
        self.out.write_all(&line::header_line(header)).map_err(|error| cant_be_written(&error))
    }

    pub(super) fn row(&mut self, cells: &[u8]) -> Result<()> {
        self.out.write_all(cells).and_then(|()| self.out.write_all(b"\n")).map_err(|error| cant_be_written(&error))
    }

    /// Gives the file, which is on the disk then, and the BLAKE3 of what is in it.
    pub(super) fn finish(self) -> Result<(NamedTempFile, blake3::Hash)> {
        let Hashed { file, hasher } = self.out.into_inner().map_err(|error| cant_be_written(error.error()))?;
        file.as_file().sync_all().map_err(|error| cant_be_written(&error))?;
        Ok((file, hasher.finalize()))
    }
}

fn cant_be_written(error: &io::Error) -> Error {
    Error::new(Kind::MidRun, format!("it can't be written: {error}"))
}
