//! What is valid, and perhaps not meant so.

use std::fmt::Write;

use super::host::TestHost;
use crate::policy::{check, compile::Surroundings};

/// 2026-11-22T00:00:00Z.
const NOW_MS: u64 = 1_795_305_600_000;

const APPROVED: &str = "  approval: {by: {name: Lee, mail: l@acme.example}, on: 2026-11-01}\n";

/// Remarks on an agent with an approval.
fn remarks(spec: &str, rules: &str) -> String {
    remarks_on(&format!("{APPROVED}{spec}"), rules)
}

fn remarks_on(spec: &str, rules: &str) -> String {
    let text = format!(
        "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: bot}}\nspec:\n  \
         owner: {{name: Dana, mail: d@acme.example}}\n  match: [{{exe: /a}}]\n{spec}  \
         egress:\n    rules: [{rules}]\n"
    );
    let host = TestHost::new(&[("/a", 1)]);
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let report = check(&[("p.yaml", text)], &around, NOW_MS);
    assert!(report.valid, "{}", report.diagnostics);
    report.diagnostics.to_string()
}

#[test]
fn rules_that_never_decide_are_warned_of() {
    let rows = [
        ("deny wins", "{allow: [a.example]}, {deny: [a.example]}"),
        ("the same twice", "{allow: [a.example, b.example]}, {allow: [a.example]}"),
        (
            "wider ports",
            "{allow: [a.example], ports: ['1-1000']}, {deny: [a.example], ports: [443]}",
        ),
        ("the wider one with ports", "{deny: [a.example], ports: [443]}, {allow: [a.example]}"),
        ("a part of it decides", "{allow: [a.example, b.example]}, {deny: [a.example]}"),
        ("an exact name in a wildcard", "{allow: ['*.example.com']}, {allow: [a.example.com]}"),
        ("a network", "{allow: [10.0.0.0/8]}, {deny: [10.0.0.0/8], protocol: tcp}"),
        ("the same network twice", "{deny: [10.0.0.0/8]}, {allow: [10.0.0.0/8]}"),
        (
            "two together",
            "{allow: [a.example], ports: ['100-600']}, {deny: [a.example], ports: ['1-500']}, \
             {deny: [a.example], ports: ['501-1000']}",
        ),
        (
            "two together, but for a port",
            "{allow: [a.example], ports: ['100-600']}, {deny: [a.example], ports: ['1-500']}, \
             {deny: [a.example], ports: ['502-1000']}",
        ),
        (
            "two together, for other transports",
            "{allow: [a.example], ports: [443]}, {deny: [a.example], ports: [443], protocol: tcp}, \
             {deny: [a.example], ports: [443], protocol: udp}",
        ),
    ];
    let mut all = String::new();
    for (title, rules) in rows {
        writeln!(all, "# {title}\n{}\n", remarks("", rules)).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_script_as_executable_is_warned_of() {
    let text = "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {name: bot}\nspec:\n  \
                owner: {name: Dana, mail: d@acme.example}\n  match: [{exe: [/a, /b]}]\n";
    let mut host = TestHost::new(&[("/a", 1), ("/b", 2)]);
    host.scripts = vec!["/b"];
    let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
    let report = check(&[("p.yaml", text.to_owned())], &around, NOW_MS);
    let found = report.diagnostics.to_string();
    assert!(report.valid, "{found}");
    let expected = "p.yaml:6:22: warning[script-executable]: `/b` is a script: its processes run \
                    its interpreter\nhint: name it as `script`, with its interpreter as \
                    `exe`, or recognise the agent by `cgroup` or `user`";
    assert!(found.contains(expected), "{found}");
    assert_eq!(found.matches("script-executable").count(), 1, "{found}");
}

#[test]
fn an_approval_that_is_over_is_warned_of() {
    assert_eq!(remarks("  review_by: 2026-11-22\n", ""), "");
    let expected = "p.yaml:3:18: warning[expired-approval]: the approval of `bot` ended with \
                    2026-11-21\nhint: review the agent, and write another `review_by`";
    assert_eq!(remarks("  review_by: 2026-11-21\n", ""), expected);
}

#[test]
fn an_approval_that_is_missing_or_cannot_be_right_is_warned_of() {
    let on = |day| format!("  approval: {{by: {{name: Lee, mail: l@acme.example}}, on: {day}}}\n");
    assert_eq!(remarks_on(&on("2026-11-22"), ""), "");
    let rows = [
        (String::new(), "no-approval"),
        (on("2026-11-23"), "odd-approval"),
        (on("2026-11-22") + "  review_by: 2026-11-21\n", "odd-approval"),
    ];
    for (spec, code) in rows {
        let remarks = remarks_on(&spec, "");
        assert!(remarks.contains(&format!("warning[{code}]")), "{spec}: {remarks}");
    }
}

#[test]
fn an_address_that_is_denied_with_less_weight_than_a_name_is_allowed_is_warned_of() {
    let rows = [
        ("{allow: [a.example]}, {deny: [169.254.169.254]}", false),
        ("{allow: [a.example], ports: [443]}, {deny: [169.254.169.254]}", true),
        ("{approve: [a.example], ports: [443]}, {deny: [169.254.169.254]}", false),
        ("{allow: ['*.a.example'], ports: [443]}, {deny: [169.254.169.254]}", false),
        ("{allow: [a.example], protocol: tcp}, {halt: [169.254.169.254]}", true),
        ("{allow: [a.example], ports: [443]}, {deny: [169.254.0.0/16]}", false),
        ("{allow: [a.example], ports: [443]}, {deny: [169.254.169.254], ports: [443]}", false),
    ];
    for (rules, expected) in rows {
        let remarks = remarks("", rules);
        assert_eq!(remarks.contains("warning[weak-denial]"), expected, "{rules}: {remarks}");
    }
}

#[test]
fn what_is_wider_than_it_looks_is_warned_of_in_every_list_that_opens() {
    let rows = [
        ("{allow: ['*.com']}", true),
        ("{notify: ['*.com']}", true),
        ("{approve: ['*.com']}", true),
        ("{deny: ['*.com']}", false),
        ("{halt: ['*.com']}", false),
        ("{approve: ['*.your-name.com']}", false),
    ];
    for (rules, expected) in rows {
        let remarks = remarks("", rules);
        assert_eq!(remarks.contains("warning[public-suffix]"), expected, "{rules}: {remarks}");
    }
}

#[test]
fn members_of_a_group_are_warned_of_unless_rules_only_close_it() {
    let group = |name: &str, endpoints: &str| {
        format!(
            "---\napiVersion: governd.dev/v1\nkind: EndpointGroup\nmetadata: {{name: {name}}}\n\
             spec: {{endpoints: [{endpoints}]}}\n"
        )
    };
    let inner = group("inner", "'*.com', '*.amazonaws.com', p\u{430}y.example, '*.acme.example'");
    let groups = inner + &group("outer", "group:inner");
    let rows = [
        ("{allow: [group:inner]}", true),
        ("{approve: [group:outer]}", true),
        ("{deny: [group:outer]}", false),
        ("{deny: [group:outer]}, {notify: [group:inner]}", true),
        ("{deny: [group:outer]}, {allow: [a.example]}", false),
        // Nobody has used it yet.
        ("", true),
    ];
    for (rules, expected) in rows {
        let text = format!("egress: {{rules: [{rules}]}}\n{groups}");
        let text = format!("{HEAD}  {text}");
        let host = TestHost::new(&[("/a", 1)]);
        let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
        let report = check(&[("p.yaml", text)], &around, NOW_MS);
        let found = report.diagnostics.to_string();
        assert!(report.valid, "{found}");
        for code in ["public-suffix", "shared-domain", "mixed-script"] {
            let count = found.matches(&format!("warning[{code}]")).count();
            assert_eq!(count, usize::from(expected), "{rules}: {found}");
        }
    }
}

const HEAD: &str = "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {name: bot}\nspec:\n  \
                    owner: {name: Dana, mail: d@acme.example}\n  match: [{exe: /a}]\n";

#[test]
fn addresses_that_reach_nobody_are_warned_of() {
    let person = |mail: &str| format!("{{name: Lee, mail: {mail}}}");
    let rows = [
        ("lee@example.invalid", true),
        ("lee@invalid", true),
        ("lee@Example.INVALID.", true),
        ("lee@invalid.example", false),
        ("invalid@acme.example", false),
    ];
    for (mail, expected) in rows {
        let sponsor = format!("  sponsor: {}\n", person(mail));
        let approved = APPROVED.replace("l@acme.example", mail);
        for remarks in [remarks(&sponsor, ""), remarks_on(&approved, "")] {
            assert_eq!(remarks.contains("warning[nobodys-mail]"), expected, "{mail}: {remarks}");
        }
        let owner = HEAD.replace("d@acme.example", mail);
        let host = TestHost::new(&[("/a", 1)]);
        let around = Surroundings { host: &host, endpoints: &[], model_ports: &[], mode: None };
        let found = check(&[("p.yaml", owner)], &around, NOW_MS).diagnostics.to_string();
        let text = format!(
            "p.yaml:5:29: warning[nobodys-mail]: no mail ever reaches `{mail}`\nhint: write the \
             name and address of the person who answers for the agent"
        );
        assert_eq!(found.contains(&text), expected, "{mail}: {found}");
    }
}
