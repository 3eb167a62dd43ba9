//! PID 1 of the machine: xtask itself, called by the kernel as `/init vm-init`. It mounts what
//! governd needs, runs the steps, tells the host over the second serial line and ends the machine.
//!
//! What a step writes on stdout goes to the host, and what it writes on stderr to the console with
//! the kernel's own messages, so that neither breaks a line of the other.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::{
    mount::{MountFlags, mount},
    process::{WaitOptions, getpid, wait},
    system::{RebootCommand, finit_module, reboot, sethostname, uname},
};

use super::{
    initramfs::INSERTED,
    step::{self, Message, Step},
};
use crate::{run, say};

/// The line to the host: the second serial line, after the console.
const HOST: &str = "/dev/ttyS1";
const HOST_NAME: &str = "governd-vm";

/// Where the initramfs has programs.
const PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin";

/// File systems in the order in which they are mounted: type and place.
const FILE_SYSTEMS: &[(&str, &str)] = &[
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("securityfs", "/sys/kernel/security"),
    ("tracefs", "/sys/kernel/tracing"),
];

/// Runs the machine; returns only if it cannot be ended.
pub(super) fn run() -> Result<()> {
    if getpid().as_raw_nonzero().get() != 1 {
        bail!("vm-init is PID 1 of a machine that `cargo xtask vm` starts, nothing else");
    }
    end(prepare().and_then(|()| steps()))
}

/// Runs the steps in a machine with a PID 1 of its own, and ends it.
pub(super) fn run_steps() -> Result<()> {
    if !Path::new("/").join(step::LIST).exists() {
        bail!("vm-steps is for a machine that `cargo xtask vm --packages` starts, nothing else");
    }
    end(steps())
}

fn end(result: Result<()>) -> Result<()> {
    if let Err(error) = result {
        say::error(&error);
    }
    rustix::fs::sync();
    // QEMU is told to end where a machine would start again.
    reboot(RebootCommand::Restart).context("cannot end the machine")
}

fn prepare() -> Result<()> {
    for (kind, place) in FILE_SYSTEMS {
        fs::create_dir_all(place).with_context(|| format!("cannot create {place}"))?;
        mount(*kind, *place, *kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    sethostname(HOST_NAME.as_bytes()).context("cannot set the host's name")?;
    run::read(Command::new("ip").env("PATH", PATH).args(["link", "set", "lo", "up"]))?;
    insert_modules()
}

/// A machine that is a whole Debian has none to insert: what is needed is loaded there by itself.
fn insert_modules() -> Result<()> {
    let folder = Path::new("/").join(INSERTED);
    if !folder.exists() {
        return Ok(());
    }
    for module in fs::read_dir(&folder).context("cannot list the modules to insert")? {
        let path = module?.path();
        let inserted = finit_module(File::open(&path)?, c"", 0);
        inserted.with_context(|| format!("cannot insert {}", path.display()))?;
    }
    Ok(())
}

fn steps() -> Result<()> {
    let mut host = Host::open()?;
    let kernel = uname().release().to_string_lossy().into_owned();
    host.tell(&Message::Kernel(kernel))?;
    let list = fs::read_to_string(Path::new("/").join(step::LIST)).context("no list of steps")?;
    for step in step::read(&list)? {
        host.tell(&Message::Begin(step.name.clone()))?;
        let message = match host.step(&step) {
            Ok(()) => Message::Pass(step.name),
            Err(error) => Message::Fail(step.name, format!("{error:#}")),
        };
        host.tell(&message)?;
    }
    host.tell(&Message::End)
}

/// The line to the host.
struct Host(File);

impl Host {
    fn open() -> Result<Self> {
        let line = OpenOptions::new().write(true).open(HOST);
        Ok(Self(line.with_context(|| format!("cannot open {HOST}"))?))
    }

    fn tell(&mut self, message: &Message) -> Result<()> {
        writeln!(self.0, "{}", message.line()).context("cannot write to the host")
    }

    /// Runs a step to its end, and buries orphans meanwhile, which is PID 1's duty.
    fn step(&self, step: &Step) -> Result<()> {
        let (program, arguments) =
            step.arguments.split_first().context("a step without program")?;
        let child = Command::new(program)
            .args(arguments)
            .env("PATH", PATH)
            .env("HOME", "/run")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(self.0.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        loop {
            let Some((pid, status)) = wait(WaitOptions::empty()).context("cannot wait")? else {
                continue;
            };
            if i64::from(pid.as_raw_nonzero().get()) != i64::from(child.id()) {
                continue;
            }
            return match (status.exit_status(), status.terminating_signal()) {
                (Some(0), _) => Ok(()),
                (Some(code), _) => bail!("ended with exit status {code}"),
                (None, Some(signal)) => bail!("was killed by signal {signal}"),
                (None, None) => continue,
            };
        }
    }
}
