//! What an answer means for the run: the table of status codes, bodies and ways to get no answer.
//! What follows from a verdict is decided elsewhere, and what a code means to a person is said in
//! `report`.

use std::time::Duration;

use crate::domain::{
    BodyKind, Flag, Reply, SendResult, StatusClass, TransportError, TransportErrorKind,
};

/// What an answer means for the row and for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The change is confirmed: a 2xx response without a web page or a contradiction in its body.
    Applied,
    /// A 2xx response whose body contradicts the change.
    Contradicted,
    /// This row is not wanted; the same request again would get the same answer.
    RowRefused,
    /// Trouble that may pass: worth another attempt, and the attempt counts.
    TryAgain,
    /// The client was too fast: costs time, never an attempt. Where the Org says for how long, all
    /// requests wait.
    SlowDown(Option<Duration>),
    /// The credentials are not accepted.
    NotAuthenticated,
    /// Either this user is not ours to change, or the credentials are not accepted.
    Forbidden,
    /// A redirect, never followed.
    Redirected,
    /// A web page with a 2xx status before anything was confirmed: the address does not lead to the
    /// API.
    WebPage,
    /// Something in between answered for the Org.
    Intercepted,
    /// The Org cannot be reached with these settings, and retrying cannot help.
    Unusable,
}

/// Returns the verdict on an answer. `wanted` is the flag that was sent, where one was; `proven`
/// says whether a change of this run was confirmed before, so that address, certificate and
/// credentials are known to be right.
pub(super) fn of(answer: &SendResult, wanted: Option<Flag>, proven: bool) -> Verdict {
    match answer {
        SendResult::Reply(reply) => of_reply(reply, wanted, proven),
        SendResult::TransportError(silence) => of_silence(silence, proven),
    }
}

fn of_reply(reply: &Reply, wanted: Option<Flag>, proven: bool) -> Verdict {
    match StatusClass::of(reply.status) {
        StatusClass::Success => of_success(reply.body, wanted, proven),
        StatusClass::NotModified | StatusClass::Redirect => Verdict::Redirected,
        StatusClass::Unauthorized => Verdict::NotAuthenticated,
        StatusClass::Forbidden if proven && asks_for_a_pause(reply) => {
            Verdict::SlowDown(reply.retry_after)
        }
        StatusClass::Forbidden => Verdict::Forbidden,
        StatusClass::TooManyRequests => Verdict::SlowDown(reply.retry_after),
        StatusClass::Unavailable if reply.retry_after.is_some() => {
            Verdict::SlowDown(reply.retry_after)
        }
        StatusClass::ProxyAuthRequired
        | StatusClass::NetworkAuthRequired
        | StatusClass::NotSupported
            if !proven =>
        {
            Verdict::Intercepted
        }
        StatusClass::ProxyAuthRequired
        | StatusClass::NetworkAuthRequired
        | StatusClass::RepeatRequest
        | StatusClass::Unavailable
        | StatusClass::ServerFailed
        | StatusClass::OtherServerError => Verdict::TryAgain,
        StatusClass::NotSupported
        | StatusClass::InvalidRequest
        | StatusClass::NotFound
        | StatusClass::Conflict
        | StatusClass::Other => Verdict::RowRefused,
    }
}

fn of_success(body: BodyKind, wanted: Option<Flag>, proven: bool) -> Verdict {
    match body {
        BodyKind::WebPage if proven => Verdict::TryAgain,
        BodyKind::WebPage => Verdict::WebPage,
        BodyKind::Failure => Verdict::Contradicted,
        BodyKind::Set(flag) if wanted.is_some_and(|wanted| wanted != flag) => Verdict::Contradicted,
        BodyKind::Set(_) | BodyKind::Plain => Verdict::Applied,
    }
}

/// Checks whether a 403 is about the number of requests and not about the user: some APIs send
/// their quota as 403.
fn asks_for_a_pause(reply: &Reply) -> bool {
    reply.retry_after.is_some() || reply.quota_reset.is_some()
}

fn of_silence(silence: &TransportError, proven: bool) -> Verdict {
    match silence.cause {
        TransportErrorKind::Tls | TransportErrorKind::NotTls | TransportErrorKind::Proxy
            if !proven =>
        {
            Verdict::Unusable
        }
        _ => Verdict::TryAgain,
    }
}

/// Checks whether the change may have been made although the answer, on which this is the verdict,
/// does not confirm it.
///
/// A web page in the place of a confirmation says nothing about the change, unless nothing was
/// confirmed before: then the address is wrong.
pub(super) fn leaves_doubt(answer: &SendResult, verdict: Verdict) -> bool {
    match (answer, verdict) {
        (_, Verdict::Applied | Verdict::WebPage) => false,
        (SendResult::Reply(reply), _) => StatusClass::of(reply.status).may_follow_a_change(),
        (SendResult::TransportError(silence), _) => silence.sent,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const WANTED: Option<Flag> = Some(Flag::OptOut);

    fn reply(status: u16, retry_after: Option<Duration>) -> Reply {
        Reply {
            status,
            retry_after,
            ..Reply::default()
        }
    }

    fn verdict(reply: Reply, proven: bool) -> Verdict {
        of(&SendResult::Reply(reply), WANTED, proven)
    }

    fn words(reply: Reply, proven: bool) -> String {
        let answer = SendResult::Reply(reply);
        let verdict = of(&answer, WANTED, proven);
        if leaves_doubt(&answer, verdict) {
            format!("{verdict:?}, in doubt")
        } else {
            format!("{verdict:?}")
        }
    }

    /// Returns runs of statuses with the same verdict, one line each.
    fn table(proven: bool) -> String {
        let mut lines: Vec<(u16, u16, String)> = Vec::new();
        for status in 100..=999 {
            let verdict = words(reply(status, None), proven);
            match lines.last_mut() {
                Some(last) if last.2 == verdict => last.1 = status,
                _ => lines.push((status, status, verdict)),
            }
        }
        lines
            .iter()
            .fold(String::new(), |mut text, (from, to, verdict)| {
                let _ = writeln!(text, "{from}-{to} {verdict}");
                text
            })
    }

    #[test]
    fn every_status_before_a_success() {
        insta::assert_snapshot!(table(false));
    }

    #[test]
    fn every_status_after_a_success() {
        insta::assert_snapshot!(table(true));
    }

    #[test]
    fn every_body_and_hint_of_the_statuses_for_which_they_count() {
        let second = Some(Duration::from_secs(1));
        let bodies = [
            BodyKind::Plain,
            BodyKind::Set(Flag::OptOut),
            BodyKind::Set(Flag::OptIn),
            BodyKind::Failure,
            BodyKind::WebPage,
        ];
        let mut table = String::new();
        for status in [200, 201, 202, 204, 207] {
            for body in bodies {
                let reply = Reply {
                    body,
                    ..reply(status, second)
                };
                let before = words(reply.clone(), false);
                let after = words(reply, true);
                let _ = writeln!(
                    table,
                    "{status} {body:?}: {before}; after a success {after}"
                );
            }
        }
        let hints = [
            ("no hint", None, None),
            ("Retry-After", second, None),
            ("exhausted quota", None, second),
            ("quota that resets now", None, Some(Duration::ZERO)),
        ];
        for status in [401, 403, 404, 429, 500, 503] {
            for (hint, retry_after, quota_reset) in hints {
                let reply = Reply {
                    quota_reset,
                    ..reply(status, retry_after)
                };
                let before = words(reply.clone(), false);
                let after = words(reply, true);
                let _ = writeln!(table, "{status} {hint}: {before}; after a success {after}");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn without_a_wanted_flag_no_flag_contradicts() {
        let reply = Reply {
            body: BodyKind::Set(Flag::OptIn),
            ..reply(200, None)
        };
        assert_eq!(of(&SendResult::Reply(reply), None, true), Verdict::Applied);
    }

    #[test]
    fn retry_after_makes_a_503_a_throttle_and_nothing_else() {
        let wait = Some(Duration::from_secs(7));
        assert_eq!(verdict(reply(503, wait), true), Verdict::SlowDown(wait));
        assert_eq!(verdict(reply(429, wait), true), Verdict::SlowDown(wait));
        assert_eq!(verdict(reply(500, wait), true), Verdict::TryAgain);
        assert_eq!(verdict(reply(404, wait), true), Verdict::RowRefused);
        assert_eq!(verdict(reply(204, wait), true), Verdict::Applied);
    }

    #[test]
    fn only_what_may_have_reached_the_org_leaves_doubt() {
        for sent in [false, true] {
            let answer = SendResult::TransportError(TransportError {
                cause: TransportErrorKind::Reset,
                sent,
                message: String::new(),
            });
            assert_eq!(leaves_doubt(&answer, of(&answer, WANTED, true)), sent);
        }
    }

    #[test]
    fn every_way_to_get_no_answer() {
        let verdicts = [
            TransportErrorKind::HostNotFound,
            TransportErrorKind::Refused,
            TransportErrorKind::Unreachable,
            TransportErrorKind::ConnectTimeout,
            TransportErrorKind::Tls,
            TransportErrorKind::NotTls,
            TransportErrorKind::Proxy,
            TransportErrorKind::Timeout,
            TransportErrorKind::Reset,
            TransportErrorKind::NotUnderstood,
        ]
        .map(|cause| {
            let silence = SendResult::TransportError(TransportError {
                cause,
                sent: false,
                message: String::new(),
            });
            format!(
                "{cause:?}: {:?}, after a success {:?}",
                of(&silence, WANTED, false),
                of(&silence, WANTED, true)
            )
        });
        insta::assert_snapshot!(verdicts.join("\n"));
    }
}
