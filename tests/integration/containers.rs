//! Agents that are recognised by the image of their container, as a runtime tells it: before the
//! daemon and after it, and nobody who only calls a cgroup like one.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, command::Running, daemon::Place, site, wait};

use crate::{Test, policy};

pub(crate) const TESTS: &[Test] =
    &[("containers::an_agent_is_known_by_the_image_of_its_container", known_by_image)];

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
/// Waits for the end of its input, and connects.
const SCRIPT: &str = "read go; : < \"/dev/tcp/$0\"";
/// User who owns a part of the tree.
const SOMEBODY: u32 = 1_000;

fn name(digit: char) -> String {
    format!("docker-{}.scope", digit.to_string().repeat(64))
}

/// Docker's API, as far as it is asked: every container has the bot's image but one.
fn serve(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            let asked = reader.read_line(&mut line).is_ok();
            while asked && reader.read_line(&mut String::new()).is_ok_and(|read| read > 2) {}
            let image =
                if line.contains(&OTHER.to_string().repeat(64)) { "tool:1" } else { "bot:2" };
            let body = format!(
                r#"{{"Image":"sha256:{}","Config":{{"Image":"ghcr.io/acme/{image}"}}}}"#,
                "0".repeat(64)
            );
            // Whoever asked may have gone.
            write!(&stream, "HTTP/1.0 200 OK\r\n\r\n{body}").ok();
        }
    });
    Ok(())
}

/// A governd that finds this socket where Docker's is. Nothing outside its mount namespace changes.
fn wrapper(lab: &Lab, place: &Place, docker: &Path) -> Result<PathBuf> {
    let wrapper = lab.directory("containers")?.join("governd");
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
    let place = place.of_build(wrapper(lab, &place, &docker)?);
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
