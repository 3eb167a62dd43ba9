//! `governd policy check` and `schema` as people and CI run them.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{fs, path::Path};

use assert_cmd::Command;

const GOOD: &str = "\
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana, mail: dana@acme.example}
  match: [{exe: /nowhere/bot, user: nobody-of-this-name}]
  egress: {rules: [{allow: [api.example.com]}]}
";

fn check(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("governd").unwrap();
    let output = command.args(["policy", "check"]).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_valid_policy_is_summed_up_and_users_that_do_not_exist_are_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "good.yaml", GOOD);
    write(directory.path(), "notes.txt", "not a policy");
    let (code, out, err) = check(&[directory.path().to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("valid: 0 errors and 3 warnings in 1 file\n1 agent, "), "{out}");
    assert!(out.trim_end().lines().last().unwrap().starts_with("sha256:"), "{out}");
    let expected = format!("{path}:6:17: warning[no-executable]: ");
    assert!(err.starts_with(&expected), "{err}");
    assert!(err.contains("warning[unknown-user]"), "{err}");
    assert!(err.contains("warning[no-approval]"), "{err}");
}

#[test]
fn an_invalid_policy_exits_with_3_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.yaml", GOOD);
    let bad = write(directory.path(), "bad.yaml", &GOOD.replace("match", "matches"));
    let (code, out, err) = check(&[&good, &bad]);
    assert_eq!(code, 3);
    assert!(out.starts_with("not valid: "), "{out}");
    let expected = format!("{bad}:6:3: error[unknown-field]: unknown field `matches`\nhint: ");
    assert!(err.contains(&expected), "{err}");

    let (code, out, err) = check(&["--json", &bad]);
    assert_eq!((code, err.as_str()), (3, ""));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["diagnostics"][0]["line"], 5);
}

#[test]
fn what_cannot_be_read_exits_with_4_and_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().to_str().unwrap().to_owned();
    for path in [format!("{empty}/missing.yaml"), empty] {
        let (code, _, err) = check(&[&path]);
        assert_eq!(code, 4, "{err}");
        assert!(err.starts_with("error: ") && err.contains("\nhint: "), "{err}");
    }
}

#[test]
fn the_schema_is_one_json_object() {
    let mut command = Command::cargo_bin("governd").unwrap();
    let output = command.args(["policy", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn the_host_policy_that_holds_is_named_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(
        directory.path(),
        "hosts.yaml",
        "apiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {name: every}\nspec: {}\n---\n\
         apiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {name: web}\n\
         spec: {hosts: ['web-*'], environment: production, labels: {tier: web}, mode: enforce}\n",
    );
    let file = write(
        directory.path(),
        "host.toml",
        "environment = \"production\"\n[labels]\ntier = \"web\"\n",
    );
    let there = ["--host", "web-7", "--host-file", &file];
    let expected = "host policy web, by the host name pattern web-* and the label tier=web and the \
                    environment, over every\n";
    let (code, out, err) = check(&[&[path.as_str()], &there[..]].concat());
    assert!(code == 0 && out.contains(expected), "{out}{err}");
    let mut show = Command::cargo_bin("governd").unwrap();
    show.args(["policy", "show", "--effective", &path]).args(there);
    let output = show.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
    let (_, out, _) = check(&[path.as_str(), "--host", "db-1", "--host-file", &file]);
    assert!(out.contains("host policy every, for every host\n"), "{out}");
    // What the host is cannot be told, so that no policy is the right one.
    fs::write(&file, "environment = production\n").unwrap();
    let (code, _, err) = check(&[path.as_str(), "--host-file", &file]);
    assert!(code == 3 && err.contains("error[bad-host-file]"), "{err}");
}

#[test]
fn a_file_of_100_mb_is_refused_after_its_first_part() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "large.yaml", "");
    fs::File::options().write(true).open(&path).unwrap().set_len(100_000_000).unwrap();
    let mut command = Command::new("prlimit");
    // Fewer bytes of memory than the file has.
    command.args(["--data=64000000"]).arg(assert_cmd::cargo::cargo_bin("governd"));
    let output = command.args(["policy", "check", &path]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("large.yaml: error[too-large]: the file is larger than "), "{err}");
}

fn governd(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("governd").unwrap();
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_policy_that_is_only_loosened_is_not_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let old = write(directory.path(), "old.yaml", GOOD);
    let loose = GOOD
        .replace("[api.example.com]", "[api.example.com], protocol: tcp, ports: [443]")
        .replace("egress: {", "egress: {unix: any, ");
    let new = write(directory.path(), "new.yaml", &loose);
    let (code, out, err) = governd(&["policy", "diff", &old, &old]);
    assert_eq!((code, out.as_str()), (0, "nobody gains or loses anything\n"), "{err}");
    let other = write(directory.path(), "other.yaml", &loose.replace("443]", "443], verify: dns"));
    let (code, out, _) = governd(&["policy", "diff", &new, &other]);
    let expected = "bot (Dana <dana@acme.example>)\n  changes api.example.com port 443/tcp, by \
                    bot/egress/1: allow becomes allow, verified by dns\n";
    assert_eq!((code, out.as_str()), (1, expected));
    let strict = write(directory.path(), "strict.yaml", &loose.replace("unix: any, ", ""));
    let (code, out, _) = governd(&["policy", "diff", "--json", &strict, &new]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    let setting = &report["agents"][0]["settings"][0];
    assert_eq!((&setting["field"], &setting["new"]), (&"unix".into(), &"any".into()), "{report}");
    let hosts = "---\napiVersion: governd.dev/v1\nkind: HostPolicy\nmetadata: {name: all}\n";
    let host = format!("{loose}{hosts}spec: {{on_log_failure: deny-ai}}\n");
    let host = write(directory.path(), "host.yaml", &host);
    let (code, out, _) = governd(&["policy", "diff", &new, &host]);
    let expected = "this host\n  host policy: built-in becomes all\n  on_log_failure: continue \
                    becomes deny-ai\n";
    assert_eq!((code, out.as_str()), (1, expected));
}

#[test]
fn what_cannot_be_asked_for_is_an_error_of_usage() {
    let rows: [(&[&str], &str); 3] = [
        (&["approve", "1", "--for", "31d"], "a grant lasts at most 30 days"),
        (&["catalog", "list", "--kind", "nonsense"], "the kinds are: "),
        (&["policy", "show", "--counts", "--agent", "unregistered"], "is not counted\nhint: "),
    ];
    for (arguments, expected) in rows {
        let (code, out, err) = governd(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(expected), "{err}");
    }
}
