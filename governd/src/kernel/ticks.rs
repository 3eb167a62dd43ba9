//! The beat of who looks at something again and again: a timer of the kernel's (timerfd_create(2)).
//!
//! The runtime's own timers are kept in wheels: one that is some hundred milliseconds away wakes
//! the thread once more on the way, when it comes to a finer wheel, and each time that it is set
//! anew the thread has to wait anew. Where nothing happens these are most of its wakes.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::Timespec,
    io::{Errno, read},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use tokio::io::unix::AsyncFd;

/// A beat that goes on until this is dropped.
#[derive(Debug)]
pub struct Ticks {
    timer: AsyncFd<OwnedFd>,
}

impl Ticks {
    /// Begins, inside the runtime; the first tick is due at once.
    ///
    /// # Errors
    /// The kernel gives no timer.
    pub fn begin(every: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let it_interval = Timespec::try_from(every).map_err(io::Error::other)?;
        let it_value = Timespec { tv_sec: 0, tv_nsec: 1 };
        let first = Itimerspec { it_interval, it_value };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &first)?;
        Ok(Self { timer: watched(timer)? })
    }

    /// Waits for the next one. Those that were due meanwhile are one. Dropping the future loses
    /// none.
    ///
    /// # Errors
    /// The timer cannot be read.
    pub async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let read = read(self.timer.get_ref(), &mut [0; size_of::<u64>()]);
            // What is due after that makes it ready again.
            ready.clear_ready();
            match read {
                Err(Errno::AGAIN) => {}
                read => return Ok(read.map(|_| ())?),
            }
        }
    }
}

/// A descriptor whose readiness wakes the runtime.
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same descriptor as long as it lives.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    #[test]
    fn ticks_come_at_once_and_then_regularly_and_what_was_missed_is_one() {
        const EVERY: Duration = Duration::from_millis(50);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let begun = Instant::now();
            let ticks = Ticks::begin(EVERY).unwrap();
            ticks.next().await.unwrap();
            ticks.next().await.unwrap();
            assert!(begun.elapsed() >= EVERY, "{:?}", begun.elapsed());
            thread::sleep(4 * EVERY);
            let missed = Instant::now();
            for _ in 0..3 {
                ticks.next().await.unwrap();
            }
            assert!(missed.elapsed() >= EVERY, "{:?}", missed.elapsed());
        });
    }
}
