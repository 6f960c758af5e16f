//! The command `sandbox`, and the practice Org inside the process of a run.

use std::time::Duration;

use super::print;
use crate::cli::SandboxArgs;
use crate::config::{Practice, Settings, Sources};
use crate::error::{Error, Exit, Kind, Result};
use crate::sandbox::{Faults, Sandbox, SandboxOptions};
use crate::text::visible;

/// Serves a practice Org until Ctrl-C.
pub(super) async fn serve(arguments: &SandboxArgs) -> Result<Exit> {
    let sources = Sources {
        given: &arguments.given,
        environment: &|_| None,
        file: None,
    };
    let practice = Settings::resolve(sources, Vec::new())?.practice;
    let options = SandboxOptions {
        port: arguments.port,
        api_key: arguments.key.clone(),
        ..options(&practice)
    };
    let sandbox = start(options.clone()).await?;
    print(banner(&sandbox.address(), &options).as_bytes());
    let _ = tokio::signal::ctrl_c().await;
    sandbox.stop().await;
    Ok(Exit::Done)
}

fn banner(address: &str, options: &SandboxOptions) -> String {
    let (first, last) = options.members.clone().into_inner();
    format!(
        "A practice Org is at {address}\n\n  \
           IDs        {first} to {last}, except those that end in 404: they have left the Org\n  \
           API key    {key}\n  \
           log-in     {email} / {password}, Org {org}\n  \
           by hand    {address}/api\n  \
           members    {address}/members\n  \
           as files   {address}/members.csv and {address}/members.json\n  \
           try it     mfa-optout apply users.csv --address {address}\n\n\
         Its members are invented. Its data is kept in memory and is gone when it stops (Ctrl-C).\n",
        key = visible(&options.api_key),
        email = options.email,
        password = options.password,
        org = options.org,
    )
}

/// Starts a practice Org for one run, on a port that the system chooses.
pub(super) async fn start_for_a_run(practice: &Practice) -> Result<Sandbox> {
    start(options(practice)).await
}

async fn start(options: SandboxOptions) -> Result<Sandbox> {
    let port = options.port;
    Sandbox::start(options).await.map_err(|error| {
        Error::new(
            Kind::Usage,
            format!("the practice Org could not listen on 127.0.0.1:{port}: {error}"),
        )
        .help("--port 0 takes any free port")
    })
}

fn options(practice: &Practice) -> SandboxOptions {
    let default = SandboxOptions::default();
    let members = match practice.members {
        Some(number) => 1..=number,
        None => default.members.clone(),
    };
    SandboxOptions {
        port: 0,
        members,
        token_life: practice.token_life.unwrap_or(default.token_life),
        faults: Faults {
            latency: practice.latency.unwrap_or_default(),
            latency_jitter: Duration::ZERO,
            rate_limit: practice.rate_limit,
            error_percent: practice.error_percent.unwrap_or_default(),
            throttle_percent: practice.throttle_percent.unwrap_or_default(),
            outage: practice.outage.clone(),
            seed: 0,
        },
        ..default
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn default_key_of_the_command_line_is_that_of_the_sandbox() {
        let cli = Cli::parse_from(["mfa-optout", "sandbox"]);
        let Command::Sandbox(arguments) = cli.command else {
            panic!("another command")
        };
        assert_eq!(arguments.key, SandboxOptions::default().api_key);
    }
}
