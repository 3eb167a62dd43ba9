//! Monitor mode: nothing is stopped, and what would have been is on record.

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, daemon::Place, http::ANSWER, site};

use crate::{
    Test,
    client::{self, OFFICIAL},
    measured, policy, record,
};

pub(crate) const TESTS: &[Test] = &[
    ("monitor::nothing_is_stopped", nothing_is_stopped),
    ("monitor::an_agent_may_be_ahead_of_its_host", an_agent_may_be_ahead_of_its_host),
];

const APPROVED: &str = "allow: [api.openai.com]";

fn nothing_is_stopped(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "monitor")?;
    place.write_policy(&policy::both_agents(lab, "monitor", &[APPROVED]))?;
    let daemon = place.start()?;
    for official in OFFICIAL {
        for family in Family::EACH {
            let case = format!("{} to {}, {family:?}", official.name, site::EXFIL.name);
            let finished = (official.start)(lab, *family, site::EXFIL.name).run()?;
            ensure!(client::answer(&finished).context(case.clone())? == ANSWER, "{case}");
            let address = site::EXFIL.address(*family).to_string();
            let seen =
                place.record(&case, |each| record::is_flow(each, official.agent, &address))?;
            ensure!(record::verdict(&seen) == "would-deny", "{case}: {seen}");
            ensure!(record::text(&seen, "/dst_endpoint/hostname") == site::EXFIL.name, "{seen}");
            measured(format!("{case}: completed, recorded as would-deny"));
        }
    }
    for kind in ["udp-send", "udp-connect"] {
        let flow = client::flow(lab, Family::V6, kind, site::EXFIL.name, 3)?;
        ensure!(flow.reached == 3, "{kind}: {flow:?}");
    }
    let denied = daemon.status()?;
    ensure!(record::number(&denied, "/decisions/denied") == Some(0), "{denied}");
    ensure!(record::number(&denied, "/decisions/would_deny") >= Some(6), "{denied}");
    daemon.stop()?;
    Ok(())
}

fn an_agent_may_be_ahead_of_its_host(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "ahead")?;
    let text = policy::both_agents(lab, "monitor", &[APPROVED]);
    // Only the first agent's.
    let text = text.replacen("  match:", "  mode: enforce\n  match:", 1);
    place.write_policy(&text)?;
    let daemon = place.start()?;
    let [python, _, node] = OFFICIAL else { anyhow::bail!("other clients than this test knows") };
    let refused = (python.start)(lab, Family::V4, site::EXFIL.name).run()?;
    ensure!(client::causes(&refused)?.contains(&"PermissionError".to_owned()), "{refused}");
    let let_through = (node.start)(lab, Family::V4, site::EXFIL.name).run()?;
    ensure!(client::answer(&let_through)? == ANSWER, "{let_through}");
    daemon.stop()?;
    Ok(())
}
