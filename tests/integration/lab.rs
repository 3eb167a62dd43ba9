//! The lab itself, without governd: every client completes, and every server counts.

use std::{fs, net::IpAddr};

use anyhow::{Result, ensure};
use governd_tests::{
    Lab, cgroup,
    client::Family,
    http::ANSWER,
    leftover,
    site::{self, PORT_ECHO},
};

use crate::{Test, measured};

pub(crate) const TESTS: &[Test] = &[
    ("lab::official_clients_complete", official_clients_complete),
    ("lab::names_lead_to_their_addresses", names_lead_to_their_addresses),
    ("lab::servers_count_exactly", servers_count_exactly),
    ("lab::udp_is_answered_and_counted", udp_is_answered_and_counted),
    ("lab::clients_run_in_its_cgroup", clients_run_in_its_cgroup),
    ("lab::a_lab_leaves_nothing", a_lab_leaves_nothing),
];

fn official_clients_complete(lab: &Lab) -> Result<()> {
    let tools = lab.tools();
    for family in Family::EACH {
        let python = |script: &str, host: &str| {
            lab.client(*family, tools.agent()).arg(tools.script(script)).arg(host)
        };
        let node = lab
            .client(*family, tools.node())
            .arg(tools.script("openai_chat.cjs"))
            .arg(site::OPENAI.name)
            .variable("NODE_PATH", tools.node_modules());
        let curl = lab
            .client(*family, "curl")
            .args(["--silent", "--show-error"])
            .arg(format!("https://{}/v1/models", site::OPENAI.name));
        let clients = [
            ("openai, Python", site::OPENAI, python("openai_chat.py", site::OPENAI.name)),
            ("anthropic, Python", site::ANTHROPIC, {
                python("anthropic_message.py", site::ANTHROPIC.name)
            }),
            ("openai, Python, to Mistral", site::MISTRAL, {
                python("openai_chat.py", site::MISTRAL.name)
            }),
            ("openai, Node.js", site::OPENAI, node),
            ("curl", site::OPENAI, curl),
            ("curl, as an agent's grandchild", site::EXFIL, {
                python("child_curl.py", &format!("https://{}/", site::EXFIL.name))
            }),
        ];
        for (name, site, client) in clients {
            let address = site.address(*family);
            let before = lab.seen(address)?;
            let finished = client.run()?;
            let after = lab.seen(address)?;
            ensure!(finished.stdout.contains(ANSWER), "{name}: {finished}");
            ensure!(after.connections > before.connections, "{name}: not counted: {after:?}");
            measured(format!("{name}, {family:?}: answered in {:?}", finished.took));
        }
    }
    Ok(())
}

fn names_lead_to_their_addresses(lab: &Lab) -> Result<()> {
    let rows = [
        (site::OPENAI.name, site::OPENAI),
        ("a.tenant.example", site::TENANTS),
        ("a.b.tenant.example", site::TENANTS),
        (site::TENANT_APEX.name, site::TENANT_APEX),
        (site::CDN_ONE.name, site::CDN_TWO),
        (site::CDN_TWO.name, site::CDN_ONE),
    ];
    for (name, site) in rows {
        for family in Family::EACH {
            let said = lab.client(*family, "getent").args(["ahosts", name]).run()?.success()?;
            let address = site.address(*family).to_string();
            let found: Vec<&str> = said.lines().filter_map(|l| l.split(' ').next()).collect();
            ensure!(
                !found.is_empty() && found.iter().all(|each| *each == address),
                "{name}, {family:?}: {found:?}, not only {address}"
            );
        }
    }
    let unknown = lab.client(Family::Any, "getent").args(["ahosts", "nowhere.example"]).run()?;
    ensure!(unknown.code == Some(2), "a name outside the lab: {unknown}");
    Ok(())
}

fn servers_count_exactly(lab: &Lab) -> Result<()> {
    let addresses = site::LEFT.addresses();
    let before = [lab.seen(addresses[0])?, lab.seen(addresses[1])?];
    let finished = lab
        .client(Family::Any, lab.tools().agent())
        .arg(lab.tools().script("flood.py"))
        .arg("2000")
        .args(addresses.map(|address| address.to_string()))
        .run()?;
    let said = finished.json()?;
    for (address, before) in addresses.into_iter().zip(before) {
        let connected =
            said.pointer(&format!("/outcomes/{address}/connected")).and_then(|n| n.as_u64());
        let counted = wait_for_connections(lab, address, before.connections + 1000)?;
        ensure!(
            connected == Some(1000) && counted == before.connections + 1000,
            "{address}: the client says {said}, the server counted {counted} after {before:?}"
        );
        measured(format!("{address}: 1000 connects in {:?}", finished.took));
    }
    Ok(())
}

fn wait_for_connections(lab: &Lab, address: IpAddr, least: u64) -> Result<u64> {
    governd_tests::wait::until("accepting", governd_tests::wait::PATIENCE, || {
        let seen = lab.seen(address)?.connections;
        Ok((seen >= least).then_some(seen))
    })
}

fn udp_is_answered_and_counted(lab: &Lab) -> Result<()> {
    for address in site::EXFIL.addresses() {
        let before = lab.seen(address)?;
        let finished = lab
            .client(Family::Any, lab.tools().agent())
            .arg(lab.tools().script("flows.py"))
            .args(["udp-send", &address.to_string(), &PORT_ECHO.to_string(), "3"])
            .run()?;
        let after = lab.seen(address)?;
        let reached = finished.json()?.get("reached").and_then(|n| n.as_u64());
        ensure!(reached == Some(3), "{address}: {finished}");
        ensure!(
            after.datagrams == before.datagrams + 3 && after.packets == before.packets + 3,
            "{address}: from {before:?} to {after:?}"
        );
    }
    Ok(())
}

fn clients_run_in_its_cgroup(lab: &Lab) -> Result<()> {
    let said = lab.client(Family::Any, "cat").arg("/proc/self/cgroup").run()?.success()?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let name = lab.cgroup().path().file_name().unwrap_or_default().to_string_lossy();
    ensure!(said.lines().any(|line| line == format!("0::/{name}")), "a client's: {said}");
    ensure!(!own.contains(leftover::PREFIX), "the test's own: {own}");
    Ok(())
}

fn a_lab_leaves_nothing(_: &Lab) -> Result<()> {
    let second = Lab::start()?;
    let sleeping = second.client(Family::Any, "sleep").arg("1000").start()?;
    let (cgroup, namespaces) = (second.cgroup().path().to_owned(), second.namespaces());
    let made = [cgroup, namespaces.client(), namespaces.server(), second.authority().to_owned()];
    ensure!(made.iter().all(|path| path.exists()), "missing: {made:?}");
    drop(second);
    ensure!(made.iter().all(|path| !path.exists()), "left: {made:?}");
    ensure!(cgroup::mount()?.exists(), "the cgroup mount is gone");
    drop(sleeping);
    Ok(())
}
