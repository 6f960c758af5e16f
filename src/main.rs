//! The command line tool. It only connects; the library does the work.

use std::process::ExitCode;

use mfa_optout::cli::Cli;
use mfa_optout::commands;
use mfa_optout::hardening;

/// A request means some two hundred allocations in the HTTP client; the figures are in `Cargo.toml`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hardening::keep_memory_private();
    match Cli::understand(std::env::args_os()) {
        Ok(cli) => commands::run(cli.command).into(),
        Err(error) => commands::explain(&error).into(),
    }
}
