//! Wakes the engine at a given time. The runtime's own timer counts whole milliseconds, which is
//! too coarse for thousands of requests a second and for limits without burst. On Linux a timer of
//! the kernel is used instead.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// The engine's one timer.
#[derive(Debug)]
pub struct Alarm {
    kind: AlarmKind,
    set_for: Option<Instant>,
}

#[derive(Debug)]
enum AlarmKind {
    Fine(fine::Timer),
    Coarse(Pin<Box<Sleep>>),
}

impl Alarm {
    /// Returns the most exact alarm of the system. It is late by hundredths of a millisecond on
    /// Linux, by one or two milliseconds elsewhere, and by up to 16 ms on Windows.
    ///
    /// # Panics
    /// Panics outside of a runtime.
    #[must_use]
    pub fn fine() -> Self {
        fine::Timer::new().map_or_else(
            |_| Self::coarse(),
            |timer| Self {
                kind: AlarmKind::Fine(timer),
                set_for: None,
            },
        )
    }

    /// Returns an alarm that follows the clock of the runtime, which a test can advance.
    #[must_use]
    pub fn coarse() -> Self {
        Self {
            kind: coarse(Instant::now()),
            set_for: None,
        }
    }

    /// Sets the time at which the alarm rings, instead of any earlier one.
    pub(super) fn set(&mut self, at: Instant) {
        if self.set_for == Some(at) {
            return;
        }
        self.set_for = Some(at);
        match &mut self.kind {
            AlarmKind::Fine(timer)
                if timer
                    .set(at.saturating_duration_since(Instant::now()))
                    .is_ok() => {}
            AlarmKind::Fine(_) => self.kind = coarse(at),
            AlarmKind::Coarse(sleep) => sleep.as_mut().reset(at),
        }
    }

    /// Waits until the alarm rings.
    pub(super) async fn ring(&mut self) {
        match &mut self.kind {
            AlarmKind::Fine(timer) => {
                if poll_fn(|context| timer.poll_expire(context)).await.is_err() {
                    self.kind = coarse(Instant::now());
                }
            }
            AlarmKind::Coarse(sleep) => sleep.await,
        }
        self.set_for = None;
    }
}

fn coarse(at: Instant) -> AlarmKind {
    AlarmKind::Coarse(Box::pin(sleep_until(at)))
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

    /// The timer of a system that has none.
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
    async fn rings_no_earlier_than_set_each_time() {
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
    async fn a_missed_ring_does_not_make_the_next_one_early() {
        let mut alarm = Alarm::fine();
        assert!(matches!(alarm.kind, AlarmKind::Fine(_)));
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
    async fn rings_at_the_time_that_was_set_last() {
        let mut alarm = Alarm::fine();
        let now = Instant::now();
        alarm.set(now + Duration::from_hours(1));
        alarm.set(now);
        alarm.ring().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_coarse_alarm_follows_the_clock_of_the_runtime() {
        let mut alarm = Alarm::coarse();
        let now = Instant::now();
        alarm.set(now + Duration::from_hours(1));
        alarm.ring().await;
        assert_eq!(now.elapsed(), Duration::from_hours(1));
    }
}
