//! Why a run could not start or go on, and what the process answers to its caller: `Error` and `Ending` become an exit
//! code here, and nowhere else. What happened to a single row is never an `Error`; it is an `Outcome`.

use std::fmt;
use std::process::ExitCode;

use crate::domain::{Ending, Signal, Stop, Tally};

/// The exit codes, as documented in the README. A scheduler acts on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every row is applied, or duplicate, or unchanged.
    Done = 0,
    /// Finished, but some rows failed, are unknown or invalid.
    RowsNeedAttention = 1,
    /// Nothing was changed: usage, settings, input, a damaged journal, a guard, a redirect or TLS failure at the start.
    NothingChanged = 2,
    /// The credentials were refused.
    CredentialsRefused = 3,
    /// Another run is working on this report.
    Busy = 4,
    /// Stopped early, resumable by the same command.
    StoppedEarly = 5,
    /// SIGHUP, such as that of a terminal that was closed; resumable.
    HungUp = 129,
    /// Ctrl-C, resumable.
    Interrupted = 130,
    /// SIGTERM, resumable.
    Terminated = 143,
}

impl Exit {
    /// The code for a run whose sending ended like this and whose rows came to these outcomes.
    #[must_use]
    pub fn of_run(ending: &Ending, tally: &Tally) -> Self {
        match ending {
            Ending::Complete if tally.needs_attention() => Self::RowsNeedAttention,
            Ending::Complete => Self::Done,
            Ending::Interrupted(signal) => Self::of_signal(*signal),
            Ending::Stopped(stop) => Self::of_stop(stop),
        }
    }

    /// Returns the code for a run that a signal ended: 128 and the signal's number.
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
            | Stop::HeldTooLong { .. }
            | Stop::Outage { .. }
            | Stop::TimeIsUp
            | Stop::InputFailed { .. } => Self::StoppedEarly,
        }
    }

    /// The number that the process returns.
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

/// What kind of thing went wrong; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line, the environment or the settings file. Nothing was sent.
    Usage,
    /// The input can't be read or understood. Nothing was sent.
    Input,
    /// A guard refused the plan, or nobody confirmed it. Nothing was sent.
    Refused,
    /// The report or its journal can't be used as it is. Nothing was sent by this process.
    Report,
    /// Another run has the report.
    Busy,
    /// Disk or input failed in mid-run. What is on record stays.
    MidRun,
    /// A signal ended the making of the report. What is on record stays.
    Interrupted,
}

/// Why a run could not start or go on: what happened, where, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    help: Option<String>,
}

/// The result of everything that can end a run.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with its message: one sentence in lower case without a full stop, that names the place.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// Adds what the person can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same where nothing has been sent yet: an input that fails then is refused, no run has stopped.
    #[must_use]
    pub fn before_sending(mut self) -> Self {
        if self.kind == Kind::MidRun {
            self.kind = Kind::Input;
        }
        self
    }

    /// What happened and where.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the person can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the process answers.
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
