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

#[test]
fn failures_have_their_exit_codes_and_a_hint() {
    let rows: [(&[&str], i32); 3] = [(&["absent.pcap"], 4), (&["README.md"], 3), (&[], 2)];
    for (arguments, expected) in rows {
        let (code, stdout, stderr) = replay(arguments);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
        assert!(expected == 2 || stderr.contains("\nhint: "), "{stderr}");
    }
}
