//! The entry point of the command-line tool. Everything else is in the library.

use std::process::ExitCode;

use mfa_optout::Cli;

/// The allocator matters because the HTTP client makes about 200 allocations per request. The
/// figures are in `Cargo.toml`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mfa_optout::keep_memory_private();
    match Cli::parse_words(std::env::args_os()) {
        Ok(cli) => mfa_optout::run(cli.command).into(),
        Err(error) => mfa_optout::print_usage_error(&error).into(),
    }
}
