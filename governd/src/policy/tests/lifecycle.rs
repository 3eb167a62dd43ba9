//! Approvals that do not hold any more, and what is left of the rules.

use std::sync::Arc;

use super::host::TestHost;
use crate::policy::{
    Documents,
    compile::{Surroundings, Under},
    ids::Ids,
    lifecycle::{Cause, lapses},
    load,
    value::approval::Fallback,
};

/// 2026-11-22T00:00:00Z.
const DAY_MS: u64 = 1_795_305_600_000;

fn documents(spec: &str, egress: &str) -> Documents {
    let text = format!(
        "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: bot}}\nspec:\n  \
         owner: {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /a}}]\n{spec}  \
         egress: {egress}\n"
    );
    load(&[("p.yaml", text)]).unwrap()
}

#[test]
fn the_stricter_of_what_is_to_say_counts() {
    use Cause::{Drifted, Expired};
    let rows = [
        ("", DAY_MS, false, None),
        ("  review_by: 2026-11-21\n", DAY_MS - 1, false, None),
        ("  review_by: 2026-11-21\n", DAY_MS, false, Some((Expired, Fallback::Notify))),
        ("  on_expired: halt\n", DAY_MS, true, Some((Drifted, Fallback::Notify))),
        ("  on_drift: approve\n", DAY_MS, true, Some((Drifted, Fallback::Approve))),
        (
            "  review_by: 2026-11-21\n  on_expired: halt\n  on_drift: approve\n",
            DAY_MS,
            true,
            Some((Expired, Fallback::Halt)),
        ),
    ];
    for (spec, now_ms, drifted, expected) in rows {
        let policy = documents(spec, "{}").policy;
        let found = lapses(&policy, now_ms, &|agent| drifted && agent == "bot");
        let found: Vec<_> = found.iter().map(|lapse| (lapse.cause, lapse.fallback)).collect();
        assert_eq!(found, Vec::from_iter(expected), "{spec}");
    }
}

#[test]
fn what_was_allowed_is_as_strict_as_the_document_says() {
    let egress = "{default: allow, rules: [{allow: [a.example], verify: sni}, \
                  {notify: [b.example]}, {approve: [c.example]}, {deny: [d.example]}]}";
    let host = TestHost::new(&[("/a", 1)]);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let rows = [
        ("notify", "notify notify approve deny allow"),
        ("approve", "approve approve approve deny deny"),
        ("halt", "halt halt halt deny deny"),
    ];
    for (word, tiers) in rows {
        let documents = documents(&format!("  on_drift: {word}\n"), egress);
        let lapses = lapses(&documents.policy, 0, &|_| true);
        let under = Under { lapses: &lapses, ..Under::default() };
        let compiled = documents.compile_under(&around, &mut Ids::default(), &under).unwrap();
        let rules = compiled.rules.iter().filter(|rule| rule.subject != 0);
        let mut found: Vec<_> =
            rules.map(|rule| (Arc::clone(&rule.id), rule.tier.word())).collect();
        found.sort_by_key(|(id, _)| (id.ends_with("default"), Arc::clone(id)));
        let found: Vec<&str> = found.iter().map(|(_, tier)| *tier).collect();
        assert_eq!(found.join(" "), tiers, "{word}");
        let facts = compiled.agents.iter().find(|facts| &*facts.name == "bot").unwrap();
        assert_eq!(facts.lapse.as_ref(), lapses.first());
    }
}
