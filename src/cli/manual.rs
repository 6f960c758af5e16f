//! The manual page, in roff: one page for the tool and all of its commands, so that nothing refers to a page that is not
//! there. The words are those of the help; here is their order and how roff has them written.

use std::io::{self, Write};

use clap::builder::StyledStr;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

/// The manual page: the command itself, then each of its commands with its options.
///
/// # Errors
/// None in practice: it is written into memory.
pub fn manual() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut program = Cli::command();
    program.build();
    let man = Man::new(program.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let commands = || {
        program
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
    };
    writeln!(page, ".SH COMMANDS")?;
    for command in commands() {
        let about = command
            .get_about()
            .map(StyledStr::to_string)
            .unwrap_or_default();
        writeln!(
            page,
            ".TP\n\\fB{}\\fR\n{}",
            escaped(command.get_name()),
            escaped(&about)
        )?;
    }
    as_it_stands(&mut page, &program, ".SH")?;
    for command in commands() {
        one(&mut page, command)?;
    }
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A command below a heading of its own; what clap writes as sections goes below that.
fn one(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let mut sections = Vec::new();
    let man = Man::new(command.clone());
    man.render_synopsis_section(&mut sections)?;
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    writeln!(
        page,
        ".SH MFA\\-OPTOUT {}",
        escaped(&command.get_name().to_uppercase())
    )?;
    let sections = String::from_utf8_lossy(&sections);
    // How an apostrophe is written is defined before the first section, and again before each.
    for line in sections
        .lines()
        .filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el "))
    {
        match line.strip_prefix(".SH ") {
            Some(heading) => writeln!(page, ".SS {heading}")?,
            None => writeln!(page, "{line}")?,
        }
    }
    as_it_stands(page, command, ".SS")
}

/// What stands below the long help: its line breaks and columns count. Its headings are those lines that begin at the
/// margin and are all in capitals; `heading` is how roff writes one.
fn as_it_stands(page: &mut Vec<u8>, command: &Command, heading: &str) -> io::Result<()> {
    let text = command
        .get_after_long_help()
        .map(StyledStr::to_string)
        .unwrap_or_default();
    if text.is_empty() {
        return Ok(());
    }
    writeln!(page, ".PP\n.nf")?;
    for line in text.lines() {
        let is_heading =
            line.starts_with(|c: char| c.is_ascii_uppercase()) && line == line.to_uppercase();
        if is_heading {
            writeln!(page, ".fi\n{heading} {}\n.nf", escaped(line))?;
        } else {
            writeln!(page, "{}", escaped(line))?;
        }
    }
    writeln!(page, ".fi")
}

/// A line of text as roff takes it for text: no escape, no request, and signs that stay what they are when pasted.
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
    fn it_refers_to_no_page_but_its_own() {
        let page = String::from_utf8(manual().unwrap()).unwrap();
        assert!(!page.contains("(1)"), "{page}");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(page.contains(&format!("\n\\fB{name}\\fR\n")), "{name}");
            assert!(
                page.contains(&format!(
                    "\n.SH MFA\\-OPTOUT {}\n.SS SYNOPSIS\n",
                    name.to_uppercase()
                )),
                "{name}"
            );
        }
        assert!(
            page.contains("\n.SS EXAMPLES\n.nf\n") && page.contains("\n.SH EXIT CODES\n.nf\n"),
            "{page}"
        );
    }
}
