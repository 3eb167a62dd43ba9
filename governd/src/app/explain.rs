//! Answers to `explain`: what is known of a process and a destination, put before the same decision
//! that the kernel takes.

use governd_common::{
    decide::{Decision, Proof},
    event::FlowEvent,
    table::SocketOwner,
    verdict::{Mode, Reason, Verdict},
};

use super::{
    answers::{failed, mode_word, ok},
    clock,
    engine::Engine,
    recognition::CgroupIds,
};
use crate::{
    control::protocol::{self, ErrorKind, Explanation, Host, Reply},
    core::{
        classify::{Candidate, Classifier},
        process::Process,
    },
    kernel::KernelError,
    policy::explain::{self, Answer, Destination, Question},
};

impl Engine {
    /// Why a process may or may not reach a destination.
    pub(super) fn explain(&mut self, pid: u32, destination: &protocol::Destination) -> Reply {
        let Some(known) = self.processes.process(pid) else {
            return Reply::Error {
                message: format!("there is no process {pid}"),
                hint: Some("`explain --last` explains decisions about processes that ended".into()),
                kind: ErrorKind::NotFound,
            };
        };
        let process = known.process;
        let subject = match self.subject_of(&process) {
            Ok(subject) => subject,
            Err(error) => return failed(error),
        };
        let bound = self.state.names.bound(subject, clock::boot_ns());
        let words = in_words(&process);
        let policy = self.state.policy();
        let question = Question {
            process: &words,
            subject,
            destination: match &destination.host {
                Host::Address(address) => Destination::Address(*address),
                Host::Name(name) => Destination::Name(name.as_str().into()),
            },
            port: destination.port,
            protocol: destination.protocol,
            bound: &bound,
        };
        let answer = explain::explain(policy, &question, self.in_numbers(policy));
        ok(&explanation(&answer, pid))
    }

    /// Why the latest denial, or the latest decision, came out as it did.
    pub(super) fn explain_last(&self, agent: Option<&str>) -> Reply {
        let policy = self.state.policy();
        let known = agent.map(|name| policy.agents.iter().find(|agent| *agent.name == *name));
        let subject = match known {
            None => None,
            Some(Some(agent)) => Some(agent.subject),
            Some(None) => {
                let names: Vec<&str> = policy.agents.iter().map(|agent| &*agent.name).collect();
                return nothing(
                    format!("no agent is called {}", agent.unwrap_or_default()),
                    format!("the policy has: {}", names.join(", ")),
                );
            }
        };
        let is_meant = |of: u32| subject.is_none_or(|subject| policy.registered(of) == subject);
        let Some(recent) = self.state.recent.last(is_meant) else {
            return nothing(
                "nothing has been decided yet".into(),
                "the log has what was decided before this daemon started".into(),
            );
        };
        let event = &recent.event;
        let bound = self.state.names.bound(event.header.subject, event.header.time_ns);
        let words = in_words(&recent.actor.process);
        let question = Question {
            process: &words,
            subject: event.header.subject,
            destination: match &recent.name {
                Some(name) => Destination::Name(std::sync::Arc::clone(name)),
                None => Destination::Address(event.address.into()),
            },
            port: event.port,
            protocol: event.protocol,
            bound: &bound,
        };
        let answer = explain::explain_decision(policy, &question, decision(event));
        ok(&explanation(&answer, event.header.tgid))
    }

    /// What the kernel counts a process as: what it tracks it as, else what its selectors say.
    fn subject_of(&self, process: &Process) -> Result<u32, KernelError> {
        if let Some(task) = self.kernel.task(process.pid)? {
            return Ok(task.subject);
        }
        let cgroups = CgroupIds::new(&self.host).of(process.cgroup.as_deref());
        let candidate =
            Candidate { process, cgroups: &cgroups, script: self.discovery.scripts.of(process) };
        let policy = self.state.policy();
        if let Some(subject) = Classifier::new(&policy.image).subject(&candidate) {
            return Ok(subject);
        }
        let settled = self.kernel.settled()?;
        let is_new = policy.has_unclassified() && cgroups.last().is_some_and(|own| *own > settled);
        Ok(if is_new { SocketOwner::UNCLASSIFIED } else { 0 })
    }
}

fn decision(event: &FlowEvent) -> Decision {
    Decision {
        verdict: Verdict::from_byte(event.verdict),
        reason: Reason::from_byte(event.reason).unwrap_or(Reason::Fault),
        mode: Mode::from_byte(event.mode),
        rule: event.rule,
        set: event.set,
        quiet: false,
        proof: Proof::None,
    }
}

fn explanation(answer: &Answer, pid: u32) -> Explanation {
    let decision = &answer.decision;
    Explanation {
        allowed: answer.goes_through(),
        verdict: if decision.verdict == Verdict::Allow { "allow" } else { "deny" }.into(),
        mode: mode_word(decision.mode).into(),
        reason: decision.reason.word().into(),
        agent: answer.agent.name.to_string(),
        started_by: answer.agent.started_by.iter().map(ToString::to_string).collect(),
        owner: answer.agent.owner.as_deref().map(str::to_owned),
        rule: answer.rule.as_ref().map(|rule| rule.id.to_string()),
        nearest: answer.nearest.as_ref().map(ToString::to_string),
        pid,
        words: answer.words(),
    }
}

fn in_words(process: &Process) -> String {
    format!("{} (pid {})", process.name, process.pid)
}

fn nothing(message: String, hint: String) -> Reply {
    Reply::Error { message, hint: Some(hint), kind: ErrorKind::NotFound }
}
