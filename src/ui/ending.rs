//! How a run ended, in words: what happened and, for an early end, what to do about it.

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

/// What happened, in one sentence, and what to do about it where that is not plain.
#[must_use]
pub fn ending_text(ending: &Ending, tally: &Tally) -> (String, Option<&'static str>) {
    match ending {
        Ending::Complete => (complete(tally), None),
        Ending::Interrupted(Signal::HangUp) => {
            ("Hung up: what was done is on record.".to_owned(), None)
        }
        Ending::Interrupted(Signal::Interrupt) => {
            ("Interrupted: what was done is on record.".to_owned(), None)
        }
        Ending::Interrupted(Signal::Terminate) => {
            ("Told to stop: what was done is on record.".to_owned(), None)
        }
        Ending::Stopped(stop) => (format!("Stopped early: {}.", reason(stop)), help(stop)),
    }
}

fn complete(tally: &Tally) -> String {
    match (tally.attention(), tally.total()) {
        (0, 0) => "Done: there was nothing to do.".to_owned(),
        (0, 1) => "Done: the row is as it should be.".to_owned(),
        (0, rows) => format!("Done: all {} rows are as they should be.", grouped(rows)),
        (1, 1) => "Finished: the one row needs attention.".to_owned(),
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
            format!("the log-in was refused ({status}{})", said(message))
        }
        Stop::LogInRefused {
            status: None,
            message,
        } => format!("the log-in did not work{}", said(message)),
        Stop::Redirected { status, .. } if StatusClass::of(*status) == StatusClass::NotModified => {
            "the address answered 304 (not modified), which is no answer to a change; a cache or another server stands at it"
                .to_owned()
        }
        Stop::Redirected { status, to, .. } => {
            let to = if to.is_empty() {
                "nowhere".to_owned()
            } else {
                one_line(to, 200)
            };
            format!(
                "the address answered with a redirect ({status}) to {to}; redirects are not followed"
            )
        }
        Stop::Unusable { message, .. } | Stop::InputFailed { message } => one_line(message, 300),
        Stop::Intercepted { status, message } => {
            format!(
                "a proxy or portal answered, not the Org ({status}{})",
                said(message)
            )
        }
        Stop::WebPage { status, title } => {
            format!("this is a web page, not the API ({status}{})", said(title))
        }
        Stop::Contradicted { status, message } => {
            format!(
                "the Org answered {status}, but contradicted the change{}",
                said(message)
            )
        }
        Stop::NeverAnswered { status, message } => never_answered(*status, message),
        Stop::AllRefused {
            status,
            message,
            rows,
        } => {
            format!(
                "the first {rows} rows were all refused ({status}{}) and none was applied",
                said(message)
            )
        }
        Stop::TooManyFailures { reached } => one_line(reached, 200),
        Stop::RetryAfterTooLong { asked, max_wait } => {
            format!(
                "the Org holds the run back for {}, more than --max-wait {}",
                rough(*asked),
                rough(*max_wait)
            )
        }
        Stop::Outage { lasted } => format!("the Org has not answered for {}", rough(*lasted)),
        Stop::LimitReached { changes } => {
            format!("the limit of --limit is reached: {}", counted(*changes, "change", "changes"))
        }
        Stop::MaxDurationReached => "the time of --max-duration is up".to_owned(),
    }
}

fn never_answered(status: Option<u16>, message: &str) -> String {
    let said = said(message);
    match status {
        Some(status) => format!("nothing has succeeded, and the last answer was {status}{said}"),
        None => format!("nothing has succeeded, and no answer came{said}"),
    }
}

fn credentials_refused(status: u16, message: &str, accepted: u64) -> String {
    let said = said(message);
    if accepted == 0 {
        return format!("the Org refused the credentials ({status}{said})");
    }
    let accepted = counted(accepted, "row was", "rows were");
    format!(
        "the Org no longer accepts the credentials ({status}{said}); they were accepted until {accepted} applied"
    )
}

fn said(message: &str) -> String {
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
            "check that the key is complete, belongs to an administrator, and to an Org at this address"
        }
        Stop::CredentialsRefused { .. } => {
            "have the key renewed, then run the same command; with a new key of the same Org add --new-key"
        }
        Stop::LogInRefused { .. } => "check email address, password and the number of the Org",
        Stop::Redirected { .. } => {
            "check the address: it must be the Org's own, without a path of the web pages"
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
            "check the address and the network: a sign-in, portal or maintenance page answers instead of the Org"
        }
        Stop::Contradicted { .. } => {
            "look this user up in the Org before the same command goes on with the next row: the change may or may not \
             have been made"
        }
        Stop::NeverAnswered {
            status: Some(_), ..
        } => {
            "the server answers, but every row fails: check the address, or run the same command later; it begins with \
             rows that have not been tried"
        }
        Stop::NeverAnswered { status: None, .. } => "check the address, then run the same command",
        Stop::AllRefused { status, .. } if StatusClass::of(*status) == StatusClass::NotFound => {
            "does the address end in the right path? If it does, check that the table belongs to this Org"
        }
        Stop::AllRefused { .. } => "check that the table belongs to this Org",
        Stop::TooManyFailures { .. } => "look at the reasons below before the same command goes on",
        Stop::RetryAfterTooLong { .. } => "run the same command later",
        Stop::Outage { .. } => "run the same command when the Org is back",
        Stop::InputFailed { .. } => "fix the problem and run the same command again",
        Stop::MaxDurationReached | Stop::LimitReached { .. } => return None,
    })
}
