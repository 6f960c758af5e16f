//! The plan, as it is shown before anything is sent.

use std::fmt::Write as _;
use std::time::Duration;

use crate::domain::Rate;
use crate::text::counted;
use crate::text::grouped;
use crate::text::rough;
use crate::text::visible;

/// The figures of a plan. Texts are made harmless when they are shown.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// The Org's address.
    pub address: String,
    /// How the run signs in, such as `API key from key.txt`; never a secret.
    pub sign_in: String,
    /// The input's name.
    pub input: String,
    /// What was found out about the input: encoding, delimiter, sheet, columns.
    pub found_out: Vec<String>,
    /// Rows of the input.
    pub rows: u64,
    /// Of these, people to be opted out in this run.
    pub opt_out: u64,
    /// People to be opted back in.
    pub opt_in: u64,
    /// Rows that ask for what an earlier row asks for.
    pub duplicates: u64,
    /// Rows that are skipped because they can't be understood.
    pub invalid: u64,
    /// Rows that an earlier report says are applied already.
    pub unchanged: u64,
    /// Rows that an interrupted run has put on record already.
    pub on_record: u64,
    /// How fast.
    pub rate: Rate,
    /// How long it will take at that rate; `None` where nobody can know.
    pub expected: Option<Duration>,
    /// Why, where a reason is given.
    pub reason: Option<String>,
    /// Where the report goes.
    pub report: String,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// What is worth a second look.
    pub warnings: Vec<String>,
    /// Whether the plan is all there will be.
    pub dry_run: bool,
}

/// The plan: figures aligned, then notes, then warnings.
#[must_use]
pub fn plan_text(plan: &PlanView) -> String {
    let mut out = String::from("Plan\n");
    let mut put = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<10}{}", visible(value));
    };
    put("Org", &plan.address);
    put("sign-in", &plan.sign_in);
    put("input", &plan.input);
    for words in &plan.found_out {
        put("", words);
    }
    put("rows", &grouped(plan.rows));
    for words in row_kinds(plan) {
        put("", &words);
    }
    put("pace", &pace(plan));
    if let Some(reason) = &plan.reason {
        put("reason", reason);
    }
    put("report", &plan.report);
    for (label, lines) in [("note", &plan.notes), ("warning", &plan.warnings)] {
        for line in lines {
            let _ = writeln!(out, "{label}: {}", visible(line));
        }
    }
    if plan.dry_run {
        out.push_str("This is a dry run: nothing is sent.\n");
    }
    out
}

/// What the rows ask for, one kind a line; opting out and back in also where there is none.
fn row_kinds(plan: &PlanView) -> Vec<String> {
    let kinds = [
        (true, plan.opt_out, "to opt out of MFA"),
        (true, plan.opt_in, "to opt back in"),
        (false, plan.duplicates, "duplicate, sent once"),
        (false, plan.unchanged, "unchanged, not sent"),
        (false, plan.invalid, "invalid, not sent"),
        (
            false,
            plan.on_record,
            "on record from the interrupted run, not sent again",
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
    shown
        .map(|(_, number, what)| format!("{:>width$} {what}", grouped(*number)))
        .collect()
}

fn pace(plan: &PlanView) -> String {
    let rate = rate_in_words(plan.rate);
    let how_long = match plan.rate {
        Rate::Auto { .. } => "at least",
        Rate::Limited { .. } | Rate::Unlimited => "about",
    };
    match plan.expected {
        Some(time) if plan.opt_out + plan.opt_in > 0 => {
            format!("{rate}: {how_long} {}", rough(time))
        }
        _ => rate,
    }
}

fn rate_in_words(rate: Rate) -> String {
    match rate {
        Rate::Unlimited => "as fast as the answers come".to_owned(),
        Rate::Auto { ceiling } => format!("found by trying, at most {ceiling} requests a second"),
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
