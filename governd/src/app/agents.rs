//! Answers about agents: the list, one of them with all that is known of it, and the coverage.

use std::collections::BTreeMap;

use super::{
    answers::{mode_word, ok},
    declared::Declared,
    engine::Engine,
};
use crate::{
    control::{
        inventory::{
            AgentDetail, AgentSummary, AgentsReport, AncestorRow, Coverage, EndpointRow,
            EvidenceRow, PolicyRow, ProcessRow, RuleRow, WorkloadRow,
        },
        protocol::{ErrorKind, Reply},
    },
    core::{
        inventory::{Agent, EndpointSeen, Evidence, Instance, Standing},
        workload::Workload,
    },
    policy::image::AgentFacts,
};

impl Engine {
    /// Every agent and candidate, those seen last first.
    pub(super) fn agents(&self) -> Reply {
        let mut agents: Vec<AgentSummary> =
            self.discovery.inventory.agents().map(summary).collect();
        agents.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.id.cmp(&b.id)));
        ok(&AgentsReport { coverage: self.coverage(), agents })
    }

    /// One agent, by its id, the beginning of it, or a name that no other has.
    pub(super) fn agent(&self, wanted: &str) -> Reply {
        let refused = |message: String, hint: String| Reply::Error {
            message,
            hint: Some(hint),
            kind: ErrorKind::NotFound,
        };
        let found = self.agents_called(wanted);
        match found[..] {
            [agent] => ok(&self.detail(agent)),
            [] => refused(
                format!("no agent is called {wanted}"),
                "`governd agents --candidates` lists all that were seen".into(),
            ),
            _ => {
                let ids: Vec<&str> = found.iter().map(|agent| &*agent.id).collect();
                refused(
                    format!("{} agents are called {wanted}", ids.len()),
                    format!("name one by its id: {}", ids.join(", ")),
                )
            }
        }
    }

    /// By id, the beginning of it, or name.
    pub(super) fn agents_called(&self, wanted: &str) -> Vec<&Agent> {
        let inventory = &self.discovery.inventory;
        if let Some(agent) = inventory.agent(wanted) {
            return vec![agent];
        }
        let is_id = |agent: &&Agent| {
            let digits = agent.id.strip_prefix("agent-").unwrap_or(&agent.id);
            wanted.len() >= 4 && (agent.id.starts_with(wanted) || digits.starts_with(wanted))
        };
        let by_id: Vec<&Agent> = inventory.agents().filter(is_id).collect();
        if !by_id.is_empty() {
            return by_id;
        }
        let is_name = |agent: &&Agent| {
            *agent.name == *wanted || agent.registered_as.as_deref() == Some(wanted)
        };
        inventory.agents().filter(is_name).collect()
    }

    fn coverage(&self) -> Coverage {
        let inventory = &self.discovery.inventory;
        let counts = inventory.coverage();
        let percent = |part: u64| {
            (counts.agents > 0)
                .then(|| (part as f64 * 1000.0 / counts.agents as f64).round() / 10.0)
        };
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        let is_agent = |agent: &&Agent| agent.standing == Standing::Agent;
        for agent in inventory.agents().filter(is_agent) {
            *states.entry(agent.state.word().to_owned()).or_default() += 1;
        }
        let documents = self.state.policy().agents.iter().filter(|facts| facts.subject != 0);
        let is_seen = |facts: &AgentFacts| {
            inventory.agents().any(|agent| agent.registered_as.as_deref() == Some(&*facts.name))
        };
        Coverage {
            agents: counts.agents,
            candidates: inventory.agents().count() as u64 - counts.agents,
            registered: counts.registered,
            approved: counts.approved,
            enforced: counts.enforced,
            registered_percent: percent(counts.registered),
            approved_percent: percent(counts.approved),
            enforced_percent: percent(counts.enforced),
            states,
            unseen: documents
                .filter(|facts| !is_seen(facts))
                .map(|facts| facts.name.to_string())
                .collect(),
        }
    }

    fn detail(&self, agent: &Agent) -> AgentDetail {
        let inventory = &self.discovery.inventory;
        let is_child = |other: &&Agent| other.parent.as_ref() == Some(&agent.id);
        let facts = agent.subject.and_then(|subject| self.state.policy().agent(subject));
        AgentDetail {
            summary: summary(agent),
            program: agent.key.program.clone(),
            image: self.image_of(agent),
            sha256: agent.digest.as_deref().map(str::to_owned),
            script: agent.program.script.as_deref().map(str::to_owned),
            script_sha256: agent.program.sha256.as_deref().map(str::to_owned),
            version: agent.program.version.as_deref().map(str::to_owned),
            parent: agent.parent.as_deref().map(str::to_owned),
            children: inventory.agents().filter(is_child).map(|it| it.id.to_string()).collect(),
            evidence: agent.evidence.iter().map(evidence).collect(),
            latest: agent.latest.as_ref().map(|latest| self.process(latest)),
            processes: agent.instances.iter().map(|one| self.process(one)).collect(),
            endpoints: self.endpoints(agent),
            endpoints_dropped: agent.endpoints_dropped,
            policy: facts.map(|facts| self.policy_row(facts)),
        }
    }

    fn policy_row(&self, facts: &AgentFacts) -> PolicyRow {
        let approval = &facts.approval;
        let rules = self.state.policy().rules.iter().filter(|rule| rule.subject == facts.subject);
        let source = rules.clone().find_map(|rule| rule.source.as_ref());
        PolicyRow {
            document: facts.name.to_string(),
            source: source.map(|(file, line)| format!("{file}:{line}")),
            mode: mode_word(facts.mode).into(),
            owner: facts.owner.as_deref().map(str::to_owned),
            page: facts.page.as_deref().map(str::to_owned),
            sponsor: facts.sponsor.as_deref().map(str::to_owned),
            risk: facts.risk.map(|risk| risk.word().to_owned()),
            approval: approval.words(),
            review_by: approval.review_by.map(|day| day.to_string()),
            sha256: approval.digests.iter().map(|one| one.as_str().to_owned()).collect(),
            scripts: approval.scripts.iter().map(|one| one.as_str().to_owned()).collect(),
            images: approval.images.iter().map(|one| one.as_str().to_owned()).collect(),
            versions: approval.versions.iter().map(|one| one.as_str().to_owned()).collect(),
            via: approval.via.iter().map(ToString::to_string).collect(),
            limits: self
                .limit_rows()
                .unwrap_or_default()
                .remove(&facts.subject)
                .unwrap_or_default(),
            rules: rules
                .map(|rule| RuleRow { id: rule.id.to_string(), text: rule.text.to_string() })
                .collect(),
        }
    }

    /// What it reached for, beside what its document allows now.
    fn endpoints(&self, agent: &Agent) -> Vec<EndpointRow> {
        let policy = self.state.policy();
        let declared = Declared::new(&policy.image, agent.endpoints.values());
        let is_outside = |seen: &EndpointSeen| {
            agent.subject.is_some_and(|subject| !declared.allows(subject, seen))
        };
        agent.endpoints.values().map(|seen| endpoint(seen, is_outside(seen))).collect()
    }

    fn process(&self, instance: &Instance) -> ProcessRow {
        let process = &instance.actor.process;
        let stat = self.discovery.stat(instance);
        let lineage = instance.actor.lineage.iter().map(|ancestor| AncestorRow {
            pid: ancestor.pid,
            name: ancestor.name.clone(),
            exe: ancestor.exe.as_ref().map(|path| path.display().to_string()),
        });
        let user = process.user.as_deref().map(str::to_owned);
        ProcessRow {
            pid: process.pid,
            name: process.name.clone(),
            exe: process.exe.as_ref().map(|exe| exe.path.display().to_string()),
            args: process.args.as_ref().map(|args| args.to_vec()),
            user: user.or_else(|| process.uid.map(|uid| uid.to_string())),
            cgroup: process.cgroup.as_deref().map(str::to_owned),
            login_uid: process.login.uid,
            login_session: process.login.session,
            session: stat.map(|stat| stat.session),
            workload: process.workload.as_deref().map(workload),
            trace_id: process.trace.as_deref().map(str::to_owned),
            first_ms: instance.first_ms,
            lineage: lineage.collect(),
        }
    }
}

fn workload(workload: &Workload) -> WorkloadRow {
    let text = |text: &str| text.to_owned();
    let container = workload.container.as_ref();
    let (image, facts) = (workload.image(), workload.pod_facts.get());
    let name = workload.pod_name();
    WorkloadRow {
        unit: workload.unit.clone(),
        user_unit: workload.user_unit.clone(),
        runtime: container.map(|container| text(container.runtime.word())),
        container: container.map(|container| container.id.clone()),
        image: image.map(|image| text(&image.name)),
        image_digest: image.and_then(|image| image.digest.as_deref().map(text)),
        pod_uid: workload.pod.clone(),
        namespace: name.map(|(namespace, _)| text(namespace)),
        pod: name.map(|(_, name)| text(name)),
        service_account: facts.and_then(|facts| facts.service_account.as_deref().map(text)),
        controller: facts.and_then(|facts| facts.controller.as_deref().map(text)),
        labels: facts.map(|facts| facts.labels.clone()).unwrap_or_default(),
    }
}

fn summary(agent: &Agent) -> AgentSummary {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let process = agent.latest.as_ref().map(|latest| &latest.actor.process);
    let user = process.and_then(|process| text(&process.user));
    let mut providers: Vec<String> =
        agent.endpoints.values().filter_map(|seen| text(&seen.provider)).collect();
    providers.sort_unstable();
    providers.dedup();
    AgentSummary {
        id: agent.id.to_string(),
        name: agent.name.to_string(),
        kind: agent.kind.map(|kind| kind.word().to_owned()),
        standing: agent.standing.word().into(),
        state: agent.state.word().into(),
        reason: text(&agent.reason),
        document: text(&agent.registered_as),
        owner: text(&agent.owner),
        user: user.or_else(|| agent.key.uid.map(|uid| uid.to_string())),
        place: agent.key.place.clone(),
        confidence: agent.confidence,
        processes: agent.instances.len() as u64,
        processes_total: agent.instances_total,
        endpoints: agent.endpoints.len() as u64,
        providers,
        first_ms: agent.first_ms,
        last_ms: agent.last_ms,
    }
}

fn evidence(one: &Evidence) -> EvidenceRow {
    EvidenceRow {
        signal: one.signal.word().into(),
        name: one.name.clone(),
        value: one.value.clone(),
        weight: one.weight.word().into(),
        source: one.source.clone(),
        count: one.count,
        first_ms: one.first_ms,
        last_ms: one.last_ms,
    }
}

fn endpoint(seen: &EndpointSeen, outside: bool) -> EndpointRow {
    EndpointRow {
        host: seen.host.clone(),
        address: seen.address.to_string(),
        port: seen.port,
        provider: seen.provider.as_deref().map(str::to_owned),
        count: seen.count,
        denied: seen.denied,
        sent_bytes: seen.sent_bytes.saturating_add(seen.open.sent_bytes),
        received_bytes: seen.received_bytes.saturating_add(seen.open.received_bytes),
        outside,
        first_ms: seen.first_ms,
        last_ms: seen.last_ms,
    }
}
