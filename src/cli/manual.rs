//! The manual pages, in roff: one for the program and one for each command. The words are those of
//! the help.

use std::io::{self, Write};

use clap::Command;
use clap::builder::StyledStr;
use clap_mangen::Man;

/// Returns the manual pages with their file names, that of the program first.
///
/// # Errors
/// None in practice: they are written into memory.
pub fn manuals() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = super::command();
    program.build();
    let mut pages = vec![(file_name(&program), page(&program)?)];
    for command in commands(&program) {
        pages.push((file_name(command), page(command)?));
    }
    Ok(pages)
}

fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
}

/// Returns the page's name, such as `mfa-optout-apply`.
fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn file_name(command: &Command) -> String {
    format!("{}.1", name(command))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if commands(command).next().is_some() {
        writeln!(page, ".SH COMMANDS")?;
    }
    for command in commands(command) {
        let about = command.get_about().map(StyledStr::to_string);
        writeln!(
            page,
            ".TP\n\\fB{}\\fR(1)\n{}",
            escaped(name(command)),
            escaped(&about.unwrap_or_default())
        )?;
    }
    let text = command.get_after_long_help().map(StyledStr::to_string);
    as_it_stands(&mut page, &text.unwrap_or_default())?;
    if command.get_name() == "mfa-optout" {
        as_it_stands(&mut page, super::texts::RECORD)?;
    }
    Ok(page)
}

/// Writes a text whose line breaks and columns count, such as the one below the long help. Its
/// headings are the lines that begin at the margin and are all in capitals.
fn as_it_stands(page: &mut Vec<u8>, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(page, ".PP\n.nf")?;
    for line in text.lines() {
        let is_heading =
            line.starts_with(|c: char| c.is_ascii_uppercase()) && line == line.to_uppercase();
        if is_heading {
            writeln!(page, ".fi\n.SH {}\n.nf", escaped(line))?;
        } else {
            writeln!(page, "{}", escaped(line))?;
        }
    }
    writeln!(page, ".fi")
}

/// A line of text as roff takes it for text: no escape, no request, and signs that stay what they
/// are when pasted.
fn escaped(line: &str) -> String {
    let request = if line.starts_with(['.', '\'']) {
        "\\&"
    } else {
        ""
    };
    let signs = [
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("`", "\\(ga"),
        ("\"", "\\(dq"),
        ("~", "\\(ti"),
    ];
    let text = signs.iter().fold(line.to_owned(), |text, (sign, name)| {
        text.replace(sign, name)
    });
    format!("{request}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped(".so a-b\\c"), "\\&.so a\\-b\\ec");
        assert_eq!(escaped("'it's'"), "\\&\\(aqit\\(aqs\\(aq");
        assert_eq!(escaped("--yes `x`"), "\\-\\-yes \\(gax\\(ga");
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let pages = manuals().unwrap();
        let text = |name: &str| {
            let (_, page) = pages.iter().find(|(file, _)| file == name).unwrap();
            String::from_utf8(page.clone()).unwrap()
        };
        let program = text("mfa-optout.1");
        for command in commands(&super::super::command()) {
            let name = command.get_name();
            let page = text(&format!("mfa-optout-{name}.1"));
            for argument in command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
            {
                if let Some(long) = argument.get_long() {
                    let flag = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(
                        page.contains(&flag),
                        "{flag} is missing on the page of {name}"
                    );
                }
            }
            assert!(!page.contains("api\\-key\\fR"), "secrets are no options");
            assert!(program.contains(&name.replace('-', "\\-")), "{name}");
        }
        assert!(text("mfa-optout-apply.1").contains("\n.SH EXAMPLES\n.nf\n"));
        assert!(program.contains("\n.SH EXIT CODES\n.nf\n"), "{program}");
    }
}
