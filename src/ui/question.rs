//! The question before the first change, and what counts as a yes.

use crate::text::grouped;

/// Up to so many people a yes is enough; above, their number has to be typed.
const YES_IS_ENOUGH: u64 = 50;

/// What a person at a terminal is asked before the first change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Yes or no.
    YesOrNo,
    /// How many people are to be opted out.
    HowMany(u64),
}

impl Question {
    /// The question for a plan that opts out so many people.
    #[must_use]
    pub fn about(opt_outs: u64) -> Self {
        if opt_outs > YES_IS_ENOUGH {
            Self::HowMany(opt_outs)
        } else {
            Self::YesOrNo
        }
    }

    /// Its words; the answer is typed on the same line.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::YesOrNo => "Send these changes? [y/N] ".to_owned(),
            Self::HowMany(number) => {
                let grouped = grouped(number);
                format!(
                    "{grouped} people will sign in without a second factor. Type {number} to go on: "
                )
            }
        }
    }

    /// Whether an answer is a yes. An empty line and the end of input (`None`) are a no, for a stray line break that
    /// was pasted must not start anything.
    #[must_use]
    pub fn agrees(self, answer: Option<&str>) -> bool {
        let Some(answer) = answer.map(str::trim) else {
            return false;
        };
        match self {
            Self::YesOrNo => ["y", "yes"]
                .iter()
                .any(|yes| answer.eq_ignore_ascii_case(yes)),
            Self::HowMany(number) => answer == number.to_string() || answer == grouped(number),
        }
    }
}
