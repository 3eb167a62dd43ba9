//! Rooms of the daemon depend one way, and the pure ones name nothing impure.
//!
//! `governd-common <- core, policy, audit, catalog (pure) <- adapters, which never import each
//! other <- app <- cli`. That the crates depend one way is what cargo checks.

use super::{Findings, rust::Rust};

/// Where a room stands; a room imports only lower ones, and pure ones also each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Layer {
    Pure,
    Adapter,
    App,
    Cli,
}

/// Parts of a pure room that are adapters: what touches the world for it.
const ADAPTERS_INSIDE: &[&str] = &["audit::export", "audit::log", "policy::watch"];

fn layer(room: &str) -> Layer {
    match room {
        "core" | "policy" | "audit" | "catalog" => Layer::Pure,
        "app" | "settings" => Layer::App,
        "cli" | "main" | "lib" => Layer::Cli,
        _ => Layer::Adapter,
    }
}

/// The room of a path below `governd/src` or below `crate`.
fn room(segments: &[&str]) -> Option<String> {
    let first = *segments.first()?;
    if let Some(second) = segments.get(1) {
        let inside = format!("{first}::{second}");
        if ADAPTERS_INSIDE.contains(&inside.as_str()) {
            return Some(inside);
        }
    }
    Some(first.to_owned())
}

/// Module path of a file below `governd/src`; `None` elsewhere.
fn modules(file: &str) -> Option<Vec<&str>> {
    let inner = file.strip_prefix("governd/src/")?.strip_suffix(".rs")?;
    let mut modules: Vec<_> = inner.split('/').collect();
    if modules.last() == Some(&"mod") {
        modules.pop();
    }
    Some(modules)
}

/// Spells a path out from the crate's root; `None` if it leads to another crate or a local name.
fn absolute<'a>(modules: &[&'a str], segments: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut base = match *segments.first()? {
        "crate" | "governd" => Vec::new(),
        "self" | "super" => modules.to_vec(),
        _ => return None,
    };
    for segment in segments {
        match *segment {
            "crate" | "governd" | "self" => (),
            "super" => {
                base.pop();
            }
            name => base.push(name),
        }
    }
    Some(base)
}

pub(super) fn check(rust: &Rust<'_>, findings: &mut Findings<'_>) {
    let Some(modules) = modules(rust.file) else { return };
    let Some(own) = room(&modules) else { return };
    for named in rust.named.iter().filter(|named| !rust.is_test(named.line)) {
        let segments: Vec<_> = named.segments.iter().map(String::as_str).collect();
        if layer(&own) == Layer::Pure
            && let Some(what) = impure(&segments)
        {
            findings.add(named.line, "pure", format!("`{own}` is pure and names `{what}`"));
        }
        let target = absolute(&modules, &segments).and_then(|path| room(&path));
        if let Some(target) = target.filter(|target| !may_import(&own, target)) {
            findings.add(named.line, "rooms", format!("`{own}` must not import `{target}`"));
        }
    }
}

fn may_import(own: &str, target: &str) -> bool {
    if own == target {
        return true;
    }
    match (layer(own), layer(target)) {
        (Layer::Pure, to) => to == Layer::Pure,
        (Layer::Adapter, to) => to == Layer::Pure,
        (Layer::App, to) => to <= Layer::App,
        (Layer::Cli, _) => true,
    }
}

/// What a path brings in of clock, files, network, processes or tasks.
fn impure(segments: &[&str]) -> Option<String> {
    let is_impure = match segments {
        ["tokio" | "tokio_util" | "rustix" | "inotify", _, ..] => true,
        ["std", "fs" | "env" | "process" | "thread", ..] => true,
        ["std", "time", "Instant" | "SystemTime", ..] => true,
        ["Instant" | "SystemTime" | "Timestamp" | "Zoned", "now", ..] => true,
        ["jiff", "Timestamp" | "Zoned", "now", ..] => true,
        ["std", "net", kind, ..] => kind.starts_with("Tcp") || kind.starts_with("Udp"),
        ["std", "os", "unix", "net", ..] => true,
        _ => false,
    };
    is_impure.then(|| segments.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::violations;

    #[test]
    fn each_room_imports_only_lower_ones() {
        for (file, line, is_fine) in [
            ("governd/src/core/a.rs", "use crate::policy::image::TableImage;", true),
            ("governd/src/core/a.rs", "use crate::kernel::Kernel;", false),
            ("governd/src/core/a.rs", "use crate::{policy, control::Api};", false),
            ("governd/src/core/b/a.rs", "use super::super::super::workload::X;", false),
            ("governd/src/core/a.rs", "fn f() { crate::app::run(); }", false),
            ("governd/src/core/a.rs", "fn f() { m!(crate::app::run()); }", false),
            ("governd/src/core/a.rs", "#[cfg(test)] mod tests { use crate::kernel::X; }", true),
            ("governd/src/audit/log/a.rs", "use crate::audit::record::Record;", true),
            ("governd/src/audit/record.rs", "use super::log::Log;", false),
            ("governd/src/kernel/a.rs", "use crate::core::X;", true),
            ("governd/src/kernel/a.rs", "use super::mod_b::X;", true),
            ("governd/src/kernel/a.rs", "use crate::workload::X;", false),
            ("governd/src/control/a.rs", "use crate::audit::log::Log;", false),
            ("governd/src/app.rs", "use crate::{kernel::X, audit::log::Log};", true),
            ("governd/src/app.rs", "use crate::cli::X;", false),
            ("governd/src/cli/up.rs", "use crate::{app, kernel};", true),
            ("governd/src/main.rs", "use governd::cli;", true),
            ("xtask/src/a.rs", "use crate::kernel::X;", true),
        ] {
            let expected = if is_fine { vec![] } else { vec![("rooms", 1)] };
            assert_eq!(violations(file, line), expected, "{file}: {line}");
        }
    }

    #[test]
    fn pure_rooms_name_no_world() {
        for (line, is_fine) in [
            ("use std::time::Duration;", true),
            ("use std::time::{Duration, Instant};", false),
            ("use std::net::IpAddr;", true),
            ("use std::{net::{IpAddr, TcpStream}};", false),
            ("fn f() { let t = jiff::Timestamp::now(); }", false),
            ("fn f() { std::fs::read(p); }", false),
            ("fn f() { tracing::info!(std::process::id()); }", false),
            ("use tokio::sync::mpsc;", false),
            ("fn f() { env!(\"X\"); }", true),
        ] {
            let expected = if is_fine { vec![] } else { vec![("pure", 1)] };
            assert_eq!(violations("governd/src/policy/a.rs", line), expected, "{line}");
        }
        assert_eq!(violations("governd/src/audit/log.rs", "use std::fs;"), []);
        assert_eq!(violations("governd/src/policy/watch.rs", "use std::fs;"), []);
    }

    #[test]
    fn paths_are_spelled_out() {
        assert_eq!(absolute(&["core", "a"], &["super", "b", "X"]), Some(vec!["core", "b", "X"]));
        assert_eq!(absolute(&["core", "a"], &["serde", "X"]), None);
    }
}
