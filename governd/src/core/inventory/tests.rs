use std::{path::PathBuf, sync::LazyLock};

use super::*;
use crate::{
    core::process::{Ancestor, Exe, Process},
    policy::image::AgentFacts,
};
use governd_common::verdict::Mode;

mod states;
mod traffic;

static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(|| Arc::new(Catalog::built_in()));

/// One host with its processes.
struct Host {
    inventory: Inventory,
    now_ms: u64,
}

/// A process and what its environment names.
struct Program {
    actor: Actor,
    environment: Vec<String>,
    subject: u32,
}

fn program(pid: u32, exe: &str, line: &str) -> Program {
    let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let process = Process {
        pid,
        started_ns: u64::from(pid) * 1_000_000_000,
        name: exe.rsplit('/').next().unwrap().to_owned(),
        exe: Some(Exe { path: PathBuf::from(exe), device: 1, inode: u64::from(pid) }),
        args: Some(args.into()),
        uid: Some(1000),
        ..Process::default()
    };
    let actor = Actor { process: Arc::new(process), lineage: Arc::new([]) };
    Program { actor, environment: Vec::new(), subject: 0 }
}

impl Program {
    fn with_environment(mut self, names: &[&str]) -> Self {
        self.environment = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn started_by(mut self, parent: &Program) -> Self {
        let process = &parent.actor.process;
        let own = Ancestor {
            pid: process.pid,
            name: process.name.clone(),
            exe: process.exe.as_ref().map(|exe| exe.path.clone()),
        };
        let above = parent.actor.lineage.iter().cloned();
        self.actor.lineage = std::iter::once(own).chain(above).collect();
        self
    }

    fn sighting(&self) -> Sighting<'_> {
        Sighting {
            actor: &self.actor,
            place: None,
            environment: &self.environment,
            subject: self.subject,
        }
    }
}

impl Host {
    fn new() -> Self {
        Self { inventory: Inventory::new(Arc::clone(&CATALOG)), now_ms: 1_000 }
    }

    fn runs(&mut self, program: &Program) -> Vec<ChangeKind> {
        self.now_ms += 1;
        kinds(self.inventory.observe_process(&program.sighting(), self.now_ms))
    }

    fn contacts(&mut self, program: &Program, name: &str) -> Vec<ChangeKind> {
        self.connects(program, Some(name), "203.0.113.7", 443)
    }

    fn connects(
        &mut self,
        program: &Program,
        name: Option<&str>,
        address: &str,
        port: u16,
    ) -> Vec<ChangeKind> {
        self.now_ms += 1;
        let address = address.parse().unwrap();
        let contact = Contact { name, address, port, is_denied: false };
        kinds(self.inventory.observe_contact(&program.sighting(), &contact, self.now_ms))
    }

    fn listens(&mut self, program: &Program, port: u16) -> Vec<ChangeKind> {
        self.now_ms += 1;
        kinds(self.inventory.observe_listener(&program.sighting(), port, self.now_ms))
    }

    /// Names, kinds and standings of everything that the inventory holds.
    fn holds(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .inventory
            .agents()
            .map(|agent| {
                let kind = agent.kind.map_or("-", |kind| kind.word());
                format!("{} {kind} {:?}", agent.name, agent.standing)
            })
            .collect();
        lines.sort_unstable();
        lines
    }
}

fn kinds(changes: Vec<Change>) -> Vec<ChangeKind> {
    changes.into_iter().map(|change| change.kind).collect()
}

fn provider(name: &str) -> Vec<ChangeKind> {
    vec![ChangeKind::NewProvider { provider: name.into() }]
}

#[test]
fn known_runtimes_are_agents_as_soon_as_they_are_seen() {
    let node = "/usr/bin/node";
    let python = "/opt/venv/bin/python3.11";
    let rows = [
        ("/home/me/.local/share/claude/versions/2.1.0", "claude", "claude-code coding-agent"),
        ("/usr/local/bin/claude", "claude --resume", "claude-code coding-agent"),
        (
            node,
            "node /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js",
            "claude-code coding-agent",
        ),
        (node, "node /usr/local/bin/claude", "claude-code coding-agent"),
        (node, "claude", "claude-code coding-agent"),
        ("/usr/local/bin/codex", "codex exec fix", "codex coding-agent"),
        (node, "npm exec @openai/codex", "codex coding-agent"),
        (node, "node /x/node_modules/.bin/codex", "codex coding-agent"),
        (
            "/x/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
            "claude",
            "claude-code coding-agent",
        ),
        ("/x/node_modules/opencode-ai/bin/opencode.exe", "opencode", "opencode coding-agent"),
        ("/x/node_modules/opencode-ai/bin/opencode", "opencode", "opencode coding-agent"),
        ("/usr/local/bin/ollama", "/usr/local/bin/ollama serve", "ollama local-model-server"),
        (python, "python3 -m crewai run", "crewai-cli agent-platform"),
        (python, "python3 /opt/venv/bin/aider", "aider coding-agent"),
        (python, "python3 -m vllm.entrypoints.openai.api_server", "vllm local-model-server"),
        (
            node,
            "npm exec @modelcontextprotocol/server-filesystem@2026.1.1 /tmp",
            "@modelcontextprotocol/server-filesystem mcp-server",
        ),
        (
            node,
            "node /r/.npm/_npx/1/node_modules/.bin/mcp-server-filesystem /tmp",
            "mcp-server-filesystem mcp-server",
        ),
        ("/usr/bin/uv", "uv tool run mcp-server-time", "mcp-server-time mcp-server"),
        (python, "python3 /srv/uv/archive-v0/x/bin/mcp-server-time", "mcp-server-time mcp-server"),
        ("/usr/bin/bash", "bash /usr/local/bin/claude", "claude-code coding-agent"),
    ];
    for (pid, (exe, line, expected)) in (10..).zip(rows) {
        let mut host = Host::new();
        assert_eq!(host.runs(&program(pid, exe, line)), [ChangeKind::Found], "{line}");
        let held = host.holds();
        assert_eq!(held, [format!("{expected} Agent")], "{line}");
    }
}

#[test]
fn scripts_are_agents_once_they_contact_a_model() {
    let mut host = Host::new();
    let script = program(10, "/opt/venv/bin/python3.11", "python3 /srv/invoice/agent.py");
    assert_eq!(host.runs(&script), []);
    assert_eq!(host.contacts(&script, "example.com"), []);
    assert_eq!(host.holds(), Vec::<String>::new());
    assert_eq!(host.contacts(&script, "api.openai.com"), [ChangeKind::Found]);
    assert_eq!(host.holds(), ["agent.py - Agent"]);
    assert_eq!(host.contacts(&script, "api.openai.com"), []);
    assert_eq!(host.contacts(&script, "api.anthropic.com"), provider("anthropic"));
    let agent = host.inventory.agent_of(10).unwrap();
    assert_eq!((agent.state, agent.first_ms, agent.last_ms), (AgentState::Shadow, 1_003, 1_005));
    let seen = &agent.endpoints[&("api.openai.com".to_owned(), 443)];
    assert_eq!((seen.count, seen.provider.as_deref()), (2, Some("openai")));
    let network: Vec<u64> = agent
        .evidence
        .iter()
        .filter(|one| one.signal == Signal::Network)
        .map(|one| one.count)
        .collect();
    assert_eq!(network, [2, 1]);
    assert!(agent.confidence > 70 && agent.confidence < 99);
}

#[test]
fn one_signal_is_a_candidate_and_a_second_makes_an_agent() {
    let mut host = Host::new();
    let binary = program(10, "/opt/acme/assistant", "assistant");
    assert_eq!(host.contacts(&binary, "api.openai.com"), [ChangeKind::Candidate]);
    assert_eq!(host.contacts(&binary, "api.openai.com"), []);
    let with_key = binary.with_environment(&["PATH", "OPENAI_API_KEY"]);
    assert_eq!(host.contacts(&with_key, "api.openai.com"), [ChangeKind::Found]);
    // A key's name alone is nothing, whatever else the environment holds.
    let shell = program(11, "/usr/bin/bash", "-bash").with_environment(&[
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "CLAUDECODE",
    ]);
    assert_eq!(host.runs(&shell), []);
    // A name that many products share is a candidate.
    assert_eq!(host.runs(&program(12, "/usr/bin/goose", "goose")), [ChangeKind::Candidate]);
    assert_eq!(host.runs(&program(13, "/usr/bin/q", "q")), [ChangeKind::Candidate]);
}

#[test]
fn ordinary_software_is_never_an_agent() {
    let rows = [
        ("/usr/bin/apt-get", "apt-get install ollama"),
        ("/usr/lib/apt/methods/https", "/usr/lib/apt/methods/https"),
        ("/usr/bin/git", "git clone https://huggingface.co/x/claude"),
        ("/usr/lib/git-core/git-remote-https", "git-remote-https origin https://huggingface.co/x"),
        ("/usr/bin/python3.11", "python3 -m pip install openai anthropic crewai"),
        ("/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/pip install langchain"),
        ("/usr/bin/node", "node /usr/bin/npm install @openai/codex"),
        ("/usr/bin/node", "npm install @anthropic-ai/claude-code"),
        ("/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx"),
        ("/usr/sbin/cron", "/usr/sbin/cron -f"),
        ("/usr/sbin/sshd", "sshd: me [priv]"),
        ("/usr/lib/systemd/systemd-resolved", "/usr/lib/systemd/systemd-resolved"),
        ("/usr/bin/containerd-shim-runc-v2", "/usr/bin/containerd-shim-runc-v2 -id x"),
        ("/usr/bin/dockerd", "dockerd"),
        ("/usr/lib/postgresql/15/bin/postgres", "postgres: writer"),
        ("/usr/bin/redis-server", "redis-server *:6379"),
        ("/usr/bin/rsync", "rsync -a x y"),
        ("/usr/bin/uv", "uv pip install openai"),
    ];
    let mut host = Host::new();
    for (pid, (exe, line)) in (10..).zip(rows) {
        let ordinary = program(pid, exe, line).with_environment(&["OPENAI_API_KEY"]);
        assert_eq!(host.runs(&ordinary), [], "{line}");
        for name in ["huggingface.co", "api.openai.com", "packages.example"] {
            assert_eq!(host.contacts(&ordinary, name), [], "{line}");
        }
        for port in [80, 443, 3000, 4000, 8000, 8080, 11434] {
            assert_eq!(host.listens(&ordinary, port), [], "{line}");
        }
    }
    let plain = [
        ("/usr/bin/vim", "vim claude.py"),
        ("/usr/bin/node", "node /srv/shop/server.js"),
        ("/usr/bin/python3", "python3 /srv/shop/manage.py runserver"),
        ("/usr/bin/java", "java -jar shop.jar"),
        ("/usr/bin/bash", "bash -c claude"),
    ];
    for (pid, (exe, line)) in (50..).zip(plain) {
        let plain = program(pid, exe, line).with_environment(&["OPENAI_API_KEY", "HF_TOKEN"]);
        assert_eq!(host.runs(&plain), [], "{line}");
        assert_eq!(host.contacts(&plain, "example.com"), [], "{line}");
        assert_eq!(host.listens(&plain, 8000), [], "{line}");
        assert_eq!(host.listens(&plain, 3000), [], "{line}");
    }
    assert_eq!(host.holds(), Vec::<String>::new());
}

#[test]
fn fetchers_are_candidates_at_most() {
    let mut host = Host::new();
    let curl = program(10, "/usr/bin/curl", "curl https://api.openai.com/v1/models")
        .with_environment(&["OPENAI_API_KEY"]);
    assert_eq!(host.runs(&curl), []);
    assert_eq!(host.contacts(&curl, "example.com"), []);
    assert_eq!(host.contacts(&curl, "api.openai.com"), [ChangeKind::Candidate]);
    assert_eq!(host.holds(), ["curl - Candidate"]);
}

#[test]
fn a_browser_that_visits_a_chat_page_is_reported_once_as_such() {
    let mut host = Host::new();
    let browser = program(10, "/usr/lib/chromium/chromium", "chromium --type=utility");
    assert_eq!(host.contacts(&browser, "example.com"), []);
    let visit = ChangeKind::BrowserVisit { provider: "openai".into() };
    assert_eq!(host.contacts(&browser, "chatgpt.com"), [visit]);
    assert_eq!(host.contacts(&browser, "chatgpt.com"), []);
    assert_eq!(host.holds(), Vec::<String>::new());
}

#[test]
fn what_an_agent_starts_counts_as_the_agent_unless_it_is_a_runtime_itself() {
    let mut host = Host::new();
    let agent = program(10, "/usr/local/bin/codex", "codex");
    let shell = program(11, "/usr/bin/bash", "bash -c x").started_by(&agent);
    let curl = program(12, "/usr/bin/curl", "curl https://x").started_by(&shell);
    let chrome = program(13, "/usr/bin/chromium", "chromium").started_by(&shell);
    let server = program(14, "/usr/bin/node", "npm exec @playwright/mcp").started_by(&agent);
    assert_eq!(host.runs(&agent), [ChangeKind::Found]);
    assert_eq!((host.runs(&shell), host.runs(&curl)), (vec![], vec![]));
    assert_eq!(host.contacts(&curl, "api.mistral.ai"), provider("mistral"));
    assert_eq!(host.contacts(&chrome, "chatgpt.com"), provider("openai"));
    assert_eq!(host.contacts(&curl, "exfil.example"), []);
    assert_eq!(host.runs(&server), [ChangeKind::Found]);
    let codex = host.inventory.agent_of(10).unwrap();
    assert_eq!(codex.endpoints.len(), 3);
    let child = host.inventory.agent_of(14).unwrap();
    assert_eq!(child.parent.as_ref(), Some(&codex.id));
    // Another process with the pid of the agent is not it.
    let other = program(20, "/usr/bin/bash", "bash");
    let mut reused = program(15, "/usr/bin/curl", "curl x").started_by(&other);
    let lineage: Vec<Ancestor> =
        reused.actor.lineage.iter().cloned().map(|a| Ancestor { pid: 10, ..a }).collect();
    reused.actor.lineage = lineage.into();
    assert_eq!(host.contacts(&reused, "exfil.example"), []);
    assert_eq!(host.inventory.agent_of(10).unwrap().endpoints.len(), 3);
}

#[test]
fn agents_stay_the_same_across_restarts_and_versions() {
    let mut host = Host::new();
    host.runs(&program(10, "/home/me/.local/share/claude/versions/2.1.0", "claude"));
    let id = Arc::clone(&host.inventory.agent_of(10).unwrap().id);
    host.inventory.observe_exit(10);
    assert!(host.inventory.agent(&id).unwrap().instances.is_empty());
    assert_eq!(
        host.runs(&program(11, "/home/me/.local/share/claude/versions/2.1.1", "claude")),
        []
    );
    let agent = host.inventory.agent(&id).unwrap();
    assert_eq!((agent.instances.len(), agent.instances_total), (1, 2));
    let mut elsewhere = program(12, "/home/you/.local/share/claude/versions/2.1.1", "claude");
    Arc::make_mut(&mut elsewhere.actor.process).uid = Some(1001);
    assert_eq!(host.runs(&elsewhere), [ChangeKind::Found]);
    assert_eq!(host.inventory.agents().count(), 2);
}

#[test]
fn an_exec_of_something_else_leaves_the_agent() {
    let mut host = Host::new();
    host.runs(&program(10, "/usr/local/bin/codex", "codex"));
    let mut other = program(10, "/usr/bin/ls", "ls");
    let process = Arc::make_mut(&mut other.actor.process);
    process.exe = Some(Exe { path: "/usr/bin/ls".into(), device: 1, inode: 99 });
    assert_eq!(host.runs(&other), []);
    assert!(host.inventory.agent_of(10).is_none());
}

#[test]
fn documents_approve_agents_and_their_removal_leaves_nobody_to_ask() {
    let facts = |subject| AgentFacts {
        owner: Some("Dana".into()),
        ..AgentFacts::unknown(subject, "invoice-bot", Mode::Enforce)
    };
    let mut host = Host::new();
    let nothing = |_: u32, _: &EndpointSeen| false;
    assert!(host.inventory.set_registered(&[facts(0), facts(1)], &nothing, 1).is_empty());
    let mut bot = program(10, "/opt/bot/bin/bot", "bot");
    assert_eq!(host.runs(&bot), []);
    bot.subject = 1;
    assert_eq!(host.runs(&bot), [ChangeKind::Found]);
    let agent = host.inventory.agent_of(10).unwrap();
    assert_eq!((agent.state, agent.owner.as_deref()), (AgentState::Approved, Some("Dana")));
    assert_eq!(agent.registered_as.as_deref(), Some("invoice-bot"));
    // Subjects are numbers of one run of the daemon; the document's name counts.
    assert!(host.inventory.set_registered(&[facts(2)], &nothing, 2).is_empty());
    let changes = host.inventory.set_registered(&[], &nothing, 3);
    assert_eq!(kinds(changes), [ChangeKind::State { from: AgentState::Approved }]);
    assert_eq!(host.inventory.agent_of(10).unwrap().state, AgentState::Ownerless);
    // A shadow agent that somebody registers is approved.
    let mut codex = program(11, "/usr/local/bin/codex", "codex");
    host.runs(&codex);
    host.inventory.set_registered(&[facts(5)], &nothing, 4);
    codex.subject = 5;
    assert_eq!(host.runs(&codex), [ChangeKind::State { from: AgentState::Shadow }]);
}

#[test]
fn local_model_servers_are_found_and_their_callers_call_a_model() {
    let mut host = Host::new();
    let server = program(10, "/usr/bin/python3", "python3 /srv/stand_in.py");
    assert_eq!(host.listens(&server, 11434), [ChangeKind::Found]);
    assert_eq!(host.holds(), ["stand_in.py local-model-server Agent"]);
    let client = program(11, "/usr/bin/python3", "python3 /srv/client.py");
    assert_eq!(host.connects(&client, None, "::ffff:127.0.0.1", 11434), [ChangeKind::Found]);
    assert_eq!(host.connects(&client, None, "10.0.0.1", 11434), []);
    let other = program(12, "/usr/bin/python3", "python3 /srv/other.py");
    assert_eq!(host.connects(&other, None, "10.0.0.1", 11434), []);
    assert_eq!(host.connects(&other, None, "127.0.0.1", 8080), []);
    // Once a model server listens on a port that others use too, that port counts as well.
    let llama = program(13, "/usr/bin/llama-server", "llama-server -m x");
    host.runs(&llama);
    host.listens(&llama, 8080);
    assert_eq!(host.connects(&other, None, "127.0.0.1", 8080), [ChangeKind::Found]);
}

#[test]
fn loaded_libraries_make_a_script_an_agent() {
    let mut host = Host::new();
    let mut loads = |program: &Program, modules: &[&str]| {
        let modules: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
        kinds(host.inventory.observe_modules(&program.sighting(), &modules, 1))
    };
    let script = program(10, "/usr/bin/python3", "python3 /srv/agent.py");
    assert_eq!(loads(&script, &["numpy", "apt_pkg", "safetensors"]), []);
    assert_eq!(loads(&script, &["numpy", "jiter"]), [ChangeKind::Found]);
    let pip = program(11, "/usr/bin/python3", "python3 -m pip install openai");
    assert_eq!(loads(&pip, &["jiter"]), []);
    let plain = program(12, "/usr/bin/python3", "python3 /srv/shop.py");
    assert_eq!(loads(&plain, &["psycopg2", "PIL", "lxml"]), []);
    assert_eq!(host.holds(), ["agent.py - Agent"]);
}

#[test]
fn findings_say_what_was_found_and_why() {
    let mut host = Host::new();
    let codex = program(10, "/usr/local/bin/codex", "codex");
    let changes = host.inventory.observe_process(&codex.sighting(), 5);
    let finding = changes[0].finding();
    assert_eq!(&*finding.kind, "shadow-agent");
    assert_eq!(&*finding.title, "codex (coding-agent) runs and nobody registered it");
    assert_eq!((finding.severity, finding.first_seen_ms), (3, 5));
    assert!(finding.uid.starts_with("shadow-agent/agent-"));
    assert!(finding.evidence[0].starts_with("executable: /usr/local/bin/codex (codex, strong"));
    assert!(finding.actor.is_some() && finding.subject.is_none() && changes[0].is_agent());
}

#[test]
fn memory_is_bounded_and_agents_stay_before_candidates() {
    let mut host = Host::new();
    host.runs(&program(1, "/usr/local/bin/codex", "codex"));
    let codex = Arc::clone(&host.inventory.agent_of(1).unwrap().id);
    for pid in 2..(AGENTS_MAX as u32 + 50) {
        let candidate = program(pid, &format!("/opt/{pid}/tool"), "tool");
        host.contacts(&candidate, "api.openai.com");
    }
    assert_eq!(host.inventory.agents().count(), AGENTS_MAX);
    assert!(host.inventory.agent(&codex).is_some());
    assert_eq!(host.inventory.dropped(), 0);
    for port in 1..600 {
        host.connects(&program(1, "/usr/local/bin/codex", "codex"), None, "192.0.2.1", port);
    }
    let agent = host.inventory.agent(&codex).unwrap();
    assert_eq!(agent.endpoints.len() as u64 + agent.endpoints_dropped, 599);
    assert!(agent.endpoints_dropped > 0);
    assert_eq!(agent.last_ms, host.now_ms);
}

proptest::proptest! {
    #[test]
    fn any_process_can_be_observed(
        exe in ".{0,40}",
        line in ".{0,60}",
        name in ".{0,40}",
        port: u16,
        pid in 1_u32..20,
    ) {
        let mut host = Host::new();
        let strange = program(pid, &exe, &line).with_environment(&[&name, &line]);
        host.runs(&strange);
        host.contacts(&strange, &name);
        host.listens(&strange, port);
        host.connects(&strange, Some(&name), "127.0.0.1", port);
        host.inventory.observe_exit(pid);
        for agent in host.inventory.agents() {
            proptest::prop_assert!(!agent.evidence.is_empty() && agent.confidence <= 99);
            proptest::prop_assert!(agent.instances.is_empty());
        }
    }

    #[test]
    fn evidence_only_ever_adds_confidence(names in proptest::collection::vec("[a-z]{1,8}", 1..8)) {
        let mut host = Host::new();
        let script = program(10, "/usr/bin/python3", "python3 /srv/a.py");
        let mut before = 0;
        for name in &names {
            host.contacts(&script, &format!("{name}.openai.com"));
            host.contacts(&script, &format!("{name}.example"));
            let agent = host.inventory.agent_of(10).unwrap();
            proptest::prop_assert!(agent.confidence >= before);
            before = agent.confidence;
        }
    }
}
