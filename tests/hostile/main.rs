//! The built binary against networks and servers that do what they shouldn't: what the server saw, what the report says,
//! what a person reads, and the exit code.

#[path = "../common/mod.rs"]
mod common;

mod credentials;
mod endurance;
mod network;
mod throttle;
