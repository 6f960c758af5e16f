//! What an answer means for the run: the table of status codes and of ways to get no answer. What follows from a verdict
//! is decided elsewhere, and what a code means to a person is said in `report`.

use std::time::Duration;

use crate::domain::{Answer, Cause, Reply, Silence};

/// What an answer means for the row and for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The change is made.
    Applied,
    /// This row is not wanted; the same request again would get the same answer.
    RowRefused,
    /// Trouble that may pass: worth another attempt, and the attempt counts.
    TryAgain,
    /// The client was too fast: costs time, never an attempt. Where the Org says for how long, all requests wait.
    SlowDown(Option<Duration>),
    /// The credentials are not accepted.
    NotAuthenticated,
    /// Either this user is not ours to change, or the credentials are no longer accepted.
    Forbidden,
    /// A redirect, never followed.
    Redirected,
    /// Something in between answered for the Org.
    Intercepted,
    /// The way to the Org is wrong, and trying again will not mend it.
    Unusable,
}

/// The verdict on an answer; `proven` says whether a change had been applied before, so that address, certificate and
/// credentials are known to be right.
pub(super) fn of(answer: &Answer, proven: bool) -> Verdict {
    match answer {
        Answer::Reply(reply) => of_reply(reply, proven),
        Answer::Silence(silence) => of_silence(silence, proven),
    }
}

fn of_reply(reply: &Reply, proven: bool) -> Verdict {
    match (reply.status, proven) {
        (200..=299, _) => Verdict::Applied,
        (300..=399, _) => Verdict::Redirected,
        (401, _) | (403, false) => Verdict::NotAuthenticated,
        (403, true) => Verdict::Forbidden,
        (429, _) => Verdict::SlowDown(reply.retry_after),
        (503, _) if reply.retry_after.is_some() => Verdict::SlowDown(reply.retry_after),
        (407 | 501 | 505 | 511, false) => Verdict::Intercepted,
        (501 | 505, true) => Verdict::RowRefused,
        (407 | 408 | 425 | 500..=599, _) => Verdict::TryAgain,
        _ => Verdict::RowRefused,
    }
}

fn of_silence(silence: &Silence, proven: bool) -> Verdict {
    match silence.cause {
        Cause::Tls | Cause::NotTls | Cause::Proxy if !proven => Verdict::Unusable,
        _ => Verdict::TryAgain,
    }
}

/// Whether the change may have been made although nobody has confirmed it.
///
/// A server that fails (500) may do so after the change; one in front of the Org that gives it up (502, 504, and the codes
/// above 511, which are such servers' own) does not know what the Org went on to do. What is said to be not implemented,
/// unavailable or out of reach has not been begun.
pub(super) fn leaves_doubt(answer: &Answer) -> bool {
    match answer {
        Answer::Reply(reply) => matches!(reply.status, 500 | 502 | 504 | 512..=599),
        Answer::Silence(silence) => silence.sent,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn reply(status: u16, retry_after: Option<Duration>) -> Answer {
        Answer::Reply(Reply {
            status,
            retry_after,
            ..Reply::default()
        })
    }

    /// Runs of statuses with the same verdict, one line each.
    fn table(proven: bool) -> String {
        let mut lines: Vec<(u16, u16, Verdict)> = Vec::new();
        for status in 100..=999 {
            let verdict = of(&reply(status, None), proven);
            match lines.last_mut() {
                Some(last) if last.2 == verdict => last.1 = status,
                _ => lines.push((status, status, verdict)),
            }
        }
        lines
            .iter()
            .fold(String::new(), |mut text, (from, to, verdict)| {
                let _ = writeln!(text, "{from}-{to} {verdict:?}");
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
    fn retry_after_makes_a_503_a_throttle_and_nothing_else() {
        let wait = Some(Duration::from_secs(7));
        assert_eq!(of(&reply(503, wait), true), Verdict::SlowDown(wait));
        assert_eq!(of(&reply(429, wait), true), Verdict::SlowDown(wait));
        assert_eq!(of(&reply(500, wait), true), Verdict::TryAgain);
        assert_eq!(of(&reply(404, wait), true), Verdict::RowRefused);
        assert_eq!(of(&reply(204, wait), true), Verdict::Applied);
    }

    #[test]
    fn only_what_may_have_reached_the_org_leaves_doubt() {
        let in_doubt: Vec<u16> = (100..=511)
            .filter(|status| leaves_doubt(&reply(*status, None)))
            .collect();
        assert_eq!(in_doubt, [500, 502, 504]);
        for sent in [false, true] {
            let silence = Silence {
                cause: Cause::Reset,
                sent,
                message: String::new(),
            };
            assert_eq!(leaves_doubt(&Answer::Silence(silence)), sent);
        }
    }

    #[test]
    fn every_way_to_get_no_answer() {
        let verdicts = [
            Cause::HostNotFound,
            Cause::Refused,
            Cause::Unreachable,
            Cause::ConnectTimeout,
            Cause::Tls,
            Cause::NotTls,
            Cause::Proxy,
            Cause::Timeout,
            Cause::Reset,
            Cause::NotUnderstood,
        ]
        .map(|cause| {
            let silence = Answer::Silence(Silence {
                cause,
                sent: false,
                message: String::new(),
            });
            format!(
                "{cause:?}: {:?}, after a success {:?}",
                of(&silence, false),
                of(&silence, true)
            )
        });
        insta::assert_snapshot!(verdicts.join("\n"));
    }
}
