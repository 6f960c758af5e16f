//! The text of the plan, which is shown before anything is sent.

use std::fmt::Write as _;
use std::time::Duration;

use super::screen::Look;
use crate::domain::{Change, Flag, Rate, row_name};
use crate::text::{counted, grouped, rough, visible};

/// The figures of a plan. Texts from outside are escaped when they are shown.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// Address of the Org.
    pub address: String,
    /// Method of authentication, such as `API key from key.txt`; never a secret.
    pub sign_in: String,
    /// Name of the input.
    pub input: String,
    /// What was detected in the input: encoding, delimiter, sheet, columns.
    pub found_out: Vec<String>,
    /// Number of rows in the input.
    pub rows: u64,
    /// Number of people to opt out in this run.
    pub opt_out: u64,
    /// Number of people to opt back in.
    pub opt_in: u64,
    /// Number of rows that ask for the same as an earlier row.
    pub duplicates: u64,
    /// Number of invalid rows, which are skipped.
    pub invalid: u64,
    /// Number of rows whose user has the wanted flag already.
    pub unchanged: u64,
    /// Number of rows that an interrupted run has recorded.
    pub on_record: u64,
    /// The requested rate.
    pub rate: Rate,
    /// Expected time at that rate, if it can be estimated.
    pub expected: Option<Duration>,
    /// Reason for the run, if one was given.
    pub reason: Option<String>,
    /// Path of the report.
    pub report: String,
    /// Facts that need no action.
    pub notes: Vec<String>,
    /// Facts that may need action.
    pub warnings: Vec<String>,
    /// Whether nothing is sent.
    pub dry_run: bool,
}

/// Returns the text of a plan: aligned figures, then notes, then warnings.
#[must_use]
pub fn plan_text(plan: &PlanView, look: Look) -> String {
    let mut out = String::from("Plan\n");
    for (name, value) in entries(plan) {
        let line = format!("  {name:<NAME_WIDTH$}{}", visible(&value));
        let _ = writeln!(out, "{}", look.wrap(&line, 2 + NAME_WIDTH));
        if name == ROWS {
            push_row_kinds(&mut out, plan, look);
        }
    }
    for note in &plan.notes {
        let line = format!("note: {}", visible(note));
        let _ = writeln!(out, "{}", look.wrap(&line, 6));
    }
    for warning in &plan.warnings {
        let line = format!("{} {}", look.yellow("warning:"), visible(warning));
        let _ = writeln!(out, "{}", look.wrap(&line, 9));
    }
    if plan.dry_run {
        out.push_str("This is a dry run: nothing is sent.\n");
    }
    out
}

/// Returns the line about a change that a dry run would send, such as
/// `line 2: 1701 Amelia Hart: opted in -> opted out`. `registered` is what the register says about
/// the user, if there is a register.
#[must_use]
pub fn planned_change_text(change: &Change, label: &str, registered: Option<&str>) -> String {
    let row = row_name(change.line, label);
    let what = match registered {
        Some(from) => {
            let from = match Flag::from_word(from) {
                Some(flag) => state_of(flag),
                None => from,
            };
            format!("{from} -> {}", state_of(change.flag))
        }
        None if change.flag.is_opt_out() => "opt out of MFA".to_owned(),
        None => "opt back in".to_owned(),
    };
    match change.cause {
        "" => format!("{row}: {what}"),
        cause => format!("{row}: {what} ({cause})"),
    }
}

fn state_of(flag: Flag) -> &'static str {
    match flag {
        Flag::OptOut => "opted out",
        Flag::OptIn => "opted in",
    }
}

/// Width of the names of the entries.
const NAME_WIDTH: usize = 10;
/// Name of the entry that the kinds of rows follow.
const ROWS: &str = "rows";

/// Returns the entries of the plan with their names. An entry without a name belongs to the one
/// before it.
fn entries(plan: &PlanView) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("Org", plan.address.clone()),
        ("sign-in", plan.sign_in.clone()),
        ("input", plan.input.clone()),
    ];
    for detected in &plan.found_out {
        entries.push(("", detected.clone()));
    }
    entries.push((ROWS, grouped(plan.rows)));
    entries.push(("rate", rate_and_time(plan)));
    if let Some(reason) = &plan.reason {
        entries.push(("reason", reason.clone()));
    }
    entries.push(("report", plan.report.clone()));
    entries
}

/// Appends the number of rows of each kind, one kind a line. Opt-outs and opt-ins are shown even if
/// there are none.
fn push_row_kinds(out: &mut String, plan: &PlanView, look: Look) {
    let kinds = [
        (true, plan.opt_out, "to opt out of MFA"),
        (true, plan.opt_in, "to opt back in"),
        (false, plan.duplicates, "duplicate, sent once"),
        (false, plan.unchanged, "unchanged, not sent"),
        (false, plan.invalid, "invalid, not sent"),
        (
            false,
            plan.on_record,
            "recorded by the interrupted run, not sent again",
        ),
    ];
    let shown = kinds
        .iter()
        .filter(|(always, number, _)| *always || *number > 0);
    let width = shown
        .clone()
        .map(|(_, number, _)| grouped(*number).len())
        .max()
        .unwrap_or(0);
    for (is_main, number, what) in shown {
        let mut number = format!("{:>width$}", grouped(*number));
        if *is_main && plan.opt_out > 0 && what.starts_with("to opt out") {
            number = look.bold(&number);
        }
        let line = format!("  {:NAME_WIDTH$}{number} {what}", "");
        let _ = writeln!(out, "{}", look.wrap(&line, 2 + NAME_WIDTH + width + 1));
    }
}

fn rate_and_time(plan: &PlanView) -> String {
    let rate = rate_in_words(plan.rate);
    let bound = match plan.rate {
        Rate::Auto { .. } => "at least",
        Rate::Limited { .. } | Rate::Unlimited => "about",
    };
    match plan.expected {
        Some(time) if plan.opt_out + plan.opt_in > 0 => {
            format!("{rate}: {bound} {}", rough(time))
        }
        _ => rate,
    }
}

fn rate_in_words(rate: Rate) -> String {
    match rate {
        Rate::Unlimited => "as fast as the Org answers".to_owned(),
        Rate::Auto { ceiling } => {
            format!("found automatically, at most {ceiling} requests a second")
        }
        Rate::Limited { requests, per } => {
            let requests = counted(requests.into(), "request", "requests");
            match per.as_secs() {
                1 => format!("{requests} a second"),
                60 => format!("{requests} a minute"),
                3600 => format!("{requests} an hour"),
                _ => format!("{requests} in {}", rough(per)),
            }
        }
    }
}
