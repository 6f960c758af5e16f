//! What each command does, from top to bottom. [`job`] has the path that `apply`, `sync`, `retry`
//! and `undo` share.

mod beginning;
mod change_list;
mod close;
mod closing;
mod consent;
mod earlier;
mod exceptions;
mod fresh;
mod job;
mod outputs;
mod plan_page;
mod practice;
mod reading;
mod registered;
mod runtime;
mod signals;
mod start;
mod sync;
mod table_request;
mod target;

use std::path::Path;

use crate::cli::{self, Command, Config};
use crate::config::{self, LogFormat, ProcessEnv};
use crate::error::{Error, Exit, Kind, Result};
use crate::journal::Paths;
use crate::plan::Selection;
use crate::text::visible_path;
use crate::ui::say;
use crate::ui::say::print;

use self::job::Job;

/// Runs a command and returns its exit code. Prints the error, if there is one.
#[must_use]
pub fn run(command: Command) -> Exit {
    let given = command.given().cloned();
    if let Some(given) = &given {
        say::apply_color_option(given);
    }
    dispatch(command).unwrap_or_else(|error| {
        say::error(
            given.as_ref().map_or(LogFormat::Text, say::format_of),
            &error,
        );
        error.exit()
    })
}

/// Prints help, the version, or what is wrong with the command line, and returns the exit code.
#[must_use]
pub fn print_usage_error(error: &clap::Error) -> u8 {
    if error.use_stderr() && say::format_in(std::env::args_os()) == LogFormat::Json {
        say::usage_error(&error.render().to_string(), error.exit_code());
    } else {
        // The reader may be gone; the exit code remains.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Apply(apply) => {
            let report = Paths::beside(&apply.input);
            runtime::start()?
                .block_on(Job::new("apply", apply.input, Selection::All, apply.given).run(report))
        }
        Command::Sync(sync) => {
            let report = Paths::of_sync(&sync.input, crate::ui::say::now());
            runtime::start()?
                .block_on(Job::new("sync", sync.input, Selection::All, sync.given).run(report))
        }
        Command::Retry(retry) => {
            earlier::must_be_finished(&retry.earlier)?;
            let report = earlier::report_after(&retry.earlier, "retry");
            runtime::start()?.block_on(
                Job::new(
                    "retry",
                    retry.earlier,
                    Selection::Retry(retry.only),
                    retry.given,
                )
                .run(report),
            )
        }
        Command::Undo(undo) => {
            earlier::must_be_finished(&undo.earlier)?;
            let report = earlier::report_after(&undo.earlier, "undo");
            runtime::start()?
                .block_on(Job::new("undo", undo.earlier, Selection::Undo, undo.given).run(report))
        }
        Command::Close(args) => close::close(&args),
        Command::Exceptions(args) => exceptions::list(&args),
        Command::Sandbox(sandbox) => runtime::start()?.block_on(practice::serve(&sandbox)),
        Command::Config(arguments) => config(&arguments),
        Command::Completions { shell } => Ok(print(&cli::completions(shell))),
        Command::Man { folder } => manual(folder.as_deref()),
    }
}

/// Prints the settings, unless `--check` is given, and what is wrong with them.
fn config(arguments: &Config) -> Result<Exit> {
    let facts = ProcessEnv::of_this_process();
    let environment = |name: &str| std::env::var_os(name);
    config::load(&arguments.given, &environment, &facts, |sources, notes| {
        if !arguments.check {
            print(config::config_text(sources, &notes).as_bytes());
        }
        let faults = config::faults(sources);
        let format = say::format_of(&arguments.given);
        for fault in &faults {
            say::error(format, fault);
        }
        Ok(faults.first().map_or(Exit::Done, Error::exit))
    })
}

/// Prints the manual page of the program, or writes all pages into a folder.
fn manual(folder: Option<&Path>) -> Result<Exit> {
    let pages = cli::manuals().map_err(|error| broken("write the manual pages", &error))?;
    let Some(folder) = folder else {
        let (_, program) = &pages[0];
        return Ok(print(program));
    };
    let cannot_write =
        |error: std::io::Error| broken(&format!("write into {}", visible_path(folder)), &error);
    std::fs::create_dir_all(folder).map_err(cannot_write)?;
    for (name, page) in &pages {
        std::fs::write(folder.join(name), page).map_err(cannot_write)?;
    }
    Ok(Exit::Done)
}

fn broken(what: &str, error: &std::io::Error) -> Error {
    Error::new(Kind::Usage, format!("could not {what}: {error}"))
}

/// Checks whether a path means standard input.
fn is_standard_input(path: &std::path::Path) -> bool {
    path == "-"
}
