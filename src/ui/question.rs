//! The question before the first change, and which answers confirm the plan.

use super::screen::Look;
use crate::text::grouped;

/// Maximum number of opt-outs that a yes confirms. Above it, the number has to be typed.
const MAX_CONFIRMED_BY_YES: u64 = 50;

/// The question that a person at a terminal has to answer before the first change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Asks for yes or no.
    YesOrNo,
    /// Asks for the number of people who are opted out.
    TypeNumber(u64),
}

impl Question {
    /// Returns the question for a plan with this number of opt-outs.
    #[must_use]
    pub fn for_opt_outs(opt_outs: u64) -> Self {
        if opt_outs > MAX_CONFIRMED_BY_YES {
            Self::TypeNumber(opt_outs)
        } else {
            Self::YesOrNo
        }
    }

    /// Returns the text of the question. The answer is typed on its last line.
    #[must_use]
    pub fn text(self, look: Look) -> String {
        match self {
            Self::YesOrNo => "Send these changes? [y/N] ".to_owned(),
            Self::TypeNumber(number) => {
                let question = format!(
                    "{} people will sign in without a second factor. Type {number} to continue: ",
                    look.bold(&grouped(number))
                );
                look.wrap(&question, 0)
            }
        }
    }

    /// Returns what is said after a wrong answer, before the question is asked once more.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::YesOrNo => "Please answer y or n.",
            Self::TypeNumber(_) => "That is not the number. Please try once more.",
        }
    }

    /// Returns what an answer means. An empty line is not a yes, because a stray line break may
    /// have been pasted.
    #[must_use]
    pub fn judge(self, answer: &str) -> Answer {
        let answer = answer.trim();
        let is_one_of =
            |words: [&str; 2]| words.iter().any(|word| answer.eq_ignore_ascii_case(word));
        match self {
            Self::YesOrNo if is_one_of(["y", "yes"]) => Answer::Yes,
            Self::YesOrNo if answer.is_empty() || is_one_of(["n", "no"]) => Answer::No,
            Self::TypeNumber(number)
                if answer == number.to_string() || answer == grouped(number) =>
            {
                Answer::Yes
            }
            Self::TypeNumber(_) if is_one_of(["n", "no"]) => Answer::No,
            Self::YesOrNo | Self::TypeNumber(_) => Answer::Wrong,
        }
    }
}

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The plan is confirmed.
    Yes,
    /// The plan is refused.
    No,
    /// The answer is neither, so the question is asked once more.
    Wrong,
}
