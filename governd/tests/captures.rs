//! Replays the captures under `tests/captures` and compares the names with what independent tools
//! found in them (see the README there).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use governd::capture::{self, Found, Proto};

/// A name in a frame, with its addresses in order.
type Name = (u64, String, String, BTreeSet<IpAddr>);

#[derive(Debug)]
struct Row {
    file: String,
    name: Name,
    kind: String,
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures")
}

fn expected() -> Vec<Row> {
    let table = fs::read_to_string(captures().join("expected.tsv")).unwrap();
    table.lines().skip(1).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.split('\t').collect();
    let [file, frame, proto, name, addresses, kind] = cells[..] else {
        panic!("a row has six cells: {line}");
    };
    let addresses = addresses.split(',').filter_map(|text| text.parse().ok()).collect();
    let name = (frame.parse().unwrap(), proto.to_owned(), name.to_owned(), addresses);
    Row { file: file.to_owned(), name, kind: kind.to_owned() }
}

fn replayed(file: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let outcome = capture::replay(&captures().join(file), &mut |name| found.push(name));
    outcome.unwrap_or_else(|error| panic!("{file}: {error}"));
    found
}

fn names(found: Vec<Found>) -> Vec<Name> {
    let seen = found.into_iter().filter(|found| found.proto != Proto::Http);
    seen.map(|f| (f.frame, f.proto.word().to_owned(), f.name, f.addresses.into_iter().collect()))
        .collect()
}

fn files() -> Vec<String> {
    let directories = fs::read_dir(captures()).unwrap().map(|entry| entry.unwrap().path());
    let files = directories
        .filter(|path| path.is_dir())
        .flat_map(|directory| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    let root = captures();
    let captures = files.filter(|file| file.extension().is_some_and(|kind| kind != "md"));
    let name = |file: PathBuf| file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    captures.map(name).collect()
}

#[test]
fn every_expected_name_is_found_and_no_other() {
    let mut expected_by_file: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in expected() {
        expected_by_file.entry(row.file.clone()).or_default().push(row);
    }
    let (mut faults, mut compared) = (Vec::new(), 0);
    for file in files() {
        let mut found = names(replayed(&file));
        for row in expected_by_file.remove(&file).unwrap_or_default() {
            let place = found.iter().position(|name| *name == row.name);
            match (place, row.kind.as_str()) {
                (Some(index), "must" | "may") => {
                    found.swap_remove(index);
                    compared += 1;
                }
                (None, "must") => faults.push(format!("{file}: missing {:?}", row.name)),
                (Some(_), kind) => faults.push(format!("{file}: {:?} is {kind}", row.name)),
                (None, _) => {}
            }
        }
        faults.extend(found.iter().map(|name| format!("{file}: unexpected {name:?}")));
    }
    faults.extend(expected_by_file.keys().map(|file| format!("{file}: no such capture")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(compared > 600, "only {compared} names were compared");
}

#[test]
fn hosts_of_plaintext_requests_are_found() {
    let found = replayed("suricata-verify/ips-state-1__input.pcap");
    let hosts = found.iter().filter(|found| found.proto == Proto::Http);
    let hosts: Vec<_> = hosts.map(|found| (found.frame, found.name.as_str())).collect();
    assert_eq!(hosts, [(4, "testmyids.evebox.org"), (53, "evebox.org")]);
}

#[test]
fn offered_protocols_and_ech_are_kept() {
    let found = replayed("captured/chrtcp-a.pcap");
    let first = found.iter().find(|found| found.proto == Proto::Tls).unwrap();
    assert_eq!((first.name.as_str(), first.has_ech), ("accounts.google.com", true));
    assert_eq!(first.alpn, ["h2", "http/1.1"]);
}
