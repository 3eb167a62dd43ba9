//! Where the bench runs: network namespaces and cgroups of its own, and processes in them. What is
//! made is removed when it is dropped, or else by the [janitor](super::janitor).

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    client::Route,
    put, server,
    site::{self, RESOLVER},
    work::{Chore, Work},
};
use crate::{run, say};

/// What the names of everything begin with that a bench makes, before the number of its process.
pub(super) const PREFIX: &str = "governd-bench-";
/// Resolver configuration of processes in the namespaces, in the bench's directory.
const RESOLV_CONF: &str = "resolv.conf";
const NSSWITCH_CONF: &str = "nsswitch.conf";

/// What everything is called that the bench makes.
pub(super) fn name(what: &str) -> String {
    format!("{PREFIX}{}-{what}", std::process::id())
}

/// A network namespace with every address of the bench on its loopback device. Processes in it
/// ask the bench's resolver and nobody else for names.
pub(super) struct Namespace<'a> {
    name: String,
    files: &'a Path,
}

impl<'a> Namespace<'a> {
    /// Makes it; `files` is the bench's directory.
    pub(super) fn create(what: &str, files: &'a Path) -> Result<Self> {
        put(&files.join(RESOLV_CONF), &format!("nameserver {RESOLVER}\n"))?;
        put(&files.join(NSSWITCH_CONF), "hosts: dns\n")?;
        let namespace = Self { name: name(what), files };
        ip(&["netns", "add", &namespace.name])?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        for address in site::ALL {
            namespace.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
        }
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

    /// A program in it and in a cgroup: it is a member of both before it is executed, as the
    /// programs that watch executions expect. What it shares in memory goes with it (squid finds
    /// what another has left, and does not start).
    fn member(&self, cgroup: &Cgroup, program: &Path) -> Result<Command> {
        let enter = format!(
            r#"mount --bind "$1/{RESOLV_CONF}" /etc/resolv.conf &&
            mount --bind "$1/{NSSWITCH_CONF}" /etc/nsswitch.conf &&
            mount -t tmpfs tmpfs /dev/shm &&
            echo $$ > "$2/cgroup.procs" && shift 2 && exec "$@""#
        );
        let mut command = self.command("setpriv")?;
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", &enter, "sh"]);
        command.arg(self.files).arg(cgroup.path()).arg(program);
        Ok(command)
    }
}

impl Drop for Namespace<'_> {
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

    /// Does something as a member, so that processes that are started by it are members, too.
    pub(super) fn inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = fs::read_to_string("/proc/self/cgroup").context("reading the own cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = mount()?.join(own.context("no own cgroup")?);
        let enter = |cgroup: &Path| put(&cgroup.join("cgroup.procs"), "0");
        enter(&self.path)?;
        let result = work();
        enter(&own)?;
        result
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !is_removed(&self.path) {
            say::warn(format_args!("{} is left, since it is not empty", self.path.display()));
        }
    }
}

/// Removes a cgroup; a process that has just ended may still be counted for some seconds.
pub(super) fn is_removed(cgroup: &Path) -> bool {
    (0..500).any(|_| {
        let is_removed = fs::remove_dir(cgroup).is_ok();
        if !is_removed {
            thread::sleep(Duration::from_millis(10));
        }
        is_removed
    })
}

/// Ends all processes of a cgroup and of those below it (cgroup v2, `cgroup.kill`, Linux 5.14).
pub(super) fn end_all(cgroup: &Path) {
    // A cgroup that is gone has no processes.
    fs::write(cgroup.join("cgroup.kill"), "1").ok();
}

/// Where the cgroup v2 tree is.
pub(super) fn mount() -> Result<PathBuf> {
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
    /// Starts `program`, a copy of xtask, in the cgroup and the namespace.
    pub(super) fn start(
        program: &Path,
        cgroup: &Cgroup,
        namespace: &Namespace<'_>,
        route: &Route,
    ) -> Result<Self> {
        let mut command = namespace.member(cgroup, program)?;
        command.args(["bench-work", "--name", &route.name, "--ca"]).arg(&route.ca);
        command.args(route.proxy.map(|proxy| format!("--proxy={proxy}")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a measured process")?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("the measured process has no output")?;
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// Nanoseconds of one operation: the median of a batch.
    pub(super) fn measure(&mut self, work: Work) -> Result<f64> {
        self.ask(work.word(), work.samples())
    }

    /// Does something so many times; in nanoseconds.
    pub(super) fn act(&mut self, chore: Chore, count: u32) -> Result<f64> {
        self.ask(chore.word(), count)
    }

    fn ask(&mut self, word: &str, count: u32) -> Result<f64> {
        let requests = self.requests.as_mut().context("the measured process has no input")?;
        writeln!(requests, "{word} {count}")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            bail!("the measured process ended during {word}");
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

/// A process that serves the measured ones, with all that it starts, in a cgroup of its own.
pub(super) struct Servant {
    child: Child,
    cgroup: Cgroup,
}

impl Servant {
    /// Starts a program; what it says goes to `log`.
    pub(super) fn start(
        what: &str,
        namespace: &Namespace<'_>,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self> {
        let cgroup = Cgroup::create(what)?;
        let mut command = namespace.member(&cgroup, program)?;
        let output = fs::File::create(log)?;
        command.args(arguments).stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        Ok(Self { child: command.spawn().with_context(|| format!("starting {what}"))?, cgroup })
    }

    /// Starts the server and the resolver of a namespace, and waits until they are there.
    pub(super) fn serve(namespace: &Namespace<'_>, what: &str, xtask: &Path) -> Result<Self> {
        let cgroup = Cgroup::create(&format!("{what}-server"))?;
        let mut command = namespace.member(&cgroup, xtask)?;
        command.arg("bench-serve").arg(namespace.files);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut servant = Self { child: command.spawn().context("starting the server")?, cgroup };
        let output = servant.child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != server::READY {
            bail!("the server does not start");
        }
        Ok(servant)
    }

    /// Whether it has ended by itself.
    pub(super) fn is_gone(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Servant {
    fn drop(&mut self) {
        end_all(self.cgroup.path());
        // It may still be on its way into the cgroup.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
