//! How a run ended in words: what happened and, for an early end, what to do about it.

use crate::domain::Ending;
use crate::domain::Signal;
use crate::domain::StatusClass;
use crate::domain::Stop;
use crate::domain::Tally;
use crate::domain::TransportErrorKind;
use crate::text::counted;
use crate::text::grouped;
use crate::text::one_line;
use crate::text::rough;

/// The cause of [`Signal::Terminate`] in words.
const TERMINATION: &str = if cfg!(windows) {
    "Ctrl-Break or the system"
} else {
    "SIGTERM"
};

/// Returns what happened in one sentence, and what to do about it, unless that is obvious.
#[must_use]
pub fn ending_text(ending: &Ending, tally: &Tally) -> (String, Option<&'static str>) {
    match ending {
        Ending::Complete => (complete(tally), None),
        Ending::Interrupted(Signal::HangUp) => ("Interrupted by SIGHUP.".to_owned(), None),
        Ending::Interrupted(Signal::Interrupt) => ("Interrupted.".to_owned(), None),
        Ending::Interrupted(Signal::Terminate) => (format!("Interrupted by {TERMINATION}."), None),
        Ending::Stopped(stop) => (format!("Stopped early: {}.", reason(stop)), help(stop)),
    }
}

fn complete(tally: &Tally) -> String {
    match (tally.attention(), tally.total()) {
        (0, 0) => "Done: nothing to do.".to_owned(),
        (0, 1) => "Done: the row is as it should be.".to_owned(),
        (0, rows) => format!("Done: all {} rows are as they should be.", grouped(rows)),
        (1, 1) => "Finished: the row needs attention.".to_owned(),
        (1, rows) => format!("Finished: 1 of {} rows needs attention.", grouped(rows)),
        (some, rows) => format!(
            "Finished: {} of {} rows need attention.",
            grouped(some),
            grouped(rows)
        ),
    }
}

fn reason(stop: &Stop) -> String {
    match stop {
        Stop::CredentialsRefused {
            status,
            message,
            accepted,
        } => credentials_refused(*status, message, *accepted),
        Stop::LogInRefused {
            status: Some(status),
            message,
        } => {
            format!("the login was refused ({status}{})", after_colon(message))
        }
        Stop::LogInRefused {
            status: None,
            message,
        } => format!("the login failed{}", after_colon(message)),
        Stop::Redirected { status, .. } if StatusClass::of(*status) == StatusClass::NotModified => {
            "the address answered 304 (not modified), which is not an answer to a change; it is \
             probably a cache or another server"
                .to_owned()
        }
        Stop::Redirected { status, to, .. } => {
            let to = if to.is_empty() {
                "nowhere".to_owned()
            } else {
                one_line(to, 200)
            };
            format!(
                "the address answered with a redirect ({status}) to {to}; redirects are not \
                 followed"
            )
        }
        Stop::Unusable { message, .. } | Stop::InputFailed { message } => one_line(message, 300),
        Stop::Intercepted { status, message } => {
            format!(
                "a proxy or a portal answered instead of the Org ({status}{})",
                after_colon(message)
            )
        }
        Stop::WebPage { status, title } => {
            format!(
                "the answer is a web page, not the API ({status}{})",
                after_colon(title)
            )
        }
        Stop::Contradicted { status, message } => {
            format!(
                "the Org answered {status} but contradicted the change{}",
                after_colon(message)
            )
        }
        Stop::NeverAnswered { status, message } => never_answered(*status, message),
        Stop::AllRefused {
            status,
            message,
            rows,
        } => {
            format!(
                "the first {rows} rows were all refused ({status}{})",
                after_colon(message)
            )
        }
        Stop::TooManyFailures { reached } => one_line(reached, 200),
        Stop::RetryAfterTooLong { asked, max_wait } => {
            format!(
                "the Org asked for a pause of {}, longer than --max-wait {}",
                rough(*asked),
                rough(*max_wait)
            )
        }
        Stop::Outage { lasted } => format!("the Org has not responded for {}", rough(*lasted)),
        Stop::LimitReached { changes } => format!(
            "--limit is reached: {}",
            counted(*changes, "change", "changes")
        ),
        Stop::MaxDurationReached => "--max-duration is reached".to_owned(),
    }
}

fn never_answered(status: Option<u16>, message: &str) -> String {
    let said = after_colon(message);
    match status {
        Some(status) => format!("no change has succeeded, and the last answer was {status}{said}"),
        None => format!("no change has succeeded, and there was no answer{said}"),
    }
}

fn credentials_refused(status: u16, message: &str, accepted: u64) -> String {
    let said = after_colon(message);
    if accepted == 0 {
        return format!("the Org refused the credentials ({status}{said})");
    }
    let accepted = counted(accepted, "row was applied", "rows were applied");
    format!("the Org no longer accepts the credentials ({status}{said}); {accepted} before")
}

fn after_colon(message: &str) -> String {
    let message = one_line(message, 200);
    if message.is_empty() {
        message
    } else {
        format!(": {message}")
    }
}

fn help(stop: &Stop) -> Option<&'static str> {
    Some(match stop {
        Stop::CredentialsRefused { accepted: 0, .. } => {
            "check that the key is complete and belongs to an administrator of an Org at this \
             address; then run the same command again"
        }
        Stop::CredentialsRefused { .. } => {
            "get a valid key and run the same command again; if it is a new key of the same Org, \
             add --new-key"
        }
        Stop::LogInRefused { .. } => {
            "check the email address, the password and the number of the Org"
        }
        Stop::Redirected { .. } => {
            "check the address: it must be that of the Org itself, without the path of a web page"
        }
        Stop::Unusable {
            cause: TransportErrorKind::HostNotFound,
            ..
        } => "check the address and the network",
        Stop::Unusable {
            cause: TransportErrorKind::Proxy,
            ..
        } => "check the proxy in HTTPS_PROXY",
        Stop::Unusable { .. } => "check the address",
        Stop::Intercepted { .. } => "check the network: a proxy or a sign-in page is in the way",
        Stop::WebPage { .. } => {
            "check the address and the network: a sign-in, portal or maintenance page answers \
             instead of the Org"
        }
        Stop::Contradicted { .. } => {
            "check this user in the Org before you run the same command again: the change may or \
             may not have been made"
        }
        Stop::NeverAnswered {
            status: Some(_), ..
        } => {
            "the server answers, but every row fails: check the address, or run the same command \
             later; it starts with rows that have not been tried"
        }
        Stop::NeverAnswered { status: None, .. } => {
            "check the address and run the same command again"
        }
        Stop::AllRefused { status, .. } if StatusClass::of(*status) == StatusClass::NotFound => {
            "check that the path of the address is right and that the table belongs to this Org"
        }
        Stop::AllRefused { .. } => "check that the table belongs to this Org",
        Stop::TooManyFailures { .. } => {
            "look at the reasons below before you run the same command again"
        }
        Stop::RetryAfterTooLong { .. } => "run the same command again later",
        Stop::Outage { .. } => "run the same command again when the Org is back",
        Stop::InputFailed { .. } => "fix the problem and run the same command again",
        Stop::MaxDurationReached | Stop::LimitReached { .. } => return None,
    })
}
