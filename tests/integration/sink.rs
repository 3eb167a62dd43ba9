//! A sink that changes while hosts go on: what holds of hosts and records throughout.

use std::fs;

use anyhow::{Result, ensure};
use governd_tests::{Lab, client::Family, command::run, daemon::Place, site, wait};

use crate::{
    Test,
    audit::audit,
    client,
    crash::{self, Sink},
    record,
};

pub(crate) const TESTS: &[Test] =
    &[("sink::its_keys_are_replaced_while_a_host_goes_on", its_keys_are_replaced)];

const EXIT_NO: i32 = 1;
const EXIT_ENVIRONMENT: i32 = 4;

fn its_keys_are_replaced(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "replaced")?;
    crash::policy_of(lab, &place)?;
    let mut sink = Sink::new(&place)?;
    let daemon = sink.start_enrolled()?;
    let deny = || client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1);
    deny()?;
    sink.wait_for_log(&daemon)?;
    let of_host = |name: &str| fs::read_to_string(place.state().join("sink").join(name));
    let (ca, witness) = (of_host("ca.pem")?, of_host("witness.pub")?);

    let name = sink.name().to_owned();
    let finish = ["rotate-keys", "--finish", "--name", name.as_str()];
    let early = sink.ask(&finish)?;
    ensure!(early.code == Some(EXIT_ENVIRONMENT), "nothing is to be finished: {early}");
    sink.ask(&["rotate-keys"])?.success()?;
    // A sink that was not started anew has told nobody.
    let early = sink.ask(&finish)?;
    ensure!(early.code == Some(EXIT_NO) && early.stderr.contains(crash::HOST), "{early}");
    sink.restart()?;
    wait::until("the host to take the next keys", crash::PATIENCE, || {
        let finished = sink.ask(&finish)?;
        Ok(finished.success().is_ok().then_some(()))
    })?;
    deny()?;
    sink.wait_for_log(&daemon)?;
    let both = of_host("witness.pub")?;
    ensure!(both.lines().count() == 2 && both.ends_with(&witness), "{both}");
    sink.restart()?;
    deny()?;
    wait::until("the former authority to go", crash::PATIENCE, || {
        let now = of_host("ca.pem")?;
        Ok((now != ca && now.matches("BEGIN").count() == 1).then_some(()))
    })?;
    deny()?;
    let size = sink.wait_for_log(&daemon)?;

    let records = place.records()?;
    let told = |each: &&serde_json::Value| record::text(each, "/api/operation") == "sink.keys";
    let told: Vec<_> = records.iter().filter(told).collect();
    ensure!(told.len() == 2, "both changes are on record: {told:?}");
    wait::until("the sink's own record of it", wait::PATIENCE, || {
        let mut query = place.command(["audit", "query", "--json", "--state-dir"]);
        let own = run(query.arg(sink.directory()))?.success()?;
        Ok((own.matches("sink-keys/keys/").count() == 2).then_some(()))
    })?;
    let question = ["query", "--json", "--verdict", "deny"];
    let asked = sink.ask(&[&question[..], &["--of", crash::HOST]].concat())?.success()?;
    ensure!(asked.lines().count() >= 4, "{asked}");
    ensure!(asked == audit(&place, &question)?.success()?, "the sink answers otherwise: {asked}");
    let of_nobody = sink.ask(&[&question[..], &["--agent", "nobody"]].concat())?;
    ensure!(of_nobody.code == Some(EXIT_NO), "{of_nobody}");
    crash::verify(&place)?.success()?;
    sink.ask(&["verify"])?.success()?;
    sink.tally(size, 0)?;
    daemon.stop()?;
    audit(&place, &["verify"])?.success().map(drop)
}
