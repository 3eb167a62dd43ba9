//! Tool servers in the configuration of agents, read from real files.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, daemon::Place, wait};
use serde_json::Value;

use crate::{Test, policy, record};

pub(crate) const TESTS: &[Test] =
    &[("tools::servers_in_an_agents_configuration_are_evidence", configured_servers)];

const CONFIGURATION: &str = "\
[mcp_servers.lab-docs]
command = \"npx\"
args = [\"-y\", \"@acme/docs-mcp\", \"--token\", \"key-that-opens-nothing\"]
env = { DOCS_KEY = \"key-that-opens-nothing\" }
";

/// Says nothing, and waits for the end of its input. Its variable names another directory than the
/// one at home.
const PROGRAM: &str = "cd \"$0\" && export CODEX_HOME=\"$PWD/moved\" && exec ./codex -c 'read go'";

/// What stands there for an agent that works in a directory, by its evidence.
fn configured(place: &Place) -> Result<Option<String>> {
    let listed = place.ask(&["agents", "--json", "--candidates"])?;
    for line in listed.stdout.lines() {
        let agent: Value = serde_json::from_str(line)?;
        if record::text(&agent, "/name") != "codex" {
            continue;
        }
        let id = record::text(&agent, "/id");
        let shown = place.ask(&["agents", "show", id, "--json"])?.success()?;
        if shown.contains("lab-docs") {
            return Ok(Some(shown));
        }
    }
    Ok(None)
}

fn configured_servers(lab: &Lab) -> Result<()> {
    let work = lab.directory("tools")?;
    fs::create_dir(work.join(".codex"))?;
    fs::write(work.join(".codex/config.toml"), CONFIGURATION)?;
    fs::create_dir(work.join("moved"))?;
    let moved = CONFIGURATION.replace("lab-docs", "lab-moved");
    fs::write(work.join("moved/config.toml"), moved)?;
    fs::copy("/bin/bash", work.join("codex")).context("copying bash")?;
    let place = Place::new(lab, "tools")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let mut agent = lab.client(Family::V4, "bash").args(["-c", PROGRAM]).arg(&work).start()?;
    let shown = wait::until("the servers", wait::PATIENCE, || configured(&place))?;
    let detail: Value = serde_json::from_str(&shown)?;
    let evidence = detail.pointer("/evidence").and_then(Value::as_array);
    let is_meant = |one: &&Value| record::text(one, "/signal") == "mcp-configuration";
    let found = evidence.into_iter().flatten().filter(is_meant);
    let mut said: Vec<[&str; 2]> =
        found.map(|one| ["/value", "/source"].map(|field| record::text(one, field))).collect();
    said.sort_unstable();
    let expected = [
        ["lab-docs: @acme/docs-mcp", "./.codex/config.toml"],
        ["lab-moved: @acme/docs-mcp", "$CODEX_HOME/config.toml"],
    ];
    ensure!(said == expected, "{said:?}");
    ensure!(!shown.contains("key-that-opens-nothing"), "{shown}");
    agent.close_input();
    agent.finish(wait::PATIENCE)?;
    daemon.stop()?;
    Ok(())
}
