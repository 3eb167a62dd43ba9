//! The service: what installs it, and its unit.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/governd.service");

fn governd(verb: &[&str], root: &Path) -> String {
    let mut command = Command::cargo_bin("governd").unwrap();
    let output: Output = command.args(verb).arg("--root").arg(root).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Every file and directory below, with its mode.
fn tree(root: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), mode);
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

/// The service's own variables may be set for whoever stops it.
#[test]
fn a_stop_minds_no_variable_of_the_service() {
    let none = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("governd").unwrap();
    command.arg("stop").arg("--socket").arg(none.path().join("none.sock"));
    let output = command.env("GOVERND_CGROUP", none.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no governd runs"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn what_is_installed_is_removed_again_and_either_may_be_repeated() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        governd(&["install"], root.path());
        let tree = tree(root.path());
        let expected = [
            ("etc/governd/policies", 0o755),
            ("etc/governd/policies/default.yaml", 0o644),
            ("etc/systemd/system/governd.service", 0o644),
            ("usr/local/bin/governd", 0o755),
            ("var/lib/governd", 0o700),
        ];
        for (path, mode) in expected {
            assert_eq!(tree.get(path), Some(&mode), "{path} of {tree:?}");
        }
        let groups = fs::read_to_string(root.path().join("etc/group")).unwrap();
        assert_eq!(groups.matches("governd:").count(), 1, "{groups}");
    }
    let unit = root.path().join("etc/systemd/system/governd.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/governd run\n"), "{unit}");
    // Who has a policy keeps it, and gets no other beside it.
    let policies = root.path().join("etc/governd/policies");
    fs::rename(policies.join("default.yaml"), policies.join("own.yaml")).unwrap();
    governd(&["install"], root.path());
    assert!(!policies.join("default.yaml").exists());
    let said = governd(&["uninstall"], root.path());
    assert!(said.contains("etc/governd") && said.contains("--purge"), "{said}");
    assert!(root.path().join("etc/governd/policies/own.yaml").exists());
    for _ in 0..2 {
        governd(&["uninstall", "--purge"], root.path());
        let left = tree(root.path());
        let left: Vec<&String> = left.keys().filter(|path| path.contains("governd")).collect();
        assert!(left.is_empty(), "{left:?}");
        let groups = fs::read_to_string(root.path().join("etc/group")).unwrap();
        assert!(!groups.contains("governd"), "{groups}");
    }
}

/// As on hosts with busybox.
#[test]
fn who_has_no_program_for_groups_adds_and_removes_the_group() {
    let root = tempfile::tempdir().unwrap();
    let governd = |verb: &str| {
        let mut command = Command::cargo_bin("governd").unwrap();
        command.arg(verb).arg("--root").arg(root.path()).env("PATH", root.path().join("none"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = governd("install");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("there is no `groupadd` here"), "{said}");
    assert!(said.contains("hint: add the system group `governd`"), "{said}");
    let groups = root.path().join("etc/group");
    fs::write(&groups, "governd:x:999:\n").unwrap();
    let (code, said) = governd("install");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = governd("uninstall");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("there is no `groupdel` here"), "{said}");
    assert!(said.contains("hint: remove the group `governd`"), "{said}");
    fs::write(&groups, "").unwrap();
    let (code, said) = governd("uninstall");
    assert_eq!(code, Some(0), "{said}");
}

/// systemd's own measure of what a service might do, from 0 to 100.
#[test]
#[ignore = "needs systemd-analyze"]
fn the_unit_exposes_little() {
    let mut analyze = Command::new("systemd-analyze");
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=30", UNIT];
    let output = analyze.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Overall exposure level"), "{said}");
}
