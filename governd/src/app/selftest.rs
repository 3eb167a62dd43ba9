//! Self-tests: for each enforced agent the kernel is asked about a place that its policy lets it
//! reach, and about one that it must not reach; what comes out is recorded.

use std::{sync::Arc, time::Instant};

use governd_common::{
    limits::BINDING_SETS_MAX,
    table::{Binding, BoundSet},
    verdict::Mode,
};

use super::{
    answers::ok,
    clock,
    controls::{HALTED, refusal, unnamed},
    engine::Engine,
};
use crate::{
    audit::record::{By, Confidence, Control, Finding, Record, Ruling},
    control::{
        protocol::{Reply, Request, SelfTest, SelfTestStatus, Tried},
        server::Peer,
    },
    kernel::KernelError,
    policy::{
        image::{AgentFacts, Compiled},
        tables::ImageTables,
        trial::{self, Trial},
    },
};

/// OCSF's highest severity.
const SEVERITY_FATAL: u8 = 6;

/// When it was last tested, and how often with which outcome.
#[derive(Debug, Default)]
pub(super) struct SelfTests {
    last: Option<(Instant, u64)>,
    passed: u64,
    failed: u64,
}

impl SelfTests {
    pub(super) fn status(&self, every_s: Option<u64>) -> SelfTestStatus {
        let last_ms = self.last.map(|(_, last_ms)| last_ms);
        SelfTestStatus { every_s, last_ms, passed: self.passed, failed: self.failed }
    }
}

impl Engine {
    /// Answers who asks for a self-test. `None` if the request is another.
    pub(super) fn answer_selftest(
        &mut self,
        request: &Request,
        peer: Option<Peer>,
    ) -> Option<Reply> {
        let Request::SelfTest { agent } = request else { return None };
        let by = self.by(peer);
        let tests = self.selftest(agent.as_deref(), Some(&by));
        let is_unknown = agent.is_some() && tests.is_empty();
        let hint = "`governd status` lists the agents and their modes";
        Some(if is_unknown { refusal("no such agent is enforced", hint) } else { ok(&tests) })
    }

    /// Tests as often as the host's policy says.
    pub(super) fn selftest_if_due(&mut self) {
        let Some(every_s) = self.state.policy().selftest_s else { return };
        let is_due = |(last, _): (Instant, u64)| last.elapsed().as_secs() >= every_s;
        if self.selftests.last.is_none_or(is_due) {
            self.selftest(None, None);
        }
    }

    fn selftest(&mut self, agent: Option<&str>, by: Option<&By>) -> Vec<SelfTest> {
        let policy = Arc::clone(self.state.policy());
        // Whom the kernel has quarantined by now reaches nothing.
        if let Err(error) = self.take_halted(&policy, HALTED) {
            tracing::warn!(%error, "what is quarantined cannot be read");
        }
        let controls = self.in_numbers(&policy);
        let mut tables = ImageTables::new(&policy.image).under(controls);
        let enforced = policy.agents.iter().filter(|known| {
            let is_meant = agent.is_none_or(|agent| *known.name == *agent);
            known.subject != 0 && known.mode == Mode::Enforce && is_meant
        });
        let mut tests = Vec::new();
        for known in enforced {
            let trial = trial::choose(&mut tables, &policy, known.subject, clock::boot_ns());
            let test = self.test(&policy, known, &trial);
            self.record_test(known, &test, by);
            tests.push(test);
        }
        // A person's look at one agent is not the one that the host's policy asks for.
        if agent.is_none() {
            self.selftests.last = Some((Instant::now(), clock::now_ms()));
        }
        tests
    }

    /// Asks the kernel, whatever it says becomes the outcome.
    fn test(&mut self, policy: &Compiled, agent: &AgentFacts, trial: &Trial) -> SelfTest {
        let allowed = trial.allowed.map(|allowed| {
            let rule = policy.sets.get(&allowed.set).map_or("", |text| &**text);
            let to = format!("{rule} port {}", allowed.to.port());
            tried(to, true, self.reach(agent.subject, &allowed))
        });
        let refused = trial
            .refused
            .map(|to| tried(to.to_string(), false, self.kernel.lets_pass(agent.subject, to)));
        let is_good = |tried: &Option<Tried>| tried.as_ref().is_none_or(|tried| tried.is_right);
        let passed = is_good(&allowed) && is_good(&refused);
        SelfTest { agent: agent.name.to_string(), passed, allowed, refused }
    }

    /// For a rule on a name, an address that nobody has stands for the name meanwhile.
    fn reach(&mut self, subject: u32, allowed: &trial::Allowed) -> Result<bool, KernelError> {
        if let Some(binding) = allowed.binding {
            self.kernel.rebind(&[binding])?;
        }
        let passes = self.kernel.lets_pass(subject, allowed.to);
        if let Some((key, _)) = allowed.binding {
            let none = Binding { sets: [BoundSet::UNUSED; BINDING_SETS_MAX] };
            self.kernel.rebind(&[(key, none)])?;
        }
        passes
    }

    fn record_test(&mut self, agent: &AgentFacts, test: &SelfTest, by: Option<&By>) {
        let who = by.map_or_else(|| "governd".to_owned(), unnamed);
        let words = in_short(test);
        let record = Control {
            operation: "selftest.run",
            ruling: if test.passed { Ruling::Tested } else { Ruling::TestFailed },
            agent: Some(Arc::clone(&agent.name)),
            destination: None,
            correlation: None,
            by: by.cloned(),
            actor: None,
            message: format!("{who} tests {}: {words}", agent.name).into(),
        };
        self.journal.record(Record::Control(record), None);
        if test.passed {
            self.selftests.passed += 1;
            return;
        }
        self.selftests.failed += 1;
        tracing::error!(agent = &*agent.name, words, "a self-test failed");
        let finding = Finding {
            kind: "selftest-failed".into(),
            uid: format!("selftest-failed/{}", agent.name).into(),
            title: format!("the self-test of {} failed: {words}", agent.name).into(),
            severity: SEVERITY_FATAL,
            confidence: Confidence::High,
            first_seen_ms: clock::now_ms(),
            subject: Some(self.state.subject(agent.subject)),
            actor: None,
            destination: None,
            evidence: vec![words],
        };
        self.journal.record(Record::Finding(finding), None);
    }
}

/// An outcome, beside what was expected.
fn tried(to: String, expected: bool, passes: Result<bool, KernelError>) -> Tried {
    match passes {
        Ok(passes) => Tried { to, is_right: passes == expected, error: None },
        Err(error) => {
            let source = std::error::Error::source(&error);
            let cause = source.map_or_else(String::new, |source| format!(": {source}"));
            Tried { to, is_right: false, error: Some(format!("{error}{cause}")) }
        }
    }
}

/// Both outcomes in one line.
fn in_short(test: &SelfTest) -> String {
    let word = |tried: &Option<Tried>, [right, wrong]: [&str; 2], nothing: &str| match tried {
        None => nothing.to_owned(),
        Some(Tried { to, error: Some(error), .. }) => format!("{to}: {error}"),
        Some(Tried { to, is_right: true, .. }) => format!("{to} {right}"),
        Some(Tried { to, .. }) => format!("{to} {wrong}"),
    };
    let allowed = word(&test.allowed, ["passes", "is refused"], "nothing that it may reach");
    let refused = word(&test.refused, ["is refused", "passes"], "nothing that is only refused");
    format!("{allowed}; {refused}")
}
