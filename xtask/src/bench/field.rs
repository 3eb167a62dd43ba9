//! Where the bench runs: network namespaces and cgroups of its own, and measured processes in them.
//! What is made is removed when it is dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::work::{TARGET, Work};
use crate::{run, say};

/// What everything is called that the bench makes.
pub(super) fn name(what: &str) -> String {
    format!("governd-bench-{}-{what}", std::process::id())
}

/// A network namespace in which the measured address is on the loopback device.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn create(what: &str) -> Result<Self> {
        let namespace = Self { name: name(what) };
        ip(&["netns", "add", &namespace.name])?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        namespace.ip(&["address", "add", &format!("{TARGET}/32"), "dev", "lo"])?;
        Ok(namespace)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all)
    }

    /// A command in it. Not by `ip netns exec`, which hides the cgroup tree.
    pub(super) fn command(&self, program: &str) -> Result<Command> {
        let mut command = run::command("nsenter")?;
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        Ok(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            say::warn(format_args!("{error:#}"));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run::read(run::command("ip")?.args(arguments)).map(drop)
}

/// A cgroup below the cgroup v2 mount; it must be empty when it is dropped.
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(super) fn create(what: &str) -> Result<Self> {
        let path = mount()?.join(name(what));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still be counted.
        for _ in 0..500 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        say::warn(format_args!("{} is left, since it is not empty", self.path.display()));
    }
}

fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        source.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
    });
    Ok(PathBuf::from(mount.context("no cgroup v2 mount in /proc/self/mountinfo")?))
}

/// A measured process; it ends with its input.
pub(super) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts `program`, a copy of xtask, in the cgroup and the namespace: it is a member of both
    /// before it is executed, as the programs that watch executions expect.
    pub(super) fn start(program: &Path, cgroup: &Cgroup, namespace: &Namespace) -> Result<Self> {
        let enter = r#"echo $$ > "$1/cgroup.procs" && shift && exec "$@""#;
        let mut command = namespace.command("sh")?;
        command.args(["-c", enter, "sh"]).arg(cgroup.path()).arg(program).arg("bench-work");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a measured process")?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("the measured process has no output")?;
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// Nanoseconds of one operation: the median of a batch.
    pub(super) fn measure(&mut self, work: Work) -> Result<f64> {
        let requests = self.requests.as_mut().context("the measured process has no input")?;
        writeln!(requests, "{} {}", work.word(), work.samples())?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            bail!("the measured process ended during {}", work.word());
        }
        answer.trim().parse().with_context(|| format!("no number: {answer}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Err(error) = self.child.wait() {
            say::warn(format_args!("cannot wait for a measured process: {error}"));
        }
    }
}
