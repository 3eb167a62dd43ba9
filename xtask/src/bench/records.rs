//! How many decisions a second become records, from the ring in the kernel to the log on disk.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    Bench, RULES_USUAL, SETTLE,
    daemon::Daemon,
    field::{Cgroup, Namespace},
    figure::{Bound, Single},
    report::Report,
    work::Chore,
};
use crate::say;

/// Decisions of a burst, which the ring has room for, and bursts.
const DECISIONS: u32 = 20_000;
const BURSTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the daemon is asked how far it is; its answers count as its work.
const LOOK: Duration = Duration::from_millis(100);

/// How far the log is, and how much was lost on the way there.
fn progress(daemon: &Daemon<'_>) -> Result<(u64, u64)> {
    let status = daemon.status()?;
    let number = |pointer| status.pointer(pointer).and_then(Value::as_u64);
    let durable = number("/log/durable").context("the status has no `log.durable`")?;
    let lost = status.get("lost").and_then(Value::as_object).context("the status has no `lost`")?;
    let lost = lost.values().filter_map(Value::as_u64).sum::<u64>();
    Ok((durable, lost + number("/log/lost_records").unwrap_or(0)))
}

impl Bench {
    /// Decisions of an agent until they are durable records: by the processor time of all threads
    /// of the daemon, so that it is a rate of one core.
    pub(super) fn records(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("records")?;
        let namespace = Namespace::create("records", self.files())?;
        let place = self.place("records", RULES_USUAL)?;
        let (daemon, _) = place.start(cgroup.path())?;
        let mut agent = self.worker(&self.agent, &cgroup, &namespace)?;
        thread::sleep(SETTLE);
        let lost_before = progress(&daemon)?.1;
        let mut rates = Vec::new();
        for burst in 0..BURSTS {
            say::note(format_args!("{DECISIONS} decisions, {} of {BURSTS}", burst + 1));
            let (first, _) = progress(&daemon)?;
            let (cpu, began) = (daemon.processor_time()?, Instant::now());
            agent.act(Chore::Decide, DECISIONS)?;
            while progress(&daemon)?.0 < first + u64::from(DECISIONS) {
                if began.elapsed() > PATIENCE {
                    let (durable, lost) = progress(&daemon)?;
                    let (durable, lost) = (durable - first, lost - lost_before);
                    bail!("of {DECISIONS} decisions {durable} are durable and {lost} lost");
                }
                thread::sleep(LOOK);
            }
            let took = daemon.processor_time()? - cpu;
            rates.push(f64::from(DECISIONS) / took.as_secs_f64());
        }
        let lost = progress(&daemon)?.1 - lost_before;
        let title = "decisions in the ring to durable records, of one core";
        report.singles.push(Single::new(title, "records/s", Bound::Least(200_000.0), rates));
        let title = "lost meanwhile";
        report.singles.push(Single::new(title, "records", Bound::Most(0.0), vec![lost as f64]));
        Ok(())
    }
}
