//! What this host offers: for `governd doctor`, before anything is attached.
//!
//! Findings come from trying, not from release numbers: each program is given to this kernel's own
//! verifier. Nothing is attached, and nothing stays.

use std::{collections::HashMap, fs, path::Path};

use rustix::process::{Resource, getrlimit};

use super::{
    Early, KernelError, KernelOptions, Offer,
    attach::programs,
    btf, cgroup,
    collection::Collection,
    descriptors::{DESCRIPTORS_HINT, descriptors_max, too_few_descriptors},
    lack::{Lack, left_out},
    load::load_object,
    lsm, sys,
};

/// How a finding came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// governd runs, but something works less well.
    Degraded,
    /// governd cannot run.
    Missing,
}

/// One finding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// What was looked at, such as `btf` or `program connect4`.
    pub name: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub detail: String,
    /// What to do about it; `None` if nothing is to be done.
    pub hint: Option<String>,
}

impl Probe {
    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), outcome: Outcome::Ok, detail: detail.into(), hint: None }
    }

    fn bad(name: &str, outcome: Outcome, detail: impl Into<String>, hint: &str) -> Self {
        let (name, hint) = (name.to_owned(), Some(hint.to_owned()));
        Self { name, outcome, detail: detail.into(), hint }
    }

    fn missing(name: &str, error: &KernelError) -> Self {
        Self::bad(name, Outcome::Missing, chain(error), error.hint())
    }
}

/// Looks at this host.
pub fn probe() -> Vec<Probe> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut probes = vec![
        kernel(release),
        capabilities(),
        lockdown(),
        memlock(),
        descriptors(),
        jit(),
        bpffs(),
        tree(),
    ];
    match Offer::of_kernel() {
        Ok(offer) => {
            probes.push(Probe::ok("btf", btf::PATH));
            probes.extend(probe_programs(&offer));
        }
        Err(error) => probes.push(Probe::missing("btf", &error)),
    }
    probes
}

/// Looks at what a kernel lacks that offers this, and gives it the programs.
pub(super) fn probe_programs(offer: &Offer) -> Vec<Probe> {
    let lacks = offer.lacks();
    let mut probes: Vec<_> = Lack::EVERY.iter().map(|lack| lacking(&lacks, *lack)).collect();
    let are_asked = programs().any(|name| lsm::is_one(name) && offer.kind(name).is_some());
    probes.push(Probe::ok(lsm::WORD, lsm::detail(are_asked)));
    probes.extend(try_programs(offer, &lacks));
    probes
}

fn kernel(release: String) -> Probe {
    let lacking = match parse_release(&release) {
        Some(version) if version < (5, 8) => "no ring for events",
        // The verifier: "tail_calls are not allowed in programs with bpf-to-bpf calls".
        Some(version) if version < (5, 10) => "no programs with functions that call other programs",
        _ => return Probe::ok("kernel", release),
    };
    let detail = format!("{release} has {lacking}");
    Probe::bad("kernel", Outcome::Missing, detail, "use Linux 5.10 or later")
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Capabilities by number (include/uapi/linux/capability.h).
const NEEDED: [(u32, &str); 3] = [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (12, "CAP_NET_ADMIN")];
const CAP_SYS_ADMIN: u32 = 21;

fn capabilities() -> Probe {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        let hint = "mount proc on /proc";
        return Probe::bad("capabilities", Outcome::Missing, "cannot be read", hint);
    };
    let missing = missing_capabilities(effective);
    if missing.is_empty() {
        return Probe::ok("capabilities", NEEDED.map(|(_, name)| name).join(", "));
    }
    let detail = format!("missing {}", missing.join(", "));
    let hint =
        "run as root, or grant them (AmbientCapabilities= in a unit, securityContext in a pod)";
    Probe::bad("capabilities", Outcome::Missing, detail, hint)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective >> number & 1 == 1;
    // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (Linux 5.8).
    let granted = |number: u32| has(number) || (number >= 38 && has(CAP_SYS_ADMIN));
    NEEDED.iter().filter(|(number, _)| !granted(*number)).map(|(_, name)| *name).collect()
}

fn lockdown() -> Probe {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("not built in").to_owned();
    if mode != "confidentiality" {
        return Probe::ok("lockdown", mode);
    }
    let hint = "boot with lockdown=integrity or without: confidentiality keeps programs from \
                reading the process table";
    Probe::bad("lockdown", Outcome::Missing, mode, hint)
}

fn memlock() -> Probe {
    match getrlimit(Resource::Memlock).current {
        None => Probe::ok("memlock", "unlimited"),
        // Since 5.11 maps are charged to the memory cgroup; before, governd raises the limit.
        Some(bytes) => Probe::ok("memlock", format!("{bytes} bytes, raised when governd starts")),
    }
}

fn descriptors() -> Probe {
    let most = descriptors_max().map_or("unlimited".to_owned(), |most| most.to_string());
    if too_few_descriptors().is_none() {
        return Probe::ok("descriptors", most);
    }
    Probe::bad("descriptors", Outcome::Missing, most, DESCRIPTORS_HINT)
}

fn jit() -> Probe {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Ok("0") => Probe::bad(
            "jit",
            Outcome::Degraded,
            "off: programs are interpreted",
            "set net.core.bpf_jit_enable=1",
        ),
        _ => Probe::ok("jit", "on"),
    }
}

fn bpffs() -> Probe {
    /// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let path = Path::new("/sys/fs/bpf");
    if rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == BPF_FS_MAGIC) {
        return Probe::ok("bpffs", path.display().to_string());
    }
    let hint = "mount it with `mount -t bpf bpf /sys/fs/bpf`";
    Probe::bad("bpffs", Outcome::Degraded, "not mounted on /sys/fs/bpf", hint)
}

fn tree() -> Probe {
    match cgroup::root().and_then(|path| cgroup::open(&path).map(|_| path)) {
        Ok(path) => Probe::ok("cgroup v2", path.display().to_string()),
        Err(error) => Probe::missing("cgroup v2", &error),
    }
}

fn lacking(lacks: &[Lack], lack: Lack) -> Probe {
    if lacks.contains(&lack) {
        Probe::bad(lack.word(), Outcome::Degraded, lack.detail(), lack.hint())
    } else {
        Probe::ok(lack.word(), lack.otherwise())
    }
}

/// Gives every program to the verifier.
fn try_programs(offer: &Offer, lacks: &[Lack]) -> Vec<Probe> {
    // A small ring: this is only a trial.
    let options = KernelOptions { ring_bytes: Some(4_096), ..KernelOptions::default() };
    let mut collection = match load_object(&options, &offer.layout, None) {
        Ok(collection) => collection,
        Err(error) => return vec![Probe::missing("maps", &error)],
    };
    let is_unasked = |name: &str| lsm::is_one(name) && offer.kind(name).is_none();
    let wanted = programs().filter(|name| left_out(lacks, name).is_none() && !is_unasked(name));
    let wanted: Vec<_> = wanted.map(|name| (name, offer.kind(name))).collect();
    let refused: HashMap<_, _> = collection.load(&wanted, &Early::default()).into_iter().collect();
    let mut probes = vec![Probe::ok("maps", "all created")];
    probes.extend(programs().map(|name| {
        let title = format!("program {name}");
        if let Some(lack) = left_out(lacks, name) {
            let detail = format!("left out, see {}", lack.word());
            return Probe::bad(&title, Outcome::Degraded, detail, lack.hint());
        }
        if is_unasked(name) {
            return Probe::ok(&title, format!("left out, see {}", lsm::WORD));
        }
        match refused.get(name) {
            Some(error) if lsm::is_one(name) => {
                Probe::bad(&title, Outcome::Degraded, chain(error), error.hint())
            }
            Some(error) => Probe::missing(&title, error),
            None => Probe::ok(
                &title,
                format!("loads, {} instructions verified", count(&collection, name)),
            ),
        }
    }));
    probes
}

/// Instructions that the verifier looked at, as far as the kernel says it.
fn count(collection: &Collection, name: &'static str) -> String {
    let info = collection.program(name).ok().and_then(|program| sys::program_info(program).ok());
    let count = info.map(|info| info.verified_insns).filter(|count| *count != 0);
    count.map_or("unknown".to_owned(), |count| count.to_string())
}

/// An error and what it comes from, in one line.
fn chain(error: &KernelError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(parse_release("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_release("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(parse_release("6.12+"), Some((6, 12)));
        assert_eq!(parse_release("next"), None);
    }

    #[test]
    fn kernels_before_5_10_are_told_what_they_lack() {
        for (release, outcome, detail) in [
            ("5.4.0-216-generic", Outcome::Missing, "5.4.0-216-generic has no ring for events"),
            (
                "5.9.16",
                Outcome::Missing,
                "5.9.16 has no programs with functions that call other programs",
            ),
            ("5.10.0-32-amd64", Outcome::Ok, "5.10.0-32-amd64"),
            ("next", Outcome::Ok, "next"),
        ] {
            let probe = kernel(release.into());
            assert_eq!((probe.outcome, probe.detail.as_str()), (outcome, detail), "{release}");
        }
    }

    #[test]
    fn capabilities_are_named_and_sys_admin_stands_for_two() {
        assert_eq!(
            effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some((1 << 41) - 1)
        );
        assert_eq!(missing_capabilities(0), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(missing_capabilities(1 << CAP_SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert!(missing_capabilities(1 << 39 | 1 << 38 | 1 << 12).is_empty());
    }

    #[test]
    fn every_finding_that_is_not_ok_says_what_to_do() {
        for probe in probe() {
            assert_eq!(probe.outcome == Outcome::Ok, probe.hint.is_none(), "{probe:?}");
        }
    }
}
