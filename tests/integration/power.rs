//! What the sink has when the power goes while it works: what it wrote and synced is noted on the
//! way to the disk, and disks are made of that which lost some of what was not synced.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, command::run, daemon::Place, wait};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Test,
    crash::{self, Sink, policy_of},
    measured, record,
};

pub(crate) const TESTS: &[Test] = &[(
    "power::what_a_sink_has_acknowledged_is_there_after_a_power_cut",
    what_a_sink_has_acknowledged_is_there,
)];

/// How often the power goes; more of it on request.
const CUTS: &str = "CRASH_CUTS";
const CUTS_DEFAULT: u64 = 24;
/// What the sink gets to do: enough for SQLite to move what it has from one file to the other.
const RECORDS: u64 = 30_000;
const TRIES_AT_ONCE: &str = "40";
const PATIENCE: Duration = Duration::from_secs(180);
/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

fn what_a_sink_has_acknowledged_is_there(lab: &Lab) -> Result<()> {
    let cuts = match env::var(CUTS) {
        Ok(text) => text.parse().with_context(|| format!("{CUTS}={text}"))?,
        Err(_) => CUTS_DEFAULT,
    };
    let place = Place::new(lab, "power")?;
    policy_of(lab, &place)?;
    let directory = lab.directory("power-trace")?;
    let (library, trace) = (directory.join("power.so"), directory.join("trace"));
    let source = lab.tools().script("power.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    run(&mut compiler)?.success()?;

    let mut sink = Sink::new(&place)?;
    place.start()?.terminate()?;
    sink.enroll()?;
    sink.kill()?;
    let below = sink.directory().to_owned();
    let before = Disk::of(&below)?;
    sink.start_with(&[("LD_PRELOAD", &library), ("POWER_TRACE", &trace), ("POWER_BELOW", &below)])?;
    let acknowledged = work(lab, &place)?;
    sink.kill()?;

    let trace = fs::read(&trace)?;
    let entries = parse(&trace)?;
    let syncs = entries.iter().filter(|entry| entry.kind == SYNC).count() as u64;
    ensure!(syncs > 10, "{syncs} syncs are noted");
    let mut random = Random(1);
    let (mut least, mut most) = (u64::MAX, 0);
    for cut in 0..cuts {
        let after = usize::try_from(random.next() % entries.len() as u64)? + 1;
        let mut disk = before.clone();
        for entry in entries.iter().take(after) {
            disk.change(entry)?;
        }
        disk.cut(&mut random);
        let time_ns = entries.get(after - 1).map_or(0, |entry| entry.time_ns);
        let acknowledged = acknowledged.iter().rfind(|(at_ns, _)| *at_ns <= time_ns);
        let acknowledged = acknowledged.map_or(0, |(_, size)| *size);
        let copy = directory.join(format!("cut-{cut}"));
        disk.write(&copy)?;
        let verified = sink.ask_in(&copy, &["verify"])?;
        ensure!(verified.code == Some(0), "cut {cut}, {after} entries: {verified}");
        let hosts = sink.ask_in(&copy, &["hosts", "--json"])?.stdout;
        let host: serde_json::Value = serde_json::from_str(&hosts)?;
        let size = record::number(&host, "/records").context("no number")?;
        ensure!(size >= acknowledged, "cut {cut}: {size} of {acknowledged} acknowledged");
        (least, most) = (least.min(size), most.max(size));
        fs::remove_dir_all(&copy)?;
    }
    measured(format!(
        "{cuts} power cuts within {} changes and {syncs} syncs: nothing acknowledged is lost; \
         {least} to {most} records",
        entries.len()
    ));
    Ok(())
}

/// Lets a daemon send records; when it was told how many of them the sink has, in nanoseconds.
fn work(lab: &Lab, place: &Place) -> Result<Vec<(u64, u64)>> {
    let receipt = place.state().join("sink/receipt");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen: Vec<(u64, u64)> = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&receipt).unwrap_or_default();
                let size = text.lines().nth(1).and_then(|size| size.parse().ok());
                if let Some(size) = size.filter(|size| seen.last().is_none_or(|(_, s)| s < size)) {
                    seen.push((now_ns(), size));
                }
                thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        let worked = send(lab, place, &receipt);
        is_over.store(true, Ordering::Relaxed);
        let seen = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"));
        worked.and(seen)
    })
}

fn send(lab: &Lab, place: &Place, receipt: &Path) -> Result<()> {
    let daemon = place.start()?;
    let client = crash::tries(lab, TRIES_AT_ONCE)?;
    wait::until("records at the sink", PATIENCE, || {
        let text = fs::read_to_string(receipt).unwrap_or_default();
        let size = text.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
        Ok(size.filter(|size| *size > RECORDS).map(drop))
    })?;
    crash::tried(client)?;
    daemon.stop_within(3 * wait::PATIENCE).map(drop)
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Splitmix64, so that a trace is cut at the same places again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// The kinds of entries, as in `power.c`.
const WRITE: u64 = 0;
const SIZE: u64 = 1;
const SYNC: u64 = 2;
const REMOVE: u64 = 3;
const RENAME: u64 = 4;

struct Entry<'t> {
    time_ns: u64,
    kind: u64,
    path: &'t str,
    offset: usize,
    data: &'t [u8],
}

fn parse(mut trace: &[u8]) -> Result<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !trace.is_empty() {
        // What is behind the last whole entry is of the moment of the kill.
        let Some((entry, rest)) = parse_one(trace)? else { break };
        entries.push(entry);
        trace = rest;
    }
    Ok(entries)
}

fn parse_one(trace: &[u8]) -> Result<Option<(Entry<'_>, &[u8])>> {
    let (mut head, mut rest) = ([0; 5], trace);
    for number in &mut head {
        let Some((bytes, behind)) = rest.split_first_chunk() else { return Ok(None) };
        *number = u64::from_le_bytes(*bytes);
        rest = behind;
    }
    let [time_ns, kind, path, offset, data] = head;
    let Some((path, rest)) = rest.split_at_checked(usize::try_from(path)?) else { return Ok(None) };
    let Some((data, rest)) = rest.split_at_checked(usize::try_from(data)?) else { return Ok(None) };
    let (path, offset) = (std::str::from_utf8(path)?, usize::try_from(offset)?);
    Ok(Some((Entry { time_ns, kind, path, offset, data }, rest)))
}

/// Files and names, as they are seen and as they are after a power cut.
#[derive(Clone, Default)]
struct Disk {
    directory: PathBuf,
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

impl Disk {
    /// A directory of files, all of it durable.
    fn of(directory: &Path) -> Result<Self> {
        let mut disk = Self { directory: directory.to_owned(), ..Self::default() };
        disk.take(directory)?;
        disk.durable_names = disk.names.clone();
        Ok(disk)
    }

    fn take(&mut self, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                self.take(&path)?;
            } else if !is_shared_memory(&path) {
                let durable = fs::read(&path)?;
                self.names.insert(path, self.files.len());
                self.files.push(File { durable, pending: Vec::new() });
            }
        }
        Ok(())
    }

    fn change(&mut self, entry: &Entry<'_>) -> Result<()> {
        let Entry { kind, path, offset, data, .. } = entry;
        let path = PathBuf::from(path);
        if is_shared_memory(&path) {
            return Ok(());
        }
        match *kind {
            WRITE => self.file(path)?.pending.push(Change::Write(*offset, data.to_vec())),
            SIZE => self.file(path)?.pending.push(Change::Size(*offset)),
            SYNC if self.names.contains_key(&path) => self.file(path)?.settle(|| true),
            SYNC => {
                let is_here = |name: &PathBuf| name.parent() == Some(&path);
                self.durable_names.retain(|name, _| !is_here(name));
                let here = self.names.iter().filter(|(name, _)| is_here(name));
                self.durable_names.extend(here.map(|(name, id)| (name.clone(), *id)));
            }
            REMOVE => drop(self.names.remove(&path)),
            RENAME => {
                let id = self.names.remove(&path).context("a rename of nothing")?;
                self.names.insert(PathBuf::from(std::str::from_utf8(data)?), id);
            }
            other => anyhow::bail!("an entry of kind {other}"),
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) -> Result<&mut File> {
        let next = self.files.len();
        let id = *self.names.entry(path).or_insert(next);
        if id == next {
            self.files.push(File::default());
        }
        self.files.get_mut(id).context("a name without a file")
    }

    /// The power goes: of what was not synced, any part may be there.
    fn cut(&mut self, random: &mut Random) {
        for file in &mut self.files {
            file.settle(|| random.coin());
        }
        let durable = &self.durable_names;
        self.names.retain(|name, _| durable.contains_key(name) || random.coin());
        for (name, id) in durable {
            if !self.names.contains_key(name) && random.coin() {
                self.names.insert(name.clone(), *id);
            }
        }
    }

    /// Writes what is there to another directory.
    fn write(&self, to: &Path) -> Result<()> {
        for (name, id) in &self.names {
            let path = to.join(name.strip_prefix(&self.directory)?);
            fs::create_dir_all(path.parent().context("no directory")?)?;
            let file = self.files.get(*id).context("a name without a file")?;
            fs::write(path, &file.durable)?;
        }
        Ok(())
    }
}

impl File {
    /// Makes pending changes durable, sector by sector, where the coin says so.
    fn settle(&mut self, mut coin: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Size(size) if coin() => self.durable.resize(size, 0),
                Change::Size(_) => {}
                Change::Write(offset, bytes) => {
                    let mut at = 0;
                    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
                        let room = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
                        let part = rest.get(..room).unwrap_or(rest);
                        if coin() {
                            self.put(offset + at, part);
                        }
                        at += part.len();
                    }
                }
            }
        }
    }

    fn put(&mut self, offset: usize, part: &[u8]) {
        let end = offset + part.len();
        self.durable.resize(self.durable.len().max(end), 0);
        if let Some(place) = self.durable.get_mut(offset..end) {
            place.copy_from_slice(part);
        }
    }
}

/// SQLite makes it anew from the others.
fn is_shared_memory(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}
