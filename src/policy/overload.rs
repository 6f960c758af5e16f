//! Tells failures that are about the number of requests from failures that have other reasons. Some limiters (nginx by
//! default) refuse with 503 and no waiting time, and any server may fail with 5xx or a broken connection at any rate.
//!
//! - Half or more of the answers of two successive seconds failed, at least five each, and twelve of the last twenty: a
//!   refusal, whatever the failure is.
//! - A 503 says that the server is overloaded (RFC 9110, section 15.6.4). Two of them among the last 39 answers are taken for
//!   refusals. If they really are, a lower rate ends them. If five more come alone at less than 60 % of the rate that was
//!   measured before the first one, they have other reasons: the rate is restored, and 503 responses have no say for a
//!   minute, then for two, four and eight.
//! - Until that is settled, failures lower the rate to half of that measured rate and no further, unless twelve of the last
//!   twenty answers failed.

/// Number of recent answers among which 503 responses are counted; as a mask.
const WATCHED: u64 = (1 << 39) - 1;
/// Number of 503 responses among them that count as refusals.
const SUSPICIOUS: u32 = 2;
/// Number of recent answers of which most may have failed; as a mask.
const RECENT: u64 = (1 << 20) - 1;
/// Number of failures among them that leaves no doubt.
const MOST: u32 = 12;
/// Number of answers in a second that is enough to judge it.
const ENOUGH_ANSWERS: u32 = 5;
/// Below this share of the measured rate, a failure has other reasons.
const DISMISSED_BELOW: f64 = 0.6;
/// Number of such failures that shows it.
const EVIDENCE: u32 = 5;
/// Failures this many seconds after the first one may still be its consequence: a window of 10 s remembers for that long.
const AFTERMATH: f64 = 12.0;
/// Failures do not lower the rate below this share of the measured rate.
const LEAST: f64 = 0.5;
/// How many seconds 503 responses have no say, at first.
const DISMISSED_FOR: f64 = 60.0;
/// How many seconds 503 responses have no say, at most.
const DISMISSED_FOR_AT_MOST: f64 = 480.0;

/// What is known of the last failures. `T` is what has to be restored if they have nothing to do with the rate.
#[derive(Debug)]
pub(super) struct Overload<T> {
    seconds: Seconds,
    /// Whether each of the last answers was a failure, the newest in the lowest bit.
    failures: u64,
    /// Whether each of the last answers was a 503.
    unavailable: u64,
    suspicion: Option<Suspicion<T>>,
    dismissed_until: f64,
    dismissed_for: f64,
}

#[derive(Debug)]
struct Suspicion<T> {
    since: f64,
    /// The rate that was measured before the first failure.
    reference: f64,
    before: T,
    evidence: u32,
}

/// Answers and failures of this second and of the one before.
#[derive(Debug, Default)]
struct Seconds {
    second: u64,
    answers: u32,
    failures: u32,
    previous_mostly_failed: bool,
    /// Whether the two seconds before this one mostly failed.
    is_run: bool,
}

impl<T> Default for Overload<T> {
    fn default() -> Self {
        Self {
            seconds: Seconds::default(),
            failures: 0,
            unavailable: 0,
            suspicion: None,
            dismissed_until: 0.0,
            dismissed_for: DISMISSED_FOR,
        }
    }
}

impl<T: Copy> Overload<T> {
    /// Takes note of an answer that was no failure.
    pub(super) fn succeeded(&mut self, now: f64) {
        self.failures <<= 1;
        self.unavailable <<= 1;
        self.seconds.count(now, false);
    }

    /// Takes note of a failure, and checks whether it counts as a refusal.
    pub(super) fn is_refusal(&mut self, now: f64, is_unavailable: bool) -> bool {
        self.failures = self.failures << 1 | 1;
        self.unavailable = self.unavailable << 1 | u64::from(is_unavailable);
        self.seconds.count(now, true);
        let is_run = self.seconds.is_run && self.mostly_failed();
        let is_suspicious = is_unavailable
            && now >= self.dismissed_until
            && (self.unavailable & WATCHED).count_ones() >= SUSPICIOUS;
        is_run || is_suspicious
    }

    /// Checks whether most of the last answers were failures.
    pub(super) fn mostly_failed(&self) -> bool {
        (self.failures & RECENT).count_ones() >= MOST
    }

    /// Failures begin to lower the rate. `measured` is the rate before the first one.
    pub(super) fn suspect(&mut self, now: f64, measured: f64, before: T) {
        self.suspicion.get_or_insert(Suspicion {
            since: now,
            reference: measured,
            before,
            evidence: 0,
        });
    }

    /// Returns the rate below which failures do not lower the rate; zero if there is none.
    pub(super) fn least_rate(&self) -> f64 {
        self.suspicion
            .as_ref()
            .map_or(0.0, |suspicion| LEAST * suspicion.reference)
    }

    /// The limit was closed for all to see: what it let through is the rate that counts from now on.
    pub(super) fn lower_reference(&mut self, measured: f64) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.reference = measured;
        }
    }

    /// The server has refused requests in plain words, so that its failures may be about their number as well.
    pub(super) fn confirm_suspicion(&mut self) {
        self.suspicion = None;
    }

    /// A failure came after a success, for a request that was sent at this rate. Returns what to restore if it is the last
    /// piece of evidence that failures have other reasons.
    pub(super) fn dismiss(&mut self, now: f64, rate: f64) -> Option<T> {
        let mostly_failed = self.mostly_failed();
        let suspicion = self.suspicion.as_mut()?;
        let is_aftermath = now - suspicion.since < AFTERMATH;
        if mostly_failed || is_aftermath || rate >= DISMISSED_BELOW * suspicion.reference {
            return None;
        }
        suspicion.evidence += 1;
        if suspicion.evidence < EVIDENCE {
            return None;
        }
        let before = suspicion.before;
        self.suspicion = None;
        self.dismissed_until = now + self.dismissed_for;
        self.dismissed_for = (2.0 * self.dismissed_for).min(DISMISSED_FOR_AT_MOST);
        Some(before)
    }
}

impl Seconds {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times are positive"
    )]
    fn count(&mut self, now: f64, has_failed: bool) {
        let second = now as u64;
        if second != self.second {
            let is_next = second == self.second + 1;
            let mostly_failed =
                is_next && self.answers >= ENOUGH_ANSWERS && 2 * self.failures >= self.answers;
            self.is_run = mostly_failed && self.previous_mostly_failed;
            self.previous_mostly_failed = mostly_failed;
            self.second = second;
            self.answers = 0;
            self.failures = 0;
        }
        self.answers += 1;
        self.failures += u32::from(has_failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers ten a second, each a failure or not; how many failures count as refusals.
    fn refusals(is_unavailable: bool, answers: impl IntoIterator<Item = bool>) -> usize {
        let mut overload = Overload::<()>::default();
        let mut now = 0.0;
        let mut refusals = 0;
        for has_failed in answers {
            now += 0.1;
            if has_failed {
                refusals += usize::from(overload.is_refusal(now, is_unavailable));
            } else {
                overload.succeeded(now);
            }
        }
        refusals
    }

    fn every(nth: usize, count: usize) -> impl Iterator<Item = bool> {
        (1..=count).map(move |number| number.is_multiple_of(nth))
    }

    #[test]
    fn only_a_503_is_suspicious_by_itself() {
        assert_eq!(refusals(true, every(10, 100)), 9, "all but the first");
        assert_eq!(refusals(true, every(40, 400)), 0, "one in forty is not");
        assert_eq!(refusals(false, every(10, 100)), 0);
    }

    #[test]
    fn other_failures_count_when_most_answers_fail_for_two_seconds() {
        let most = (0..100).map(|number| number % 3 != 0);
        assert!(refusals(false, most) > 40);
        assert_eq!(refusals(false, every(3, 1_000)), 0, "a third is not enough");
        let short = (0..100).map(|number| (20..34).contains(&number));
        assert_eq!(
            refusals(false, short),
            0,
            "a second and a half is too short"
        );
    }

    #[test]
    fn failures_that_go_on_at_a_lower_rate_have_other_reasons() {
        let mut overload = Overload::default();
        overload.suspect(100.0, 50.0, "before");
        assert!((overload.least_rate() - 25.0).abs() < 1e-9);
        assert_eq!(overload.dismiss(105.0, 25.0), None, "the aftermath");
        assert_eq!(overload.dismiss(120.0, 40.0), None, "not much lower");
        for _ in 1..EVIDENCE {
            assert_eq!(overload.dismiss(120.0, 25.0), None);
        }
        assert_eq!(overload.dismiss(120.0, 25.0), Some("before"));
        for (now, counts) in [(121.0, false), (179.0, false), (181.0, true)] {
            overload.is_refusal(now, true);
            assert_eq!(overload.is_refusal(now, true), counts, "{now}");
        }
    }
}
