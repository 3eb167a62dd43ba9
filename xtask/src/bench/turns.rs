//! Attached and detached in turns: what governd costs with all that is attached to the whole host,
//! and what others cost while it is detached.

use std::thread;

use anyhow::{Context as _, Result};

use super::{
    Bench, RULES_USUAL, SETTLE,
    field::{Cgroup, Namespace, Servant, Worker},
    figure::{self, Bound, Figure, Single},
    peers::Peers,
    report::Report,
    stats,
    tcpconnect::{self, Tracer},
    work::{Chore, Work},
};
use crate::say;

/// Batches of each work in a turn.
const BATCHES: usize = 5;

/// What is measured in a turn beside governd.
struct Others {
    peers: Peers,
    tracer: Option<Tracer>,
}

impl Others {
    /// Their names in the figure of a work.
    fn labels(&self, work: Work) -> Vec<String> {
        let mut labels = Vec::new();
        if Work::HTTPS.contains(&work) {
            labels.extend(self.peers.clients.iter().map(|(label, _)| label.clone()));
        }
        if work == Work::TcpConnect && self.tracer.is_some() {
            labels.push(tcpconnect::LABEL.to_owned());
        }
        labels
    }

    /// What they take for each work, in the order of their names.
    fn measure(&mut self, worker: &mut Worker) -> Result<Vec<Vec<f64>>> {
        let mut all = Vec::new();
        for work in Work::NETWORK {
            let mut values = Vec::new();
            if Work::HTTPS.contains(&work) {
                for (label, client) in &mut self.peers.clients {
                    values.push(batches(client, work).with_context(|| label.clone())?);
                }
            }
            if let (Work::TcpConnect, Some(tracer)) = (work, &self.tracer) {
                let _running = tracer.start()?;
                values.push(batches(worker, work)?);
            }
            all.push(values);
        }
        Ok(all)
    }
}

impl Bench {
    /// Attached and detached in turns.
    pub(super) fn turns(&self, report: &mut Report) -> Result<()> {
        let (cgroup, apart) = (Cgroup::create("turns")?, Cgroup::create("turns-peers")?);
        let namespace = Namespace::create("turns", self.files())?;
        let _server = Servant::serve(&namespace, "turns", &self.other)?;
        let peers = Peers::start(self, &apart, &namespace, report)?;
        let mut others = Others { peers, tracer: Tracer::find(self.files(), report)? };
        let place = self.place("turns", RULES_USUAL)?;
        let attached = format!("governd, {} rules", figure::grouped(RULES_USUAL as f64));
        let mut forks = Figure::in_turns(Work::ForkExec, [figure::NOTHING.to_owned(), attached]);
        let mut figures = Work::NETWORK.map(|work| {
            let [other, agent] =
                [figure::OTHER, figure::AGENT].map(|who| figure::governd(RULES_USUAL, who));
            let labels = [figure::NOTHING.to_owned(), other, agent];
            Figure::in_turns(work, labels.into_iter().chain(others.labels(work)))
        });
        let mut worker = self.worker(&self.other, &cgroup, &namespace)?;
        worker.act(Chore::Ready, 1)?;
        let mut starts = Vec::new();
        for turn in 0..self.turns {
            say::note(format_args!("turn {} of {}: detached", turn + 1, self.turns));
            // What was attached in the turn before is still being freed, which is work, too.
            thread::sleep(SETTLE);
            let nothing = worker.measure(Work::ForkExec)?;
            let nothings = measure_each(&mut worker)?;
            let beside = others.measure(&mut worker)?;
            say::note(format_args!("turn {} of {}: attached", turn + 1, self.turns));
            let (daemon, took) = place.start(cgroup.path())?;
            let mut agent = self.worker(&self.agent, &cgroup, &namespace)?;
            agent.act(Chore::Judged, 1)?;
            thread::sleep(SETTLE);
            forks.round(vec![nothing, worker.measure(Work::ForkExec)?]);
            let (others, agents) = (measure_each(&mut worker)?, measure_each(&mut agent)?);
            for (index, (figure, beside)) in figures.iter_mut().zip(beside).enumerate() {
                let all = [&nothings, &others, &agents];
                let values = all.iter().filter_map(|values| values.get(index).copied());
                figure.round(values.chain(beside).collect());
            }
            starts.push(took.as_secs_f64() * 1e3);
            drop((agent, daemon));
        }
        report.figures.push(forks);
        report.figures.extend(figures);
        let title = "start to policy in force, 1,000 rules";
        report.singles.push(Single::new(title, "ms", Bound::Most(300.0), starts));
        Ok(())
    }
}

/// What a worker takes for each work of the network.
fn measure_each(worker: &mut Worker) -> Result<Vec<f64>> {
    Work::NETWORK.into_iter().map(|work| batches(worker, work)).collect()
}

/// The median of some batches.
fn batches(worker: &mut Worker, work: Work) -> Result<f64> {
    let batches = (0..BATCHES).map(|_| worker.measure(work)).collect::<Result<Vec<_>>>()?;
    stats::median(&batches).context("no batches")
}
