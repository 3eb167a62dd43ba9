//! Where attempts run: two namespaces, the far end, ungoverned local services, and a cgroup that
//! the policy calls an agent. Each worker has a field of its own, so that what arrives can be put
//! down to the one attempt that runs there.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use governd_tests::{
    cgroup,
    command::{Running, must},
    leftover,
    namespace::{Namespace, within},
    wait,
};

use crate::{
    attempt::{Attempt, Outcome},
    program::Programs,
};

/// An attempt that takes longer is stopped: it hangs.
const LIMIT: Duration = Duration::from_secs(40);
/// No packet for so long means that none of the attempt is on its way any more.
const QUIET: Duration = Duration::from_millis(60);
/// Whatever still sends after this time never ends.
const QUIET_LIMIT: Duration = Duration::from_secs(2);

/// Enters cgroup `$1` and network namespace `$2`, drops all privileges if `$3` is `user`, and
/// becomes the rest.
const ENTER: &str = r#"
echo $$ > "$1/cgroup.procs" || exit 70
net=$2 needs=$3
shift 3
if [ "$needs" = user ]; then
    set -- setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
        --bounding-set=-all "$@"
fi
exec nsenter --net="$net" "$@"
"#;

/// A field. What runs in it ends with it.
#[derive(Debug)]
pub(crate) struct Field {
    helpers: Option<Running>,
    server: Option<Running>,
    outside: PathBuf,
    run: PathBuf,
    files: PathBuf,
    link_local: String,
    far: Namespace,
    near: Namespace,
}

impl Field {
    /// Builds it. Its services run in the cgroup `outside`, and each attempt in one of its own
    /// below that.
    pub(crate) fn create(number: usize, programs: &Programs, outside: &Path) -> Result<Self> {
        let name = format!("{}{}-bypass-{number}", leftover::PREFIX, std::process::id());
        let near = Namespace::create(format!("{name}-near"))?;
        let far = Namespace::create(format!("{name}-far"))?;
        connect(&near, &far).context("joining the namespaces")?;
        let run = programs.directory().join(format!("run-{number}"));
        fs::create_dir(&run)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777))?;
        let mut field = Self {
            helpers: None,
            server: None,
            outside: outside.to_owned(),
            run,
            files: programs.directory().to_owned(),
            link_local: link_local(&far)?,
            far,
            near,
        };
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", "nsenter"]);
        server.arg(format!("--net={}", field.far.path().display()));
        server.arg(field.files.join("venv/bin/python3")).arg(field.files.join("lib/server.py"));
        field.server = Some(Running::start(field.environment(&mut server))?);
        let mut helpers = Command::new("bash");
        helpers.args(["-c", ENTER, "field"]).arg(outside).arg(field.near.path());
        helpers.args(["root", "/usr/bin/python3"]).arg(field.files.join("lib/helpers.py"));
        field.helpers = Some(Running::start(field.environment(&mut helpers))?);
        Ok(field)
    }

    /// Waits until what runs in it is ready.
    pub(crate) fn await_ready(&mut self) -> Result<()> {
        for running in [&mut self.server, &mut self.helpers].into_iter().flatten() {
            running.line(wait::PATIENCE, |line| line.ends_with(" ready"))?;
        }
        Ok(())
    }

    /// Runs one attempt to its end, with `further` in its environment.
    pub(crate) fn attempt(&self, attempt: &Attempt, further: &[(&str, String)]) -> Result<Outcome> {
        self.start(attempt, further)?.finish()
    }

    /// Starts one attempt.
    pub(crate) fn start(
        &self,
        attempt: &Attempt,
        further: &[(&str, String)],
    ) -> Result<Underway<'_>> {
        // Below the cgroup of the policy, as a container's processes are.
        let cgroup = self.outside.join(&attempt.id).join("inner");
        fs::create_dir_all(&cgroup)?;
        let mut command = Command::new("bash");
        command.args(["-c", ENTER, "field"]).arg(&cgroup).arg(self.near.path());
        command.arg(if attempt.needs_root { "root" } else { "user" });
        command.args(attempt.command(&self.files)).current_dir("/");
        self.environment(&mut command);
        command.env("BP_FAR", self.far.path()).env("BP_FORB_LL", &self.link_local);
        command.env("BP_INCG", &cgroup).env("BP_OUTCG", &self.outside);
        command.envs(further.iter().map(|(name, value)| (*name, value)));
        let before = self.packets()?;
        let mut running = Running::start(&mut command)?;
        running.close_input();
        Ok(Underway { field: self, cgroup, running, before, began: Instant::now() })
    }

    /// Where its services have their sockets.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// A file that tells an attempt to go on, once it exists; attempts can read it.
    pub(crate) fn flag(&self) -> PathBuf {
        self.run.join("flag")
    }

    /// What every program of the field finds in its environment.
    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let files = &self.files;
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", files.join("packages"));
        command.env("BP_DIR", files).env("BP_RUN", &self.run);
        command.env("BP_VENV", files.join("venv"))
    }

    /// Destroys connections that nobody has any more. What they could not deliver they would send
    /// again for minutes, also when no governd is there to refuse it.
    fn forget_connections(&self) -> Result<()> {
        let net = format!("--net={}", self.near.path().display());
        for state in ["fin-wait-1", "last-ack", "closing"] {
            must("nsenter", &[&net, "ss", "--kill", "--numeric", "state", state])?;
        }
        Ok(())
    }

    /// Packets that arrived at forbidden addresses so far, once no more arrive.
    fn settled_packets(&self) -> Result<u64> {
        let limit = Instant::now() + QUIET_LIMIT;
        let mut last = self.packets()?;
        loop {
            thread::sleep(QUIET);
            let now = self.packets()?;
            if now == last || Instant::now() > limit {
                return Ok(now);
            }
            last = now;
        }
    }

    fn packets(&self) -> Result<u64> {
        let counts = self.ask("PKT")?;
        let counts = counts.as_object().context("the far end counts by address")?;
        Ok(counts.values().filter_map(serde_json::Value::as_u64).sum())
    }

    /// Asks the far end.
    fn ask(&self, what: &str) -> Result<serde_json::Value> {
        let mut far_end = UnixStream::connect(self.run.join("ctl.sock"))?;
        far_end.write_all(format!("{what}\n").as_bytes())?;
        far_end.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        far_end.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// An attempt that runs.
#[derive(Debug)]
pub(crate) struct Underway<'a> {
    field: &'a Field,
    cgroup: PathBuf,
    running: Running,
    before: u64,
    began: Instant,
}

impl Underway<'_> {
    /// Waits for what an attempt prints once its connection stands. Where governd refused the
    /// connection there is no such line.
    pub(crate) fn await_connected(&mut self) {
        self.running.line(wait::PATIENCE, |line| line == "CONNECTED").ok();
    }

    /// Counts packets from now on: what was sent before was allowed.
    pub(crate) fn count_from_here(&mut self) -> Result<()> {
        self.before = self.field.settled_packets()?;
        Ok(())
    }

    /// Waits for its end, and ends whatever it left running.
    pub(crate) fn finish(self) -> Result<Outcome> {
        let Self { field, cgroup, running, before, began } = self;
        let pid = running.pid();
        let outcome = match running.finish(LIMIT) {
            Ok(finished) => {
                let said = format!("{}{}", finished.stdout, finished.stderr);
                Outcome::of(finished.code, said.replace('\n', " | "), pid)
            }
            // It hung, and was killed.
            Err(error) => Outcome::of(None, format!("{error:#}"), pid),
        };
        let took = began.elapsed();
        cgroup::end_processes(&cgroup)?;
        let packets = field.settled_packets()?.saturating_sub(before);
        field.forget_connections()?;
        let mut said = outcome.said;
        if packets > 0 {
            // What leaked, for whoever reads why a row failed.
            said.push_str(&format!(" | {}", field.ask(&format!("LOG {}", packets.min(6)))?));
        }
        Ok(Outcome { packets, took, said, ..outcome })
    }
}

fn connect(near: &Namespace, far: &Namespace) -> Result<()> {
    let write = |settings: &'static [(&'static str, &'static str)]| {
        move || -> Result<()> {
            for (name, value) in settings {
                let path = format!("/proc/sys/net/{name}");
                fs::write(&path, value).with_context(|| format!("writing {path}"))?;
            }
            Ok(())
        }
    };
    for namespace in [near, far] {
        within(
            &namespace.path(),
            write(&[
                ("ipv4/tcp_fastopen", "3"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/conf/all/accept_source_route", "1"),
                ("ipv4/conf/default/accept_source_route", "1"),
                ("ipv6/conf/all/accept_source_route", "1"),
                ("ipv6/conf/default/accept_source_route", "1"),
                ("ipv4/ping_group_range", "0 2147483647"),
            ]),
        )?;
    }
    let peer = far.name();
    near.configure(&format!(
        "link set lo up\nlink add v0 type veth peer name v0 netns {peer}\n\
         link add v1 type veth peer name v1 netns {peer}\n\
         addr add 10.99.0.1/24 dev v0\naddr add fd99::1/64 dev v0 nodad\n\
         addr add 10.98.0.1/24 dev v1\nlink set v0 up\nlink set v1 up\n\
         route add 239.0.0.0/8 dev v0\nroute add 10.95.0.0/24 via 10.99.0.2\n"
    ))?;
    far.configure(
        "link set lo up\naddr add 10.99.0.2/24 dev v0\naddr add 10.99.0.66/24 dev v0\n\
         addr add fd99::2/64 dev v0 nodad\naddr add fd99::66/64 dev v0 nodad\n\
         addr add 10.98.0.66/24 dev v1\nlink set v0 up\nlink set v1 up\n\
         route add 10.97.0.0/24 via 10.99.0.1\n",
    )?;
    // Debian's Linux 5.10 has no multipath TCP.
    if !Path::new("/proc/sys/net/mptcp").exists() {
        return Ok(());
    }
    far.configure(
        "mptcp limits set subflow 4 add_addr_accepted 4\n\
         mptcp endpoint add 10.98.0.66 dev v1 signal\n",
    )
}

/// The far end's link-local address on the first link, which the kernel gives it some time after
/// the link is up.
fn link_local(far: &Namespace) -> Result<String> {
    wait::until("the far end's link-local address", wait::PATIENCE, || {
        let text = must("ip", &["-n", far.name(), "-j", "-6", "addr", "show", "dev", "v0"])?;
        let listed: serde_json::Value = serde_json::from_str(&text)?;
        let addresses = listed.pointer("/0/addr_info").and_then(|list| list.as_array());
        let mut addresses =
            addresses.into_iter().flatten().filter_map(|entry| entry.get("local")?.as_str());
        let local =
            addresses.find(|local| local.parse::<IpAddr>().is_ok() && local.starts_with("fe80"));
        Ok(local.map(str::to_owned))
    })
}
