//! Options that exist only to be refused: a secret on a command line is in the shell's history and
//! in every list of processes. The value is never repeated.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::config::Setting;

/// Refuses any value of a secret option, and says where the secret belongs.
#[derive(Clone, Debug)]
pub(super) struct Refused(pub(super) &'static Setting);

impl TypedValueParser for Refused {
    /// There is never a value.
    type Value = std::convert::Infallible;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        _: &OsStr,
    ) -> Result<Self::Value, Error> {
        let Self(setting) = self;
        let message = format!(
            "a secret can't be given on the command line, where others can see it\n\n  \
             help: put it into a file and name that with {flag}-file PATH, or set {variable}\n  \
             help: if it was a real one, it is now in your shell's history; have it replaced\n",
            flag = setting.key.flag(),
            variable = setting.key.variable().unwrap_or_default(),
        );
        Err(Error::raw(ErrorKind::ValueValidation, message).with_cmd(command))
    }
}
