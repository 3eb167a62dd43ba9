//! Processes that nobody foresaw: endless arguments, names that are no text, cgroups of runtimes
//! that nobody knows, processes of which /proc tells nothing or that are gone, and a container
//! runtime that never answers. Each is an agent that may reach nothing, before the daemon and after
//! it; whatever cannot be learned of it, it is refused and on record.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::Running,
    daemon::{Daemon, Place},
    site, wait,
};
use serde_json::Value;

use crate::{Test, audit::audit, measured, policy, record};

pub(crate) const TESTS: &[Test] =
    &[("odd::processes_that_nobody_foresaw_are_bounded", processes_are_bounded)];

const AGENT: &str = "odd-bot";
/// Bytes of a command line in a record: what is kept of it, and what says that there was more.
const LINE_BYTES_MAX: usize = 6 * 1_024;
/// Memory that the daemon may ever have had, in bytes.
const RESIDENT_BYTES_MAX: u64 = 256 << 20;
/// Ports of the destinations tell the processes apart: those of the first moment begin here.
const PORTS: u16 = 9_100;
const PORTS_LATER: u16 = 9_300;
/// An odd cgroup is so far below the agent's.
const DEPTH: usize = 40;

/// A process, whose program is a copy of bash.
struct Odd {
    what: &'static str,
    /// File name of its program.
    name: &'static [u8],
    args: fn() -> Vec<OsString>,
    /// Path of its cgroup, below the agent's.
    cgroup: fn() -> PathBuf,
}

const PLAIN: &[u8] = b"plain";

const ODD: &[Odd] = &[
    Odd {
        what: "one argument of 64 KiB",
        name: PLAIN,
        args: || vec!["x".repeat(64 * 1_024).into()],
        cgroup: PathBuf::new,
    },
    Odd {
        what: "20,000 arguments",
        name: PLAIN,
        args: || vec!["argument".into(); 20_000],
        cgroup: PathBuf::new,
    },
    Odd {
        what: "name and arguments that are no text",
        name: b"odd \xff\xfe\n{\"",
        args: || vec![OsStr::from_bytes(b"\xff\xfe\x80\"\n\\").into()],
        cgroup: PathBuf::new,
    },
    Odd { what: "a name of 255 bytes", name: &[b'n'; 255], args: Vec::new, cgroup: PathBuf::new },
    Odd {
        what: "a container of Docker, which does not answer",
        name: PLAIN,
        args: Vec::new,
        cgroup: || format!("docker-{}.scope", "d".repeat(64)).into(),
    },
    Odd {
        what: "a pod of a runtime that nobody knows",
        name: PLAIN,
        args: Vec::new,
        cgroup: || {
            let slice = "kubepods-besteffort-pod11111111_2222_3333_4444_555555555555.slice";
            Path::new(slice).join(format!("someruntime-{}.scope", "e".repeat(64)))
        },
    },
    Odd {
        what: "a cgroup of 255 bytes that are no text",
        name: PLAIN,
        args: Vec::new,
        cgroup: || OsStr::from_bytes(&[0xff; 255]).into(),
    },
    Odd {
        what: "a cgroup that is far down",
        name: PLAIN,
        args: Vec::new,
        cgroup: || ["d"; DEPTH].iter().collect(),
    },
];

/// One of which the daemon sees nothing in /proc.
const HIDDEN: Odd = Odd {
    what: "a process that /proc does not show",
    name: PLAIN,
    args: Vec::new,
    cgroup: PathBuf::new,
};

/// Waits for the end of its input, and connects.
const SCRIPT: &str = "read go; : < \"/dev/tcp/$0\"";

struct Odds<'a> {
    lab: &'a Lab,
    cgroup: PathBuf,
    programs: PathBuf,
}

impl Odds<'_> {
    fn start(&self, odd: &Odd, port: u16) -> Result<Running> {
        let program = self.programs.join(OsStr::from_bytes(odd.name));
        if !program.exists() {
            fs::copy("/bin/bash", &program).context("copying bash")?;
        }
        let cgroup = self.cgroup.join((odd.cgroup)());
        fs::create_dir_all(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let client = self.lab.client(Family::V4, program).args(["-c", SCRIPT]);
        let client = client.arg(format!("{}/{port}", site::EXFIL.v4())).args((odd.args)());
        client.cgroup(&cgroup).start().with_context(|| odd.what.to_owned())
    }

    fn start_all(&self, port: u16) -> Result<Vec<Running>> {
        ODD.iter().zip(port..).map(|(odd, port)| self.start(odd, port)).collect()
    }
}

/// Lets it connect, which it may not.
fn must_be_refused(mut running: Running, what: &str) -> Result<()> {
    running.close_input();
    let finished = running.finish(wait::PATIENCE)?;
    let is_refused = finished.stderr.contains("Permission denied");
    ensure!(finished.code == Some(1) && is_refused, "{what}: {finished}");
    Ok(())
}

/// Its record, which is the agent's and not larger than records may be, as it is shown: the line in
/// the log has a digest in the place of the arguments.
fn recorded(place: &Place, what: &str, port: u16) -> Result<Value> {
    let logged = place.record(what, |each| {
        record::number(each, "/dst_endpoint/port") == Some(u64::from(port))
            && record::is_flow(each, AGENT, &site::EXFIL.v4().to_string())
    })?;
    let uid = record::text(&logged, "/metadata/uid");
    let lines = audit(place, &["query", "--agent", AGENT, "--json"])?.success()?;
    let shown: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let found = shown.into_iter().find(|each| record::text(each, "/metadata/uid") == uid);
    let found = found.with_context(|| format!("{what}: not shown: {logged}"))?;
    let line = record::text(&found, "/actor/process/cmd_line");
    ensure!(line.len() <= LINE_BYTES_MAX, "{what}: {} bytes of arguments", line.len());
    ensure!(record::verdict(&found) == "deny", "{what}: {found}");
    Ok(found)
}

/// What a record says and what it leaves out.
fn must_say_what_is_known(place: &Place, port: u16) -> Result<()> {
    for (odd, port) in ODD.iter().zip(port..) {
        let found = recorded(place, odd.what, port)?;
        let path = record::text(&found, "/actor/process/file/path");
        let name = String::from_utf8_lossy(odd.name);
        ensure!(path.ends_with(&*name), "{}: {found}", odd.what);
        let line = record::text(&found, "/actor/process/cmd_line");
        let is_long = (odd.args)().iter().map(|arg| arg.len()).sum::<usize>() > LINE_BYTES_MAX;
        ensure!(line.contains("[truncated]") == is_long, "{}: {line}", odd.what);
        let container = found.pointer("/unmapped/governd/process/container");
        let id = container.map(|it| record::text(it, "/id").chars().take(1).collect::<String>());
        let image = container.and_then(|it| it.get("image"));
        let expected = match odd.what {
            what if what.contains("Docker") => Some("d"),
            what if what.contains("pod") => Some("e"),
            _ => None,
        };
        ensure!(id.as_deref() == expected && image.is_none(), "{}: {found}", odd.what);
    }
    Ok(())
}

/// A governd that sees nothing of a process in /proc, and whose Docker does not answer. Nothing
/// outside its mount namespace changes.
fn wrapper(lab: &Lab, place: &Place, pid: u32, docker: &Path) -> Result<PathBuf> {
    let directory = lab.directory("wrapper")?;
    let (empty, wrapper) = (directory.join("empty"), directory.join("governd"));
    fs::create_dir(&empty)?;
    let text = format!(
        "#!/bin/sh
        [ \"$1\" = run ] || exec {governd} \"$@\"
        exec unshare --mount sh -c '
            mount --bind {empty} /proc/{pid} || exit 1
            mount -t tmpfs none /run && : > /run/docker.sock || exit 1
            mount --bind {docker} /run/docker.sock || exit 1
            exec \"$@\"' sh {governd} \"$@\"\n",
        governd = place.program().display(),
        empty = empty.display(),
        docker = docker.display(),
    );
    fs::write(&wrapper, text)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(wrapper)
}

fn resident_bytes_max(daemon: &Daemon<'_>) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1_024)
}

fn processes_are_bounded(lab: &Lab) -> Result<()> {
    let odds =
        Odds { lab, cgroup: lab.cgroup().child("odd")?, programs: lab.directory("odd-programs")? };
    let mut before = odds.start_all(PORTS)?;
    let hidden = odds.start(&HIDDEN, PORTS_LATER - 1)?;
    // One that has ended and whose parent does not ask for it, and a row that come and go while the
    // daemon looks at what runs.
    let shell = |line: &str| lab.client(Family::V4, "sh").args(["-c", line]).cgroup(&odds.cgroup);
    let zombie = shell("true & exec sleep 60").start()?;
    let rush = shell("while true; do /bin/true; sleep 0.005; done").start()?;

    let place = Place::new(lab, "odd")?;
    let base = lab.cgroup().path().file_name().context("the lab's cgroup has no name")?;
    let agent = policy::agent(AGENT, &format!("{{cgroup: /{}/odd}}", base.display()), &[]);
    place.write_policy(&format!("{}{agent}", policy::host("enforce")))?;
    let docker = lab.directory("docker")?.join("docker.sock");
    // It takes connections, as the kernel does that for it, and says nothing.
    let runtime = UnixListener::bind(&docker)?;
    let place = place.of_build(wrapper(lab, &place, hidden.pid(), &docker)?);
    let daemon = place.start()?;
    drop(rush);

    let reached = lab.seen(site::EXFIL.v4().into())?.packets;
    for (odd, running) in ODD.iter().zip(before.drain(..)) {
        must_be_refused(running, odd.what)?;
    }
    for (odd, running) in ODD.iter().zip(odds.start_all(PORTS_LATER)?) {
        must_be_refused(running, odd.what)?;
    }
    let pid = u64::from(hidden.pid());
    must_be_refused(hidden, HIDDEN.what)?;
    must_say_what_is_known(&place, PORTS)?;
    must_say_what_is_known(&place, PORTS_LATER)?;
    let unseen = recorded(&place, HIDDEN.what, PORTS_LATER - 1)?;
    ensure!(record::number(&unseen, "/actor/process/pid") == Some(pid), "{unseen}");
    for unknown in ["/actor/process/file/path", "/actor/process/cmd_line"] {
        ensure!(unseen.pointer(unknown).is_none(), "{unknown} is made up: {unseen}");
    }
    ensure!(lab.seen(site::EXFIL.v4().into())?.packets == reached, "something was reached");
    // It was asked, and nobody waited for it.
    runtime.set_nonblocking(true)?;
    runtime.accept().context("the runtime was not asked")?;
    let peak = resident_bytes_max(&daemon)?;
    ensure!(peak < RESIDENT_BYTES_MAX, "the daemon had {peak} bytes");
    measured(format!("{} odd processes: the daemon had at most {} MB", 2 * ODD.len(), peak >> 20));
    drop(zombie);
    daemon.stop()?;
    Ok(())
}
