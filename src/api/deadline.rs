//! Deadlines of requests, which include reading the body of the response.
//!
//! Timers are reused: to reset one costs a fraction of making and dropping one, which took 2 % of a
//! run at full speed.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A pool of timers for deadlines.
#[derive(Debug)]
pub(super) struct DeadlinePool {
    timeout: Duration,
    timers: RefCell<Vec<Pin<Box<Sleep>>>>,
}

/// The deadline of one request.
#[derive(Debug)]
pub(super) struct Deadline(Pin<Box<Sleep>>);

impl DeadlinePool {
    /// Returns a pool of deadlines with the same timeout.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            timers: RefCell::default(),
        }
    }

    /// Returns a deadline that begins now.
    pub(super) fn start(&self) -> Deadline {
        let timer = self.timers.borrow_mut().pop();
        match (timer, Instant::now().checked_add(self.timeout)) {
            (Some(mut timer), Some(end)) => {
                timer.as_mut().reset(end);
                Deadline(timer)
            }
            _ => Deadline(Box::pin(sleep(self.timeout))),
        }
    }

    /// Takes back the timer of a deadline that is not needed any more.
    pub(super) fn recycle(&self, deadline: Deadline) {
        self.timers.borrow_mut().push(deadline.0);
    }
}

impl Deadline {
    /// Returns the result of `work`, or `None` if the deadline passes before.
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
    async fn a_reused_timer_gives_each_request_its_whole_time() {
        let second = Duration::from_secs(1);
        let pool = DeadlinePool::new(3 * second);
        // The timer is reused while it runs, after it has fired unnoticed, and after it was
        // noticed.
        for idle in [0, 2, 0, 5, 1] {
            let mut deadline = pool.start();
            assert_eq!(deadline.within(sleep(2 * second)).await, Some(()));
            pool.recycle(deadline);
            assert_eq!(pool.timers.borrow().len(), 1);
            sleep(idle * second).await;

            let began = Instant::now();
            let mut deadline = pool.start();
            assert_eq!(deadline.within(sleep(2 * second)).await, Some(()), "{idle}");
            assert_eq!(
                deadline.within(sleep(2 * second)).await,
                None,
                "both together take longer than the timeout"
            );
            assert_eq!(began.elapsed(), 3 * second);
            assert_eq!(
                deadline.within(pending::<()>()).await,
                None,
                "the deadline has passed"
            );
            pool.recycle(deadline);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_have_their_own_deadlines() {
        let pool = DeadlinePool::new(Duration::from_secs(3));
        let first = pool.start();
        let second = pool.start();
        pool.recycle(first);
        pool.recycle(second);
        sleep(Duration::from_secs(1)).await;
        let mut first = pool.start();
        let mut second = pool.start();
        let began = Instant::now();
        tokio::join!(
            first.within(pending::<()>()),
            second.within(pending::<()>())
        );
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert!(pool.timers.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_possible_timeout_does_not_overflow() {
        let pool = DeadlinePool::new(Duration::MAX);
        for _ in 0..2 {
            let mut deadline = pool.start();
            assert_eq!(deadline.within(async { 7 }).await, Some(7));
            pool.recycle(deadline);
        }
    }
}
