//! Tells failures caused by too many requests from failures with other causes.
//!
//! Some limiters (nginx by default) refuse with 503 and no waiting time, and any server may fail
//! with 5xx or a broken connection for reasons of its own. Lowering the rate helps in the first
//! case only.
//!
//! - While most answers are failures, each failure counts as a refusal: at least half of the
//!   answers of two successive seconds (five or more in each), and 14 of the last 20.
//! - 503 says that the server is overloaded (RFC 9110, section 15.6.4). A 503 counts as a refusal
//!   after one of these patterns, which limiters produce: a run of failures as above; eight 503
//!   responses in a row over at least 0.4 s; or, while `auto` has not found a limit yet, a share
//!   among the last 60 answers that is far above the share before them.
//! - A lower rate ends most refusals of a limiter. If five failures come alone at less than 60 % of
//!   the rate that was measured before the first one, and at least half as often as before, they
//!   have other causes: the rate is restored, and 503 responses no longer count.
//! - Until then, failures lower the rate to half of that measured rate and no further, unless most
//!   answers are failures.
//!
//! Random failures of up to 20 to 30 % of the requests therefore leave the rate as it is.

/// The last 20 answers, as a mask.
const RECENT: u64 = (1 << 20) - 1;
/// Number of failures among the last 20 answers at which most of them have failed.
const MOST: u32 = 14;
/// Number of failures among the last 20 answers that is too high for chance.
const SEVERAL: u32 = 4;
/// Number of answers in a second that is enough to judge the second.
const MIN_ANSWERS: u32 = 5;

/// The last eight answers, as a mask.
const IN_A_ROW: u64 = (1 << 8) - 1;
/// Shortest time over which eight 503 responses in a row show a limiter, in seconds.
const MIN_CLOSED_TIME: f64 = 0.4;

/// The last 60 answers, as a mask.
const SAMPLE: u64 = (1 << SAMPLE_SIZE) - 1;
/// Number of answers in the sample.
const SAMPLE_SIZE: u32 = 60;
/// Share of 503 responses in the sample that shows a limiter, if there were none before.
const LIMITER_SHARE: f64 = 0.12;
/// What each 503 before the sample adds to that share.
const BACKGROUND_WEIGHT: f64 = 1.5;
/// Share of 503 responses that is assumed while few answers are known.
const INITIAL_BACKGROUND: f64 = 0.5;
/// Number of answers that the initial share is worth.
const INITIAL_ANSWERS: f64 = 20.0;
/// Number of answers over which the share of 503 responses is averaged, at most.
const BACKGROUND_ANSWERS: f64 = 1_000.0;

/// Failures at a rate below this share of the measured rate have other causes.
const DISMISSED_BELOW: f64 = 0.6;
/// Number of such failures that can end the trial.
const EVIDENCE: u32 = 5;
/// They end it if their share is at least this part of the share before the trial.
const SAME_SHARE: f64 = 0.5;
/// Time after the first failure in which failures are no evidence, in seconds: the limiter may
/// still be full.
const AFTERMATH: f64 = 3.0;
/// Failures do not lower the rate below this share of the measured rate.
const LOWEST_SHARE: f64 = 0.5;

/// The failures of a run. `T` is what is restored if they have other causes than the rate.
#[derive(Debug)]
pub(super) struct Overload<T> {
    seconds: Seconds,
    /// Whether each of the last answers was a failure or a refusal, the newest in the lowest bit.
    failures: u64,
    /// Whether each of the last answers was a 503, the newest in the lowest bit.
    unavailable: u64,
    background: Background,
    /// Whether 503 responses count as refusals.
    is_limiter: bool,
    trial: Option<Trial<T>>,
}

/// The share of 503 responses among all answers before the last 60.
#[derive(Debug)]
struct Background {
    share: f64,
    /// Number of answers that the share stands for.
    answers: f64,
    /// Number of answers until the first one leaves the sample.
    unfilled: u32,
}

/// Failures have lowered the rate, and may have other causes.
#[derive(Debug)]
struct Trial<T> {
    since: f64,
    /// The rate that was measured before the first failure.
    reference: f64,
    before: T,
    /// Share of failures among the last 60 answers before the rate was lowered.
    share: f64,
    /// Number of failures that may be evidence of another cause.
    evidence: u32,
    /// Number of answers since the first of them.
    answers: u32,
}

/// The number of answers and failures in this second and the one before.
#[derive(Debug, Default)]
struct Seconds {
    second: u64,
    answers: u32,
    failures: u32,
    previous_mostly_failed: bool,
    /// Whether the two seconds before this one mostly failed.
    is_run: bool,
}

/// What the history remembers of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerKind {
    Success,
    /// A refusal, or a failure other than 503.
    Failure,
    /// A 503.
    Unavailable,
}

/// A request that failed without a word about the number of requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) at: f64,
    /// Whether it was answered by 503.
    pub(super) is_unavailable: bool,
    /// Seconds since the first failure after the last success.
    pub(super) failing_for: f64,
    /// Whether the rate rises from a low start and no limit has been found yet.
    pub(super) is_searching: bool,
}

impl<T> Default for Overload<T> {
    fn default() -> Self {
        Self {
            seconds: Seconds::default(),
            failures: 0,
            unavailable: 0,
            background: Background::default(),
            is_limiter: false,
            trial: None,
        }
    }
}

impl<T: Copy> Overload<T> {
    /// Takes note of a success.
    pub(super) fn note_success(&mut self, now: f64) {
        self.remember(AnswerKind::Success);
        self.seconds.count(now, false);
    }

    /// Takes note of an answer that asks for fewer requests.
    pub(super) fn note_refusal(&mut self) {
        self.remember(AnswerKind::Failure);
    }

    /// Takes note of a failure. Returns whether it counts as a refusal.
    pub(super) fn note_failure(&mut self, failure: Failure) -> bool {
        self.remember(if failure.is_unavailable {
            AnswerKind::Unavailable
        } else {
            AnswerKind::Failure
        });
        self.seconds.count(failure.at, true);
        let is_run = self.seconds.is_run && self.mostly_failed();
        if !failure.is_unavailable {
            return is_run;
        }
        let is_closed =
            self.unavailable & IN_A_ROW == IN_A_ROW && failure.failing_for >= MIN_CLOSED_TIME;
        let has_risen = failure.is_searching && self.has_risen();
        self.is_limiter |= is_run || is_closed || has_risen;
        self.is_limiter
    }

    /// Checks whether most of the last 20 answers were failures or refusals.
    pub(super) fn mostly_failed(&self) -> bool {
        (self.failures & RECENT).count_ones() >= MOST
    }

    /// Checks whether more of the last 20 answers were failures or refusals than chance explains.
    pub(super) fn several_failed(&self) -> bool {
        (self.failures & RECENT).count_ones() >= SEVERAL
    }

    /// Takes note that failures begin to lower the rate. `measured` is the rate before the first
    /// one.
    pub(super) fn suspect(&mut self, now: f64, measured: f64, before: T) {
        let share = f64::from((self.failures & SAMPLE).count_ones()) / f64::from(SAMPLE_SIZE);
        self.trial.get_or_insert(Trial {
            since: now,
            reference: measured,
            before,
            share,
            evidence: 0,
            answers: 0,
        });
    }

    /// Returns the rate below which failures do not lower the rate; zero if there is none.
    pub(super) fn lowest_rate(&self) -> f64 {
        self.trial
            .as_ref()
            .map_or(0.0, |trial| LOWEST_SHARE * trial.reference)
    }

    /// Replaces the measured rate after the limit was closed.
    pub(super) fn lower_reference(&mut self, measured: f64) {
        if let Some(trial) = &mut self.trial {
            trial.reference = measured;
        }
    }

    /// Drops the suspicion that failures have other causes, because the server has refused requests
    /// outright.
    pub(super) fn confirm(&mut self) {
        self.trial = None;
    }

    /// Takes note of a failure after a success, at this rate. Returns what to restore if failures
    /// have other causes.
    pub(super) fn dismiss(&mut self, now: f64, rate: f64) -> Option<T> {
        let mostly_failed = self.mostly_failed();
        let trial = self.trial.as_mut()?;
        let is_aftermath = now - trial.since < AFTERMATH;
        if mostly_failed || is_aftermath || rate >= DISMISSED_BELOW * trial.reference {
            return None;
        }
        trial.evidence += 1;
        if trial.evidence == 1 {
            trial.answers = 1;
        }
        if trial.evidence < EVIDENCE {
            return None;
        }
        let share = f64::from(trial.evidence) / f64::from(trial.answers);
        if share < SAME_SHARE * trial.share {
            trial.evidence = 0;
            return None;
        }
        let before = trial.before;
        self.trial = None;
        self.is_limiter = false;
        self.background = Background::default();
        Some(before)
    }

    fn remember(&mut self, kind: AnswerKind) {
        let leaves_sample = self.unavailable >> (SAMPLE_SIZE - 1) & 1 == 1;
        self.background.add(leaves_sample);
        if let Some(trial) = &mut self.trial {
            trial.answers = trial.answers.saturating_add(1);
        }
        self.failures = self.failures << 1 | u64::from(kind != AnswerKind::Success);
        self.unavailable = self.unavailable << 1 | u64::from(kind == AnswerKind::Unavailable);
    }

    /// Checks whether the share of 503 responses among the last 60 answers is far above the share
    /// before them.
    fn has_risen(&self) -> bool {
        let count = (self.unavailable & SAMPLE).count_ones();
        let share = f64::from(count) / f64::from(SAMPLE_SIZE);
        share >= LIMITER_SHARE + BACKGROUND_WEIGHT * self.background.share
    }
}

impl Default for Background {
    fn default() -> Self {
        Self {
            share: INITIAL_BACKGROUND,
            answers: INITIAL_ANSWERS,
            unfilled: SAMPLE_SIZE,
        }
    }
}

impl Background {
    fn add(&mut self, is_unavailable: bool) {
        if self.unfilled > 0 {
            self.unfilled -= 1;
            return;
        }
        let value = f64::from(u8::from(is_unavailable));
        self.answers = (self.answers + 1.0).min(BACKGROUND_ANSWERS);
        self.share += (value - self.share) / self.answers;
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
                is_next && self.answers >= MIN_ANSWERS && 2 * self.failures >= self.answers;
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

    /// A failure with a cause that is not 503.
    const OTHER: Failure = Failure {
        at: 0.0,
        is_unavailable: false,
        failing_for: 0.0,
        is_searching: false,
    };
    const UNAVAILABLE: Failure = Failure {
        is_unavailable: true,
        ..OTHER
    };
    const UNAVAILABLE_IN_SEARCH: Failure = Failure {
        is_searching: true,
        ..UNAVAILABLE
    };

    /// Returns how many failures of this kind count as refusals, with ten answers a second.
    fn refusals(kind: Failure, answers: impl IntoIterator<Item = bool>) -> usize {
        let mut overload = Overload::<()>::default();
        let mut now = 0.0;
        let mut succeeded_at = 0.0;
        let mut refusals = 0;
        for has_failed in answers {
            now += 0.1;
            if has_failed {
                let failure = Failure {
                    at: now,
                    failing_for: now - succeeded_at - 0.1,
                    ..kind
                };
                refusals += usize::from(overload.note_failure(failure));
            } else {
                overload.note_success(now);
                succeeded_at = now;
            }
        }
        refusals
    }

    fn every(nth: usize, count: usize) -> impl Iterator<Item = bool> {
        (1..=count).map(move |number| number.is_multiple_of(nth))
    }

    #[test]
    fn failures_of_a_third_of_the_requests_are_not_refusals() {
        for kind in [OTHER, UNAVAILABLE, UNAVAILABLE_IN_SEARCH] {
            assert_eq!(refusals(kind, every(3, 1_000)), 0, "{kind:?}");
        }
    }

    #[test]
    fn failures_count_after_two_seconds_in_which_most_answers_fail() {
        let most = (0..100).map(|number| number % 4 != 0);
        assert!(refusals(OTHER, most) > 40);
        let short = (0..100).map(|number| (20..34).contains(&number));
        assert_eq!(refusals(OTHER, short), 0);
    }

    #[test]
    fn a_503_counts_after_eight_in_a_row_and_another_failure_does_not() {
        let answers = || (0..100).map(|number| (20..28).contains(&number) || number == 60);
        assert_eq!(refusals(UNAVAILABLE, answers()), 2);
        assert_eq!(refusals(OTHER, answers()), 0);
    }

    #[test]
    fn a_503_counts_once_their_share_rises_while_no_limit_is_known() {
        let answers = || {
            every(5, 600)
                .enumerate()
                .map(|(n, failed)| n > 400 && failed)
        };
        assert!(refusals(UNAVAILABLE_IN_SEARCH, answers()) > 25);
        assert_eq!(refusals(UNAVAILABLE, answers()), 0);
    }

    #[test]
    fn failures_that_are_rarer_at_a_lower_rate_are_a_limiters() {
        let mut overload = Overload::default();
        for number in 0..60 {
            if number % 4 == 0 {
                overload.note_failure(UNAVAILABLE);
            } else {
                overload.note_success(0.0);
            }
        }
        overload.suspect(100.0, 50.0, "before");
        for second in 0..200 {
            let now = 110.0 + f64::from(second);
            for _ in 0..9 {
                overload.note_success(now);
            }
            overload.note_failure(UNAVAILABLE);
            assert_eq!(overload.dismiss(now, 25.0), None, "after {second} s");
        }
    }

    #[test]
    fn failures_that_go_on_at_a_lower_rate_restore_what_was_before() {
        let mut overload = Overload {
            is_limiter: true,
            ..Overload::default()
        };
        overload.suspect(100.0, 50.0, "before");
        assert!((overload.lowest_rate() - 25.0).abs() < 1e-9);
        assert_eq!(
            overload.dismiss(102.0, 25.0),
            None,
            "the limiter may be full"
        );
        assert_eq!(
            overload.dismiss(120.0, 40.0),
            None,
            "the rate is not much lower"
        );
        for _ in 1..EVIDENCE {
            assert_eq!(overload.dismiss(120.0, 25.0), None);
        }
        assert_eq!(overload.dismiss(120.0, 25.0), Some("before"));
        assert!(!overload.note_failure(UNAVAILABLE), "503 no longer counts");
    }
}
