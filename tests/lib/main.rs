//! Tests the library: the HTTP client, the engine, the input, the sandbox, and whole runs in
//! virtual time. One module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "a panic in a test is its report, and the parts of a test see each other"
)]

#[path = "../common/hostile/mod.rs"]
mod hostile;
#[path = "../common/limiter.rs"]
mod limiter;

mod api;
mod engine;
mod house;
mod input;
mod people;
mod register;
mod sandbox;
mod simulation;
