//! Whole diagnostics of a table of bad documents: one row each, everything that people see.

use std::fmt::Write;

use proptest::{collection::vec, prelude::*, sample};

use crate::policy::{limits, load};

/// An agent whose parts can be replaced.
fn agent(spec: &str) -> String {
    let mut text =
        "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {name: bot}\nspec:\n".to_owned();
    for line in spec.lines() {
        writeln!(text, "  {line}").unwrap();
    }
    text
}

/// An agent with an owner and a match, and these rules.
fn rules(rules: &str) -> String {
    let indented: String = rules.lines().map(|line| format!("    {line}\n")).collect();
    let head = "owner: {name: Dana Smith, mail: dana@acme.example}\nmatch: [{exe: /opt/bot}]\n";
    agent(&format!("{head}egress:\n  rules:\n{indented}"))
}

fn matching(entry: &str) -> String {
    agent(&format!("owner: {{name: Dana, mail: d@acme.example}}\nmatch: {entry}\n"))
}

fn host(spec: &str) -> String {
    format!("apiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {{name: h}}\nspec: {spec}\n")
}

fn rows() -> Vec<(&'static str, String)> {
    vec![
        ("not yaml", "kind: [Agent\nfoo: bar".into()),
        ("a tab", "kind: Agent\nspec:\n\towner: x\n".into()),
        ("a scalar", "hello".into()),
        ("no kind, no version", "spec: {}".into()),
        ("unknown kind", "apiVersion: governd.dev/v1\nkind: agent\n".into()),
        ("unknown kind, far", "apiVersion: governd.dev/v1\nkind: Deployment\n".into()),
        ("unknown version", "apiVersion: governd.dev/v2\nkind: Agent\n".into()),
        ("nothing but a kind", "apiVersion: governd.dev/v1\nkind: Agent\n".into()),
        ("duplicate key", agent("owner: {}\nowner: {}")),
        ("merge key", agent("x: &a {name: b}\nowner: {<<: *a}")),
        ("unquoted wildcard", rules("- allow: [*.example.com]")),
        ("unknown fields, several", rules("- allow: [a.example]\n  prots: [443]\n- allow: [b.example]\n  wibble: 1")),
        ("wrong types, several", agent("owner: Dana\nmode: [enforce]\nmatch: {exe: /x}\negress: yes")),
        ("a document of everything wrong", agent(concat!(
            "owner: {name: '', mail: dana}\n",
            "sponsor: {mail: boss@}\n",
            "mode: enforced\n",
            "match:\n- {}\n- {exe: bin/x, user: 'a b', cgroup: system.slice}\n- exe: []\n",
            "egress:\n  default: denied\n  rules:\n",
            "  - allow: [10.0.0.0/33, api.*.com]\n    ports: [0, 90-80, 70000]\n    protocol: tpc\n",
        ))),
        ("an approval of everything wrong", agent(concat!(
            "owner: {name: Dana Smith, mail: dana@acme.example}\nmatch: [{exe: /opt/bot}]\n",
            "review_by: next spring\nprovenance: {sha256: [sha256:12, 2]}\n",
            "egress: {via: [https://gateway.acme.example/v1]}\n",
        ))),
        ("an approval by a machine, in no time, of a tag", agent(concat!(
            "owner: {name: Dana Smith, mail: dana@acme.example, pager: x}\nmatch: [{exe: /opt/bot}]\n",
            "risk: sky\napproval: {by: {name: CI, mail: bot-ci@acme.example}, on: '2026-10-01T00:00:00+02:00'}\n",
            "provenance: {images: [ghcr.io/acme/bot:latest], versions: ['v 1']}\n",
        ))),
        ("an approval that says nothing", agent(
            "owner: {name: Dana Smith, mail: dana@acme.example}\nmatch: [{exe: /opt/bot}]\napproval: {}\n",
        )),
        ("missing owner", agent("match: [{exe: /opt/bot}]")),
        ("empty match", matching("[]")),
        ("an entry that says nothing", matching("[{}]")),
        ("relative exe, glob, directory, dots", matching("[{exe: [bot, /opt/*, /opt/, /opt/../bin/x]}]")),
        ("bad users", matching("[{user: 4294967295}, {user: 'a:b'}, {user: -1}, {user: ''}]")),
        ("bad cgroups", matching("[{cgroup: /}, {cgroup: /sys/fs/cgroup/system.slice/x.service}, {cgroup: a/b}, {cgroup: /a/../b}]")),
        ("bad names", rules(concat!(
            "- allow:\n  - https://api.openai.com/v1\n  - api.openai.com:443\n  - api.openai.com/v1\n",
            "  - '*'\n  - api.*.com\n  - '*foo.com'\n  - a..b\n  - bücher.example\n  - 'a b.com'\n",
            "  - 1.2.3.4.5\n  - example.123\n  - ''\n",
        ))),
        ("international names", rules(concat!(
            "- allow:\n  - bücher.example\n  - '*.münchen.example'\n  - שaלום.example\n  - pay\u{ad}pal.com\n",
            "  - b\u{fc}cher。example\n  - ü\u{fffd}.example\n  - שלום.1a\n  - 1.2.3.\u{661}\n",
        ))),
        ("letters of several alphabets", rules("- allow: [pаypal.com, '*.xn--pypal-4ve.com', bücher.example]\n- deny: [pаypal.net]")),
        ("a name that is too long over the wire", rules("- allow: [üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü.example]")),
        ("bad networks", rules(concat!(
            "- allow:\n  - 10.0.0.0/33\n  - 10.0.0.1/8\n  - 10.0.0.256\n  - 10.0.0.0/255.0.0.0\n",
            "  - 2001:db8::1/32\n  - fe80::1%eth0\n  - '2001:db8::/129'\n  - '[::1]:80'\n  - '::ffff:10.0.0.1/104'\n",
        ))),
        ("bad ports", rules("- allow: [a.example]\n  ports: [0, 8100-8000, 65536, http, 1-, '']")),
        ("bad limits", agent(concat!(
            "owner: {name: Dana Smith, mail: dana@acme.example}\nmatch: [{exe: /opt/bot}]\nlimits:\n",
            "  notify: {connections_per_minute: 600, bytes_per_hour: 2 gigabytes}\n",
            "  halt: {connections_per_minute: 600, new_destinations_per_hour: 0, per_day: 1}\n",
        ))),
        ("limits that say nothing", agent(concat!(
            "owner: {name: Dana Smith, mail: dana@acme.example}\nmatch: [{exe: /opt/bot}]\n",
            "limits: {notify: {}}\n",
        ))),
        ("neither and both", rules("- ports: [443]\n- allow: [a.example]\n  deny: [b.example]")),
        ("empty lists", rules("- allow: []\n- allow: [a.example]\n  ports: []")),
        ("public suffixes", rules("- allow: ['*.com', '*.github.io', '*.example.com', '*.co.uk']\n- deny: ['*.ru']")),
        ("shared domains", rules("- allow: ['*.amazonaws.com', '*.eu-west-1.amazonaws.com', '*.core.windows.net', '*.acme.azure.com']")),
        ("a sponsor that is no person", agent("owner: {name: Dana, mail: d@acme.example}\nsponsor: {name: CI, mail: svc-ci@acme.example}\nmatch: [{exe: /x}]")),
        ("bad agent names", concat!(
            "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {name: Invoice Bot}\nspec: {}\n---\n",
            "apiVersion: governd.dev/v1\nkind: Agent\nmetadata: {name: unregistered}\nspec: {}\n",
        ).into()),
        ("duplicate agents", format!("{0}---\n{0}", matching("[{exe: /opt/bot}]"))),
        ("host policy", host("{hosts: ['web server'], mode: enfroce, unregistered: denyai, loopback: maybe, resolvers: {host: maybe, addresses: [10.0.0.0/8, dns.example]}}")),
        ("host policy without hosts", host("{mode: monitor}")),
        ("NUL and bidi in the text", "kind: A\0gent\nname: \u{202e}evil\n".into()),
        ("bidi in an escape", rules("- allow: [\"a\\u202Eb.example\"]")),
        ("aliases that multiply", bomb()),
        ("nesting", format!("a: {}1{}", "[".repeat(40), "]".repeat(40))),
        ("numbers where names are", "apiVersion: governd.dev/v1\nkind: 1\n".into()),
        ("a list of agents", "- apiVersion: governd.dev/v1\n  kind: Agent\n".into()),
    ]
}

fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let list = vec![below; 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{list}]").unwrap();
    }
    text
}

#[test]
fn bad_documents_are_explained_at_the_place_of_the_fault() {
    let mut all = String::new();
    for (title, text) in rows() {
        writeln!(all, "# {title}").unwrap();
        match load(&[("p.yaml", text)]) {
            Ok(documents) => writeln!(all, "accepted\n{}", documents.warnings).unwrap(),
            Err(diagnostics) => writeln!(all, "{diagnostics}").unwrap(),
        }
        writeln!(all).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn the_json_form_has_every_part() {
    let text = rules("- allow: [10.0.0.1/8]");
    let diagnostics = load(&[("p.yaml", text)]).unwrap_err();
    let json = serde_json::to_value(&diagnostics).unwrap();
    insta::assert_json_snapshot!(json);
}

#[test]
fn files_that_are_too_large_or_not_utf8_are_refused_at_once() {
    let large = vec![b'#'; limits::SOURCE_BYTES_MAX + 1];
    let diagnostics = load(&[("large.yaml", large)]).unwrap_err();
    insta::assert_snapshot!(diagnostics, @r"
    large.yaml: error[too-large]: the file is larger than 1048576 bytes
    hint: split it: every *.yaml file of the policy directory is read
    ");
    let diagnostics = load(&[("b.yaml", b"kind: \n  \xff\xfe".to_vec())]).unwrap_err();
    insta::assert_snapshot!(diagnostics, @"b.yaml:2:3: error[bad-character]: the file is not UTF-8 from here on");
}

#[test]
fn a_file_of_bad_characters_is_refused_after_the_first_few() {
    let text = "\u{1}\n".repeat(limits::SOURCE_BYTES_MAX / 2);
    let diagnostics = load(&[("p.yaml", text)]).unwrap_err();
    assert_eq!(diagnostics.errors(), limits::BAD_CHARACTERS_MAX);
}

#[test]
fn many_faults_are_bounded_and_counted() {
    let list: String = (0..5_000).map(|one| format!("  - 10.0.0.{one}.0/8\n")).collect();
    let diagnostics = load(&[("p.yaml", rules(&format!("- allow:\n{list}")))]).unwrap_err();
    assert_eq!(diagnostics.iter().count(), limits::DIAGNOSTICS_MAX);
    assert_eq!(diagnostics.errors(), 5_000);
    assert!(diagnostics.to_string().ends_with("and 4900 more"));
}

#[test]
fn duplicates_in_two_files_name_both_places() {
    let text = matching("[{exe: /opt/bot}]");
    let sources = [("a.yaml", text.clone()), ("b.yaml", text)];
    let diagnostics = load(&sources).unwrap_err();
    insta::assert_snapshot!(diagnostics, @r"
    b.yaml:3:18: error[duplicate]: the agent `bot` is already defined at a.yaml:3:18
    hint: rename one of the two, or merge them
    ");
}

#[test]
fn every_unknown_field_is_named_and_an_empty_file_is_no_policy() {
    assert!(load(&[("empty.yaml", "")]).unwrap().policy.agents.is_empty());
    assert!(load(&[("empty.yaml", "---\n---\n# nothing\n")]).is_ok());
}

/// Text that is nearly a policy: a good one with pieces replaced, doubled or cut.
fn nearly_a_policy() -> impl Strategy<Value = Vec<u8>> {
    let good = rules("- allow: [api.example.com, '*.x.example', 10.0.0.0/8]\n  ports: [1-2, 443]");
    let pieces = [
        "*",
        "&a ",
        "*a",
        "<<: ",
        "- ",
        "[",
        "{",
        "\t",
        "\n",
        "|\n",
        "!!binary ",
        "~",
        "\"",
        "é",
        "\0",
    ];
    let edit = (any::<sample::Index>(), 0..6_usize, sample::select(pieces.to_vec()));
    vec(edit, 0..6).prop_map(move |edits| {
        let mut bytes = good.clone().into_bytes();
        for (index, cut, piece) in edits {
            let at = index.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, piece.bytes());
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_at_a_place_that_exists(
        bytes in prop_oneof![4 => nearly_a_policy(), 1 => vec(any::<u8>(), 0..200)],
    ) {
        if let Err(diagnostics) = load(&[("p.yaml", &bytes)]) {
            prop_assert!(diagnostics.has_errors());
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u32 + 2;
            for one in diagnostics.iter() {
                let place = one.place.clone().unwrap();
                prop_assert!((1..=lines).contains(&place.line), "{one}");
                prop_assert!(!one.message.chars().any(char::is_control), "{:?}", one.message);
            }
        }
    }
}
