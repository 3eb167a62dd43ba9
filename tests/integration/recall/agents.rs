//! The agents: real packages from the registries, against the lab's servers.

use std::path::Path;

use governd_tests::{
    Lab,
    client::{Client, Family},
    site,
};

/// The local model server's port, which its product has to itself.
const PORT_MODEL: &str = "11434";

pub(super) const MODEL_SERVER: &str = "model_server.py";
/// What a client says when it did what it is for, and waits; `None` if it says nothing.
type Ready = Option<&'static str>;

/// An agent: how it is called in the inventory and of which kind, how it is started so that it
/// stays, and how it is started to do one thing.
pub(super) struct Agent {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) ready: Ready,
    pub(super) start: fn(&Lab, &Path, Moment) -> Client,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Moment {
    BeforeDaemon,
    AfterDaemon,
}

const ANSWER: Ready = Some("greetings from the lab");

pub(super) const AGENTS: &[Agent] = &[
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
