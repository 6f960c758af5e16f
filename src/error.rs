//! Errors that end a run, and exit codes.
//!
//! This is the only place where an [`Error`] or an [`Ending`] becomes an exit code. What happened
//! to a single row is never an [`Error`] but an [`Outcome`](crate::domain::Outcome).

use std::fmt;
use std::process::ExitCode;

use crate::domain::{Ending, Signal, Stop, Tally};

/// The exit codes, as documented in the README. Schedulers act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every row is applied, duplicate or unchanged.
    Done = 0,
    /// The run finished, but some rows failed, are unknown or invalid.
    RowsNeedAttention = 1,
    /// Nothing was changed: usage, config, input, a damaged journal, a guard, or a redirect or TLS
    /// failure at the start.
    NothingChanged = 2,
    /// The credentials were refused.
    CredentialsRefused = 3,
    /// Another run holds the report or the register.
    Busy = 4,
    /// The run stopped early and is resumed by the same command.
    StoppedEarly = 5,
    /// SIGHUP ended the run, for example because the terminal was closed. It can be resumed.
    HungUp = 129,
    /// SIGINT (Ctrl-C) ended the run. It can be resumed.
    Interrupted = 130,
    /// SIGTERM ended the run. It can be resumed.
    Terminated = 143,
}

impl Exit {
    /// Returns the code for a run, by how sending ended and by the outcomes of its rows.
    #[must_use]
    pub fn of_run(ending: &Ending, tally: &Tally) -> Self {
        match ending {
            Ending::Complete if tally.needs_attention() => Self::RowsNeedAttention,
            Ending::Complete => Self::Done,
            Ending::Interrupted(signal) => Self::of_signal(*signal),
            Ending::Stopped(stop) => Self::of_stop(stop),
        }
    }

    /// Returns the code for a run that a signal ended: 128 plus the number of the signal.
    #[must_use]
    pub fn of_signal(signal: Signal) -> Self {
        match signal {
            Signal::HangUp => Self::HungUp,
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
        }
    }

    fn of_stop(stop: &Stop) -> Self {
        match stop {
            Stop::CredentialsRefused { .. } | Stop::LogInRefused { .. } => Self::CredentialsRefused,
            Stop::Redirected {
                after_success: false,
                ..
            }
            | Stop::Unusable { .. }
            | Stop::Intercepted { .. }
            | Stop::WebPage { .. } => Self::NothingChanged,
            Stop::Redirected {
                after_success: true,
                ..
            }
            | Stop::Contradicted { .. }
            | Stop::NeverAnswered { .. }
            | Stop::AllRefused { .. }
            | Stop::TooManyFailures { .. }
            | Stop::RetryAfterTooLong { .. }
            | Stop::Outage { .. }
            | Stop::MaxDurationReached
            | Stop::LimitReached { .. }
            | Stop::InputFailed { .. } => Self::StoppedEarly,
        }
    }

    /// Returns the exit code as a number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The kinds of errors, which determine the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line, the environment or the config file is wrong. Nothing was sent.
    Usage,
    /// The input can't be read or is invalid. Nothing was sent.
    Input,
    /// A guard refused the plan, or nobody confirmed it. Nothing was sent.
    Refused,
    /// The report or its journal can't be used in its present state. This process has sent nothing.
    Report,
    /// Another run holds the report or the register.
    Busy,
    /// The disk or the input failed during the run. What is recorded is kept.
    MidRun,
    /// A signal interrupted the writing of the report. What is recorded is kept.
    Interrupted,
}

/// An error that prevents a run from starting or going on: what happened, where, and what to do
/// about it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    help: Option<String>,
}

/// The result of an operation that can end a run.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns an error with a message: one sentence in lower case without a full stop, which names
    /// the place.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// Adds what the user can do about the error.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Turns [`Kind::MidRun`] into [`Kind::Input`], for errors that occur before anything is sent.
    #[must_use]
    pub fn before_sending(mut self) -> Self {
        if self.kind == Kind::MidRun {
            self.kind = Kind::Input;
        }
        self
    }

    /// Returns what happened and where.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what the user can do about the error.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage | Kind::Input | Kind::Refused | Kind::Report => Exit::NothingChanged,
            Kind::Busy => Exit::Busy,
            Kind::MidRun | Kind::Interrupted => Exit::StoppedEarly,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
