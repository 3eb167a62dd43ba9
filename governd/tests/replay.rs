//! `governd replay` as people and programs call it.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::path::Path;

use assert_cmd::Command;

fn replay(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("governd")
        .unwrap()
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures"))
        .arg("replay")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn json_has_one_line_for_each_name() {
    let (code, stdout, _) = replay(&["--json", "rfc/rfc_quic_v2.pcap", "arkime/dns-caa.pcap"]);
    let line = concat!(
        r#"{"pcap":"rfc/rfc_quic_v2.pcap","frame":1,"proto":"quic","name":"example.com","#,
        r#""addresses":["192.0.2.80"]}"#,
        "\n"
    );
    assert_eq!((code, stdout.as_str()), (0, line));
}

#[test]
fn text_is_for_people_and_the_rest_goes_to_stderr() {
    let (code, stdout, stderr) = replay(&["dnscap/1qtcppadd.pcap"]);
    assert_eq!((code, stdout.as_str()), (0, "       6  dns   google.com  172.217.22.174\n"));
    assert_eq!(stderr, "dnscap/1qtcppadd.pcap: 10 frames, 1 dns names\n");
}

const POLICY: &str = "\
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  mode: enforce
  match: [{exe: /opt/bot}]
  egress:
    default: deny
    rules:
      - {allow: [enabled.tls13.com], ports: [443]}
";
const WITH_DNS: &str = "arkime/curl-enabled-tls13.pcap";

/// Replays for an agent, and returns the verdicts as `frame proto verdict reason rule`.
fn judged(policy: &str, arguments: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bot.yaml");
    std::fs::write(&file, policy).unwrap();
    let file = file.to_str().unwrap();
    let all = [&["--json", "--policy", file, "--agent", "bot"], arguments].concat();
    let (code, stdout, stderr) = replay(&all);
    assert_eq!(code, 0, "{stderr}");
    let lines = stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let judged = lines.filter(|line| line.get("verdict").is_some());
    let words = judged.map(|line| {
        let word = |key: &str| line.get(key).unwrap().to_string().trim_matches('"').to_owned();
        ["frame", "proto", "verdict", "reason", "rule"].map(word).join(" ")
    });
    words.collect()
}

#[test]
fn a_policy_decides_about_each_connection_by_what_the_capture_taught() {
    let rule = "8 tls allow rule bot/egress/1";
    let none = "8 tls deny no-rule bot/default";
    let query = |verdict| format!("1 udp {verdict} bot/default");
    let other = POLICY.replace("enabled.tls13", "other");
    let sni = POLICY.replace("ports:", "verify: sni, ports:");
    let rows = [
        (POLICY, vec![WITH_DNS], [rule.to_owned(), query("allow resolver")]),
        (
            POLICY,
            vec!["--resolver", "192.0.2.1", WITH_DNS],
            [none.to_owned(), query("deny no-rule")],
        ),
        (&other, vec![WITH_DNS], [none.to_owned(), query("allow resolver")]),
        (&sni, vec!["--resolver", "192.0.2.1", WITH_DNS], [rule.to_owned(), query("deny no-rule")]),
    ];
    for (policy, arguments, expected) in rows {
        assert_eq!(judged(policy, &arguments), expected, "{policy} {arguments:?}");
    }
}

#[test]
fn a_connection_that_names_another_server_is_refused_at_its_first_bytes() {
    // The rule is on a name of the address that the connection does not name.
    let sni = POLICY.replace("enabled.tls13.com], ports: [443]", "other.example], verify: sni");
    assert_eq!(judged(&sni, &[WITH_DNS])[0], "8 tls deny server-name bot/default");
}

#[test]
fn a_policy_that_is_wrong_or_lacks_the_agent_is_told() {
    let policy = "../../deploy/policies/example-agent.yaml";
    let rows: [(&[&str], i32, &str); 3] = [
        (&["--policy", policy, "--agent", "nobody"], 2, "hint: it has: unregistered, invoice-bot"),
        (&["--policy", "README.md", "--agent", "bot"], 3, "README.md:3:"),
        (&["--policy", "absent", "--agent", "bot"], 4, "absent"),
    ];
    for (flags, expected, words) in rows {
        let (code, stdout, stderr) = replay(&[flags, &[WITH_DNS]].concat());
        assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn failures_have_their_exit_codes_and_a_hint() {
    let rows: [(&[&str], i32); 3] = [(&["absent.pcap"], 4), (&["README.md"], 3), (&[], 2)];
    for (arguments, expected) in rows {
        let (code, stdout, stderr) = replay(arguments);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
        assert!(expected == 2 || stderr.contains("\nhint: "), "{stderr}");
    }
}
