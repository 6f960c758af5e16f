//! Writes lines and the bar to standard error, in a thread of its own, so that a stopped terminal
//! or a full pipe does not hold up the run.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// Maximum number of messages that wait to be written.
const QUEUE: usize = 16_384;
/// Time in which the last messages have to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames a second up to which indicatif draws the bar; its frames come at most ten times a second.
const MAX_FRAME_RATE: u8 = u8::MAX;

/// Turns off wrapping (DECAWM), so that a bar is cut off if the terminal has become narrower. Only
/// where every terminal knows the sequence.
const WRAP_OFF: &str = if cfg!(unix) { "\u{1b}[?7l" } else { "" };
/// Turns on wrapping again.
const WRAP_ON: &str = if cfg!(unix) { "\u{1b}[?7h" } else { "" };

/// Clears from the start of the cursor's line to the end of the screen, in two steps: some
/// terminals keep the screen in their history when all of it is cleared at once.
const CLEAR: &str = "\r\u{1b}[K\u{1b}[C\u{1b}[0J\r";

/// The destination of lines and the bar.
#[derive(Debug)]
pub(super) enum Output {
    /// Standard error. The thread starts with the first message.
    StandardError(Option<Writer>),
    #[cfg(test)]
    Captured(Vec<String>),
}

/// A message to the thread.
#[derive(Debug)]
pub(super) enum Message {
    /// A line, which stays.
    Line(String),
    /// A bar, which replaces the one before it.
    Bar(String),
}

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    messages: SyncSender<Message>,
    finished: Receiver<()>,
}

impl Writer {
    fn start() -> Self {
        let (messages, received) = mpsc::sync_channel(QUEUE);
        let (done, finished) = mpsc::channel::<()>();
        // If no thread can be started, nothing is shown and the run goes on.
        let _ = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                write(&Term::buffered_stderr(), &received);
                drop(done);
            });
        Self { messages, finished }
    }
}

impl Output {
    pub(super) fn standard_error() -> Self {
        Self::StandardError(None)
    }

    pub(super) fn line(&mut self, line: &str) {
        self.send(Message::Line(line.to_owned()));
    }

    pub(super) fn bar(&mut self, bar: String) {
        self.send(Message::Bar(bar));
    }

    /// Sends a message. It is dropped if too many are waiting.
    fn send(&mut self, message: Message) {
        match self {
            Self::StandardError(writer) => {
                let writer = writer.get_or_insert_with(Writer::start);
                drop(writer.messages.try_send(message));
            }
            #[cfg(test)]
            Self::Captured(lines) => lines.extend(match message {
                Message::Line(line) => Some(line),
                Message::Bar(_) => None,
            }),
        }
    }

    /// Waits a moment until everything is written, and ends the thread.
    pub(super) fn finish(&mut self) {
        match self {
            Self::StandardError(writer) => {
                let Some(Writer { messages, finished }) = writer.take() else {
                    return;
                };
                drop(messages);
                let _ = finished.recv_timeout(FINISH_TIMEOUT);
            }
            #[cfg(test)]
            Self::Captured(_) => {}
        }
    }
}

/// Writes messages until the channel closes. Errors are ignored: the reader may be gone, and the
/// run must go on.
fn write(term: &Term, messages: &Receiver<Message>) {
    let bar = bar_on(term);
    while let Ok(first) = messages.recv() {
        show(
            term,
            &bar,
            std::iter::once(first).chain(messages.try_iter()),
        );
    }
    bar.finish_and_clear();
}

fn bar_on(term: &Term) -> ProgressBar {
    let target = ProgressDrawTarget::term_like_with_hz(
        Box::new(AnchoredTerm::on(term.clone())),
        MAX_FRAME_RATE,
    );
    let plain =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, target).with_style(plain)
}

/// Shows several messages: all lines, and the last bar.
fn show(term: &Term, bar: &ProgressBar, messages: impl Iterator<Item = Message>) {
    let mut lines = Vec::new();
    let mut latest = None;
    for message in messages {
        match message {
            Message::Line(line) => lines.push(line),
            Message::Bar(next) => latest = Some(next),
        }
    }
    let has_bar = !bar.message().is_empty();
    if has_bar && !lines.is_empty() {
        bar.suspend(|| write_lines(term, &lines));
    } else {
        // Without a bar, nothing may be cleared: this may be a file.
        write_lines(term, &lines);
    }
    if let Some(next) = latest {
        bar.set_message(next);
    }
}

fn write_lines(term: &Term, lines: &[String]) {
    for line in lines {
        let _ = term.write_line(line);
    }
    let _ = term.flush();
}

/// A terminal on which the cursor rests where the bar begins.
///
/// A terminal that becomes narrower may wrap the lines of the bar. All of them are behind the
/// cursor, so that they can be cleared together. Moving up by the number of lines, as indicatif
/// does, would leave some of them.
#[derive(Debug)]
struct AnchoredTerm {
    term: Term,
    /// Number of lines of the bar that are written and not yet flushed.
    lines: AtomicUsize,
}

impl AnchoredTerm {
    fn on(term: Term) -> Self {
        Self {
            term,
            lines: AtomicUsize::new(0),
        }
    }
}

impl TermLike for AnchoredTerm {
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

    /// Writes a text as a line of its own. Blanks that fill a line are left out, because they would
    /// wrap.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            0 => self.term.write_str(WRAP_OFF)?,
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
            self.term.write_str(WRAP_ON)?;
        }
        self.term.flush()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Returns what a terminal is sent.
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

    /// Returns what a terminal is sent if all messages have arrived before the first is written.
    fn written(messages: Vec<Message>) -> String {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        for message in messages {
            sender.send(message).expect("the receiver is there");
        }
        drop(sender);
        sent(|term| write(term, &receiver))
    }

    #[test]
    fn the_cursor_stays_where_the_bar_begins() {
        let bar = || Message::Bar("one\ntwo".to_owned());
        let drawn = "\u{1b}[?7lone\ntwo\u{1b}[1A\r\u{1b}[?7h";
        let cleared = CLEAR.repeat(2);
        assert_eq!(written(vec![bar()]), format!("{drawn}{cleared}"));
        let term = written(vec![bar(), Message::Line("a row".to_owned()), bar()]);
        assert_eq!(
            term,
            format!("a row\n{drawn}{cleared}"),
            "bars that are late are left out"
        );
    }

    #[test]
    fn lines_are_written_above_the_bar() {
        let bar = ["one\ntwo", "three\nfour"].map(|bar| Message::Bar(bar.to_owned()));
        let [first, second] = bar;
        let term = sent(|term| {
            let bar = bar_on(term);
            for message in [first, Message::Line("a row".to_owned()), second] {
                show(term, &bar, std::iter::once(message));
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
    fn without_a_bar_nothing_is_cleared() {
        let lines = ["a", "b"].map(|line| Message::Line(line.to_owned())).into();
        assert_eq!(written(lines), "a\nb\n");
    }
}
