//! Drives the built binary: what a person or a scheduled job sees, does and gets. One module per
//! subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a panic in a test is its report"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests read the clock and the date"
)]
#![cfg_attr(
    windows,
    allow(
        dead_code,
        unused_imports,
        reason = "some helpers serve only tests that are for Unix"
    )
)]

#[path = "../common/mod.rs"]
mod common;

mod apply;
mod browser;
mod chaos;
mod chart;
mod close;
mod hostile;
mod ids;
mod outputs;
mod pages;
mod pasted;
mod readme;
mod resume;
mod retry_undo;
mod samples;
mod sandbox;
mod schedule;
mod signals;
mod snapshot;
mod sync;
mod tables;
mod terminal;
mod webdriver;
mod workbooks;
