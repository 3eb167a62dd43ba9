use std::{collections::BTreeSet, net::TcpStream, os::unix::net::UnixStream};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Address, AddressError, Server, families};
use crate::control::{
    protocol::{Reply, Request, StatusReport},
    server::{Answer, Call},
};

const DASHBOARD: &str = include_str!("../../../../deploy/grafana/governd.json");

/// A report in which everything occurs.
fn report() -> Value {
    json!({
        "version": "0.1.0", "pid": 1, "host": "host-a", "uptime_ms": 61_000, "cgroup": "/",
        "enforcement": {"state": "not enforcing", "detail": ["connect4"], "since_ms": 1,
                        "tried_ms": 2, "failures": 3},
        "selftests": {"every_s": 3_600, "last_ms": 1, "passed": 4, "failed": 5},
        "policy": {"source": "/etc", "digest": "sha256:", "generation": 17, "rejected": "line 3",
                   "refused": 2},
        "agents": [{"name": "bot", "owner": null, "mode": "enforce", "processes": 3}],
        "tracked_processes": 3,
        "decisions": {"allowed": 10, "denied": 20, "would_deny": 30},
        "catalog": {"directory": "/etc", "endpoints": 100, "runtimes": 5, "rejected": null},
        "inventory": {"file": null, "agents": 4, "candidates": 5, "dropped": 6, "failing": "full"},
        "lost": {"ring-full": 7},
        "programs": [{"name": "a", "id": 1, "attached": false, "verified_instructions": 9}],
        "log": {"directory": "/var", "next_index": 50, "lost_records": 8, "failing": "disk full",
                "durable": 40, "queued": 9,
                "commits": {"sum_s": 1.5, "counts": [[0.001, 3], [0.01, 4]], "longer": 1}},
        "exporters": [{"name": "siem", "kind": "syslog", "delivered": 11, "behind": 12,
                       "missed": 13, "rejected": 14, "failures": 15, "failing": "refused",
                       "certificates": [{"whose": "server", "left_s": 77, "warning": null}]}],
        "events": {"read": 1_000, "malformed": 1},
        "tables": [{"name": "tasks", "entries": 3, "entries_max": 65_536}],
    })
}

fn text() -> String {
    families::text(&serde_json::from_value::<StatusReport>(report()).unwrap()).unwrap()
}

/// Names of the series in a text.
fn series(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

#[test]
fn a_report_is_told_in_openmetrics() {
    let text = text();
    for line in [
        "governd_build_info{version=\"0.1.0\"} 1.0",
        "governd_decisions_total{verdict=\"would-deny\"} 30",
        "governd_lost_total{reason=\"ring-full\"} 7",
        "governd_policies_refused_total 2",
        "governd_policy_rejected 1.0",
        "governd_catalog_rejected 0.0",
        "governd_programs_detached 1.0",
        "governd_enforcement{state=\"not enforcing\"} 1.0",
        "governd_enforcement_failures_total 3",
        "governd_selftests_total{outcome=\"failed\"} 5",
        "governd_table_entries{table=\"tasks\"} 3.0",
        "governd_log_queue_records 9.0",
        "governd_log_commit_seconds_bucket{le=\"0.01\"} 7",
        "governd_log_commit_seconds_bucket{le=\"+Inf\"} 8",
        "governd_log_commit_seconds_count 8",
        "governd_exporter_behind_records{exporter=\"siem\",kind=\"syslog\"} 12.0",
        "governd_sink_certificate_seconds{certificate=\"server\"} 77.0",
        "governd_exporter_failing{exporter=\"siem\",kind=\"syslog\"} 1.0",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

/// Names of ours in everything that the dashboard asks for.
fn asked(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let (true, Some(query)) = (key == "expr" || key == "query", value.as_str()) {
                    let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
                    let words = query.split(is_other).filter(|word| word.starts_with("governd_"));
                    names.extend(words.map(str::to_owned));
                }
                asked(value, names);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| asked(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist_and_for_nearly_all_of_them() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut names = BTreeSet::new();
    asked(&dashboard, &mut names);
    let text = text();
    let there = series(&text);
    for name in &names {
        assert!(there.contains(name.as_str()), "{name} does not exist");
    }
    let unseen: Vec<_> = there.iter().filter(|name| !names.contains(**name)).collect();
    assert_eq!(
        unseen,
        [
            &"governd_catalog_endpoints",
            &"governd_log_commit_seconds_count",
            &"governd_log_commit_seconds_sum",
            &"governd_log_durable_index",
            &"governd_programs",
        ]
    );
}

#[test]
fn addresses_are_of_this_host() {
    let unix = |path: &str| Ok(Address::Unix(path.into()));
    let tcp = |text: &str| Ok(Address::Loopback(text.parse().unwrap()));
    for (text, want) in [
        ("unix:/run/governd/metrics.sock", unix("/run/governd/metrics.sock")),
        ("127.0.0.1:9464", tcp("127.0.0.1:9464")),
        ("[::1]:9464", tcp("[::1]:9464")),
        ("0.0.0.0:9464", Err(AddressError::NotLoopback)),
        ("[::]:9464", Err(AddressError::NotLoopback)),
        ("10.0.0.1:9464", Err(AddressError::NotLoopback)),
        ("unix:metrics.sock", Err(AddressError::Unreadable)),
        ("localhost", Err(AddressError::Unreadable)),
        ("", Err(AddressError::Unreadable)),
    ] {
        let address = text.parse::<Address>();
        assert_eq!(address, want, "{text}");
        assert!(address.is_err() || address.unwrap().to_string() == text, "{text}");
    }
}

/// Writes a request and gives all of the answer.
fn ask<S: std::io::Read + std::io::Write>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_over_tcp_and_unix_as_the_owner_task_tells() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/metrics.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (calls, mut queue) = mpsc::channel::<Call>(4);
    let unix = Server::bind(&Address::Unix(path.clone())).unwrap();
    let tcp = Server::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = tcp.local_address().unwrap();
    Server::bind(&Address::Unix(path.clone())).unwrap_err();
    runtime.spawn(unix.serve(calls.clone()));
    runtime.spawn(tcp.serve(calls));
    runtime.spawn(async move {
        // The third time it has ended.
        for _ in 0..2 {
            let call = queue.recv().await.unwrap();
            assert_eq!(call.request, Request::Status);
            call.answer.send(Answer::Reply(Reply::Ok(report()))).unwrap();
        }
    });
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let from_unix = ask(UnixStream::connect(&path).unwrap(), &get("/metrics"));
    let from_tcp = ask(TcpStream::connect(address).unwrap(), &get("/metrics"));
    for answer in [from_unix, from_tcp] {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }
    for (request, status) in [
        (get("/"), "404"),
        (get("/metrics").replace("GET", "POST"), "405"),
        (get("/metrics"), "503"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(TcpStream::connect(address).unwrap(), &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
}
