//! Writes lines and the bar to standard error, in a thread of its own, so that a stopped terminal
//! or a full pipe does not hold up the run.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use console::{Term, measure_text_width};

use crate::ui::screen::has_escapes;

/// Maximum number of messages that wait to be written.
const QUEUE: usize = 16_384;
/// Time in which the last messages have to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// The destination of lines and the bar.
#[derive(Debug)]
pub(super) enum ProgressOutput {
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

impl ProgressOutput {
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
    let mut bar = String::new();
    while let Ok(first) = messages.recv() {
        let batch = std::iter::once(first).chain(messages.try_iter());
        let _ = show(term, &mut bar, batch);
    }
    let last = Message::Bar(String::new());
    let _ = show(term, &mut bar, std::iter::once(last));
}

/// Shows several messages: all lines, and the last bar below them in place of the one that is
/// shown.
///
/// The cursor rests below the bar, where the terminal also shows the `^C` of a person who
/// interrupts the run. Everything from the first line of the bar on is cleared.
fn show(term: &Term, bar: &mut String, messages: impl Iterator<Item = Message>) -> io::Result<()> {
    // Without a bar nothing may be cleared: this may be a file.
    if !bar.is_empty() {
        let columns = term.size_checked().map(|(_, columns)| columns.into());
        clear_last_lines(term, height(bar, columns))?;
    }
    for message in messages {
        match message {
            Message::Line(line) => term.write_line(&line)?,
            Message::Bar(next) => *bar = next,
        }
    }
    for line in bar.lines() {
        term.write_line(line)?;
    }
    term.flush()
}

/// Clears the last lines of a terminal, and moves the cursor to the first of them.
///
/// On Windows, console asks the system where the cursor is. The answer is wrong where the system
/// counts the sequences for colour as characters, as Wine does.
fn clear_last_lines(term: &Term, lines: usize) -> io::Result<()> {
    if !has_escapes(term) {
        return term.clear_last_lines(lines);
    }
    term.write_str(&format!("\u{1b}[{lines}F\u{1b}[J"))
}

/// Returns the number of lines that a bar takes up in a terminal with this number of columns. A
/// terminal that was made narrower after the bar was drawn has wrapped the lines of the bar.
///
/// Some terminals, such as xterm, cut lines off instead of wrapping them. They then lose lines above
/// the bar. That only happens below [`MAX_WIDTH`](super::words::MAX_WIDTH) columns.
fn height(bar: &str, columns: Option<usize>) -> usize {
    let columns = columns.unwrap_or(usize::MAX).max(1);
    let lines = bar.lines();
    lines
        .map(|line| measure_text_width(line).div_ceil(columns).max(1))
        .sum()
}

#[cfg(test)]
#[cfg(unix)] // a terminal of the console crate that is a file
mod tests {
    use std::fs::File;

    use super::*;

    /// What a terminal is sent to clear a bar of two lines.
    const CLEARED: &str = "\u{1b}[2F\u{1b}[J";

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
    fn only_the_last_bar_is_drawn_and_it_is_cleared_at_the_end() {
        let bar = || Message::Bar("one\ntwo".to_owned());
        assert_eq!(written(vec![bar()]), format!("one\ntwo\n{CLEARED}"));
        let late = written(vec![bar(), Message::Line("a row".to_owned()), bar()]);
        assert_eq!(late, format!("a row\none\ntwo\n{CLEARED}"));
    }

    #[test]
    fn lines_are_written_above_the_bar() {
        let [first, second] = ["one\ntwo", "three\nfour"].map(|bar| Message::Bar(bar.to_owned()));
        let term = sent(|term| {
            let mut bar = String::new();
            for message in [first, Message::Line("a row".to_owned()), second] {
                show(term, &mut bar, std::iter::once(message)).expect("the file can be written");
            }
        });
        assert_eq!(
            term,
            format!("one\ntwo\n{CLEARED}a row\none\ntwo\n{CLEARED}three\nfour\n")
        );
    }

    #[test]
    fn lines_of_a_bar_wrap_in_a_terminal_that_is_narrower_than_they_are() {
        let bar = format!("{}  79/400\n\u{1b}[31m79 failed\u{1b}[0m", "━".repeat(31));
        let heights = [Some(40), Some(39), Some(38), Some(13), None].map(|at| height(&bar, at));
        assert_eq!(heights, [2, 2, 3, 4, 2]);
    }

    #[test]
    fn without_a_bar_nothing_is_cleared() {
        let lines = ["a", "b"].map(|line| Message::Line(line.to_owned())).into();
        assert_eq!(written(lines), "a\nb\n");
    }
}
