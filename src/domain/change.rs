//! Changes: what a row asks for.

use super::UserId;

/// The number of a row within the run, counted from 1. Blank rows and rows that are not selected
/// are not counted.
///
/// It determines the order of the report. Where the row stands in the input is its [`LineNumber`].
pub type RowNumber = u64;

/// The place of a row in the input, counted from 1: the physical line on which its record begins,
/// or the row of the sheet. Rows of an earlier report keep the number that they had there.
pub type LineNumber = u64;

/// The value that `mfaOptOut` should have for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// `{"mfaOptOut": true}`: the user signs in without multi-factor authentication. This lowers
    /// security.
    OptOut,
    /// `{"mfaOptOut": false}`: the user is asked for the second factor again.
    OptIn,
}

impl Flag {
    /// The words of a flag column that opt a user out, in any case. People write yes, and
    /// spreadsheets write TRUE, in the language of the person who made the file.
    pub const OPT_OUT_WORDS: [&str; 22] = [
        "true",
        "yes",
        "y",
        "t",
        "1",
        "on",
        "opt-out",
        "opt_out",
        "opt out",
        "optout",
        "wahr",
        "vrai",
        "verdadero",
        "vero",
        "waar",
        "verdadeiro",
        "ja",
        "oui",
        "sí",
        "sì",
        "si",
        "sim",
    ];
    /// The words of a flag column that opt a user in, in any case.
    pub const OPT_IN_WORDS: [&str; 19] = [
        "false", "no", "n", "f", "0", "off", "opt-in", "opt_in", "opt in", "optin", "falsch",
        "faux", "falso", "onwaar", "nein", "nee", "non", "não", "nao",
    ];

    /// Returns the flag that a word of a table stands for, in upper or lower case.
    #[must_use]
    pub fn from_table_word(word: &str) -> Option<Self> {
        let word = word.to_lowercase();
        let is_one_of = |words: &[&str]| words.contains(&word.as_str());
        if is_one_of(&Self::OPT_OUT_WORDS) {
            Some(Self::OptOut)
        } else if is_one_of(&Self::OPT_IN_WORDS) {
            Some(Self::OptIn)
        } else {
            None
        }
    }

    /// Returns [`Flag::OptOut`] for `true` and [`Flag::OptIn`] for `false`.
    #[must_use]
    pub fn from_opt_out(opt_out: bool) -> Self {
        if opt_out { Self::OptOut } else { Self::OptIn }
    }

    /// Returns the value of `mfaOptOut` in a request.
    #[must_use]
    pub fn is_opt_out(self) -> bool {
        self == Self::OptOut
    }

    /// Returns the other flag.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::OptOut => Self::OptIn,
            Self::OptIn => Self::OptOut,
        }
    }

    /// Returns the word in the report's column `wanted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptOut => "true",
            Self::OptIn => "false",
        }
    }

    /// Returns the flag for a word of the report's column `wanted`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "true" => Some(Self::OptOut),
            "false" => Some(Self::OptIn),
            _ => None,
        }
    }
}

/// A change that may be sent: one row that asks for one membership to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The row that asks for the change.
    pub row: RowNumber,
    /// The place of that row in the input, or `None` if the row is not in the input.
    pub line: Option<LineNumber>,
    /// The user whose membership is set.
    pub user: UserId,
    /// The flag to be set.
    pub flag: Flag,
    /// Whether an interrupted run may have made the change without recording it.
    pub in_doubt: bool,
    /// Why the flag is not the one that the table gives; empty if it is.
    pub cause: &'static str,
}
