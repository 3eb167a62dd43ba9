//! The policies of the tests, and what their agents are called.

use governd_tests::{Lab, dns};

/// The Python agent.
pub(crate) const PYTHON: &str = "python-bot";
/// The Node.js agent.
pub(crate) const NODE: &str = "node-bot";
/// Whom a denial of either names.
pub(crate) const OWNER: &str = "Dana Smith";

/// A host policy in `mode` and both agents, each with these egress rules (YAML, one rule a line).
pub(crate) fn both_agents(lab: &Lab, mode: &str, rules: &[&str]) -> String {
    let python = lab.tools().agent();
    let agents = [(PYTHON, python.as_path()), (NODE, lab.tools().node())];
    let mut text = host(mode);
    for (name, exe) in agents {
        text.push_str(&agent(name, &format!("{{exe: {}}}", exe.display()), rules));
    }
    text
}

/// A host policy alone.
pub(crate) fn host(mode: &str) -> String {
    let resolvers: Vec<String> =
        dns::addresses().iter().map(|address| format!("{:?}", address.to_string())).collect();
    format!(
        "apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {{name: lab}}
spec:
  mode: {mode}
  unregistered: monitor
  resolvers: {{host: false, addresses: [{}]}}
",
        resolvers.join(", ")
    )
}

/// An agent; `selector` is one entry of `match`, in YAML's flow style. It may ask for every name,
/// so that what is tried is its connections.
pub(crate) fn agent(name: &str, selector: &str, rules: &[&str]) -> String {
    let mut text = format!(
        "---
apiVersion: governd.dev/v1
kind: Agent
metadata: {{name: {name}}}
spec:
  owner: {{name: {OWNER}, mail: dana@acme.example}}
  match:
    - {selector}
  egress:
    default: deny
    dns: any
"
    );
    if !rules.is_empty() {
        text.push_str("    rules:\n");
    }
    for rule in rules {
        text.push_str(&format!("      - {rule}\n"));
    }
    text
}
