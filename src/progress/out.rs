//! The way to standard error: a thread of its own writes lines and the bar, so that a terminal that is stopped or a pipe
//! that nobody drains holds up nothing. Knows how a bar is drawn over and taken away; not what it says.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use console::Term;

/// So many lines wait for a reader that is slow.
const QUEUE: usize = 16_384;
/// How long the last lines get.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where lines and the bar go.
#[derive(Debug)]
pub(super) enum Out {
    StandardError {
        said: Option<SyncSender<Said>>,
        written: Receiver<()>,
    },
    #[cfg(test)]
    Kept(Vec<String>),
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Said {
    /// Stays.
    Line(String),
    /// Takes the place of the bar before it; an empty one takes that away.
    Bar(String),
}

impl Out {
    pub(super) fn standard_error() -> Self {
        let (said, to_write) = mpsc::sync_channel(QUEUE);
        let (done, written) = mpsc::channel::<()>();
        thread::spawn(move || {
            write(&Term::buffered_stderr(), &to_write);
            drop(done);
        });
        Self::StandardError { said: Some(said), written }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.say(Said::Line(line.to_owned()));
    }

    pub(super) fn bar(&mut self, bar: String) {
        self.say(Said::Bar(bar));
    }

    /// Where nobody keeps up with reading, lines are lost, and no row.
    fn say(&mut self, what: Said) {
        match self {
            Self::StandardError { said, .. } => drop(said.as_ref().map(|said| said.try_send(what))),
            #[cfg(test)]
            Self::Kept(lines) => lines.extend(match what {
                Said::Line(line) => Some(line),
                Said::Bar(_) => None,
            }),
        }
    }

    /// Nothing more comes; what has come gets a moment to be written.
    pub(super) fn finish(&mut self) {
        match self {
            Self::StandardError { said, written } => {
                said.take();
                let _ = written.recv_timeout(LAST_WORDS);
            }
            #[cfg(test)]
            Self::Kept(_) => {}
        }
    }
}

/// Writes what comes until nothing more does. Of several bars that have come meanwhile only the last is drawn. The reader
/// may be gone or the disk behind it full; the run must not end for that.
fn write(term: &Term, said: &Receiver<Said>) {
    let mut bar = String::new();
    while let Ok(first) = said.recv() {
        let (before, mut lines) = (bar.clone(), Vec::new());
        for what in std::iter::once(first).chain(said.try_iter()) {
            match what {
                Said::Line(line) => lines.push(line),
                Said::Bar(next) => bar = next,
            }
        }
        let _ = show(term, &before, &lines, &bar);
    }
    let _ = show(term, &bar, &[], "");
}

/// Lines in the place of the bar, and the bar below them, in one piece. The cursor is left where the bar begins: whatever
/// a terminal that is made narrower does to the bar's lines, all of it stands behind the cursor and can be cleared.
fn show(term: &Term, before: &str, lines: &[String], bar: &str) -> io::Result<()> {
    if !before.is_empty() {
        term.write_str("\r")?;
        term.clear_to_end_of_screen()?;
    }
    for line in lines {
        term.write_line(line)?;
    }
    if !bar.is_empty() {
        term.write_str(bar)?;
        term.move_cursor_up(bar.matches('\n').count())?;
        term.write_str("\r")?;
    }
    term.flush()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::File;

    use super::*;

    /// What a terminal is sent.
    fn written(said: Vec<Said>) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let opened = || File::options().read(true).append(true).open(file.path()).expect("it can be opened");
        let term = Term::read_write_pair(opened(), opened());
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        for what in said {
            sender.send(what).expect("the receiver is there");
        }
        drop(sender);
        write(&term, &receiver);
        std::fs::read_to_string(file.path()).expect("it can be read")
    }

    #[test]
    fn the_cursor_stays_where_the_bar_begins() {
        let bar = || Said::Bar("one\ntwo".to_owned());
        assert_eq!(written(vec![bar()]), "one\ntwo\u{1b}[1A\r\r\r\u{1b}[0J");
        let term = written(vec![bar(), Said::Line("a row".to_owned()), bar()]);
        assert_eq!(term, "a row\none\ntwo\u{1b}[1A\r\r\r\u{1b}[0J", "bars that are late are left out");
    }

    #[test]
    fn without_a_bar_there_are_only_lines() {
        let lines = ["a", "b"].map(|line| Said::Line(line.to_owned())).into();
        assert_eq!(written(lines), "a\nb\n");
    }
}
