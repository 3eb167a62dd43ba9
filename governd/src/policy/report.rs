//! What `governd policy check` finds: the documents, and their compilation for one host.

use serde::Serialize;

use super::{
    compile::{Surroundings, hosts::Choice},
    diagnostic::{Code, Diagnostic, Diagnostics},
    ids::Ids,
    image::Compiled,
    load::{Documents, load},
    words,
};

/// The outcome of a check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether the policy could be put into force on the host.
    pub valid: bool,
    /// Files that were read.
    pub files: usize,
    /// Which host policy holds, if the policy is valid.
    pub host_policy: Option<Choice>,
    /// Agents.
    pub agents: usize,
    /// Host policies.
    pub host_policies: usize,
    /// Rules, without defaults and what the host policy brings.
    pub rules: usize,
    /// Names and wildcards in the tables, AI endpoints among them.
    pub names: usize,
    /// Networks in the tables.
    pub networks: usize,
    /// Digest, if the policy is valid.
    pub digest: Option<String>,
    /// All that is wrong or perhaps not meant so.
    pub diagnostics: Diagnostics,
}

/// Checks the documents of all files, pairs of a path and what is in it, for a host, at a time in
/// milliseconds since the epoch.
pub fn check<P, T>(sources: &[(P, T)], around: &Surroundings<'_>, now_ms: u64) -> Report
where
    P: AsRef<str>,
    T: AsRef<[u8]>,
{
    let files = sources.len();
    let documents = match load(sources) {
        Ok(documents) => documents,
        Err(diagnostics) => return Report { files, diagnostics, ..Report::default() },
    };
    let Documents { policy, .. } = &documents;
    let report = Report {
        files,
        agents: policy.agents.len(),
        host_policies: policy.hosts.len(),
        rules: policy.agents.iter().map(|agent| agent.rules.len()).sum(),
        ..Report::default()
    };
    match documents.compile(around, &mut Ids::default()) {
        Err(diagnostics) => Report { diagnostics, ..report },
        Ok(Compiled { image, digest, mut warnings, host_policy, .. }) => Report {
            valid: true,
            host_policy: Some(host_policy),
            names: image.names.len(),
            networks: image.networks.len(),
            digest: Some(digest.to_string()),
            diagnostics: {
                remarks(&documents, now_ms, &mut warnings);
                warnings
            },
            ..report
        },
    }
}

/// What is odd about approvals.
fn remarks(documents: &Documents, now_ms: u64, out: &mut Diagnostics) {
    for agent in &documents.policy.agents {
        let mut warn = |code, message: String, hint: &str| {
            out.push(Diagnostic::warning(code, &agent.place, message).hint(hint));
        };
        let (name, approval) = (&agent.name, &agent.approval);
        if let Some(day) = approval.review_by.filter(|day| day.is_over(now_ms)) {
            let message = format!("the approval of `{name}` ended with {day}");
            let hint = "review the agent, and write another `review_by`";
            warn(Code::ExpiredApproval, message, hint);
        }
        let Some(on) = approval.on else {
            let hint = "add `approval: {by: {name: …, mail: …}, on: 2026-10-01, ticket: …}`";
            warn(Code::NoApproval, format!("nobody is said to have approved `{name}`"), hint);
            continue;
        };
        if on.is_ahead(now_ms) {
            let message = format!("`{name}` was approved on {on}, which is still to come");
            warn(Code::OddApproval, message, "write the day on which it was approved, in UTC");
        }
        if let Some(day) = approval.review_by.filter(|day| *day < on) {
            let message = format!("`{name}` was approved on {on}, after its review by {day}");
            warn(Code::OddApproval, message, "write a `review_by` after the approval");
        }
    }
}

impl Report {
    /// The summary, line by line.
    pub fn summary(&self) -> Vec<String> {
        let Self { files, agents, host_policies, rules, names, networks, .. } = self;
        let found = [
            words::count(self.diagnostics.errors(), "error"),
            words::count(self.diagnostics.warnings(), "warning"),
        ];
        let head = format!(
            "{}: {} in {}",
            if self.valid { "valid" } else { "not valid" },
            found.join(" and "),
            words::count(*files, "file"),
        );
        let Some(digest) = &self.digest else {
            return vec![head];
        };
        let policies = match host_policies {
            1 => "1 host policy".to_owned(),
            many => format!("{many} host policies"),
        };
        let counts = [
            words::count(*agents, "agent"),
            policies,
            words::count(*rules, "rule"),
            words::count(*names, "name pattern"),
            words::count(*networks, "network"),
        ];
        let choice = self.host_policy.iter().map(Choice::words);
        [head, counts.join(", ")].into_iter().chain(choice).chain([digest.clone()]).collect()
    }
}
