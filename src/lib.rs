//! Switches multi-factor authentication off, or back on, for many users of a Resolver Core Org at once.
//!
//! A table becomes a plan, the plan becomes changes, a pure policy turns changes into attempts and answers into
//! outcomes, and every outcome is on disk before anyone is told of it:
//!
//! ```text
//!  file ─> Row ─> Plan ─> Change ─> [Policy] ─> Attempt ─> [Org] ─> Answer ─> [Policy] ─> Outcome ─> Record
//!                                      ^                                          │
//!                                      └────────────── later, or never ───────────┘
//!  Record ─> Journal (disk) ─> Event ─> Progress      Journal ─> order ─> report.csv ─> Summary ─> json, html, metrics
//! ```
//!
//! [`policy`] decides and performs nothing; [`engine`] carries out and decides nothing. What happened to a row is data
//! (an [`Outcome`](domain::Outcome)); an [`Error`](error::Error) means that the run can't go on.

pub mod api;
pub mod cli;
pub mod commands;
pub mod config;
pub mod domain;
pub mod engine;
pub mod error;
pub mod hardening;
pub mod input;
pub mod journal;
pub mod output;
pub mod plan;
pub mod policy;
pub mod register;
pub mod report;
pub mod sandbox;
pub mod text;
pub mod trusted_file;
pub mod ui;
