//! The way to standard error: a thread of its own writes lines and the bar, so that a terminal that is stopped or a pipe
//! that nobody drains holds up nothing. Knows how a bar is drawn over and taken away; not what it says.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// So many lines wait for a reader that is slow.
const QUEUE: usize = 16_384;
/// How long the last lines get.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The bar is drawn as often as it comes, which is ten times a second.
const ANY_RATE: u8 = u8::MAX;

/// What is too wide is cut off rather than wrapped, should the terminal have become narrower since it was asked. Only where
/// every terminal knows these.
const CUT_OFF: &str = if cfg!(unix) { "\u{1b}[?7l" } else { "" };
const WRAP: &str = if cfg!(unix) { "\u{1b}[?7h" } else { "" };

/// Clears from the start of the cursor's line to the end of the screen. Not at once: a terminal that is told to clear all of
/// its screen may keep what was there in its history, a bar each time.
const CLEAR: &str = "\r\u{1b}[K\u{1b}[C\u{1b}[0J\r";

/// Where lines and the bar go.
#[derive(Debug)]
pub(super) enum Out {
    /// The thread begins with the first thing to say.
    StandardError(Option<Writer>),
    #[cfg(test)]
    Kept(Vec<String>),
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Said {
    /// Stays.
    Line(String),
    /// Takes the place of the bar before it.
    Bar(String),
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    said: SyncSender<Said>,
    written: Receiver<()>,
}

impl Writer {
    fn begin() -> Self {
        let (said, to_write) = mpsc::sync_channel(QUEUE);
        let (done, written) = mpsc::channel::<()>();
        // Where no thread can be started, nothing is shown, and the run goes on.
        let _ = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                write(&Term::buffered_stderr(), &to_write);
                drop(done);
            });
        Self { said, written }
    }
}

impl Out {
    pub(super) fn standard_error() -> Self {
        Self::StandardError(None)
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
            Self::StandardError(writer) => {
                drop(writer.get_or_insert_with(Writer::begin).said.try_send(what));
            }
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
            Self::StandardError(writer) => {
                let Some(Writer { said, written }) = writer.take() else {
                    return;
                };
                drop(said);
                let _ = written.recv_timeout(LAST_WORDS);
            }
            #[cfg(test)]
            Self::Kept(_) => {}
        }
    }
}

/// Writes what comes until nothing more does. The reader may be gone or the disk behind it full; the run must not end for
/// that.
fn write(term: &Term, said: &Receiver<Said>) {
    let bar = bar_on(term);
    while let Ok(first) = said.recv() {
        show(term, &bar, std::iter::once(first).chain(said.try_iter()));
    }
    bar.finish_and_clear();
}

fn bar_on(term: &Term) -> ProgressBar {
    let target =
        ProgressDrawTarget::term_like_with_hz(Box::new(Steady::on(term.clone())), ANY_RATE);
    let plain =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, target).with_style(plain)
}

/// Shows what has come meanwhile: all lines, and of several bars the last.
fn show(term: &Term, bar: &ProgressBar, said: impl Iterator<Item = Said>) {
    let (mut lines, mut latest) = (Vec::new(), None);
    for what in said {
        match what {
            Said::Line(line) => lines.push(line),
            Said::Bar(next) => latest = Some(next),
        }
    }
    let say = || {
        lines
            .iter()
            .try_for_each(|line| term.write_line(line))
            .and_then(|()| term.flush())
            .ok()
    };
    match (lines.is_empty(), bar.message().is_empty()) {
        (true, _) => None,
        // A bar that was never drawn must not be taken away either: this may be a file.
        (false, true) => say(),
        (false, false) => bar.suspend(say),
    };
    if let Some(next) = latest {
        bar.set_message(next);
    }
}

/// A terminal on which the cursor rests where the bar begins. Whatever the terminal does to the bar's lines when it is made
/// narrower, all of them stand behind the cursor and can be cleared at once; to count lines back would miss some.
#[derive(Debug)]
struct Steady {
    term: Term,
    /// Lines of the bar that are written and not yet flushed.
    lines: AtomicUsize,
}

impl Steady {
    fn on(term: Term) -> Self {
        Self {
            term,
            lines: AtomicUsize::new(0),
        }
    }
}

impl TermLike for Steady {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.write_str(line)
    }

    /// Takes each text for a line. The blanks that fill a line up, so that the next one begins below, are left out: they
    /// would be wrapped too.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            0 => self.term.write_str(CUT_OFF)?,
            _ => self.term.write_line("")?,
        }
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        if cfg!(unix) {
            self.term.write_str(CLEAR)
        } else {
            self.term.clear_to_end_of_screen()
        }
    }

    fn flush(&self) -> io::Result<()> {
        if let Some(below) = self.lines.swap(0, Ordering::Relaxed).checked_sub(1) {
            self.term.move_cursor_up(below)?;
            self.term.write_str("\r")?;
            self.term.write_str(WRAP)?;
        }
        self.term.flush()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::File;

    use super::*;

    /// What a terminal is sent.
    fn sent(write: impl FnOnce(&Term)) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let opened = || {
            File::options()
                .read(true)
                .append(true)
                .open(file.path())
                .expect("it can be opened")
        };
        write(&Term::read_write_pair(opened(), opened()));
        std::fs::read_to_string(file.path()).expect("it can be read")
    }

    /// What it is sent when all of this has come before the first is written.
    fn written(said: Vec<Said>) -> String {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        for what in said {
            sender.send(what).expect("the receiver is there");
        }
        drop(sender);
        sent(|term| write(term, &receiver))
    }

    #[test]
    fn the_cursor_stays_where_the_bar_begins() {
        let bar = || Said::Bar("one\ntwo".to_owned());
        let (drawn, cleared) = ("\u{1b}[?7lone\ntwo\u{1b}[1A\r\u{1b}[?7h", CLEAR.repeat(2));
        assert_eq!(written(vec![bar()]), format!("{drawn}{cleared}"));
        let term = written(vec![bar(), Said::Line("a row".to_owned()), bar()]);
        assert_eq!(
            term,
            format!("a row\n{drawn}{cleared}"),
            "bars that are late are left out"
        );
    }

    #[test]
    fn lines_stand_above_the_bar() {
        let bar = ["one\ntwo", "three\nfour"].map(|bar| Said::Bar(bar.to_owned()));
        let [first, second] = bar;
        let term = sent(|term| {
            let bar = bar_on(term);
            for what in [first, Said::Line("a row".to_owned()), second] {
                show(term, &bar, std::iter::once(what));
            }
            bar.finish_and_clear();
        });
        let cleared = CLEAR.repeat(2);
        let [first, second] =
            ["one\ntwo", "three\nfour"].map(|bar| format!("\u{1b}[?7l{bar}\u{1b}[1A\r\u{1b}[?7h"));
        assert_eq!(
            term,
            format!("{first}{cleared}a row\n{first}{cleared}{second}{cleared}")
        );
    }

    #[test]
    fn without_a_bar_there_are_only_lines() {
        let lines = ["a", "b"].map(|line| Said::Line(line.to_owned())).into();
        assert_eq!(written(lines), "a\nb\n");
    }
}
