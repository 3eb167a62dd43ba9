//! Enforce mode: what is approved works, everything else is refused at once and never leaves.

use anyhow::{Context as _, Result, bail, ensure};
use governd_tests::{Lab, client::Family, command::Finished, daemon::Place, http::ANSWER, site};

use crate::{
    Test,
    client::{self, OFFICIAL},
    measured, policy, record,
};

pub(crate) const TESTS: &[Test] = &[
    ("enforce::approved_requests_complete", approved_requests_complete),
    ("enforce::other_hosts_are_refused_at_once", other_hosts_are_refused_at_once),
    ("enforce::every_kind_of_flow_is_judged", every_kind_of_flow_is_judged),
    ("enforce::what_an_agent_starts_is_the_agent", what_an_agent_starts_is_the_agent),
    ("enforce::what_no_agent_starts_is_untouched", what_no_agent_starts_is_untouched),
    ("enforce::who_is_unregistered_reaches_no_ai", who_is_unregistered_reaches_no_ai),
    ("enforce::a_wildcard_covers_what_is_below", a_wildcard_covers_what_is_below),
];

/// A refusal takes less than this, measured in the client around `connect(2)`.
const REFUSAL_MICROSECONDS_MAX: f64 = 5_000.0;
/// Tries, of which the quickest counts: the machine has other work.
const TRIES: u32 = 20;
/// The same for the official clients, each of which makes one.
const CLIENT_TRIES: u32 = 3;

/// What curl ends with where it cannot connect.
const CURL_UNREACHED: i32 = 7;

const APPROVED: &str = "allow: [api.openai.com, api.anthropic.com]";
const HTTPS_ONLY: &str = "allow: [api.openai.com, api.anthropic.com]\n        ports: [443]\n        \
                          protocol: tcp";

fn approved_requests_complete(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "approved")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[HTTPS_ONLY]))?;
    let daemon = place.start()?;
    for official in OFFICIAL {
        let site = approved_site(official.name);
        for family in Family::EACH {
            let finished = (official.start)(lab, *family, site.name).run()?;
            let answer = client::answer(&finished).context(official.name)?;
            ensure!(answer == ANSWER, "{}: {finished}", official.name);
            measured(format!("{}, {family:?}: completed", official.name));
            let address = site.address(*family).to_string();
            let allowed = place.record(&format!("{} to {address}", official.name), |each| {
                record::is_flow(each, official.agent, &address)
            })?;
            ensure!(record::verdict(&allowed) == "allow", "{allowed}");
            ensure!(record::text(&allowed, "/dst_endpoint/hostname") == site.name, "{allowed}");
            let evidence = record::text(&allowed, "/unmapped/governd/name/evidence");
            ensure!(evidence == "dns", "{allowed}");
        }
    }
    daemon.stop()?;
    Ok(())
}

fn other_hosts_are_refused_at_once(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "others")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[HTTPS_ONLY]))?;
    let daemon = place.start()?;
    for official in OFFICIAL {
        for site in [site::MISTRAL, site::EXFIL] {
            for family in Family::EACH {
                let case = format!("{} to {}, {family:?}", official.name, site.name);
                let refused =
                    refuse(lab, &place, official, site, *family).with_context(|| case.clone())?;
                if official.agent == policy::PYTHON {
                    let again = || (official.start)(lab, *family, site.name).run();
                    let quickest = refusal_time(refused, again)?;
                    measured(format!("{case}: refused in {quickest:.0} us, 0 packets arrived"));
                }
            }
        }
    }
    daemon.stop()?;
    Ok(())
}

fn refuse(
    lab: &Lab,
    place: &Place,
    official: &client::Official,
    site: site::Site,
    family: Family,
) -> Result<Finished> {
    let address = site.address(family);
    let before = lab.seen(address)?;
    let finished = (official.start)(lab, family, site.name).run()?;
    let after = lab.seen(address)?;
    ensure!(after == before, "something arrived: from {before:?} to {after:?}");
    let causes = client::causes(&finished)?;
    let refused = ["PermissionError", "EACCES", "EPERM"];
    ensure!(
        causes.iter().any(|cause| refused.contains(&cause.as_str())),
        "no permission error: {finished}"
    );
    let address = address.to_string();
    let denied = place.record(&format!("the denial of {address}"), |each| {
        record::is_flow(each, official.agent, &address)
    })?;
    ensure!(record::verdict(&denied) == "deny", "{denied}");
    ensure!(record::text(&denied, "/dst_endpoint/hostname") == site.name, "{denied}");
    let owner = record::text(&denied, "/unmapped/governd/agent/owner");
    ensure!(owner.starts_with(policy::OWNER), "{denied}");
    Ok(finished)
}

/// The quickest refusal of the client's own `connect(2)`, in microseconds.
fn refusal_time(mut finished: Finished, again: impl Fn() -> Result<Finished>) -> Result<f64> {
    let mut quickest = f64::INFINITY;
    for _ in 0..CLIENT_TRIES {
        for (microseconds, error) in client::connects(&finished)? {
            if error.as_deref() == Some("PermissionError") {
                quickest = quickest.min(microseconds);
            }
        }
        if quickest < REFUSAL_MICROSECONDS_MAX {
            return Ok(quickest);
        }
        finished = again()?;
    }
    bail!("refused only after {quickest} us");
}

fn every_kind_of_flow_is_judged(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "flows")?;
    // These clients send bytes that name nothing: what is tried is where they may send them.
    let allow_left = "allow: [left.example]\n        verify: dns";
    place.write_policy(&policy::both_agents(lab, "enforce", &[allow_left]))?;
    let daemon = place.start()?;
    let kinds: &[(&str, &[Family])] = &[
        ("tcp", Family::EACH),
        ("tcp-nonblocking", Family::EACH),
        ("tcp-mapped", &[Family::V4]),
        ("udp-send", Family::EACH),
        ("udp-mapped", &[Family::V4]),
        ("udp-connect", Family::EACH),
    ];
    for (kind, families) in kinds {
        for family in *families {
            let case = format!("{kind}, {family:?}");
            let allowed = client::flow(lab, *family, kind, site::LEFT.name, 2)?;
            ensure!(allowed.reached == 2, "{case} to the approved host: {allowed:?}");
            let address = site::EXFIL.address(*family);
            let text = address.to_string();
            for host in [site::EXFIL.name, &text] {
                let before = lab.seen(address)?;
                let denied = client::flow(lab, *family, kind, host, TRIES)?;
                ensure!(lab.seen(address)? == before, "{case} to {host}: something arrived");
                refused_in_time(&case, host, &denied)?;
            }
        }
    }
    let (left, exfil) = (site::LEFT.v4(), site::EXFIL.v4());
    let before = lab.seen(exfil.into())?;
    let elsewhere =
        client::flow(lab, Family::V4, "udp-elsewhere", &format!("{left},{exfil}"), TRIES)?;
    // The address alone is approved only once its name was asked for, which `flow` did above.
    refused_in_time("connected UDP that sends elsewhere", &exfil.to_string(), &elsewhere)?;
    ensure!(lab.seen(exfil.into())? == before, "connected UDP: something arrived elsewhere");
    daemon.stop()?;
    Ok(())
}

fn refused_in_time(case: &str, host: &str, flow: &client::Flow) -> Result<()> {
    let tries = TRIES as usize;
    ensure!(
        flow.reached == 0
            && flow.errors.len() == tries
            && flow.errors.iter().all(|error| error.starts_with("PermissionError")),
        "{case} to {host}: {flow:?}"
    );
    ensure!(
        flow.microseconds < REFUSAL_MICROSECONDS_MAX,
        "{case} to {host}: refused only after {} us",
        flow.microseconds
    );
    measured(format!("{case} to {host}: refused in {:.0} us", flow.microseconds));
    Ok(())
}

fn what_an_agent_starts_is_the_agent(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "child")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[APPROVED]))?;
    let daemon = place.start()?;
    for family in Family::EACH {
        let url = |site: site::Site| format!("https://{}/", site.name);
        let child = |site| client::python(lab, *family, "child_curl.py").arg(url(site)).run();
        let allowed = child(site::OPENAI)?;
        ensure!(client::answer(&allowed)?.contains(ANSWER), "{allowed}");

        let address = site::EXFIL.address(*family);
        let before = lab.seen(address)?;
        let denied = child(site::EXFIL)?;
        ensure!(lab.seen(address)? == before, "{family:?}: something arrived");
        let said = client::report(&denied)?;
        // 7 is curl's "failed to connect".
        ensure!(record::number(&said, "/code") == Some(7), "{family:?}: {denied}");
        let address = address.to_string();
        let pid = record::number(&said, "/pid");
        let seen = place.record("curl's denial", |each| {
            record::is_flow(each, policy::PYTHON, &address)
                && record::text(each, "/actor/process/name") == "curl"
        })?;
        ensure!(record::verdict(&seen) == "deny", "{seen}");
        let lineage = record::lineage(&seen);
        ensure!(lineage.starts_with(&["sh", "python3"]), "{lineage:?} of {seen}");
        ensure!(record::number(&seen, "/unmapped/governd/lineage/1/pid") == pid, "{seen}");
        measured(format!("curl, {family:?}: refused as {}, {lineage:?}", policy::PYTHON));
    }
    daemon.stop()?;
    Ok(())
}

fn what_no_agent_starts_is_untouched(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "outside")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let daemon = place.start()?;
    for family in Family::EACH {
        let finished = client::curl(lab, *family, site::EXFIL.name).run()?;
        ensure!(finished.stdout.contains(ANSWER), "{family:?}: {finished}");
        let nothing = client::flow(lab, *family, "tcp", site::OPENAI.name, 1)?;
        ensure!(nothing.reached == 0, "a policy without rules allows: {nothing:?}");
    }
    daemon.stop()?;
    Ok(())
}

/// With `deny-ai`, from the first connection of a process that resolves the name itself, and of one
/// that knows the address and only says the name; everything else is reached.
fn who_is_unregistered_reaches_no_ai(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "deny-ai")?;
    let posture = policy::host("enforce").replace("unregistered: monitor", "unregistered: deny-ai");
    place.write_policy(&posture)?;
    let daemon = place.start()?;
    let endpoints = [site::OPENAI, site::BEDROCK, site::AZURE, site::VERTEX];
    for (site, family) in
        endpoints.iter().flat_map(|site| Family::EACH.iter().map(move |it| (site, *it)))
    {
        let address = site.address(family);
        let before = lab.seen(address)?;
        let finished = client::curl(lab, family, site.name).run()?;
        ensure!(finished.code == Some(CURL_UNREACHED), "{}, {family:?}: {finished}", site.name);
        ensure!(lab.seen(address)? == before, "{}, {family:?}: something arrived", site.name);
        let text = address.to_string();
        let denied = place.record(&format!("the denial of {text}"), |each| {
            record::is_flow(each, "unregistered", &text)
        })?;
        ensure!(record::verdict(&denied) == "deny", "{denied}");
    }
    // Nobody asked for this name; the hello says it.
    let known = format!("{}:443:{}", site::ANTHROPIC.name, site::ANTHROPIC.v4());
    let curl = client::curl(lab, Family::V4, site::ANTHROPIC.name).args(["--resolve", &known]);
    let finished = curl.run()?;
    ensure!(finished.code != Some(0) && !finished.stdout.contains(ANSWER), "{finished}");
    for site in [site::LEFT, site::EXFIL] {
        for family in Family::EACH {
            let finished = client::curl(lab, *family, site.name).run()?;
            ensure!(finished.stdout.contains(ANSWER), "{}, {family:?}: {finished}", site.name);
        }
    }
    daemon.stop()?;
    Ok(())
}

fn a_wildcard_covers_what_is_below(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "wildcard")?;
    let rule = "allow: [\"*.tenant.example\"]";
    place.write_policy(&policy::both_agents(lab, "enforce", &[rule]))?;
    let daemon = place.start()?;
    for family in Family::EACH {
        for (host, expected) in [
            ("a.tenant.example", 1),
            ("a.b.tenant.example", 1),
            ("A.Tenant.Example", 1),
            ("tenant.example", 0),
            ("exfil.example", 0),
        ] {
            let flow = client::flow(lab, *family, "tcp", host, 1)?;
            ensure!(flow.reached == expected, "{host}, {family:?}: {flow:?}");
        }
    }
    daemon.stop()?;
    Ok(())
}

fn approved_site(client: &str) -> site::Site {
    if client.starts_with("anthropic") { site::ANTHROPIC } else { site::OPENAI }
}
