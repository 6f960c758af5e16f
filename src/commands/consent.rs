//! Action a plan still asks for where an interrupted run has done a part of it, and how that is confirmed. The limit on
//! opt-outs counts the whole table, for a resumed run is the same run; a person is asked about what is still to come.

use std::io::{BufRead, Write};

use crate::config::{Consent, ProcessEnv, Settings};
use crate::domain::{Flag, Outcome};
use crate::error::{Error, Kind, Result};
use crate::journal::OnRecord;
use crate::plan::{Action, Counts, Plan};
use crate::ui::Question;

/// The work that is still to be done.
pub(super) struct Rest {
    /// Of the rows that are not on record; `rows` counts all.
    pub(super) counts: Counts,
    /// Rows that an interrupted run has put on record.
    pub(super) on_record: u64,
}

impl Rest {
    pub(super) fn of(plan: &Plan, on_record: &OnRecord) -> Result<Self> {
        let mut rest = Self {
            counts: *plan.counts(),
            on_record: on_record.rows.len(),
        };
        if rest.on_record == 0 {
            return Ok(rest);
        }
        let counts = &mut rest.counts;
        (
            counts.opt_out,
            counts.opt_in,
            counts.duplicate,
            counts.invalid,
            counts.unchanged,
        ) = (0, 0, 0, 0, 0);
        for step in plan.changes(&on_record.rows)? {
            let kind = match step?.action {
                Action::Send(change) if change.flag == Flag::OptOut => &mut counts.opt_out,
                Action::Send(_) => &mut counts.opt_in,
                Action::Settled(record) => match record.outcome {
                    Outcome::Duplicate => &mut counts.duplicate,
                    Outcome::Unchanged => &mut counts.unchanged,
                    Outcome::Invalid
                    | Outcome::Applied
                    | Outcome::Failed
                    | Outcome::Unknown
                    | Outcome::NotSent => &mut counts.invalid,
                },
                Action::Skipped => continue,
            };
            *kind += 1;
        }
        Ok(rest)
    }
}

/// How the plan comes to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirming {
    /// `--yes` has done it.
    Given,
    /// Nothing will be sent.
    NotNeeded,
    /// The person at the terminal is asked.
    Asking(Question),
    /// Somebody would have to be asked, and nobody is there.
    Impossible,
}

impl Confirming {
    pub(super) fn of(settings: &Settings, facts: &ProcessEnv, rest: &Rest) -> Self {
        match settings.guards.consent() {
            Consent::Given => Self::Given,
            Consent::DryRun => Self::NotNeeded,
            Consent::Ask if rest.counts.to_send() == 0 => Self::NotNeeded,
            Consent::Ask if facts.terminal => Self::Asking(Question::about(rest.counts.opt_out)),
            Consent::Ask => Self::Impossible,
        }
    }

    /// Whether somebody has to see the plan to answer.
    pub(super) fn asks(self) -> bool {
        matches!(self, Self::Asking(_))
    }

    /// Says how it was confirmed, for the run's record.
    ///
    /// # Errors
    /// Of [`Kind::Refused`], where it was not.
    pub(super) fn confirm(self) -> Result<String> {
        match self {
            Self::Given => Ok("--yes".to_owned()),
            Self::NotNeeded => Ok("nothing to send".to_owned()),
            Self::Asking(question) => ask(question),
            Self::Impossible => Err(Error::new(
                Kind::Refused,
                "nothing was sent: there is no terminal to ask at",
            )
            .help("look at the plan with --dry-run, then add --yes")),
        }
    }
}

fn ask(question: Question) -> Result<String> {
    let mut out = std::io::stderr().lock();
    let _ = out
        .write_all(question.text().as_bytes())
        .and_then(|()| out.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).unwrap_or(0);
    if !question.agrees((read > 0).then_some(answer.as_str())) {
        return Err(Error::new(
            Kind::Refused,
            "nothing was sent: the plan was not confirmed",
        ));
    }
    Ok(match question {
        Question::YesOrNo => "answered yes".to_owned(),
        Question::HowMany(number) => format!("typed {number}"),
    })
}
