//! The built binary against networks and servers that do what they shouldn't: what the server saw,
//! what the report says, what a person reads, and the exit code.

mod broken;
mod credentials;
mod endurance;
mod key_file;
mod memory;
mod network;
mod payloads;
mod planted;
mod secrets;
mod throttle;
mod ways;
