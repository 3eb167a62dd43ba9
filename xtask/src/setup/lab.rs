//! The lab's clients: the official packages in a virtual environment and a Node.js project, put
//! below the target folder by the lab's own script.

use anyhow::{Context, Result};

use crate::{place, run, say};

/// Installs the clients unless they are there in the pinned versions; returns how many things were
/// installed. Without root the tests that need them are skipped.
pub(super) fn provide(is_root: bool) -> Result<usize> {
    if !is_root {
        return Ok(0);
    }
    let script = place::root()?.join("tests/lab/setup.sh");
    let folder = place::target()?.join("lab");
    let said = run::read(run::command("bash")?.arg(script).arg(folder)).context(
        "cannot install the lab's clients; hint: it needs Python and Node.js package indexes",
    )?;
    for line in said.lines() {
        say::note(line);
    }
    Ok(said.lines().count())
}
