//! The command line tool. It only connects; the library does the work.

use std::io::Write;
use std::process::ExitCode;

use mfa_optout::cli::Cli;
use mfa_optout::commands;
use mfa_optout::hardening;

fn main() -> ExitCode {
    hardening::keep_memory_private();
    let cli = match Cli::understand(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody may be reading any more; the exit code is for whoever started this.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2).into();
        }
    };
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            error.exit().into()
        }
    }
}
