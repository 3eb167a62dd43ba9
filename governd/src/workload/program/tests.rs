use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command as Start, Stdio},
    time::{Duration, Instant},
};

use super::*;
use crate::workload::mounts::Mounts;

const WAITS: &str = "import sys; sys.stdin.read()\n";

struct Running {
    child: Child,
    proc: ProcFs,
}

impl Running {
    /// Starts something that waits for its input, when its files are old enough.
    fn start(program: &Path, args: &[&str], works_in: &Path) -> Self {
        std::thread::sleep(Duration::from_millis(50));
        let mut command = Start::new(program);
        let child = command.args(args).current_dir(works_in).stdin(Stdio::piped()).spawn().unwrap();
        Self { child, proc: ProcFs::new(Path::new("/proc")) }
    }

    /// What it runs, once it executes this.
    fn look(&self, exe: &str) -> Option<Program> {
        let started = Instant::now();
        loop {
            let process = self.proc.process(self.child.id(), &Mounts::default()).unwrap();
            let path = process.exe.as_ref().unwrap().path.clone();
            // The executable is there before the arguments are.
            let has_args = process.args.as_ref().is_some_and(|args| !args.is_empty());
            if has_args && path.file_name().unwrap().to_str().unwrap().starts_with(exe) {
                return look(&self.proc, &process);
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{}", path.display());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn sha256(path: &Path) -> String {
    let output = Start::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// An environment as `python3 -m venv` makes it, with a package.
fn environment(directory: &Path) -> PathBuf {
    let python = directory.join("venv/bin/python3");
    fs::create_dir_all(python.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/usr/bin/python3", &python).unwrap();
    write(directory, "venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
    let lib = fs::read_dir("/usr/lib").unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("python3.").then_some(name)
    });
    for version in lib {
        let packages = format!("venv/lib/{version}/site-packages");
        let info = format!("{packages}/acme_bot-2.1.0.dist-info");
        write(directory, &format!("{packages}/acme/cli.py"), WAITS);
        write(directory, &format!("{packages}/acme/__init__.py"), "");
        write(directory, &format!("{packages}/other-1.dist-info/METADATA"), "Version: 1\n");
        write(
            directory,
            &format!("{info}/METADATA"),
            "Name: acme-bot\nVersion: 2.1.0\n\nVersion: 3\n",
        );
        write(directory, &format!("{info}/top_level.txt"), "acme\n");
        let entry = "[console_scripts]\nbot = acme.cli:main\n";
        write(directory, &format!("{info}/entry_points.txt"), entry);
    }
    write(directory, "venv/bin/bot", WAITS);
    python
}

#[test]
fn scripts_and_modules_of_python_are_found_with_their_version() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let python = environment(root);
    write(root, "agent.py", WAITS);
    write(root, "own/__main__.py", WAITS);
    std::os::unix::fs::symlink("agent.py", root.join("link.py")).unwrap();
    let venv = ["venv/bin/bot", "site-packages/acme/cli.py"];
    for (args, file, version) in [
        (&["agent.py"][..], "agent.py", None),
        (&["-u", "link.py", "x"], "agent.py", None),
        (&["-m", "own"], "own/__main__.py", None),
        (&["-m", "acme.cli"], venv[1], Some("2.1.0")),
        (&["venv/bin/bot"], venv[0], Some("2.1.0")),
    ] {
        let running = Running::start(&python, args, root);
        let found = running.look("python3").unwrap();
        let script = found.script.unwrap();
        assert!(script.ends_with(file) && script.starts_with('/'), "{args:?}: {script}");
        let expected = sha256(Path::new(&*script));
        assert_eq!(found.sha256.as_deref(), Some(&*expected), "{args:?}");
        assert_eq!(found.version.as_deref(), version, "{args:?}");
    }
}

#[test]
fn a_script_that_changed_since_it_began_has_no_digest_and_one_that_is_gone_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let script = write(dir.path(), "agent.py", WAITS);
    let running = Running::start(Path::new("/usr/bin/python3"), &["agent.py"], dir.path());
    assert!(running.look("python3").unwrap().sha256.is_some());
    fs::write(&script, "something else").unwrap();
    let found = running.look("python3").unwrap();
    assert_eq!((found.script.is_some(), found.sha256), (true, None));
    fs::remove_file(&script).unwrap();
    assert_eq!(running.look("python3"), None);
    // What is no file stops nobody.
    assert!(Start::new("mkfifo").arg(&script).status().unwrap().success());
    assert_eq!(running.look("python3"), None);
}

#[test]
fn the_version_of_what_npm_installed_is_that_of_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let package = "lib/node_modules/@acme/coder";
    let json = r#"{"name": "@acme/coder", "version": "0.9.1-beta.2"}"#;
    write(root, &format!("{package}/package.json"), json);
    write(root, &format!("{package}/dist/package.json"), r#"{"type": "module"}"#);
    let script = write(root, &format!("{package}/dist/cli.js"), WAITS);
    fs::create_dir_all(root.join("bin")).unwrap();
    let link = root.join("bin/coder");
    std::os::unix::fs::symlink(format!("../{package}/dist/cli.js"), &link).unwrap();
    // Python runs it as well as node would; what counts is the command line.
    let running = Running::start(Path::new("/usr/bin/python3"), &["bin/coder"], root);
    let mut process = running.proc.process(running.child.id(), &Mounts::default()).unwrap();
    process.args = Some(["node", link.to_str().unwrap()].map(str::to_owned).into());
    process.exe.as_mut().unwrap().path = "/usr/bin/node".into();
    let found = look(&running.proc, &process).unwrap();
    assert_eq!(found.script.as_deref(), script.canonicalize().unwrap().to_str());
    assert_eq!(found.version.as_deref(), Some("0.9.1-beta.2"));
    // A program without an interpreter that such a package brings.
    process.args = Some([String::from("coder")].into());
    process.exe.as_mut().unwrap().path = script;
    let found = look(&running.proc, &process).unwrap();
    assert_eq!((found.script, found.version.as_deref()), (None, Some("0.9.1-beta.2")));
    process.started_ns -= 60_000_000_000;
    assert_eq!(look(&running.proc, &process), None, "another process");
}
