//! Builds clap's arguments from the settings table, and reads from clap's matches what was given.
//! Each value is checked here, so that a mistake is reported beside the option; what applies is
//! settled together with environment and file.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::refused::Refused;
use crate::config::{CliOverrides, Form, Key, Scope, Setting, TABLE};
use crate::domain::Flag;

/// Adds the options of the table that each subcommand takes.
pub(super) fn add_to_subcommands(mut command: Command) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(&name, |subcommand| {
            subcommand.args(settings_of(&name).map(|setting| argument(setting, &name)))
        });
    }
    command
}

/// Reads the options that were given to a subcommand.
pub(super) fn given(command: &str, matches: &ArgMatches) -> CliOverrides {
    let mut given = CliOverrides::default();
    for setting in settings_of(command).filter(|setting| setting.may_be_flag()) {
        if setting.form == Form::Switch {
            if matches.get_flag(setting.name) {
                given.insert(setting.key, "true");
            }
        } else if let Some(text) = matches.get_one::<OsString>(setting.name) {
            given.insert(setting.key, text);
        }
    }
    given
}

/// Returns the rows of the table that a subcommand takes, and the secrets, which it refuses.
fn settings_of(command: &str) -> impl Iterator<Item = &'static Setting> {
    TABLE
        .iter()
        .filter(move |setting| setting.scope != Scope::File && setting.is_taken_by(command))
}

fn argument(setting: &'static Setting, command: &str) -> Arg {
    let argument = Arg::new(setting.name).long(setting.name);
    if setting.scope == Scope::Secret {
        return argument
            .hide(true)
            .aliases(setting.aliases)
            .num_args(0..=1)
            .default_missing_value("")
            .value_parser(Refused(setting));
    }
    let conflicts = setting.conflicts.iter().map(|key| key.setting());
    let required = setting.requires.map(Key::setting);
    let argument = argument
        .short(setting.short)
        .visible_aliases(setting.aliases)
        .help_heading(setting.heading)
        .help(short_help(setting))
        .long_help(long_help(setting))
        .conflicts_with_all(conflicts.map(|other| other.name));
    let argument = match required {
        Some(required) if required.is_taken_by(command) => argument.requires(required.name),
        _ => argument,
    };
    match setting.form {
        Form::Switch => argument.action(ArgAction::SetTrue),
        Form::Text(name) => argument.value_name(name).value_parser(checked(setting)),
        Form::Path(name) => argument
            .value_name(name)
            .value_parser(checked(setting))
            .value_hint(ValueHint::AnyPath),
        Form::OneOf(name, words) => argument
            .value_name(name)
            .value_parser(PossibleValuesParser::new(words).map(OsString::from)),
    }
}

/// Accepts what the option's own check accepts, and keeps the text.
fn checked(setting: &'static Setting) -> ValueParser {
    let parser =
        OsStringValueParser::new().try_map(move |text| setting.check(&text).map(|()| text));
    ValueParser::new(parser)
}

fn short_help(setting: &Setting) -> String {
    match setting.default {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    }
}

fn long_help(setting: &Setting) -> String {
    let short = short_help(setting);
    let mut paragraphs = vec![setting.more.to_owned()];
    if setting.key == Key::Set {
        paragraphs.push(format!(
            "These words mean true: {}. These mean false: {}.",
            Flag::OPT_OUT_WORDS.join(", "),
            Flag::OPT_IN_WORDS.join(", ")
        ));
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    if paragraphs.is_empty() {
        short
    } else {
        format!("{short}.\n\n{}", paragraphs.join("\n\n"))
    }
}
