//! How long a request may take, its answer's body included. A timer is taken along by one request after the other: setting
//! it anew costs a fraction of making one and taking it away again, which was 2 % of a run at full speed.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Gives each request its time.
#[derive(Debug)]
pub(super) struct Limits {
    each: Duration,
    spare: RefCell<Vec<Pin<Box<Sleep>>>>,
}

/// The time that one request has.
#[derive(Debug)]
pub(super) struct Limit(Pin<Box<Sleep>>);

impl Limits {
    /// So long for each.
    pub(super) fn new(each: Duration) -> Self {
        Self {
            each,
            spare: RefCell::default(),
        }
    }

    /// From now on.
    pub(super) fn begin(&self) -> Limit {
        let spare = self.spare.borrow_mut().pop();
        match (spare, Instant::now().checked_add(self.each)) {
            (Some(mut timer), Some(end)) => {
                timer.as_mut().reset(end);
                Limit(timer)
            }
            _ => Limit(Box::pin(sleep(self.each))),
        }
    }

    /// The request needs no more of it.
    pub(super) fn end(&self, limit: Limit) {
        self.spare.borrow_mut().push(limit.0);
    }
}

impl Limit {
    /// What comes of `work`, if that comes in time.
    pub(super) async fn within<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = &mut self.0 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_one_request_after_the_other_and_gives_each_all_of_its_time() {
        let second = Duration::from_secs(1);
        let limits = Limits::new(3 * second);
        // The timer is taken along while it runs, after it has rung unheard, and after it was heard.
        for idle in [0, 2, 0, 5, 1] {
            let mut limit = limits.begin();
            assert_eq!(limit.within(sleep(2 * second)).await, Some(()));
            limits.end(limit);
            assert_eq!(limits.spare.borrow().len(), 1);
            sleep(idle * second).await;

            let (began, mut limit) = (Instant::now(), limits.begin());
            assert_eq!(limit.within(sleep(2 * second)).await, Some(()), "{idle}");
            assert_eq!(
                limit.within(sleep(2 * second)).await,
                None,
                "both together had too long"
            );
            assert_eq!(began.elapsed(), 3 * second);
            assert_eq!(limit.within(pending::<()>()).await, None, "over is over");
            limits.end(limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_the_same_time_have_a_limit_each() {
        let limits = Limits::new(Duration::from_secs(3));
        let (first, second) = (limits.begin(), limits.begin());
        limits.end(first);
        limits.end(second);
        sleep(Duration::from_secs(1)).await;
        let (mut first, mut second) = (limits.begin(), limits.begin());
        let began = Instant::now();
        tokio::join!(
            first.within(pending::<()>()),
            second.within(pending::<()>())
        );
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert!(limits.spare.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_time_there_is_can_be_asked_for() {
        let limits = Limits::new(Duration::MAX);
        for _ in 0..2 {
            let mut limit = limits.begin();
            assert_eq!(limit.within(async { 7 }).await, Some(7));
            limits.end(limit);
        }
    }
}
