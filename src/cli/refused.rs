//! Options that exist only to be refused: a secret on a command line is in the shell's history and in every list of
//! processes. The value is never repeated.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Refuses any value, and says where the secret belongs.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// What it is, such as `an API key`.
    pub(super) what: &'static str,
    /// Where it belongs.
    pub(super) instead: &'static str,
}

impl TypedValueParser for Refused {
    /// There is never a value.
    type Value = std::convert::Infallible;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        _: &OsStr,
    ) -> Result<Self::Value, Error> {
        let Self { what, instead } = self;
        let message = format!(
            "{what} can't be given on the command line, where others can see it\n\n  \
             help: {instead}\n  \
             help: if it was a real one, it is now in your shell's history; have it replaced\n"
        );
        Err(Error::raw(ErrorKind::ValueValidation, message).with_cmd(command))
    }
}

/// For `--api-key`.
pub(super) fn api_key() -> Refused {
    Refused {
        what: "an API key",
        instead: "put it into a file and name that with --api-key-file PATH, or set MFA_OPTOUT_API_KEY",
    }
}

/// For `--password`.
pub(super) fn password() -> Refused {
    Refused {
        what: "a password",
        instead: "put it into a file and name that with --password-file PATH, or set MFA_OPTOUT_PASSWORD",
    }
}
