//! The text of an error. With colour, the place of each problem and the cell in question stand out.

use super::screen::Look;
use crate::text::visible;

/// Indentation of what follows a line that wraps.
const HANGING_INDENT: usize = 4;

/// Returns the message of an error, one problem a line, and what to do about it.
///
/// The author of a message escapes foreign text in it. It is escaped again here, which changes
/// nothing then, because this is the last place before the terminal.
#[must_use]
pub fn error_text(message: &str, help: Option<&str>, look: Look) -> String {
    let label = look.bold(&look.red("error:"));
    let mut lines: Vec<String> = message
        .lines()
        .map(|line| highlighted(&visible(line), look))
        .collect();
    match lines.first_mut() {
        Some(first) => *first = format!("{label} {first}"),
        None => lines.push(label),
    }
    for (number, line) in help.unwrap_or_default().lines().enumerate() {
        let line = visible(line);
        lines.push(match number {
            0 => format!("  {} {line}", look.bold(&look.cyan("help:"))),
            _ => line,
        });
    }
    for line in &mut lines {
        *line = look.wrap(line, HANGING_INDENT);
    }
    lines.join("\n")
}

/// Colours the three parts of `PLACE: column NAME: what is wrong: "the cell"`, and the label of a
/// note. Returns any other line as it is.
fn highlighted(line: &str, look: Look) -> String {
    if let Some(note) = line.strip_prefix("note: ") {
        return format!("{} {note}", look.bold(&look.cyan("note:")));
    }
    let Some((place, rest)) = line.split_once(": column ") else {
        return line.to_owned();
    };
    let (words, cell) = match rest.rfind(": \"") {
        Some(at) => rest.split_at(at + 2),
        None => (rest, ""),
    };
    format!("{}: column {words}{}", look.cyan(place), look.yellow(cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "nothing was sent: 2 rows are invalid:\nusers.csv:7: column user_id: is \
        an email address: \"a@b.c\"\nusers.csv:9: the row has more cells than the header: 3 \
        instead of 2\n2 problems: email address (1), too many cells (1)\nnote: the text is a guess";

    #[test]
    fn without_colour_only_the_words_are_shown() {
        let text = error_text(MESSAGE, Some("correct the input"), Look::PLAIN);
        assert_eq!(text, format!("error: {MESSAGE}\n  help: correct the input"));
        assert_eq!(error_text("no", None, Look::PLAIN), "error: no");
    }

    #[test]
    fn escape_sequences_in_a_message_are_shown_as_text() {
        let hostile = "a\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}";
        let text = error_text(hostile, Some(hostile), Look::PLAIN);
        let shown = "a\\u{1b}]52;c;eA==\\u{7}\\u{9b}2J\\u{202e}";
        assert_eq!(text, format!("error: {shown}\n  help: {shown}"));
    }

    #[test]
    fn with_colour_places_and_cells_are_highlighted() {
        let look = Look {
            color: true,
            width: None,
        };
        let text = error_text(MESSAGE, Some("correct the input"), look);
        assert!(
            text.contains("\u{1b}[36musers.csv:7\u{1b}[0m: column user_id: "),
            "{text:?}"
        );
        assert!(text.contains("\u{1b}[33m\"a@b.c\"\u{1b}[0m"), "{text:?}");
        assert_eq!(
            console::strip_ansi_codes(&text),
            error_text(MESSAGE, Some("correct the input"), Look::PLAIN)
        );
    }
}
