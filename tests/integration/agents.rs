//! What governd knows of agents: the catalogue that it is extended with, and the inventory.

use std::fs;

use anyhow::{Result, ensure};
use governd_tests::{Lab, command::run, daemon::Place, wait};

use crate::{Test, policy, record};

pub(crate) const TESTS: &[Test] =
    &[("agents::the_catalogue_is_extended_while_it_runs", the_catalogue_is_extended_while_it_runs)];

const EXIT_INVALID: i32 = 3;

const ADDED: &str = "\
domain,match,provider,kind,use,source
llm.acme.example,exact,acme,model-api,dedicated,written by hand
";

fn the_catalogue_is_extended_while_it_runs(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "catalog")?;
    place.write_policy(&policy::host("monitor"))?;
    let file = place.catalog().join("acme.csv");
    fs::write(&file, ADDED.replace("exact", "exactly"))?;
    let finished = run(&mut place.command(place.arguments("run")))?;
    ensure!(finished.code == Some(EXIT_INVALID), "it started: {finished}");
    ensure!(finished.stderr.contains(&format!("{}:2", file.display())), "{finished}");
    fs::remove_file(&file)?;

    let daemon = place.start()?;
    let endpoints = |what: &str, wanted: u64| {
        wait::until(what, wait::PATIENCE, || {
            let status = daemon.status()?;
            Ok((record::number(&status, "/catalog/endpoints") == Some(wanted)).then_some(status))
        })
    };
    let before = record::number(&daemon.status()?, "/catalog/endpoints").unwrap_or(0);
    fs::write(&file, ADDED)?;
    endpoints("the added endpoint", before + 1)?;
    fs::write(&file, ADDED.replace("exact", "exactly"))?;
    let finding = place.record("the refused addition", |each| {
        record::text(each, "/unmapped/governd/kind") == "catalog-refused"
    })?;
    ensure!(finding.to_string().contains("acme.csv:2"), "{finding}");
    let status = endpoints("the catalogue as it was", before + 1)?;
    ensure!(record::text(&status, "/catalog/rejected").contains("acme.csv:2"), "{status}");
    fs::remove_file(&file)?;
    endpoints("the catalogue without the addition", before)?;
    daemon.stop()?;
    Ok(())
}
