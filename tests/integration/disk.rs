//! Disks below the log that are full, that fail, and that become read-only: enforcement goes on,
//! and what could not be recorded is counted.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{must, run},
    daemon::{Daemon, Place},
    site, wait,
};

use crate::{
    Test,
    audit::audit,
    client,
    crash::{self, Tally},
    measured, policy, record,
};

pub(crate) const TESTS: &[Test] = &[
    ("disk::without_a_log_ai_is_denied", without_a_log_ai_is_denied),
    ("disk::without_a_writable_log_ai_is_denied", without_a_writable_log_ai_is_denied),
    ("disk::what_a_full_disk_refused_is_counted", what_a_full_disk_refused_is_counted),
    ("disk::what_a_failing_disk_refused_is_counted", what_a_failing_disk_refused_is_counted),
    ("disk::a_disk_that_becomes_read_only_ends_no_enforcement", a_read_only_disk),
];

const EXIT_ENVIRONMENT: i32 = 4;
/// Bytes of a disk that fails behind them: what its file system says of itself, and no file.
const SOUND_BYTES: &str = "2097152";

/// A small file system over a directory, gone when this is.
pub(crate) struct Small(PathBuf);

impl Small {
    /// Of so many MiB.
    pub(crate) fn over(directory: PathBuf, size_mib: u32) -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "tmpfs"]).arg(&directory);
        run(&mut mount)?.success()?;
        Ok(Self(directory))
    }

    fn filling(&self) -> PathBuf {
        self.0.join("filling")
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filling())?)
    }

    /// Leaves no room for another page.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filling())?;
        loop {
            match file.write(&[0; 4_096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A disk of its own over a directory, with ext4, gone when this is.
struct Device {
    over: PathBuf,
    image: PathBuf,
    /// Such as `/dev/loop0`.
    device: PathBuf,
}

impl Device {
    /// With further options for `mkfs.ext4`.
    fn over(lab: &Lab, over: PathBuf, options: &[&str]) -> Result<Self> {
        let image = lab.directory("disk")?.join("image");
        File::create(&image)?.set_len(400 << 20)?;
        let mut format = Command::new("mkfs.ext4");
        format.args(["-q", "-b", "4096", "-m", "0", "-N", "1024"]).args(options).arg(&image);
        run(&mut format)?.success()?;
        let device = PathBuf::new();
        let mut disk = Self { over, image, device };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.over);
        run(&mut mount)?.success()?;
        let over = self.over.display().to_string();
        let found = must("findmnt", &["--noheadings", "--output", "SOURCE", &over])?;
        self.device = PathBuf::from(found.trim());
        Ok(())
    }

    /// Has it fail, or work again.
    fn limit(&self, lab: &Lab, bytes: &str) -> Result<()> {
        let mut limit = Command::new("python3");
        limit.arg(lab.tools().script("limit.py")).arg(&self.device).arg(bytes);
        run(&mut limit)?.success().map(drop)
    }

    /// Has the kernel find an error in the file system, after which that is read-only.
    fn damage(&self) -> Result<()> {
        let name = self.device.file_name().context("no device")?;
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        fs::write(&trigger, "1").with_context(|| format!("writing {}", trigger.display()))
    }

    /// Repairs it while nothing uses it.
    fn repair(&mut self) -> Result<()> {
        let over = self.over.display().to_string();
        must("umount", &[&over])?;
        // Who had mounts of its own may be on its way out: until then the kernel has the file
        // system as it was, and would show it again.
        let image = self.image.display().to_string();
        wait::until("nothing to use the disk", wait::PATIENCE, || {
            let devices = must("losetup", &["--associated", &image])?;
            Ok(devices.trim().is_empty().then_some(()))
        })?;
        // 1: there was something to repair, and it was.
        let repaired = run(Command::new("e2fsck").arg("-fy").arg(&self.image))?;
        ensure!(matches!(repaired.code, Some(0 | 1)), "{repaired}");
        self.mount()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        unmount(&self.over);
    }
}

fn unmount(path: &Path) {
    let unmounted = Command::new("umount").arg("--lazy").arg(path).status();
    if !unmounted.is_ok_and(|status| status.success()) {
        eprintln!("{} is still mounted", path.display());
    }
}

fn without_a_log_ai_is_denied(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "full")?;
    let small = Small::over(place.state(), 4)?;
    let daemon = start_that_denies_ai(lab, &place)?;
    small.fill()?;
    ai_is_denied(lab, &daemon)?;
    small.free()?;
    ai_becomes(lab, true)?;
    ai_is_told(&place, "AI endpoints are denied")?;
    ai_is_told(&place, "AI endpoints are as the policy has them")?;
    daemon.stop()?;
    audit(&place, &["verify"])?.success()?;
    Ok(())
}

fn without_a_writable_log_ai_is_denied(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "unwritable")?;
    let mut disk = Device::over(lab, place.state(), &[])?;
    let daemon = start_that_denies_ai(lab, &place)?;
    disk.damage()?;
    says(&daemon, "Read-only file system")?;
    ai_is_denied(lab, &daemon)?;
    // What it left denies AI until a daemon comes that can write.
    daemon.kill()?;
    ensure!(!reaches(lab, site::OPENAI.name)?, "AI is reached without a daemon and a log");
    disk.repair()?;
    let daemon = place.start()?;
    ai_becomes(lab, true)?;
    place.detach()?;
    daemon.stop_within(3 * wait::PATIENCE)?;
    audit(&place, &["verify"])?.success().map(drop)
}

/// A daemon that has AI endpoints denied where there is no log, with agents that may reach one.
fn start_that_denies_ai<'p>(lab: &Lab, place: &'p Place) -> Result<Daemon<'p>> {
    let rule = format!("allow: [{}, {}]", site::LEFT.name, site::OPENAI.name);
    let documents = policy::both_agents(lab, "enforce", &[&rule]);
    place.write_policy(&documents.replacen("  mode:", "  on_log_failure: deny-ai\n  mode:", 1))?;
    let daemon = place.start()?;
    ensure!(reaches(lab, site::OPENAI.name)?, "it is allowed");
    Ok(daemon)
}

fn reaches(lab: &Lab, host: &str) -> Result<bool> {
    Ok(client::flow(lab, Family::V4, "tcp", host, 1)?.reached == 1)
}

fn ai_becomes(lab: &Lab, wanted: bool) -> Result<()> {
    let what = if wanted { "AI is allowed again" } else { "AI is denied without a log" };
    wait::until(what, wait::PATIENCE * 3, || {
        Ok((reaches(lab, site::OPENAI.name)? == wanted).then_some(()))
    })
}

/// Waits until AI is denied for want of a log, and sees that nothing else is.
fn ai_is_denied(lab: &Lab, daemon: &Daemon<'_>) -> Result<()> {
    ai_becomes(lab, false)?;
    ensure!(reaches(lab, site::LEFT.name)?, "what is no AI endpoint is as ever");
    ensure!(!reaches(lab, site::EXFIL.name)?, "what is denied stays so");
    let unregistered = client::curl(lab, Family::V4, site::OPENAI.name).run()?;
    ensure!(unregistered.code != Some(0), "who is not registered reaches it: {unregistered}");
    ensure!(!record::text(&daemon.status()?, "/log/failing").is_empty(), "no word of it");
    Ok(())
}

fn ai_is_told(place: &Place, message: &str) -> Result<()> {
    let told = place.record(message, |each| {
        record::text(each, "/api/operation") == "log.failure"
            && record::text(each, "/message").starts_with(message)
    });
    told.map(drop)
}

fn what_a_full_disk_refused_is_counted(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "refused")?;
    // Room for what waits in memory meanwhile, and for what a client tries that a slow machine lets
    // go on for a minute: a disk that is full to the end tells nothing.
    let small = Small::over(place.state(), 256)?;
    refused(lab, &place, "a full disk", "No space left", &|| small.fill(), &|| small.free())
}

fn what_a_failing_disk_refused_is_counted(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "failing")?;
    // Without a journal: one that cannot be written ends the file system until it is mounted again.
    let disk = Device::over(lab, place.state(), &["-O", "^has_journal"])?;
    let (fail, mend) = (|| disk.limit(lab, SOUND_BYTES), || disk.limit(lab, "0"));
    refused(lab, &place, "a failing disk", "Input/output error", &fail, &mend)
}

type Act<'a> = &'a dyn Fn() -> Result<()>;

fn refused(
    lab: &Lab,
    place: &Place,
    what: &str,
    word: &str,
    fail: Act<'_>,
    mend: Act<'_>,
) -> Result<()> {
    place.write_policy(&allows_one(lab))?;
    let daemon = place.start()?;
    fail()?;
    let client = crash::tries(lab, "40")?;
    wait::until("records that the disk refuses", wait::PATIENCE * 9, || {
        let lost = record::number(&daemon.status()?, "/log/lost_records");
        Ok(lost.filter(|lost| *lost > 1_000))
    })?;
    says(&daemon, word)?;
    enforces(lab)?;
    mend()?;
    let told = place.record("the loss", |each| {
        record::text(each, "/unmapped/governd/loss/reason") == "log-unwritable"
    })?;
    let tried = crash::tried(client)?;
    // A daemon that ends and leaves its programs leaves to the next what it has not read yet.
    place.detach()?;
    daemon.stop_within(3 * wait::PATIENCE)?;
    let Tally { seen, missing, lost } = crash::tally(place.records()?.into_iter().map(Ok), tried)?;
    measured(format!("{what}: {tried} tries, {seen} recorded, {lost} told as lost"));
    ensure!(missing > 0 && missing <= lost, "{missing} of {tried} missing, {lost} told: {told}");
    audit(place, &["verify"])?.success().map(drop)
}

/// Agents may reach an AI endpoint and nothing else; without a log, too, which is the default.
fn allows_one(lab: &Lab) -> String {
    policy::both_agents(lab, "enforce", &[&format!("allow: [{}]", site::OPENAI.name)])
}

/// What a policy of [`allows_one`] does, whatever becomes of the log.
fn enforces(lab: &Lab) -> Result<()> {
    for (host, wanted) in [(site::OPENAI.name, 1), (site::EXFIL.name, 0)] {
        let reached = client::flow(lab, Family::V4, "tcp", host, 1)?.reached;
        ensure!(reached == wanted, "{host}: reached {reached} times");
    }
    Ok(())
}

/// Waits until the daemon says why the log cannot be written.
fn says(daemon: &Daemon<'_>, word: &str) -> Result<()> {
    wait::until("a word of it", wait::PATIENCE, || {
        let status = daemon.status()?;
        Ok(record::text(&status, "/log/failing").contains(word).then_some(()))
    })
}

fn a_read_only_disk(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "readonly")?;
    let mut disk = Device::over(lab, place.state(), &[])?;
    place.write_policy(&allows_one(lab))?;
    let daemon = place.start()?;
    let mut client = crash::tries(lab, "4")?;
    place.record("a denial", |each| record::verdict(each) == "deny")?;
    disk.damage()?;
    says(&daemon, "Read-only file system")?;
    enforces(lab)?;
    // A machine with such a disk may restart it: it says so, and what it left goes on.
    daemon.kill()?;
    let refused = place.run("run")?;
    let is_clear = refused.stderr.contains("hint: mount that file system writable");
    ensure!(refused.code == Some(EXIT_ENVIRONMENT) && is_clear, "{refused}");
    ensure!(client.is_running()?, "the client came through");
    enforces(lab)?;
    // Its mounts are its own: while it is there, so is the file system.
    let tried = crash::tried(client)?;
    disk.repair()?;
    let daemon = place.start()?;
    enforces(lab)?;
    place.detach()?;
    daemon.stop_within(3 * wait::PATIENCE)?;
    let Tally { seen, missing, lost } = crash::tally(place.records()?.into_iter().map(Ok), tried)?;
    measured(format!("a read-only disk: {tried} tries, {seen} recorded, {lost} told as lost"));
    ensure!(missing > 0 && missing <= lost, "{missing} of {tried} missing, {lost} told");
    audit(&place, &["verify"])?.success().map(drop)
}
