//! Certificates that end: both sides say so while there is time to see to it.

use super::*;

const DAY_S: u64 = 86_400;

#[test]
fn a_host_says_which_certificates_end_until_they_are_others() {
    let mut sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    let names = ["127.0.0.1".to_owned()];
    sink.stop();
    authority::replace_server_for(sink.directory.path(), &names, 20).unwrap();
    sink.start();
    // One that the sink knows, and that is too young to be renewed.
    let (key, point) = authority::host_key().unwrap();
    let ours = Authority::open(sink.directory.path()).unwrap();
    let now_s = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let issue = |name: &str| ours.certify(name, &point, 9);
    let short = sink.store().renew(&sink.host(), now_s, None, issue).unwrap();
    fs::write(state.path().join("sink/identity.pem"), short + &key).unwrap();

    let idle = Duration::from_millis(50);
    let uplink = Uplink::start_with(state.path(), &journal, idle).unwrap().unwrap();
    let warned = || -> Vec<String> {
        let certificates = uplink.status().certificates;
        let warned = certificates.into_iter().filter(|each| each.warning.is_some());
        warned.map(|each| each.whose).collect()
    };
    until("both are known to end", || warned() == ["host", "server"]);
    let days: Vec<u64> =
        uplink.status().certificates.iter().map(|each| each.left_s / DAY_S).collect();
    // Ten years have two or three leap days, and each ends at a midnight.
    assert!(matches!(days.as_slice(), [8, 19, 3_648..=3_650]), "{days:?}");
    let findings = || {
        let mut reader = Reader::new(Disk, state.path().join("log"), 0);
        let lines = std::iter::from_fn(|| reader.read().unwrap());
        let lines = lines.map(|line| String::from_utf8(line.bytes).unwrap());
        lines.filter(|line| line.contains("\"sink-certificate/")).count()
    };
    until("both are findings", || findings() == 2);

    sink.stop();
    authority::replace_server(sink.directory.path(), &names).unwrap();
    sink.start();
    until("the sink has another", || warned() == ["host"]);
    assert_eq!(findings(), 2);
}
