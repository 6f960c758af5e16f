//! Outcomes of rows.

use std::fmt;

use super::Flag;

/// The outcome of a row.
///
/// All questions about an outcome are answered here by exhaustive matches, so that a new outcome
/// can't be forgotten.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The Org confirmed the change.
    Applied,
    /// The Org refused, or all attempts failed. The change was not made.
    Failed,
    /// The change may or may not have been made.
    Unknown,
    /// The row is invalid and was skipped.
    Invalid,
    /// An earlier row asks for the same change, which was sent once.
    Duplicate,
    /// The user already has the wanted flag, according to an earlier report or the register.
    Unchanged,
    /// The run ended before the row was sent, or before anything but a refusal of the credentials
    /// came back for it.
    NotSent,
}

impl Outcome {
    /// All outcomes, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Applied,
        Self::Failed,
        Self::Unknown,
        Self::Invalid,
        Self::Duplicate,
        Self::Unchanged,
        Self::NotSent,
    ];

    /// Returns the word in reports, in JSON and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::Unchanged => "unchanged",
            Self::NotSent => "not_sent",
        }
    }

    /// Returns the outcome for a word of a report.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// Checks whether a person has to look at the row.
    #[must_use]
    pub fn needs_attention(self) -> bool {
        match self {
            Self::Failed | Self::Unknown | Self::Invalid | Self::NotSent => true,
            Self::Applied | Self::Duplicate | Self::Unchanged => false,
        }
    }

    /// Checks whether `retry` sends the row again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Failed | Self::Unknown | Self::NotSent => true,
            Self::Applied | Self::Invalid | Self::Duplicate | Self::Unchanged => false,
        }
    }

    /// Checks whether the user is known to have the flag that the row wanted.
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        match self {
            Self::Applied | Self::Unchanged => true,
            Self::Failed | Self::Unknown | Self::Invalid | Self::Duplicate | Self::NotSent => false,
        }
    }

    /// Checks whether the row may have changed the Org.
    #[must_use]
    pub fn may_have_changed(self) -> bool {
        match self {
            Self::Applied | Self::Unknown => true,
            Self::Failed | Self::Invalid | Self::Duplicate | Self::Unchanged | Self::NotSent => {
                false
            }
        }
    }

    /// Checks whether `undo` sends the opposite of what the row wanted.
    ///
    /// A change that is in doubt is only undone if it was an opt-out. The opposite of an opt-in
    /// would lower security.
    #[must_use]
    pub fn is_undone(self, wanted: Option<Flag>) -> bool {
        match self {
            Self::Applied => true,
            Self::Unknown => wanted != Some(Flag::OptIn),
            Self::Failed | Self::Invalid | Self::Duplicate | Self::Unchanged | Self::NotSent => {
                false
            }
        }
    }

    /// Checks whether the row was sent, or tried to be sent, without being applied. Such rows are
    /// reported while the run goes on.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Unknown => true,
            Self::Applied | Self::Invalid | Self::Duplicate | Self::Unchanged | Self::NotSent => {
                false
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_outcome_and_json_uses_the_words_of_the_report() {
        let error = serde_json::from_str::<Outcome>("\"no such word\"").unwrap_err();
        let message = error.to_string();
        let (_, variants) = message.split_once("expected one of ").unwrap();
        let words: Vec<_> = variants.split('`').skip(1).step_by(2).collect();
        assert_eq!(words, Outcome::ALL.map(Outcome::as_str));
    }
}
