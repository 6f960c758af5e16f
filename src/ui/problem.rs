//! Why a command could not go on, as a person reads it. Where there is colour, the place of each problem and the cell in
//! question stand out of the words between them. What is wrong is not decided here.

use console::Style;

use crate::text::visible;

/// Returns the message, one problem a line, and what to do about it. Whoever writes a message makes foreign text in it
/// harmless; this is the last place at which it can be, so it is done again, which changes nothing otherwise.
#[must_use]
pub fn error_text(message: &str, help: Option<&str>, colour: bool) -> String {
    let paint = Paint(colour);
    let mut text = paint.label("error:", Style::new().red());
    for (number, line) in message.lines().enumerate() {
        text.push_str(if number == 0 { " " } else { "\n" });
        text.push_str(&paint.line(&visible(line)));
    }
    if let Some(help) = help {
        let lines: Vec<String> = help.lines().map(visible).collect();
        let help = lines.join("\n");
        text.extend([
            "\n  ",
            &paint.label("help:", Style::new().cyan()),
            " ",
            &help,
        ]);
    }
    text
}

struct Paint(bool);

impl Paint {
    fn label(&self, word: &str, style: Style) -> String {
        self.put(word, style.bold())
    }

    fn put(&self, text: &str, style: Style) -> String {
        style.force_styling(self.0).apply_to(text).to_string()
    }

    /// `PLACE: column NAME: what is wrong: "the cell"` in its three parts; any other line as it is.
    fn line(&self, line: &str) -> String {
        if let Some(note) = line.strip_prefix("note: ") {
            return format!("{} {note}", self.label("note:", Style::new().cyan()));
        }
        let Some((place, rest)) = line.split_once(": column ") else {
            return line.to_owned();
        };
        let (words, cell) = rest
            .rfind(": \"")
            .map_or((rest, ""), |at| rest.split_at(at + 2));
        format!(
            "{}: column {words}{}",
            self.put(place, Style::new().cyan()),
            self.put(cell, Style::new().yellow())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "nothing was sent, for 2 rows are not understood:\nusers.csv:7: column user_id: is an email address: \"a@b.c\"\nusers.csv:9: the row has more cells than the header: 3 instead of 2\nin all 2: 1 email address, 1 too many cells\nnote: the text is a guess";

    #[test]
    fn without_colour_it_is_the_words_alone() {
        let text = error_text(MESSAGE, Some("correct the input"), false);
        assert_eq!(text, format!("error: {MESSAGE}\n  help: correct the input"));
        assert_eq!(error_text("no", None, false), "error: no");
    }

    #[test]
    fn no_sequence_of_a_message_reaches_the_terminal() {
        let hostile = "a\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}";
        let text = error_text(hostile, Some(hostile), false);
        let shown = "a\\u{1b}]52;c;eA==\\u{7}\\u{9b}2J\\u{202e}";
        assert_eq!(text, format!("error: {shown}\n  help: {shown}"));
    }

    #[test]
    fn with_colour_places_and_cells_stand_out_and_the_words_are_the_same() {
        let text = error_text(MESSAGE, Some("correct the input"), true);
        assert!(
            text.contains("\u{1b}[36musers.csv:7\u{1b}[0m: column user_id: "),
            "{text:?}"
        );
        assert!(text.contains("\u{1b}[33m\"a@b.c\"\u{1b}[0m"), "{text:?}");
        assert_eq!(
            console::strip_ansi_codes(&text),
            error_text(MESSAGE, Some("correct the input"), false)
        );
    }
}
