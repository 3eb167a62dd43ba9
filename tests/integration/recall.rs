//! Which agents are found and what is taken for one: real packages from the registries against the
//! lab's servers, and ordinary programs, each started before the daemon and after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use governd_tests::{
    Lab,
    client::{Client, Family},
    command::{Running, run},
    daemon::Place,
    site, wait,
};
use serde_json::Value;

use crate::{Test, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("recall::agents_that_run_already_are_found", agents_that_run_already_are_found),
    ("recall::agents_that_start_are_found", agents_that_start_are_found),
];

/// The local model server's port, which its product has to itself.
const PORT_MODEL: &str = "11434";

const MODEL_SERVER: &str = "model_server.py";
/// How long a framework may take to load on a busy machine.
const LOADING_PATIENCE: Duration = Duration::from_secs(180);

/// What a client says when it did what it is for, and waits; `None` if it says nothing.
type Ready = Option<&'static str>;

/// An agent: how it is called in the inventory and of which kind, how it is started so that it
/// stays, and how it is started to do one thing.
struct Agent {
    name: &'static str,
    kind: &'static str,
    ready: Ready,
    start: fn(&Lab, &Path, Moment) -> Client,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    BeforeDaemon,
    AfterDaemon,
}

const ANSWER: Ready = Some("greetings from the lab");

const AGENTS: &[Agent] = &[
    Agent {
        name: MODEL_SERVER,
        kind: "local-model-server",
        ready: Some("ready"),
        start: |lab, _, _| python(lab, "model_server.py").arg(PORT_MODEL),
    },
    Agent {
        name: "local_model_agent.py",
        kind: "",
        ready: ANSWER,
        start: |lab, _, _| python(lab, "local_model_agent.py").arg(PORT_MODEL),
    },
    Agent {
        name: "openai_agent.py",
        kind: "",
        ready: ANSWER,
        start: |lab, _, _| python(lab, "openai_agent.py").arg(url(site::OPENAI)),
    },
    Agent {
        name: "anthropic_agent.py",
        kind: "",
        ready: ANSWER,
        start: |lab, _, _| python(lab, "anthropic_agent.py").arg(url(site::ANTHROPIC)),
    },
    Agent {
        name: "langgraph_agent.py",
        kind: "",
        ready: ANSWER,
        start: |lab, _, _| python(lab, "langgraph_agent.py").arg(url(site::OPENAI)),
    },
    Agent {
        name: "pydantic_agent.py",
        kind: "",
        ready: ANSWER,
        start: |lab, _, _| python(lab, "pydantic_agent.py").arg(url(site::OPENAI)),
    },
    Agent {
        name: "claude-code",
        kind: "coding-agent",
        ready: None,
        start: |lab, home, moment| match moment {
            Moment::BeforeDaemon => npm(lab, home, "claude").args(["mcp", "serve"]),
            Moment::AfterDaemon => npm(lab, home, "claude").args(["-p", "hello"]),
        },
    },
    Agent {
        name: "codex",
        kind: "coding-agent",
        ready: None,
        start: |lab, home, moment| match moment {
            Moment::BeforeDaemon => npm(lab, home, "codex").arg("app-server"),
            Moment::AfterDaemon => {
                npm(lab, home, "codex").args(["exec", "--skip-git-repo-check", "hello"])
            }
        },
    },
    Agent {
        name: "opencode",
        kind: "coding-agent",
        ready: None,
        start: |lab, home, moment| match moment {
            Moment::BeforeDaemon => npm(lab, home, "opencode").args(["serve", "--port", "14096"]),
            Moment::AfterDaemon => npm(lab, home, "opencode").args(["run", "hello"]),
        },
    },
    Agent {
        name: "@modelcontextprotocol/server-memory",
        kind: "mcp-server",
        ready: None,
        start: |lab, home, _| {
            let node = lab.tools().node_modules();
            let project = node.parent().unwrap_or(&node);
            // npx takes a package of the project that it is called in, and asks nobody.
            lab.client(Family::V4, "sh")
                .args(["-c", "cd \"$0\" && exec npx @modelcontextprotocol/server-memory"])
                .arg(project)
                .variable("HOME", home)
        },
    },
    Agent {
        name: "mcp-server-time",
        kind: "mcp-server",
        ready: None,
        start: |lab, home, _| {
            lab.client(Family::V4, lab.tools().agent().with_file_name("uvx"))
                .args(["--offline", "--python", "/usr/bin/python3"])
                .args(["mcp-server-time", "--local-timezone", "UTC"])
                .variable("UV_CACHE_DIR", lab.tools().uv_cache())
                .variable("HOME", home)
        },
    },
];

fn python(lab: &Lab, script: &str) -> Client {
    lab.client(Family::V4, lab.tools().agent()).arg(lab.tools().script(script))
}

fn npm(lab: &Lab, home: &Path, program: &str) -> Client {
    let path = lab.tools().node_modules().join(".bin").join(program);
    lab.client(Family::V4, path).variable("HOME", home)
}

fn url(site: site::Site) -> String {
    format!("https://{}", site.name)
}

/// Programs that are no agents, whatever keys are in their environment and whatever their arguments
/// are called. Each is a shell's line; `$1` is a directory of its own.
const ORDINARY: &[&str] = &[
    "apt-get --version",
    "apt-cache policy nginx",
    "dpkg --list",
    "python3 -m venv --without-pip $1/venv",
    "$2 -m pip --version",
    "$2 -m pip download --no-deps --quiet openai; true",
    "git clone --quiet https://left.example/codex $1/codex; true",
    "git init --quiet $1/claude; true",
    "curl --silent --max-time 5 https://left.example/",
    "curl --silent --max-time 5 http://right.example/anthropic/claude; true",
    "openssl s_client -connect left.example:443 < /dev/null; true",
    "nginx -v",
    "dnsmasq --version",
    "node --version",
    "node -e 'require(\"http\")'",
    "npm --version",
    "npm install --offline --prefix $1 @anthropic-ai/claude-code; true",
    "npx --version",
    "$(dirname $2)/uv --version",
    "jq --version",
    "bpftool version",
    "ip address show",
    "nft --version",
    "tar --create --file $1/ollama.tar --directory /etc hostname",
    "gzip --version",
    "find $1 -name opencode",
    "grep -r langchain $1; true",
    "sed -n 1p /etc/hostname",
    "awk 'END {}' /etc/hostname",
    "sort /etc/passwd",
    "cc --version",
    "perl -e 'print 1'",
    "tail -n 1 /etc/hostname --pid=$$ claude; true",
    "cat /etc/hostname codex; true",
    "bash -c 'echo gemini'",
    "getent ahosts left.example",
    "date",
    "timeout 5 $2 -c 'import json; json.dumps(1)'",
    "timeout 3 $2 -m http.server 18099; true",
];

/// Those that stay: a line, and what must be there for them.
const STAYING: &[(&str, &str)] = &[
    ("exec nginx -p $1 -g 'daemon off; pid nginx.pid; error_log stderr;' -c /dev/null", "nginx"),
    ("exec $2 -m http.server 18100", "python3"),
    ("exec dnsmasq --keep-in-foreground --port=0 --pid-file=", "dnsmasq"),
    ("exec tail -f /etc/hostname", "tail"),
    ("exec cron -f", "cron"),
    ("exec /usr/sbin/sshd -D -f /dev/null -h $1/key -o Port=18122", "/usr/sbin/sshd"),
];

fn ordinary(lab: &Lab, directory: &Path, line: &str) -> Client {
    lab.client(Family::V4, "sh")
        .args(["-c", line, "sh"])
        .args([directory.to_owned(), lab.tools().agent()])
        .variable("HOME", directory)
}

/// Agents that run, whether they stay or not: their processes must live until they are found.
struct Started {
    agent: &'static Agent,
    running: Running,
    began: Instant,
}

impl Started {
    fn must_be_ready(&mut self) -> Result<()> {
        if let Some(word) = self.agent.ready {
            let line = self.running.line(LOADING_PATIENCE, |line| line.contains(word));
            line.with_context(|| format!("{}: not ready", self.agent.name))?;
        }
        Ok(())
    }
}

fn start(lab: &Lab, moment: Moment) -> Result<Vec<Started>> {
    let mut started = Vec::new();
    for agent in AGENTS {
        let home = lab.directory("home")?;
        let began = Instant::now();
        let running = (agent.start)(lab, &home, moment).start()?;
        let mut agent = Started { agent, running, began };
        if agent.agent.name == MODEL_SERVER {
            agent.must_be_ready()?;
        }
        started.push(agent);
    }
    // Beside each other: the frameworks take seconds to load.
    started.iter_mut().try_for_each(Started::must_be_ready)?;
    Ok(started)
}

fn start_staying(lab: &Lab) -> Result<Vec<Running>> {
    let is_there = |program: &str| {
        let found = run(std::process::Command::new("sh").args(["-c", "command -v $0", program]));
        found.is_ok_and(|found| found.code == Some(0))
    };
    let lines = STAYING.iter().filter(|(_, program)| is_there(program));
    lines.map(|(line, _)| ordinary(lab, &lab.directory("staying")?, line).start()).collect()
}

/// The agents and candidates that this test started, by name, as `show` has them.
fn found(place: &Place) -> Result<BTreeMap<String, Value>> {
    let listed = place.ask(&["agents", "--json"])?;
    ensure!(matches!(listed.code, Some(0 | 1)), "{listed}");
    let mut found = BTreeMap::new();
    for line in listed.stdout.lines() {
        let row: Value = serde_json::from_str(line)?;
        let shown = place.ask(&["agents", "show", record::text(&row, "/id"), "--json"])?;
        let shown: Value = serde_json::from_str(&shown.success()?)?;
        if lineage(&shown).contains(&u64::from(std::process::id())) {
            found.insert(record::text(&shown, "/summary/name").to_owned(), shown);
        }
    }
    Ok(found)
}

/// Pids of an agent's latest process and its ancestors.
fn lineage(shown: &Value) -> Vec<u64> {
    let above = shown.pointer("/latest/lineage").and_then(Value::as_array);
    let above = above.into_iter().flatten().filter_map(|each| record::number(each, "/pid"));
    record::number(shown, "/latest/pid").into_iter().chain(above).collect()
}

/// Waits until each agent is found, and says how long that took.
fn all_found(place: &Place, started: &[Started]) -> Result<()> {
    let mut missing: BTreeSet<&str> = started.iter().map(|agent| agent.agent.name).collect();
    let began = Instant::now();
    let outcome = wait::until("every agent in the inventory", wait::PATIENCE, || {
        let found = found(place)?;
        missing.retain(|name| !found.contains_key(*name));
        Ok(missing.is_empty().then_some(()))
    });
    measured(format!("{} agents found after {:?}", started.len(), began.elapsed()));
    outcome.with_context(|| {
        let list = place.ask(&["agents", "--candidates"]).map_or(String::new(), |it| it.stdout);
        format!("not found: {missing:?}\n{list}")
    })
}

/// Kinds and lineages are right, and nothing else is called an agent.
fn judge(place: &Place, started: &[Started], others: usize, what: &str) -> Result<()> {
    let found = found(place)?;
    let mut wrong: Vec<String> = Vec::new();
    for agent in started {
        let Some(shown) = found.get(agent.agent.name) else {
            wrong.push(format!("{} is not found", agent.agent.name));
            continue;
        };
        let kind = record::text(shown, "/summary/kind");
        if kind != agent.agent.kind {
            wrong.push(format!("{} is a {kind:?}", agent.agent.name));
        }
        let lineage = lineage(shown);
        if !lineage.contains(&u64::from(agent.running.pid())) {
            wrong.push(format!(
                "{}: lineage {lineage:?} of {}",
                agent.agent.name,
                agent.running.pid()
            ));
        }
    }
    let known: BTreeSet<&str> = started.iter().map(|agent| agent.agent.name).collect();
    let false_ones: Vec<String> = found
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()))
        .map(|(name, shown)| format!("{name}: {shown}"))
        .collect();
    let right = known.iter().filter(|name| found.contains_key(**name)).count();
    measured(format!(
        "{what}: precision {right}/{}, recall {right}/{}, {others} ordinary programs",
        found.len(),
        known.len(),
    ));
    if !false_ones.is_empty() || !wrong.is_empty() {
        bail!("{what}: {}\nno agents: {}", wrong.join("\n"), false_ones.join("\n"));
    }
    Ok(())
}

fn agents_that_run_already_are_found(lab: &Lab) -> Result<()> {
    let staying = start_staying(lab)?;
    let started = start(lab, Moment::BeforeDaemon)?;
    let place = Place::new(lab, "recall-before")?;
    place.write_policy(&policy::host("monitor"))?;
    // What npx and uvx start must run before the sweep, or it is found as it starts.
    for agent in &started {
        let spent = agent.began.elapsed();
        std::thread::sleep(Duration::from_secs(4).saturating_sub(spent));
    }
    let daemon = place.start()?;
    all_found(&place, &started)?;
    judge(&place, &started, staying.len(), "before the daemon")?;
    daemon.stop()?;
    Ok(())
}

fn agents_that_start_are_found(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "recall-after")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let staying = start_staying(lab)?;
    for line in ORDINARY {
        let finished = ordinary(lab, &lab.directory("ordinary")?, line).run()?;
        ensure!(finished.code == Some(0), "{line}: {finished}");
    }
    let started = start(lab, Moment::AfterDaemon)?;
    all_found(&place, &started)?;
    let others = staying.len() + ORDINARY.len();
    judge(&place, &started, others, "after the daemon")?;
    daemon.stop()?;
    Ok(())
}
