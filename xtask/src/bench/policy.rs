//! Policies of any size: an enforced agent that may reach the measured address, the server by its
//! name, and as many others as are wanted, half of them names and half networks.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;

use super::{
    put,
    site::{MANY, NAME, RESOLVER, TARGET},
};

/// Rules of one document: its file stays far below what a policy file may have.
const RULES_PER_GROUP: usize = 5_000;

/// Writes the policy with so many rules; `agent` is the executable of the agent.
pub(super) fn write(directory: &Path, agent: &Path, rules: usize) -> Result<()> {
    let groups = rules.div_ceil(RULES_PER_GROUP);
    for group in 0..groups {
        let first = group * RULES_PER_GROUP;
        let text = self::group(group, first..rules.min(first + RULES_PER_GROUP));
        put(&directory.join(format!("group-{group}.yaml")), &text)?;
    }
    put(&directory.join("agent.yaml"), &documents(agent, groups))
}

fn group(number: usize, rules: std::ops::Range<usize>) -> String {
    let mut text = format!(
        "apiVersion: governd.dev/v1
kind: EndpointGroup
metadata: {{name: group-{number}}}
spec:
  ports: [443]
  endpoints:
"
    );
    for rule in rules {
        // Writing to a String does not fail.
        writeln!(text, "    - {}", endpoint(rule)).unwrap_or_default();
    }
    text
}

fn endpoint(rule: usize) -> String {
    match rule % 2 {
        0 => format!("host-{rule}.example.com"),
        _ => format!("172.{}.{}.{}", 16 + (rule >> 16), rule >> 8 & 0xff, rule & 0xff),
    }
}

fn documents(agent: &Path, groups: usize) -> String {
    let groups: String = (0..groups).map(|number| format!(", \"group:group-{number}\"")).collect();
    format!(
        "apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {{name: bench}}
spec:
  mode: enforce
  resolvers: {{addresses: [{RESOLVER}]}}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {{name: bench-agent}}
spec:
  owner: {{name: Dana Smith, mail: dana@acme.example}}
  match:
    - exe: {}
  egress:
    default: deny
    rules:
      - allow: [{TARGET}, {NAME}, \"*.{MANY}\"{groups}]
",
        agent.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_another() {
        let all: std::collections::BTreeSet<_> = (0..100_000).map(endpoint).collect();
        assert_eq!(all.len(), 100_000);
        assert_eq!(endpoint(99_999), "172.17.134.159");
    }
}
