//! The command line tool. It only connects; the library does the work.

use std::io::{self, Write};
use std::process::ExitCode;

use mfa_optout::cli::{self, Cli, Command};
use mfa_optout::error::{Error, Kind, Result};
use mfa_optout::settings::{self, Facts};

fn main() -> ExitCode {
    let cli = match Cli::understand(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody may be reading any more; the exit code is for whoever started this.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2).into();
        }
    };
    match answer(&cli.command) {
        Ok(text) => {
            let _ = io::stdout().write_all(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            error.exit().into()
        }
    }
}

fn answer(command: &Command) -> Result<Vec<u8>> {
    match command {
        Command::Completions { shell } => Ok(cli::completions(*shell)),
        Command::Config(run) => {
            let facts = Facts::of_this_process();
            settings::load(&run.given(), &|name| std::env::var_os(name), &facts, |sources, notes| {
                settings::config_text(sources, &notes).map(String::into_bytes)
            })
        }
        _ => cli::manual().map_err(|error| Error::new(Kind::Report, error.to_string())),
    }
}
