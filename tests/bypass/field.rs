//! Where the techniques run: two namespaces of their own, the far end, ungoverned local services,
//! and a cgroup that the policy calls an agent.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use governd_tests::{
    Lab, cgroup,
    command::{Running, must},
    leftover,
    namespace::{Namespace, within},
    wait,
};
use tempfile::TempDir;

use crate::attempt::{Attempt, Outcome, STOPPED};

/// Attempts at the same time; most of their time they wait for something not to arrive.
const WORKERS: usize = 4;
/// An attempt that takes longer is stopped: it hangs.
const LIMIT: Duration = Duration::from_secs(40);
/// Attempts against the daemon itself: they run alone, after the others.
const AGAINST_DAEMON: &str = "f";

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

/// The field. What runs in it ends with it.
#[derive(Debug)]
pub(crate) struct Field {
    _helpers: Running,
    _server: Running,
    /// Where attempts run.
    pub(crate) ground: Ground,
}

/// What attempts need; several threads use it.
#[derive(Debug)]
pub(crate) struct Ground {
    workers: Vec<PathBuf>,
    outside: PathBuf,
    link_local: String,
    far: Namespace,
    near: Namespace,
    files: TempDir,
}

impl Field {
    /// Builds it; `source` has `attempts`, `lib` and the Makefile.
    pub(crate) fn create(lab: &Lab, source: &Path) -> Result<Self> {
        let files = copy(lab, source)?;
        let name = format!("{}{}-bypass", leftover::PREFIX, std::process::id());
        let near = Namespace::create(format!("{name}-near"))?;
        let far = Namespace::create(format!("{name}-far"))?;
        connect(&near, &far).context("joining the namespaces")?;
        let outside = lab.cgroup().path().to_owned();
        let agent = lab.cgroup().child("agent")?;
        let workers = (0..WORKERS).map(|number| agent.join(format!("worker-{number}")));
        let workers: Vec<PathBuf> = workers.collect();
        for worker in &workers {
            fs::create_dir(worker)?;
        }
        let link_local = link_local(&far)?;
        let field = |path: &str| files.path().join(path);
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", "nsenter"]);
        server.arg(format!("--net={}", far.path().display()));
        server.arg(field("venv/bin/python3")).arg(field("lib/server.py"));
        let mut server = Running::start(environment(&mut server, files.path()))?;
        server.line(wait::PATIENCE, |line| line == "server ready")?;
        let mut helpers = Command::new("bash");
        helpers.args(["-c", ENTER, "field"]).arg(&outside).arg(near.path());
        helpers.args(["root", "/usr/bin/python3"]).arg(field("lib/helpers.py"));
        let mut helpers = Running::start(environment(&mut helpers, files.path()))?;
        helpers.line(wait::PATIENCE, |line| line == "helpers ready")?;
        let ground = Ground { workers, outside, link_local, far, near, files };
        Ok(Self { _helpers: helpers, _server: server, ground })
    }
}

impl Ground {
    /// The policy: the workload's cgroup may reach the allowed names, and nothing else.
    pub(crate) fn policy(&self) -> String {
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lab = name(&self.outside);
        format!(
            r#"apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {{name: bypass}}
spec:
  mode: enforce
  unregistered: monitor
  resolvers: {{host: false, addresses: ["10.99.0.2"]}}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {{name: workload}}
spec:
  owner: {{name: Dana Smith, mail: dana@acme.example}}
  match:
    - cgroup: /{lab}/agent
  egress:
    default: deny
    rules:
      - allow: [allowed.test, "*.allowed.test"]
        ports: [80, 443, 8080, 8025, 8443, 8446, 8449]
        protocol: tcp
      - allow: [allowed.test, "*.allowed.test"]
        ports: [8443]
        protocol: udp
"#
        )
    }

    /// Runs the attempts, those against the daemon last and alone.
    pub(crate) fn run_all(
        &self,
        attempts: &[Attempt],
        governd: Option<u32>,
    ) -> Result<BTreeMap<String, Outcome>> {
        let (alone, together): (Vec<_>, Vec<_>) =
            attempts.iter().partition(|attempt| attempt.id.starts_with(AGAINST_DAEMON));
        // The lock hands out each attempt once.
        let queue = Mutex::new(together.into_iter());
        let outcomes = thread::scope(|scope| {
            let running: Vec<_> = self
                .workers
                .iter()
                .map(|worker| scope.spawn(|| self.work(&queue, worker, governd)))
                .collect();
            let done =
                running.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("panic")));
            done.collect::<Result<Result<Vec<_>>>>()
        })??;
        let mut outcomes: BTreeMap<_, _> = outcomes.into_iter().flatten().collect();
        let worker = self.workers.first().context("no worker")?;
        let alone = Mutex::new(alone.into_iter());
        outcomes.extend(self.work(&alone, worker, governd)?);
        Ok(outcomes)
    }

    /// Runs one attempt while no other runs.
    pub(crate) fn run_alone(&self, attempt: &Attempt, governd: Option<u32>) -> Result<Outcome> {
        self.run(attempt, self.workers.first().context("no worker")?, governd)
    }

    fn work<'a>(
        &self,
        queue: &Mutex<impl Iterator<Item = &'a Attempt>>,
        worker: &Path,
        governd: Option<u32>,
    ) -> Result<Vec<(String, Outcome)>> {
        let next = || match queue.lock() {
            Ok(mut queue) => Ok(queue.next()),
            Err(_) => Err(anyhow!("another worker panicked")),
        };
        let mut outcomes = Vec::new();
        while let Some(attempt) = next()? {
            outcomes.push((attempt.id.clone(), self.run(attempt, worker, governd)?));
        }
        Ok(outcomes)
    }

    fn run(&self, attempt: &Attempt, worker: &Path, governd: Option<u32>) -> Result<Outcome> {
        let mut command = Command::new("bash");
        command.args(["-c", ENTER, "field"]).arg(worker).arg(self.near.path());
        command.arg(if attempt.needs_root { "root" } else { "user" });
        command.args(attempt.command(self.files.path())).current_dir("/");
        environment(&mut command, self.files.path());
        command.env("BP_FAR", self.far.path()).env("BP_FORB_LL", &self.link_local);
        command.env("BP_INCG", worker).env("BP_OUTCG", &self.outside);
        if let Some(pid) = governd {
            command.env("GOVERND_PID", pid.to_string());
        }
        let mut running = Running::start(&mut command)?;
        running.close_input();
        let outcome = match running.finish(LIMIT) {
            Ok(finished) => {
                let said = format!("{}{}", finished.stdout, finished.stderr);
                Outcome::of(finished.code, said.replace('\n', " | "))
            }
            Err(error) => Outcome { word: STOPPED, said: format!("{error:#}") },
        };
        // Whatever it left running.
        cgroup::end_processes(worker)?;
        if let Some(pid) = governd {
            // An attempt may have stopped the daemon; the rest needs it.
            must("kill", &["-CONT", &pid.to_string()])?;
        }
        Ok(outcome)
    }
}

/// What every program of the field finds in its environment.
fn environment<'a>(command: &'a mut Command, files: &Path) -> &'a mut Command {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", files.join("packages"));
    command.env("BP_DIR", files).env("BP_RUN", files.join("run")).env("BP_VENV", files.join("venv"))
}

/// A copy that everybody can read, with the C files built: attempts run as nobody, who may not
/// enter the workspace.
fn copy(lab: &Lab, source: &Path) -> Result<TempDir> {
    let files = TempDir::with_prefix(format!("{}{}-bypass", leftover::PREFIX, std::process::id()))?;
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))?;
    let target = files.path().display().to_string();
    for part in ["attempts", "lib", "Makefile"] {
        must("cp", &["-r", &source.join(part).display().to_string(), &target])?;
    }
    let packages = lab.tools().bypass_packages();
    must("cp", &["-r", &packages.display().to_string(), &format!("{target}/packages")])?;
    fs::create_dir_all(files.path().join("venv/bin"))?;
    std::os::unix::fs::symlink("/usr/bin/python3", files.path().join("venv/bin/python3"))?;
    for directory in ["build", "run"] {
        fs::create_dir(files.path().join(directory))?;
    }
    must("make", &["--silent", "--directory", &target, "--jobs", "2"])
        .context("building the techniques that are written in C; it needs gcc and liburing-dev")?;
    Ok(files)
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
         route add 239.0.0.0/8 dev v0\n"
    ))?;
    far.configure(
        "link set lo up\naddr add 10.99.0.2/24 dev v0\naddr add 10.99.0.66/24 dev v0\n\
         addr add fd99::2/64 dev v0 nodad\naddr add fd99::66/64 dev v0 nodad\n\
         addr add 10.98.0.66/24 dev v1\nlink set v0 up\nlink set v1 up\n\
         route add 10.97.0.0/24 via 10.99.0.1\n\
         mptcp limits set subflow 4 add_addr_accepted 4\n\
         mptcp endpoint add 10.98.0.66 dev v1 signal\n",
    )
}

/// The far end's link-local address on the first link.
fn link_local(far: &Namespace) -> Result<String> {
    let text = must("ip", &["-n", far.name(), "-j", "-6", "addr", "show", "dev", "v0"])?;
    let listed: serde_json::Value = serde_json::from_str(&text)?;
    let addresses = listed.pointer("/0/addr_info").and_then(|list| list.as_array());
    addresses
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("local")?.as_str())
        .find(|local| local.parse::<IpAddr>().is_ok() && local.starts_with("fe80"))
        .map(str::to_owned)
        .context("the far end has no link-local address")
}
