//! What is done to the daemon itself, as far as it can see that: somebody traces it, or kept it
//! from running, or set the clock back, by which records are ordered and approvals end. And what it
//! runs out of by itself: descriptors, without which it sees less.

use std::{fs::File, io::Read as _, os::fd::AsRawFd as _, time::Instant};

use rustix::process::{Resource, getrlimit};

use super::{clock, discovery::trouble, engine::Engine};
use crate::audit::record::Record;

/// Milliseconds by which a clock may go back without having been set: no daemon that keeps the time
/// corrects so much at once without setting it.
const BACK_MS_MAX: i64 = 1_000;
/// Seconds between two looks, of which there is one each second, that are more than a busy host
/// explains.
const PAUSE_S_MAX: u64 = 20;
/// Descriptors are few where less than one in so many is left.
const FEW: u64 = 16;
/// And enough again where more than one in so many is.
const ENOUGH: u64 = 8;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Itself {
    last: Option<Look>,
    are_few: bool,
}

/// One look.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// When the host booted, by the clock: a clock that is set changes it.
    booted_ms: i64,
    /// Who traces, 0 if nobody.
    tracer: u32,
    descriptors: Descriptors,
}

/// How many descriptors the daemon has, at the least, of those that it may have.
#[derive(Clone, Copy, Debug)]
struct Descriptors {
    used: u64,
    most: u64,
}

impl Look {
    fn now() -> Self {
        let mut status = String::new();
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let opened = File::open("/proc/self/status");
        let used = match &opened {
            // The lowest free number is given.
            Ok(file) => u64::try_from(file.as_raw_fd()).unwrap_or(0),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => most,
            Err(_) => 0,
        };
        let read = opened.and_then(|mut file| file.read_to_string(&mut status));
        if let Err(error) = read {
            tracing::warn!(%error, "who traces the daemon cannot be read");
        }
        let booted_ms = i64::try_from(clock::booted_ms()).unwrap_or(i64::MAX);
        let (at, tracer) = (Instant::now(), tracer(&status));
        Self { at, booted_ms, tracer, descriptors: Descriptors { used, most } }
    }
}

/// The process that traces, of the text of proc_pid_status(5).
fn tracer(status: &str) -> u32 {
    let value = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

impl Itself {
    /// Takes in what is seen; gives what was done since the look before, in words.
    fn take(&mut self, look: Look) -> Vec<String> {
        let mut found = Vec::new();
        let before = self.last.replace(look);
        if look.tracer != 0 && before.is_none_or(|before| before.tracer != look.tracer) {
            found.push(format!("process {} traces the daemon", look.tracer));
        }
        let Some(before) = before else { return found };
        let back_ms = before.booted_ms.saturating_sub(look.booted_ms);
        if back_ms > BACK_MS_MAX {
            found.push(format!("the clock was set back by {back_ms} ms"));
        }
        let pause_s = look.at.saturating_duration_since(before.at).as_secs();
        if pause_s > PAUSE_S_MAX {
            found.push(format!(
                "the daemon did not run for {pause_s} s: it was stopped, or the host too busy"
            ));
        }
        found
    }

    /// Takes in how many descriptors there are; gives what is to be told of them, in words.
    fn run_out(&mut self, Descriptors { used, most }: Descriptors) -> Option<String> {
        let left = most.saturating_sub(used);
        let were_few = self.are_few;
        self.are_few = left < if were_few { most / ENOUGH } else { most / FEW };
        (self.are_few && !were_few).then(|| format!("{used} of {most} are in use"))
    }

    /// That the daemon was stopped, in words: it cannot say when, but it looked before.
    fn stopped(&self, now: Instant) -> String {
        let most = self.last.map(|look| now.saturating_duration_since(look.at).as_millis());
        let most = most.map(|ms| format!(" for {ms} ms at the most")).unwrap_or_default();
        format!("somebody stopped the daemon{most}, and had it go on")
    }
}

impl Engine {
    /// Records what somebody did to the daemon since the last time.
    pub(super) fn look_at_itself(&mut self) {
        let look = Look::now();
        let found = self.itself.take(look);
        if !found.is_empty() {
            self.tell_interference(found);
        }
        if let Some(found) = self.itself.run_out(look.descriptors) {
            let title = "governd has hardly any file descriptors left: it will see less";
            tracing::error!(found, hint = "raise its LimitNOFILE=", "{title}");
            let finding = trouble("descriptors", title, vec![found]);
            self.journal.record(Record::Finding(finding), None);
        }
    }

    /// Somebody had the daemon go on (SIGCONT).
    pub(super) fn was_stopped(&self) {
        self.tell_interference(vec![self.itself.stopped(Instant::now())]);
    }

    fn tell_interference(&self, found: Vec<String>) {
        let title = "somebody interfered with governd";
        tracing::warn!(found = found.join("; "), "{title}");
        self.journal.record(Record::Finding(trouble("tampering", title, found)), None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONE: Descriptors = Descriptors { used: 0, most: 0 };

    #[test]
    fn that_descriptors_are_few_is_told_once_and_again_after_there_were_enough() {
        let mut itself = Itself::default();
        for (used, told) in [
            (960, None),
            (961, Some("961 of 1024 are in use")),
            (1024, None),
            (900, None),
            (1000, None),
            (896, None),
            (1024, Some("1024 of 1024 are in use")),
        ] {
            let found = itself.run_out(Descriptors { used, most: 1024 });
            assert_eq!(found.as_deref(), told, "{used}");
        }
    }

    #[test]
    fn what_is_done_is_told_once() {
        let begun = Instant::now();
        let mut itself = Itself::default();
        for (second, booted_ms, tracer, told) in [
            (0, 9_000, 0, &[][..]),
            (1, 9_000, 0, &[]),
            (2, 8_500, 0, &[]),
            (3, 7_000, 0, &["the clock was set back by 1500 ms"]),
            (4, 7_000, 0, &[]),
            (5, 99_000, 7, &["process 7 traces the daemon"]),
            (6, 99_000, 7, &[]),
            (7, 99_000, 0, &[]),
            (27, 99_000, 0, &[]),
            (
                48,
                99_000,
                0,
                &["the daemon did not run for 21 s: it was stopped, or the host too busy"],
            ),
            (49, 99_000, 0, &[]),
        ] {
            let at = begun + Duration::from_secs(second);
            let look = Look { at, booted_ms, tracer, descriptors: NONE };
            assert_eq!(itself.take(look), told, "{second}");
        }
    }

    #[test]
    fn who_is_told_to_go_on_was_stopped() {
        let begun = Instant::now();
        let mut itself = Itself::default();
        assert_eq!(itself.stopped(begun), "somebody stopped the daemon, and had it go on");
        itself.take(Look { at: begun, booted_ms: 0, tracer: 0, descriptors: NONE });
        let said = itself.stopped(begun + Duration::from_millis(2_100));
        assert_eq!(said, "somebody stopped the daemon for 2100 ms at the most, and had it go on");
    }

    #[test]
    fn who_traces_is_read_of_the_kernels_text() {
        assert_eq!(tracer("Name:\tgovernd\nTracerPid:\t4711\nUid:\t0\n"), 4711);
        assert_eq!(tracer("Name:\tgovernd\nTracerPid:\t0\n"), 0);
        assert_eq!(tracer(""), 0);
    }
}
