//! The manifests for Kubernetes: what `kubectl` and `helm` make of them fits the published schemas
//! of three versions, both make the same, and the documents inside are right.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The oldest that has `appArmorProfile`, one between, and the newest that the schemas have.
const VERSIONS: [&str; 3] = ["1.30.0", "1.34.0", "1.37.0"];

fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../lab/kubernetes")
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// A tool, kept from the settings and the clusters of whoever runs this.
fn tool(name: &str) -> Command {
    let mut command = Command::new(tools().join(name));
    command.env_clear().env("HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

fn kustomize() -> Command {
    let mut command = tool("kubectl");
    command.arg("kustomize").arg(deploy("kubernetes"));
    command
}

fn helm(values: &[&str]) -> Command {
    let mut command = tool("helm");
    command.args(["template", "governd"]).arg(deploy("helm/governd"));
    command.args(["--namespace", "governd", "--include-crds"]);
    command.args(values.iter().flat_map(|value| ["--set-json", value]));
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn text(command: &mut Command) -> String {
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn python(script: &[&str], input: &str) -> Output {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", tools()).args(script);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn validate(objects: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/validate.py");
    let mut arguments = vec![script.to_str().unwrap()];
    arguments.extend(VERSIONS);
    python(&arguments, objects)
}

/// As JSON, sorted by kind and name.
fn objects(yaml: &str) -> Vec<Value> {
    const AS_JSON: &str = "import json, sys, yaml\n\
        print(json.dumps([each for each in yaml.safe_load_all(sys.stdin) if each]))";
    let output = python(&["-c", AS_JSON], yaml);
    let mut objects: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    objects.sort_by_key(name);
    objects
}

fn name(object: &Value) -> String {
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    format!("{}/{}", word("/kind"), word("/metadata/name"))
}

/// Values that the chart takes, each with a word that only they bring in.
const VALUES: [(&[&str], &str); 6] = [
    (&[], "governd-sink"),
    (&[r#"image={"repository":"there/governd","tag":"9","pullSecrets":[{"name":"s"}]}"#], "there/"),
    (&[r#"daemon.exporters="[[stdout]]\nname = \"out\"\n""#], "exporters.toml"),
    (&[r#"sink.names=["sink.acme.example"]"#, r#"sink.storage.className="fast""#], "fast"),
    (&["sink.keepDays=400"], "--keep-days=400"),
    (&["sink.enabled=false", "priority.create=false", r#"priority.name="own""#], "own"),
];

#[test]
#[ignore = "needs what `cargo xtask setup` installs"]
fn what_kubectl_and_helm_make_fits_the_schemas() {
    let made = std::iter::once((text(&mut kustomize()), "privileged"));
    let charts = VALUES.iter().map(|(values, word)| (text(&mut helm(values)), *word));
    for (objects, word) in made.chain(charts) {
        let output = validate(&objects);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(objects.contains(word), "no {word} in {objects}");
        for part in ["DaemonSet/governd", "CustomResourceDefinition/agents.governd.dev"] {
            assert!(said.contains(part), "no {part} in {said}");
        }
    }
}

#[test]
#[ignore = "needs what `cargo xtask setup` installs"]
fn objects_that_do_not_fit_are_found() {
    let right = text(&mut kustomize());
    for (from, to) in [
        ("hostPID: true", "hostPID: perhaps"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("kind: DaemonSet", "kind: DemonSet"),
    ] {
        let wrong = right.replacen(from, to, 1);
        assert_ne!(wrong, right, "{from} is not there");
        assert!(!validate(&wrong).status.success(), "{to}");
    }
}

#[test]
#[ignore = "needs what `cargo xtask setup` installs"]
fn the_chart_makes_what_the_base_has() {
    let mut base = objects(&text(&mut kustomize()));
    // Whose namespace it is, helm is told.
    base.retain(|object| name(object) != "Namespace/governd");
    assert_eq!(objects(&text(&mut helm(&[]))), base);
}

#[test]
#[ignore = "needs what `cargo xtask setup` installs"]
fn values_that_make_no_sense_are_refused() {
    for value in [
        r#"policies={"default.yaml":null}"#,
        r#"policies={"a.txt":"x"}"#,
        r#"daemon.logMax="2 gigabytes""#,
        "daemon.privileged=true",
        "sink.port=0",
        "sink.keepDays=0",
        r#"image.pullPolicy="Sometimes""#,
        "priority.value=2000000000",
    ] {
        let output = output(&mut helm(&[value]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("schema"), "{value}: {said}");
    }
}

#[test]
#[ignore = "needs what `cargo xtask setup` installs"]
fn the_policies_inside_are_right_and_stop_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for object in objects(&text(&mut kustomize())) {
        if name(&object) != "ConfigMap/governd-policies" {
            continue;
        }
        for (file, policy) in object["data"].as_object().unwrap() {
            let policy = policy.as_str().unwrap();
            assert!(policy.contains("mode: monitor"), "{policy}");
            std::fs::write(directory.path().join(file), policy).unwrap();
        }
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_governd"));
    text(check.args(["policy", "check"]).arg(directory.path()));
}

#[test]
#[ignore = "needs what `cargo xtask setup` installs"]
fn the_daemon_has_the_capabilities_that_it_keeps_and_is_not_privileged() {
    let all = objects(&text(&mut kustomize()));
    let daemon = all.iter().find(|object| name(object) == "DaemonSet/governd").unwrap();
    let context = daemon.pointer("/spec/template/spec/containers/0/securityContext").unwrap();
    assert_eq!(context["privileged"], false);
    let mut added: Vec<_> = context["capabilities"]["add"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| format!("CAP_{}", name.as_str().unwrap()))
        .collect();
    added.sort();
    let unit = std::fs::read_to_string(deploy("systemd/governd.service")).unwrap();
    let unit = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let mut kept: Vec<_> = unit.split(' ').map(str::to_owned).collect();
    kept.sort();
    assert_eq!(added, kept);
}
