//! The practice Org as a command, and inside the process of a run. What it is like is the sandbox's own.

use std::time::Duration;

use super::print;
use crate::cli::{PracticeArgs, Sandbox as Arguments};
use crate::error::{Error, Exit, Kind, Result};
use crate::sandbox::{Faults, Options, Sandbox};

/// Serves a practice Org until Ctrl-C.
pub(super) async fn serve(arguments: &Arguments) -> Result<Exit> {
    let options = Options {
        port: arguments.port,
        ..options(&arguments.practice)
    };
    let signed_in = format!(
        "{} / {}, Org {}",
        options.email, options.password, options.org
    );
    let key = options.api_key.clone();
    let sandbox = start(options).await?;
    let address = sandbox.address();
    print(
        format!(
            "A practice Org is at {address}\n\n  \
               API key    {key}\n  \
               log-in     {signed_in}\n  \
               by hand    {address}/api\n  \
               members    {address}/members\n\n\
             Its members are made up, its state is kept in memory and gone when it ends (Ctrl-C).\n"
        )
        .as_bytes(),
    );
    let _ = tokio::signal::ctrl_c().await;
    sandbox.stop().await;
    Ok(Exit::Done)
}

/// Starts a practice Org for one run, on a port that the system picks.
pub(super) async fn start_for_a_run(practice: &PracticeArgs) -> Result<Sandbox> {
    start(options(practice)).await
}

async fn start(options: Options) -> Result<Sandbox> {
    let port = options.port;
    Sandbox::start(options).await.map_err(|error| {
        Error::new(
            Kind::Usage,
            format!("the practice Org could not listen on 127.0.0.1:{port}: {error}"),
        )
        .help("--port 0 takes any free port")
    })
}

fn options(practice: &PracticeArgs) -> Options {
    let default = Options::default();
    Options {
        port: 0,
        members: practice
            .members
            .map_or_else(|| default.members.clone(), |members| 1..=members.max(1)),
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
