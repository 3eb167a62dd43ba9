//! States of agents, what brings each about, and findings about contacts.

use std::collections::HashMap;

use governd_common::verdict::Mode;

use super::*;
use crate::{
    core::{tools::Server, workload::Image},
    policy::{
        image::AgentFacts,
        model::{Approval, Person},
        value::{
            Mail,
            approval::{Day, ImageDigest, Sha256, Version},
            name::HostPattern,
        },
    },
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// 2026-11-21T00:00:00Z.
const NOW_MS: u64 = 1_795_219_200_000;

fn facts(approval: Approval) -> AgentFacts {
    AgentFacts {
        owner: Some("Dana".into()),
        approval,
        ..AgentFacts::unknown(1, "invoice-bot", Mode::Enforce)
    }
}

/// A host on which a registered bot runs.
fn host(approval: Approval) -> (Host, Program) {
    let mut host = Host { now_ms: NOW_MS, ..Host::new() };
    host.inventory.set_registered(&[facts(approval)], &|_, _| false, NOW_MS);
    let mut bot = program(10, "/opt/bot/bin/bot", "bot");
    bot.subject = 1;
    assert_eq!(host.runs(&bot), [ChangeKind::Found]);
    (host, bot)
}

impl Host {
    fn state(&self, pid: u32) -> (AgentState, String) {
        let agent = self.inventory.agent_of(pid).unwrap();
        (agent.state, agent.reason.as_deref().unwrap_or_default().to_owned())
    }

    fn refused(&mut self, program: &Program, name: &str) -> Vec<ChangeKind> {
        self.now_ms += 1;
        let address = "203.0.113.7".parse().unwrap();
        let contact = Contact { name: Some(name), address, port: 443, is_denied: true };
        kinds(self.inventory.observe_contact(&program.sighting(), &contact, self.now_ms))
    }
}

fn from(state: AgentState) -> Vec<ChangeKind> {
    vec![ChangeKind::State { from: state }]
}

#[test]
fn another_executable_than_the_approved_one_is_drift() {
    let [approved, other] = ["a", "b"].map(|digit| Arc::<str>::from(digit.repeat(64)));
    let digests = vec![Sha256::parse(&approved).unwrap()];
    let (mut host, bot) = host(Approval { digests, ..Approval::default() });
    let id = Arc::clone(&host.inventory.agent_of(10).unwrap().id);
    assert_eq!(host.state(10).0, AgentState::Approved);
    assert!(host.inventory.observe_digest(&id, &approved, NOW_MS).is_empty());
    let changes = host.inventory.observe_digest(&id, &other, NOW_MS);
    assert_eq!(kinds(changes.clone()), from(AgentState::Approved));
    let finding = changes[0].finding();
    assert_eq!((&*finding.kind, finding.severity), ("agent-state", 4));
    assert!(finding.title.contains("was approved and is drifted"), "{}", finding.title);
    assert!(finding.evidence[0].contains("bbbbbbbbbbbbbbbb"), "{:?}", finding.evidence);
    // It stays so until the approved one runs again, whatever else is observed.
    assert_eq!(host.runs(&bot), []);
    let changes = host.inventory.observe_digest(&id, &approved, NOW_MS);
    assert_eq!(kinds(changes), from(AgentState::Drifted));
    assert!(host.inventory.observe_digest("agent-000000000000", &other, NOW_MS).is_empty());
}

#[test]
fn another_image_or_version_than_the_approved_one_is_drift_and_an_unknown_one_is_not() {
    let [approved, other] = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let images = vec![ImageDigest::parse(&approved).unwrap()];
    let versions = vec![Version::parse("1.2").unwrap()];
    let (mut host, _) = host(Approval { images, versions, ..Approval::default() });
    let id = Arc::clone(&host.inventory.agent_of(10).unwrap().id);
    let rows = [
        ("registry.example:5000/bot:1.2", Some(&approved), AgentState::Approved),
        ("registry.example:5000/bot:1.3", Some(&approved), AgentState::Drifted),
        ("registry.example:5000/bot", None, AgentState::Approved),
        ("bot:1.2", Some(&other), AgentState::Drifted),
        ("bot@sha256:1234", Some(&approved), AgentState::Approved),
    ];
    for (name, digest, state) in rows {
        let digest = digest.map(|digest| digest.as_str().into());
        let image = Image { name: name.into(), digest };
        host.inventory.observe_container(&id, &image, NOW_MS);
        assert_eq!(host.state(10).0, state, "{name}");
    }
}

#[test]
fn another_script_or_version_of_its_package_is_drift_and_an_unknown_one_is_not() {
    let [approved, other] = ["a", "b"].map(|digit| Arc::<str>::from(digit.repeat(64)));
    let scripts = vec![Sha256::parse(&approved).unwrap()];
    let versions = vec![Version::parse("1.2").unwrap()];
    let (mut host, _) = host(Approval { scripts, versions, ..Approval::default() });
    let id = Arc::clone(&host.inventory.agent_of(10).unwrap().id);
    for (sha256, version, reason) in [
        (Some(&approved), Some("1.2"), ""),
        (None, None, ""),
        (Some(&other), Some("1.2"), "/opt/bot.py has the SHA-256 bbbbbbbbbbbbbbbb, which"),
        (Some(&approved), Some("1.3"), "its version is 1.3, which invoice-bot does not list"),
        (Some(&approved), None, ""),
    ] {
        let (script, sha256) = (Some("/opt/bot.py".into()), sha256.cloned());
        let program =
            crate::core::inventory::Program { script, sha256, version: version.map(Into::into) };
        host.inventory.observe_program(&id, &program, NOW_MS);
        let (state, said) = host.state(10);
        let expected = if reason.is_empty() { AgentState::Approved } else { AgentState::Drifted };
        assert_eq!(state, expected, "{said}");
        assert!(said.starts_with(reason), "{said}");
    }
    // A package inside a container has a version of its own.
    let image = Image { name: "bot:1.2".into(), digest: None };
    let program =
        crate::core::inventory::Program { version: Some("9".into()), ..Default::default() };
    host.inventory.observe_program(&id, &program, NOW_MS);
    assert_eq!(host.state(10).0, AgentState::Drifted);
    host.inventory.observe_container(&id, &image, NOW_MS);
    assert_eq!(host.state(10).0, AgentState::Approved);
}

#[test]
fn what_the_document_does_not_allow_is_out_of_scope_until_it_does() {
    let (mut host, bot) = host(Approval::default());
    assert_eq!(host.contacts(&bot, "left.example"), []);
    assert_eq!(host.refused(&bot, "exfil.example"), from(AgentState::Approved));
    assert_eq!(host.refused(&bot, "exfil.example"), []);
    let (state, reason) = host.state(10);
    assert_eq!(state, AgentState::OutOfScope);
    assert_eq!(reason, "it tried exfil.example:443, which invoice-bot does not allow");
    let agents = [facts(Approval::default())];
    // Another policy that does not allow it either.
    assert!(host.inventory.set_registered(&agents, &|_, _| false, NOW_MS + 9).is_empty());
    let allowed = |subject: u32, seen: &EndpointSeen| subject == 1 && seen.host == "exfil.example";
    let changes = host.inventory.set_registered(&agents, &allowed, NOW_MS + 9);
    assert_eq!(kinds(changes), from(AgentState::OutOfScope));
    // A week after the last try it is over too.
    assert_eq!(host.refused(&bot, "exfil.example"), from(AgentState::Approved));
    let later = host.now_ms + OUTSIDE_MS;
    assert_eq!(kinds(host.inventory.reassess_all(later)), from(AgentState::OutOfScope));
}

#[test]
fn approvals_end_and_agents_go_out_of_sight() {
    let review_by = Some(Day::parse("2026-11-21").unwrap());
    let (mut host, _) = host(Approval { review_by, ..Approval::default() });
    assert!(host.inventory.reassess_all(NOW_MS + DAY_MS - 1).is_empty());
    let changes = host.inventory.reassess_all(NOW_MS + DAY_MS);
    assert_eq!(kinds(changes), from(AgentState::Approved));
    assert_eq!(host.state(10).1, "its approval was to be reviewed by 2026-11-21");
    let agents = [facts(Approval::default())];
    let changes = host.inventory.set_registered(&agents, &|_, _| false, NOW_MS + DAY_MS);
    assert_eq!(kinds(changes), from(AgentState::Expired));
    // While it runs it is not stale, however quiet.
    assert!(host.inventory.reassess_all(NOW_MS + 2 * STALE_MS).is_empty());
    host.inventory.observe_exit(10);
    let changes = host.inventory.reassess_all(NOW_MS + 2 * STALE_MS);
    assert_eq!(kinds(changes), from(AgentState::Approved));
    let agent = host.inventory.agents().next().unwrap();
    assert_eq!(agent.state, AgentState::Stale);
    assert_eq!(agent.reason.as_deref(), Some("nothing was seen of it for 59 days"));
}

#[test]
fn that_an_approval_ends_is_seen_in_a_flood_of_connections() {
    let review_by = Some(Day::parse("2026-11-21").unwrap());
    let (mut host, bot) = host(Approval { review_by, ..Approval::default() });
    host.now_ms = NOW_MS + DAY_MS - 4;
    for _ in 0..3 {
        assert_eq!(host.contacts(&bot, "left.example"), []);
    }
    assert_eq!(host.contacts(&bot, "left.example"), from(AgentState::Approved));
    assert_eq!(host.state(10).0, AgentState::Expired);
}

#[test]
fn a_running_agent_is_registered_by_the_document_that_comes_later() {
    let mut host = Host::new();
    let codex = program(11, "/usr/local/bin/codex", "codex");
    assert_eq!(host.runs(&codex), [ChangeKind::Found]);
    assert_eq!(host.state(11).0, AgentState::Shadow);
    let agents = [facts(Approval::default())];
    assert!(host.inventory.set_registered(&agents, &|_, _| false, 2).is_empty());
    let subjects = |subject| HashMap::from([(11, subject), (12, 5)]);
    let changes = host.inventory.observe_subjects(&subjects(1), 3);
    assert_eq!(kinds(changes), from(AgentState::Shadow));
    assert_eq!(host.inventory.agent_of(11).unwrap().owner.as_deref(), Some("Dana"));
    let coverage = Coverage { agents: 1, registered: 1, approved: 0, enforced: 1 };
    assert_eq!(host.inventory.coverage(), coverage);
    assert_eq!(host.state(11).1, "invoice-bot does not say who approved it, and when");
    // Who approved it, and when, is what an approval is.
    let mail = Mail::parse("lee@acme.example").unwrap();
    let by = Some(Person { name: "Lee".into(), mail });
    let approval = Approval { by, on: Day::parse("2026-10-01").ok(), ..Approval::default() };
    assert!(host.inventory.set_registered(&[facts(approval)], &|_, _| false, 3).is_empty());
    assert_eq!(host.state(11), (AgentState::Approved, String::new()));
    assert_eq!(host.inventory.coverage(), Coverage { approved: 1, ..coverage });
    // The document stays and claims it no more: nobody registered it.
    let changes = host.inventory.observe_subjects(&subjects(0), 4);
    assert_eq!(kinds(changes), from(AgentState::Approved));
    assert_eq!(host.state(11).0, AgentState::Shadow);
    let coverage = Coverage { agents: 1, ..Coverage::default() };
    assert_eq!(host.inventory.coverage(), coverage);
}

#[test]
fn what_a_registered_agent_starts_is_no_agent_of_its_own() {
    let (mut host, bot) = host(Approval::default());
    let part = |pid, exe: &str, line: &str, parent: &Program| {
        let mut part = program(pid, exe, line).started_by(parent);
        part.subject = 1;
        part
    };
    let shell = part(20, "/usr/bin/dash", "sh -c x", &bot);
    let curl = part(21, "/usr/bin/curl", "curl https://exfil.example", &shell);
    assert_eq!((host.runs(&shell), host.runs(&curl)), (vec![], vec![]));
    assert_eq!(host.refused(&curl, "exfil.example"), from(AgentState::Approved));
    // The bot itself becomes something else, and its orphans go on.
    let mut tail = part(10, "/usr/bin/tail", "tail -f x", &bot);
    Arc::make_mut(&mut tail.actor.process).started_ns = bot.actor.process.started_ns;
    assert_eq!(host.runs(&tail), []);
    host.inventory.observe_exit(10);
    let orphan = part(22, "/usr/bin/curl", "curl https://exfil.example", &program(1, "/i", "i"));
    assert_eq!((host.runs(&orphan), host.refused(&orphan, "exfil.example")), (vec![], vec![]));
    assert_eq!(host.holds(), ["bot - Agent"]);
    let agent = host.inventory.agents().next().unwrap();
    assert_eq!(agent.endpoints[&("exfil.example".to_owned(), 443)].denied, 2);
    // A coding agent that it starts is one of its own, of the same document.
    let codex = part(23, "/usr/local/bin/codex", "codex exec", &bot);
    assert_eq!(host.runs(&codex), [ChangeKind::Found]);
    assert_eq!(host.holds(), ["bot - Agent", "codex coding-agent Agent"]);
}

#[test]
fn going_around_the_gateway_and_hidden_dns_are_findings_once_each() {
    let via = vec![HostPattern::parse("*.gateway.acme.example").unwrap()];
    let (mut host, bot) = host(Approval { via, ..Approval::default() });
    let bypass = |host: &str| ChangeKind::GatewayBypass { host: host.into() };
    let hidden = |protocol, host: &str| ChangeKind::HiddenDns { protocol, host: host.into() };
    assert_eq!(host.contacts(&bot, "llm.gateway.acme.example"), []);
    let changes = host.contacts(&bot, "API.openai.com");
    assert!(changes.contains(&bypass("api.openai.com")), "{changes:?}");
    assert_eq!(host.contacts(&bot, "api.openai.com"), []);
    let changes = host.contacts(&bot, "dns.google");
    assert!(changes.contains(&hidden("HTTPS", "dns.google")), "{changes:?}");
    assert_eq!(host.contacts(&bot, "dns.google"), []);
    assert_eq!(host.connects(&bot, None, "192.0.2.1", 853), [hidden("TLS", "192.0.2.1")]);
    assert_eq!(host.connects(&bot, None, "192.0.2.1", 853), []);
    // Public resolvers are known by address, too.
    assert_eq!(host.connects(&bot, None, "1.1.1.1", 443), [hidden("HTTPS", "1.1.1.1")]);
    assert_eq!(host.connects(&bot, None, "1.1.1.1", 53), []);
    // Software that is no agent may resolve as it likes, and agents without a gateway may call.
    let resolver = program(30, "/usr/sbin/unbound", "unbound");
    assert_eq!(host.connects(&resolver, Some("dns.google"), "192.0.2.1", 853), []);
    let codex = program(31, "/usr/local/bin/codex", "codex");
    host.runs(&codex);
    assert_eq!(host.contacts(&codex, "api.openai.com"), provider("openai"));
}

#[test]
fn an_encrypted_hello_of_an_agent_is_a_finding_and_a_browsers_is_none() {
    let (mut host, bot) = host(Approval::default());
    let mut says = |program: &Program, name: Option<&str>| {
        let address = "203.0.113.7".parse().unwrap();
        let contact = Contact { name, address, port: 443, is_denied: false };
        let changes = host.inventory.observe_encrypted_hello(&program.sighting(), &contact, 5);
        changes.into_iter().map(|change| change.kind).collect::<Vec<_>>()
    };
    let found = |host: &str| [ChangeKind::EncryptedHello { host: host.into() }];
    assert_eq!(says(&bot, Some("Outer.example")), found("outer.example"));
    assert_eq!(says(&bot, Some("outer.example")), []);
    assert_eq!(says(&bot, None), found("203.0.113.7"));
    let curl = program(40, "/usr/bin/curl", "curl").started_by(&bot);
    assert_eq!(says(&curl, Some("inner.example")), found("inner.example"));
    let browser = program(41, "/usr/lib/chromium/chromium", "chromium").started_by(&bot);
    let stranger = program(42, "/usr/bin/wget", "wget");
    assert_eq!(says(&browser, Some("a.example")), []);
    assert_eq!(says(&stranger, Some("a.example")), []);
}

#[test]
fn agents_of_a_container_are_called_by_its_image_once_that_is_known() {
    let mut host = Host::new();
    let mut seen = |pid: u32, place: &str| {
        let codex = program(pid, "/usr/local/bin/codex", "codex");
        let sighting = Sighting { place: Some(place), ..codex.sighting() };
        host.inventory.observe_process(&sighting, u64::from(pid));
        let address = "203.0.113.7".parse().unwrap();
        let name = Some("api.openai.com");
        let contact = Contact { name, address, port: 443, is_denied: false };
        host.inventory.observe_contact(&sighting, &contact, u64::from(pid));
    };
    seen(10, "docker:aaaa");
    seen(11, "docker:bbbb");
    seen(12, "docker:cccc");
    host.inventory.writes(usize::MAX);
    host.inventory.observe_image("docker:aaaa", "image acme/bot:1");
    host.inventory.observe_image("docker:bbbb", "image acme/bot:1");
    let places: Vec<Option<&str>> =
        host.inventory.agents().map(|agent| agent.key.place.as_deref()).collect();
    assert_eq!(places.len(), 2, "{places:?}");
    let agent = host.inventory.agent_of(10).unwrap();
    assert_eq!(agent.id, host.inventory.agent_of(11).unwrap().id);
    assert_eq!(agent.key.id(), agent.id);
    assert_eq!((agent.instances.len(), agent.instances_total), (2, 2));
    assert_eq!((agent.first_ms, agent.last_ms), (10, 11));
    assert_eq!(agent.endpoints[&("api.openai.com".to_owned(), 443)].count, 2);
    assert_eq!(agent.latest.as_ref().unwrap().actor.process.pid, 11);
    assert_eq!(host.inventory.agent_of(12).unwrap().key.place.as_deref(), Some("docker:cccc"));
    // The file forgets the old names and learns the new one.
    let writes = host.inventory.writes(usize::MAX);
    let forgotten = writes.iter().filter(|write| matches!(write, Write::Forget(_))).count();
    assert_eq!((writes.len(), forgotten), (3, 2));
}

#[test]
fn what_is_configured_is_evidence_and_no_record_has_its_words() {
    let mut host = Host::new();
    let codex = program(11, "/usr/local/bin/codex", "codex");
    assert_eq!(host.runs(&codex), [ChangeKind::Found]);
    let agent = host.inventory.agent_of(11).unwrap();
    let (id, before) = (Arc::clone(&agent.id), agent.confidence);
    let server = Server { name: "danas-notes".into(), what: "@acme/notes-mcp".into() };
    let servers = [("~/.codex/config.toml".to_owned(), server)];
    assert!(host.inventory.observe_tools(&id, &[], 2).is_empty());
    assert!(host.inventory.observe_tools("agent-gone", &servers, 2).is_empty());
    assert!(host.inventory.observe_tools(&id, &servers, 2).is_empty());
    assert!(host.inventory.observe_tools(&id, &servers, 3).is_empty());
    let agent = host.inventory.agent(&id).unwrap();
    let found: Vec<&Evidence> =
        agent.evidence.iter().filter(|one| one.signal == Signal::Configuration).collect();
    let [one] = found[..] else { panic!("{found:?}") };
    assert_eq!((&*one.value, one.count), ("danas-notes: @acme/notes-mcp", 2));
    assert_eq!(one.line(), "mcp-configuration (mcp, weak, seen 2 times, ~/.codex/config.toml)");
    assert!(agent.confidence >= before, "{} {before}", agent.confidence);
}
