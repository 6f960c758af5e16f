//! The work that remains to be done, and how the plan is confirmed.
//!
//! The limit on opt-outs counts the whole table, because a resumed run is the same run. A person is
//! asked only about what is still to be sent.

use std::io::{BufRead, Write};

use crate::config::{Consent, ProcessEnv, Settings};
use crate::domain::{Flag, Outcome};
use crate::error::{Error, Kind, Result};
use crate::journal::OnRecord;
use crate::plan::{Action, Counts, Plan};
use crate::ui::{Answer, Look, Question};

/// Number of times that the question is asked.
const MAX_QUESTIONS: usize = 2;

/// The work that remains to be done.
pub(super) struct RemainingWork {
    /// Numbers of rows that are not recorded yet; `rows` counts all rows of the table.
    pub(super) counts: Counts,
    /// Number of rows that an interrupted run has recorded.
    pub(super) on_record: u64,
}

impl RemainingWork {
    /// Counts what a plan still asks for after an interrupted run.
    ///
    /// # Errors
    /// The input can't be read again.
    pub(super) fn of(plan: &Plan, on_record: &OnRecord) -> Result<Self> {
        let recorded = on_record.rows.len();
        let mut counts = *plan.counts();
        if recorded > 0 {
            counts.opt_out = 0;
            counts.opt_in = 0;
            counts.duplicate = 0;
            counts.invalid = 0;
            counts.unchanged = 0;
            for step in plan.changes(&on_record.rows)? {
                if let Some(count) = count_of(&step?.action, &mut counts) {
                    *count += 1;
                }
            }
        }
        Ok(Self {
            counts,
            on_record: recorded,
        })
    }
}

/// Returns the count that a row belongs to; `None` if the row is skipped.
fn count_of<'a>(action: &Action, counts: &'a mut Counts) -> Option<&'a mut u64> {
    match action {
        Action::Send(change) if change.flag == Flag::OptOut => Some(&mut counts.opt_out),
        Action::Send(_) => Some(&mut counts.opt_in),
        Action::Settled(record) => Some(match record.outcome {
            Outcome::Duplicate => &mut counts.duplicate,
            Outcome::Unchanged => &mut counts.unchanged,
            Outcome::Invalid
            | Outcome::Applied
            | Outcome::Failed
            | Outcome::Unknown
            | Outcome::NotSent => &mut counts.invalid,
        }),
        Action::Skipped => None,
    }
}

/// How the plan is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// `--yes` has confirmed it.
    Given,
    /// Nothing is sent.
    NotNeeded,
    /// The person at the terminal is asked.
    Ask(Question),
    /// A person would have to be asked, but there is no terminal.
    Impossible,
}

impl Confirmation {
    /// Returns how the remaining work is confirmed.
    pub(super) fn of(settings: &Settings, process: &ProcessEnv, work: &RemainingWork) -> Self {
        match settings.guards.consent() {
            Consent::Given => Self::Given,
            Consent::DryRun => Self::NotNeeded,
            Consent::Ask if work.counts.to_send() == 0 => Self::NotNeeded,
            Consent::Ask if process.terminal => {
                Self::Ask(Question::for_opt_outs(work.counts.opt_out))
            }
            Consent::Ask => Self::Impossible,
        }
    }

    /// Checks whether a person has to see the plan to answer.
    pub(super) fn is_question(self) -> bool {
        matches!(self, Self::Ask(_))
    }

    /// Confirms the plan, and returns how it was confirmed, for the run's record.
    ///
    /// # Errors
    /// [`Kind::Refused`] if the plan was not confirmed.
    pub(super) fn confirm(self) -> Result<String> {
        match self {
            Self::Given => Ok("--yes".to_owned()),
            Self::NotNeeded => Ok("nothing to send".to_owned()),
            Self::Ask(question) => ask(question),
            Self::Impossible => Err(Error::new(
                Kind::Refused,
                "nothing was sent: there is no terminal for the confirmation",
            )
            .help("look at the plan with --dry-run, then add --yes")),
        }
    }
}

/// Asks the person at the terminal. A wrong answer is asked for once more; the end of the input is
/// a no.
fn ask(question: Question) -> Result<String> {
    for number in 1..=MAX_QUESTIONS {
        let Some(answer) = read_answer(question) else {
            break;
        };
        match question.judge(&answer) {
            Answer::Yes => {
                return Ok(match question {
                    Question::YesOrNo => "answered yes".to_owned(),
                    Question::TypeNumber(number) => format!("typed {number}"),
                });
            }
            Answer::No => break,
            Answer::Wrong if number < MAX_QUESTIONS => {
                let _ = writeln!(std::io::stderr().lock(), "{}", question.hint());
            }
            Answer::Wrong => {}
        }
    }
    Err(Error::new(
        Kind::Refused,
        "nothing was sent: the plan was not confirmed",
    ))
}

/// Shows the question and reads a line; `None` at the end of the input.
fn read_answer(question: Question) -> Option<String> {
    let mut out = std::io::stderr().lock();
    let text = question.text(Look::of_standard_error());
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).unwrap_or(0);
    if read == 0 { None } else { Some(answer) }
}
