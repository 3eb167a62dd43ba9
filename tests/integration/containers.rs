//! Agents that are recognised by the image of their container, as a runtime tells it: before the
//! daemon and after it, and nobody who only calls a cgroup like one.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, command::Running, daemon::Place, site, wait};

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("containers::an_agent_is_known_by_the_image_of_its_container", known_by_image),
    ("containers::who_is_not_known_yet_reaches_no_ai", unclassified),
];

const BOT: &str = "image-bot";
const TOOL: &str = "image-tool";
/// Containers of the bot's image, and one of another, by the digit that their ids are made of: no
/// other test has containers of these.
const EARLY: char = '1';
const LATE: char = '2';
const OTHER: char = '3';
/// One that the bot's image is told of, and that somebody else than root may have made.
const FOREIGN: char = '4';
/// One more of the bot's.
const TWIN: char = '5';
/// One of the bot's of which the runtime tells nothing before it is asked to.
const HELD: char = '6';
/// One of another image.
const NOBODYS: char = '7';
/// How long governd leaves a runtime alone that did not answer, and a container of such a one, on a
/// busy machine.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Waits for the end of its input, and connects.
const SCRIPT: &str = "read go; : < \"/dev/tcp/$0\"";
/// User who owns a part of the tree.
const SOMEBODY: u32 = 1_000;

fn name(digit: char) -> String {
    format!("docker-{}.scope", digit.to_string().repeat(64))
}

/// Docker's API, as far as it is asked: every container has the bot's image but two. Gives what has
/// it answer for the container that it is silent about.
fn serve(socket: &Path) -> Result<Arc<AtomicBool>> {
    let listener = UnixListener::bind(socket)?;
    let tells_all = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&tells_all);
    thread::spawn(move || {
        let mut waiting = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            let asked = reader.read_line(&mut line).is_ok();
            while asked && reader.read_line(&mut String::new()).is_ok_and(|read| read > 2) {}
            let asks_for = |digit: char| line.contains(&digit.to_string().repeat(64));
            if asks_for(HELD) && !tells.load(Ordering::Relaxed) {
                waiting.push(reader.into_inner().try_clone());
                continue;
            }
            let is_tool = [OTHER, NOBODYS].into_iter().any(asks_for);
            let image = if is_tool { "tool:1" } else { "bot:2" };
            let body = format!(
                r#"{{"Image":"sha256:{}","Config":{{"Image":"ghcr.io/acme/{image}"}}}}"#,
                "0".repeat(64)
            );
            // Whoever asked may have gone.
            write!(&stream, "HTTP/1.0 200 OK\r\n\r\n{body}").ok();
        }
    });
    Ok(tells_all)
}

/// A governd that finds this socket where Docker's is. Nothing outside its mount namespace changes.
fn wrapper(lab: &Lab, place: &Place, docker: &Path, name: &str) -> Result<PathBuf> {
    let wrapper = lab.directory(name)?.join("governd");
    let text = format!(
        "#!/bin/sh
        [ \"$1\" = run ] || exec {governd} \"$@\"
        exec unshare --mount sh -c '
            mount -t tmpfs none /run && : > /run/docker.sock || exit 1
            mount --bind {docker} /run/docker.sock || exit 1
            exec \"$@\"' sh {governd} \"$@\"\n",
        governd = place.program().display(),
        docker = docker.display(),
    );
    fs::write(&wrapper, text)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(wrapper)
}

struct Containers<'a> {
    lab: &'a Lab,
    root: PathBuf,
    /// A program of the tool, on the host.
    tool: PathBuf,
}

impl Containers<'_> {
    fn start(&self, program: &Path, cgroup: &str) -> Result<Running> {
        let cgroup = self.root.join(cgroup);
        fs::create_dir_all(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let to = format!("{}/{}", site::EXFIL.v4(), 9);
        self.lab.client(Family::V4, program).args(["-c", SCRIPT]).arg(to).cgroup(&cgroup).start()
    }

    fn bash(&self, cgroup: &str) -> Result<Running> {
        self.start(Path::new("/bin/bash"), cgroup)
    }

    /// Whether somebody who begins there now is refused.
    fn refuses(&self, cgroup: &str) -> Result<bool> {
        is_refused(self.bash(cgroup)?)
    }
}

/// Lets it connect.
fn is_refused(mut running: Running) -> Result<bool> {
    running.close_input();
    let finished = running.finish(wait::PATIENCE)?;
    let is_refused = finished.stderr.contains("Permission denied");
    ensure!(is_refused == (finished.code == Some(1)), "{finished}");
    Ok(is_refused)
}

fn known_by_image(lab: &Lab) -> Result<()> {
    let tool = lab.directory("containers-programs")?.join("tool");
    fs::copy("/bin/bash", &tool).context("copying bash")?;
    let root = lab.cgroup().child("containers")?;
    let containers = Containers { lab, root, tool };
    let early = containers.bash(&name(EARLY))?;
    let inside = containers.bash(&format!("{}/system.slice", name(EARLY)))?;

    let place = Place::new(lab, "containers")?;
    let tool = format!("{{image: ghcr.io/acme/tool, exe: {}}}", containers.tool.display());
    let agents =
        policy::agent(BOT, "{image: 'ghcr.io/acme/bot*'}", &[]) + &policy::agent(TOOL, &tool, &[]);
    place.write_policy(&(policy::host("enforce") + &agents))?;
    let docker = lab.directory("docker-api")?.join("docker.sock");
    serve(&docker)?;
    let place = place.of_build(wrapper(lab, &place, &docker, "containers")?);
    let daemon = place.start()?;

    // It was asked for before the policy came into force.
    ensure!(is_refused(early)? && is_refused(inside)?, "a container from before the daemon");
    ensure!(containers.refuses(&name(EARLY))?, "what begins there is not the agent");

    // One that begins later is the agent once there is an answer, with what runs in it already.
    let late = containers.bash(&name(LATE))?;
    wait::until("the answer of the runtime", wait::PATIENCE, || {
        Ok(containers.refuses(&name(LATE))?.then_some(()))
    })?;
    ensure!(is_refused(late)?, "what ran before the answer is not the agent");

    // All that an entry says must hold.
    ensure!(!containers.refuses(&name(OTHER))?, "another image is the agent");
    wait::until("the tool in its container", wait::PATIENCE, || {
        let tool = containers.start(&containers.tool, &name(OTHER))?;
        Ok(is_refused(tool)?.then_some(()))
    })?;
    ensure!(!is_refused(containers.start(&containers.tool, "elsewhere")?)?, "the tool elsewhere");
    ensure!(!containers.refuses(&name(OTHER))?, "the image without the program");

    // A name proves nothing where others than root, or a container, can have given it.
    let nested = format!("{}/{}", name(OTHER), name(EARLY));
    let foreign = format!("somebody/{}", name(FOREIGN));
    fs::create_dir_all(containers.root.join("somebody"))?;
    chown(containers.root.join("somebody"), Some(SOMEBODY), None)?;
    let again = containers.bash(&nested)?;
    let others = containers.bash(&foreign)?;
    // As long as the one took that is known.
    let twin = name(TWIN);
    wait::until("the answer of the runtime", wait::PATIENCE, || {
        Ok(containers.refuses(&twin)?.then_some(()))
    })?;
    for cgroup in [&nested, &foreign] {
        ensure!(!containers.refuses(cgroup)?, "{cgroup} is the agent");
    }
    ensure!(!is_refused(again)? && !is_refused(others)?, "what ran there is the agent");
    daemon.stop()?;
    Ok(())
}

/// Whether what begins in a cgroup reaches a site.
fn reaches(lab: &Lab, cgroup: &Path, site: site::Site) -> Result<bool> {
    fs::create_dir_all(cgroup).with_context(|| format!("making {}", cgroup.display()))?;
    let finished = client::curl(lab, Family::V4, site.name).cgroup(cgroup).run()?;
    Ok(finished.code == Some(0))
}

/// From the first packet of a container on and as long as its runtime says nothing, whatever else
/// becomes known meanwhile.
fn unclassified(lab: &Lab) -> Result<()> {
    let root = lab.cgroup().child("unclassified")?;
    let id = |number: u32| {
        let path = root.join(format!("id-{number}"));
        fs::create_dir(&path)?;
        let id = fs::metadata(&path)?.ino();
        fs::remove_dir(path)?;
        anyhow::Ok(id)
    };
    let ids = (0..8).map(id).collect::<Result<Vec<_>>>()?;
    ensure!(ids.is_sorted_by(|one, next| one < next), "ids of cgroups do not only grow: {ids:?}");
    let [held, nobodys] = [HELD, NOBODYS].map(|digit| root.join(name(digit)));
    let place = Place::new(lab, "unclassified")?;
    let posture = "unregistered: monitor\n  unclassified: deny-ai";
    let host = policy::host("enforce").replace("unregistered: monitor", posture);
    place.write_policy(&(host + &policy::agent(BOT, "{image: 'ghcr.io/acme/bot*'}", &[])))?;
    let docker = lab.directory("docker-silent")?.join("docker.sock");
    let tells_all = serve(&docker)?;
    let place = place.of_build(wrapper(lab, &place, &docker, "silent")?);
    let before = root.join("before");
    fs::create_dir_all(&before)?;
    let daemon = place.start()?;

    ensure!(reaches(lab, &before, site::OPENAI)?, "what was there before is not free");
    let becomes_free = |cgroup: &Path| {
        wait::until("who is nobody to be free", wait::PATIENCE, || {
            Ok(reaches(lab, cgroup, site::OPENAI)?.then_some(()))
        })
    };
    becomes_free(&nobodys)?;
    ensure!(!reaches(lab, &held, site::OPENAI)?, "AI is reached before anybody knows who it is");
    ensure!(reaches(lab, &held, site::LEFT)?, "a plain host is not reached");
    let openai = site::OPENAI.v4().to_string();
    let denied =
        place.record("the denial", |each| record::is_flow(each, "unclassified", &openai))?;
    ensure!(record::verdict(&denied) == "deny", "{denied}");

    // Others are known soon, also later ones, though the runtime says nothing of this one.
    becomes_free(&root.join("plain.service"))?;
    becomes_free(&nobodys)?;
    ensure!(!reaches(lab, &held, site::OPENAI)?, "AI is reached without an answer");
    ensure!(!reaches(lab, &held.join("below"), site::OPENAI)?, "AI is reached from below");
    ensure!(reaches(lab, &held, site::LEFT)?, "a plain host is not reached without an answer");

    tells_all.store(true, Ordering::Relaxed);
    wait::until("the answer of the runtime", SILENCE_LIMIT, || {
        Ok((!reaches(lab, &held, site::LEFT)?).then_some(()))
    })?;
    let left = site::LEFT.v4().to_string();
    place.record("the agent's denial", |each| record::is_flow(each, BOT, &left))?;
    daemon.stop()?;
    Ok(())
}
