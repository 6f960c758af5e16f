//! Wakes the engine at a time. The runtime's own timer counts whole milliseconds, within which thousands of requests a second
//! have several turns each; where the system has a finer one (Linux), that is used. When to wake is not decided here.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// The engine's one timer.
#[derive(Debug)]
pub struct Alarm {
    kind: Kind,
    set_for: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Fine(fine::Timer),
    Coarse(Pin<Box<Sleep>>),
}

impl Alarm {
    /// As exact as the system can: some hundredths of a millisecond late on Linux, one or two milliseconds elsewhere, more on
    /// Windows.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn fine() -> Self {
        fine::Timer::new().map_or_else(
            |_| Self::coarse(),
            |timer| Self {
                kind: Kind::Fine(timer),
                set_for: None,
            },
        )
    }

    /// By the runtime's own clock, which a test can move.
    #[must_use]
    pub fn coarse() -> Self {
        Self {
            kind: coarse(Instant::now()),
            set_for: None,
        }
    }

    /// The one time at which it is to ring.
    pub(super) fn set(&mut self, at: Instant) {
        if self.set_for == Some(at) {
            return;
        }
        self.set_for = Some(at);
        match &mut self.kind {
            Kind::Fine(timer)
                if timer
                    .set(at.saturating_duration_since(Instant::now()))
                    .is_ok() => {}
            Kind::Fine(_) => self.kind = coarse(at),
            Kind::Coarse(sleep) => sleep.as_mut().reset(at),
        }
    }

    /// Returns when it rings.
    pub(super) async fn ring(&mut self) {
        match &mut self.kind {
            Kind::Fine(timer) => {
                if poll_fn(|context| timer.poll_expire(context)).await.is_err() {
                    self.kind = coarse(Instant::now());
                }
            }
            Kind::Coarse(sleep) => sleep.await,
        }
        self.set_for = None;
    }
}

fn coarse(at: Instant) -> Kind {
    Kind::Coarse(Box::pin(sleep_until(at)))
}

#[cfg(target_os = "linux")]
mod fine {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, ready};
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    /// A timer of the kernel (`timerfd_create(2)`).
    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        #[allow(
            deprecated,
            reason = "it asks for a descriptor that stays the same, as an `OwnedFd` does; the new way is `unsafe`"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?).map(Self)
        }

        pub(super) fn set(&self, after: Duration) -> io::Result<()> {
            // A timer that is set to zero is off.
            let after = after.max(Duration::from_nanos(1));
            let value = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: Timespec::try_from(after).map_err(io::Error::other)?,
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &value)?;
            Ok(())
        }

        pub(super) fn poll_expire(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            loop {
                let mut ready = ready!(self.0.poll_read_ready(context))?;
                let mut expirations = [0; 8];
                if let Ok(read) =
                    ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?))
                {
                    return Poll::Ready(read.map(drop));
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod fine {
    use std::io;
    use std::task::{Context, Poll};
    use std::time::Duration;

    /// There is none.
    #[derive(Debug)]
    pub(super) enum Timer {}

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn set(&self, _after: Duration) -> io::Result<()> {
            match *self {}
        }

        pub(super) fn poll_expire(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_at_once_later_and_again() {
        let mut alarm = Alarm::fine();
        for after in [
            Duration::ZERO,
            Duration::from_micros(300),
            Duration::from_millis(3),
            Duration::ZERO,
        ] {
            let now = Instant::now();
            alarm.set(now + after);
            alarm.ring().await;
            assert!(now.elapsed() >= after, "not before its time");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_time_that_has_passed_unheard_does_not_make_the_next_one_ring_early() {
        let mut alarm = Alarm::fine();
        assert!(matches!(alarm.kind, Kind::Fine(_)));
        alarm.set(Instant::now());
        let mut later = Alarm::fine();
        later.set(Instant::now() + Duration::from_millis(1));
        later.ring().await;
        let at = Instant::now() + Duration::from_millis(3);
        alarm.set(at);
        alarm.ring().await;
        assert!(Instant::now() >= at);
    }

    #[tokio::test]
    async fn the_last_time_that_it_was_set_for_counts() {
        let mut alarm = Alarm::fine();
        let now = Instant::now();
        alarm.set(now + Duration::from_hours(1));
        alarm.set(now);
        alarm.ring().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_coarse_one_goes_by_the_clock_of_the_runtime() {
        let mut alarm = Alarm::coarse();
        let now = Instant::now();
        alarm.set(now + Duration::from_hours(1));
        alarm.ring().await;
        assert_eq!(now.elapsed(), Duration::from_hours(1));
    }
}
