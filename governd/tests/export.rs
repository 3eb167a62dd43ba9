//! Exporters against the real other side: rsyslog, nats-server, and Python's HTTP server with
//! OpenTelemetry's own protobuf package. Each is started for the test, on ports of its own choice.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use governd::audit::export::{self, Batch, Delivered, Destination, Fault, Item, config};
use serde_json::{Value, json};

const ORIGIN: &str = "governd/0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// A program that ends with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::null()).spawn();
        Self(started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

/// Waits until there is something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        thread::sleep(POLL);
    }
}

fn exporter(text: &str) -> Box<dyn Destination> {
    let exporters = config::parse("exporters.toml", text).unwrap();
    export::destination(exporters.first().unwrap()).unwrap()
}

/// A record of this index, with characters that other formats give a meaning.
fn record(index: u64) -> String {
    json!({
        "class_uid": 4001,
        "device": {"hostname": "host-a.example"},
        "message": "denied \"bot\" to [2001:db8::1] \\ é\u{1f600}",
        "metadata": {"sequence": index, "uid": format!("uid-{index}"), "logged_time": 2},
        "severity_id": 3,
        "time": 1_763_640_000_101_u64,
    })
    .to_string()
}

fn items(indices: std::ops::Range<u64>) -> Vec<Item> {
    indices.map(|index| Item { index, line: record(index) }).collect()
}

fn deliver(exporter: &mut dyn Destination, items: &[Item]) -> Result<Delivered, Fault> {
    exporter.deliver(Batch { origin: ORIGIN, items })
}

/// Delivers as who drives exporters does: again until it is taken.
fn deliver_at_last(exporter: &mut dyn Destination, items: &[Item]) {
    wait_for("delivery", || match deliver(exporter, items) {
        Ok(_) => Some(()),
        Err(Fault::Later(_)) => None,
        Err(fault) => panic!("{fault}"),
    });
}

/// A certificate authority and a certificate of it for 127.0.0.1, as files.
struct Certificates {
    ca: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificates {
    fn new(directory: &Path) -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca_params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = ca_params.self_signed(&ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let issuer = rcgen::Issuer::from_params(&ca_params, ca_key);
        let chain = params.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        Self {
            ca: write("ca.pem", ca.pem()),
            chain: write("chain.pem", chain.pem()),
            key: write("key.pem", key.serialize_pem()),
        }
    }
}

/// Python's HTTP server, and what it has seen.
struct Http {
    peer: Peer,
    port: String,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Http {
    fn start(tls: Option<&Certificates>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers/receiver.py");
        let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../lab/receivers");
        let mut command = Command::new("/usr/bin/python3");
        command.env("PYTHONPATH", packages).arg(script).stdout(Stdio::piped());
        if let Some(tls) = tls {
            command.args([&tls.chain, &tls.key]);
        }
        let mut peer = Peer::start(&mut command);
        let mut lines = BufReader::new(peer.0.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        Self { peer, port, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/{path}", self.port)
    }
}

#[test]
#[ignore = "needs the receivers that `cargo xtask setup` installs"]
fn a_webhook_gets_the_lines_their_key_and_the_token_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::new(directory.path());
    let token = directory.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let mut http = Http::start(Some(&tls));
    for (format, joined) in [
        ("ndjson", format!("{}\n{}\n", record(3), record(4))),
        ("json", format!("[{},{}]", record(3), record(4))),
    ] {
        let text = format!(
            "[[webhook]]\nname = 'w'\nurl = '{}'\nformat = '{format}'\ntoken_file = '{}'\n\
             tls = {{ca_file = '{}'}}\n",
            http.url("https", "hook"),
            token.display(),
            tls.ca.display()
        );
        deliver(&mut *exporter(&text), &items(3..5)).unwrap();
        let seen = http.next();
        assert_eq!(seen["seen"], joined);
        let header = |name: &str| seen["headers"][name].as_str().unwrap().to_owned();
        assert_eq!(header("idempotency-key"), format!("{ORIGIN}/3-4"));
        assert_eq!(header("governd-log"), ORIGIN);
        assert_eq!(header("authorization"), "Bearer s3cret");
    }
    // Whoever the host trusts did not sign that certificate.
    let text = format!("[[webhook]]\nname = 'w'\nurl = '{}'\n", http.url("https", "hook"));
    let fault = deliver(&mut *exporter(&text), &items(0..1)).unwrap_err();
    assert!(matches!(&fault, Fault::Later(why) if why.contains("certificate")), "{fault}");
}

#[test]
#[ignore = "needs the receivers that `cargo xtask setup` installs"]
fn a_receiver_that_is_not_ready_is_tried_again_and_one_that_refuses_says_why() {
    let mut http = Http::start(None);
    let at = |path: &str| format!("[[webhook]]\nname = 'w'\nurl = '{}'\n", http.url("http", path));
    let (flaky, picky) = (at("flaky"), at("picky"));
    let mut flaky = exporter(&flaky);
    let fault = deliver(&mut *flaky, &items(0..2)).unwrap_err();
    assert!(matches!(&fault, Fault::Later(why) if why.ends_with("answers 503 later")), "{fault}");
    deliver(&mut *flaky, &items(0..2)).unwrap();
    let keys = [http.next(), http.next()].map(|seen| seen["headers"]["idempotency-key"].clone());
    assert_eq!(keys[0], keys[1]);
    let mut picky = exporter(&picky);
    let refused = [Item { index: 0, line: "{\"message\":\"refuse-me\"}".to_owned() }];
    let fault = deliver(&mut *picky, &refused).unwrap_err();
    assert!(matches!(&fault, Fault::Never(why) if why.contains("422 not this one")), "{fault}");
    drop(http.peer);
    let fault = deliver(&mut *picky, &items(0..1)).unwrap_err();
    assert!(matches!(&fault, Fault::Later(why) if why.starts_with("cannot reach")), "{fault}");
}

#[test]
#[ignore = "needs the receivers that `cargo xtask setup` installs"]
fn opentelemetrys_own_package_reads_what_otlp_sends() {
    let mut http = Http::start(None);
    let text = format!("[[otlp]]\nname = 'o'\nurl = '{}'\n", http.url("http", "v1/logs"));
    let mut exporter = exporter(&text);
    let mut batch = items(7..9);
    batch.push(Item { index: 9, line: "{\"message\":\"refuse-me\"}".to_owned() });
    assert_eq!(deliver(&mut *exporter, &batch).unwrap(), Delivered { rejected: 1 });
    let seen = http.next();
    let logs = seen["seen"].as_array().unwrap();
    assert_eq!(logs.len(), 3);
    for (log, index) in logs.iter().zip(7..9) {
        let (host, service) = (&log["host"], &log["service"]);
        assert_eq!((host, service), (&json!("host-a.example"), &json!("governd")));
        assert_eq!(log["time"], 1_763_640_000_101_000_000_u64);
        assert_eq!(log["severity"], 13);
        let attributes = &log["attributes"];
        assert_eq!(attributes["log.record.original"], record(index));
        assert_eq!(attributes["governd.log.index"], index);
        assert_eq!(attributes["governd.log.origin"], ORIGIN);
        assert_eq!(attributes["log.record.uid"], format!("uid-{index}"));
    }
}

/// rsyslogd with one TCP input, and the file that it writes.
struct Rsyslog {
    _peer: Peer,
    port: String,
    output: PathBuf,
}

impl Rsyslog {
    fn start(directory: &Path, tls: Option<&Certificates>) -> Self {
        let here = directory.display();
        let (global, driver) = tls.map_or_else(Default::default, |tls| {
            let (ca, chain, key) = (tls.ca.display(), tls.chain.display(), tls.key.display());
            (
                format!(
                    "defaultNetstreamDriverCAFile=\"{ca}\" defaultNetstreamDriverCertFile=\"{chain}\" \
                     defaultNetstreamDriverKeyFile=\"{key}\""
                ),
                "StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\"",
            )
        });
        let format = "%timestamp:::date-rfc3339%|%pri%|%hostname%|%app-name%|%msgid%|\
                      %structured-data%|%msg%\\n";
        let config = format!(
            "global(workDirectory=\"{here}\" maxMessageSize=\"64k\" {global})\n\
             module(load=\"imtcp\" {driver})\n\
             template(name=\"fields\" type=\"string\" string=\"{format}\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"0\" \
             listenPortFileName=\"{here}/port\")\n\
             action(type=\"omfile\" file=\"{here}/output\" template=\"fields\")\n"
        );
        fs::write(directory.join("rsyslog.conf"), config).unwrap();
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.arg("-n").arg("-f").arg(directory.join("rsyslog.conf"));
        command.arg("-i").arg(directory.join("pid"));
        let peer = Peer::start(&mut command);
        let port = wait_for("port of rsyslogd", || {
            let port = fs::read_to_string(directory.join("port")).ok()?;
            (!port.trim().is_empty()).then(|| port.trim().to_owned())
        });
        Self { _peer: peer, port, output: directory.join("output") }
    }

    fn lines(&self, count: usize) -> Vec<String> {
        wait_for("messages in rsyslogd's file", || {
            let text = fs::read_to_string(&self.output).ok()?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count && text.ends_with('\n')).then_some(lines)
        })
    }
}

#[test]
#[ignore = "needs the receivers that `cargo xtask setup` installs"]
fn rsyslog_reads_every_field_over_tcp_and_tls() {
    for is_encrypted in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let tls = is_encrypted.then(|| Certificates::new(directory.path()));
        let rsyslog = Rsyslog::start(directory.path(), tls.as_ref());
        let ca = tls.map(|tls| format!("tls = {{ca_file = '{}'}}\n", tls.ca.display()));
        let text = format!(
            "[[syslog]]\nname = 's'\naddress = '127.0.0.1:{}'\n{}",
            rsyslog.port,
            ca.unwrap_or_default()
        );
        let mut exporter = exporter(&text);
        let mut sent = items(0..300);
        // The longest that a record may be.
        let long = format!("{{\"message\":\"{}\"}}", "x".repeat(32 * 1_024 - 14));
        sent.push(Item { index: 300, line: long });
        deliver_at_last(&mut *exporter, &sent);
        deliver_at_last(&mut *exporter, &items(301..302));
        sent.extend(items(301..302));
        let lines = rsyslog.lines(sent.len());
        assert_eq!(lines.len(), sent.len());
        for (line, Item { index, line: record }) in lines.iter().zip(&sent) {
            let [time, priority, host, app, id, data, message] =
                line.splitn(7, '|').collect::<Vec<_>>()[..]
            else {
                panic!("{line}");
            };
            assert_eq!(message.trim_start(), record, "{index}");
            assert!(data.contains(&format!("origin=\"{ORIGIN}\" index=\"{index}\"")), "{data}");
            if *index != 300 {
                let want = ("108", "host-a.example", "governd", "4001");
                assert_eq!((priority, host, app, id), want);
                assert!(time.starts_with("2025-11-20T"), "{time}");
            }
        }
    }
}

#[cfg(feature = "nats")]
#[test]
#[ignore = "needs the receivers that `cargo xtask setup` installs"]
fn a_stream_of_nats_stores_each_record_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"]).arg(directory.path());
    command.arg("--ports_file_dir").arg(directory.path());
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let peer = Peer::start(command.stdout(Stdio::null()).stderr(log));
    let server = wait_for("ports of nats-server", || {
        let file = directory.path().join(format!("nats-server_{}.ports", peer.0.id()));
        let ports: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        ports["nats"][0].as_str().map(str::to_owned)
    });
    let text =
        format!("[[nats]]\nname = 'n'\nservers = ['{server}']\nsubject = 'governd.records'\n");
    let mut exporter = exporter(&text);
    // No stream takes the subject in yet, so nothing would be stored.
    let fault = deliver(&mut *exporter, &items(0..1)).unwrap_err();
    assert!(matches!(fault, Fault::Later(_)), "{fault}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = async_nats::jetstream::stream::Config {
        name: "records".to_owned(),
        subjects: vec!["governd.records".to_owned()],
        ..Default::default()
    };
    let stored = || {
        runtime.block_on(async {
            let client = async_nats::connect(&server).await.unwrap();
            let context = async_nats::jetstream::new(client);
            let mut stream = context.get_or_create_stream(stream.clone()).await.unwrap();
            let count = stream.info().await.unwrap().state.messages;
            let mut lines = Vec::new();
            for sequence in 1..=count {
                let message = stream.get_raw_message(sequence).await.unwrap();
                lines.push(String::from_utf8(message.payload.to_vec()).unwrap());
            }
            lines
        })
    };
    assert_eq!(stored(), [""; 0]);
    deliver_at_last(&mut *exporter, &items(0..200));
    deliver_at_last(&mut *exporter, &items(0..200));
    deliver_at_last(&mut *exporter, &items(150..203));
    let want: Vec<String> = (0..203).map(record).collect();
    assert_eq!(stored(), want);
}
