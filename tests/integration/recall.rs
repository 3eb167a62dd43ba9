//! Which agents are found and what is taken for one: real packages from the registries against the
//! lab's servers, and ordinary programs, each started before the daemon and after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use governd_tests::{Lab, command::Running, daemon::Place, wait};
use serde_json::Value;

use self::{
    agents::{AGENTS, Agent, MODEL_SERVER, Moment},
    ordinary::{BROWSER, PASSING, STAYING},
};
use crate::{Test, measured, policy, record};

mod agents;
mod ordinary;

pub(crate) const TESTS: &[Test] = &[
    ("recall::agents_that_run_already_are_found", agents_that_run_already_are_found),
    ("recall::agents_that_start_are_found", agents_that_start_are_found),
];

/// How long a framework may take to load on a busy machine.
const LOADING_PATIENCE: Duration = Duration::from_secs(180);

/// An agent that runs, whether it stays or not.
struct Started {
    agent: &'static Agent,
    running: Running,
    began: Instant,
}

impl Started {
    fn new(lab: &Lab, agent: &'static Agent, moment: Moment) -> Result<Self> {
        let home = lab.directory("home")?;
        let began = Instant::now();
        let running = (agent.start)(lab, &home, moment).start()?;
        Ok(Self { agent, running, began })
    }

    /// When it has done what makes it an agent: by then it can be found.
    fn ready(&mut self) -> Result<Instant> {
        let Some(word) = self.agent.ready else { return Ok(self.began) };
        let line = self.running.line(LOADING_PATIENCE, |line| line.contains(word));
        line.with_context(|| format!("{}: not ready", self.agent.name))?;
        Ok(Instant::now())
    }
}

/// Starts every agent; the others need the model server.
fn start(lab: &Lab, moment: Moment) -> Result<Vec<Started>> {
    let (first, others): (Vec<&Agent>, Vec<&Agent>) =
        AGENTS.iter().partition(|agent| agent.name == MODEL_SERVER);
    let mut started = Vec::new();
    for agent in first {
        let mut server = Started::new(lab, agent, moment)?;
        server.ready()?;
        started.push(server);
    }
    for agent in others {
        started.push(Started::new(lab, agent, moment)?);
    }
    Ok(started)
}

/// The agents that this test started, by name, as `show` has them.
fn found(place: &Place) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for row in listed(place)? {
        let shown = place.ask(&["agents", "show", record::text(&row, "/id"), "--json"])?;
        let shown: Value = serde_json::from_str(&shown.success()?)?;
        if lineage(&shown).contains(&u64::from(std::process::id())) {
            found.insert(record::text(&shown, "/summary/name").to_owned(), shown);
        }
    }
    Ok(found)
}

fn listed(place: &Place) -> Result<Vec<Value>> {
    let listed = place.ask(&["agents", "--json"])?;
    ensure!(matches!(listed.code, Some(0 | 1)), "{listed}");
    listed.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Pids of an agent's latest process and its ancestors.
fn lineage(shown: &Value) -> Vec<u64> {
    let above = shown.pointer("/latest/lineage").and_then(Value::as_array);
    let above = above.into_iter().flatten().filter_map(|each| record::number(each, "/pid"));
    record::number(shown, "/latest/pid").into_iter().chain(above).collect()
}

/// When each agent was listed, and when it could be.
struct Times {
    ready: BTreeMap<&'static str, Instant>,
    listed: BTreeMap<&'static str, Instant>,
}

impl Times {
    /// Waits until each agent is ready and listed.
    fn of(place: &Place, started: &mut [Started]) -> Result<Self> {
        thread::scope(|scope| {
            let waiting: Vec<_> = started
                .iter_mut()
                .map(|it| scope.spawn(|| Ok((it.agent.name, it.ready()?))))
                .collect();
            let mut listed = BTreeMap::new();
            let mut wanted: BTreeSet<&str> = AGENTS.iter().map(|agent| agent.name).collect();
            let all = wait::until("every agent listed", LOADING_PATIENCE, || {
                let rows = self::listed(place)?;
                for row in &rows {
                    if let Some(name) = wanted.take(record::text(row, "/name")) {
                        listed.insert(name, Instant::now());
                    }
                }
                Ok(wanted.is_empty().then_some(()))
            });
            let ready: Vec<Result<(&str, Instant)>> = waiting
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
                .collect();
            let ready = ready.into_iter().collect::<Result<_>>()?;
            all.with_context(|| {
                let list = place.ask(&["agents", "--candidates"]);
                format!("not found: {wanted:?}\n{}", list.map_or(String::new(), |it| it.stdout))
            })?;
            Ok(Self { ready, listed })
        })
    }

    /// How long an agent could have been listed and was not, since a time or since it was ready.
    fn of_agent(&self, name: &str, since: Option<Instant>) -> Duration {
        let listed = self.listed.get(name);
        let since = since.or_else(|| self.ready.get(name).copied());
        listed.zip(since).map_or(Duration::MAX, |(at, since)| at.saturating_duration_since(since))
    }
}

/// Kinds and lineages are right, and nothing else is called an agent. Says it name by name.
fn judge(
    place: &Place,
    started: &[Started],
    took: impl Fn(&str) -> Duration,
    (moment, others): (&str, &[&str]),
) -> Result<()> {
    let found = found(place)?;
    let mut table = Vec::new();
    let mut wrong: Vec<String> = Vec::new();
    for Started { agent, running, .. } in started {
        let Some(shown) = found.get(agent.name) else {
            wrong.push(format!("{} is not found", agent.name));
            continue;
        };
        let kind = record::text(shown, "/summary/kind");
        if kind != agent.kind {
            wrong.push(format!("{} is a {kind:?}", agent.name));
        }
        let lineage = lineage(shown);
        if !lineage.contains(&u64::from(running.pid())) {
            wrong.push(format!("{}: lineage {lineage:?} of {}", agent.name, running.pid()));
        }
        let kind = if kind.is_empty() { "agent" } else { kind };
        let took = took(agent.name).as_millis();
        table.push(format!("{moment}: {:<35} {kind:<20} {took:>5} ms", agent.name));
    }
    let is_known = |name: &str| AGENTS.iter().any(|agent| agent.name == name);
    let (right, false_ones): (Vec<_>, Vec<_>) =
        found.iter().partition(|(name, _)| is_known(name.as_str()));
    table.extend(others.iter().map(|name| format!("{moment}: {name:<35} no agent")));
    table.push(format!(
        "{moment}: precision {right}/{}, recall {right}/{}, {} ordinary programs, slowest {:?}",
        found.len(),
        AGENTS.len(),
        others.len(),
        started.iter().map(|it| took(it.agent.name)).max().unwrap_or_default(),
        right = right.len(),
    ));
    if !false_ones.is_empty() || !wrong.is_empty() {
        bail!("{moment}: {}\nno agents: {false_ones:?}", wrong.join("\n"));
    }
    table.into_iter().for_each(measured);
    Ok(())
}

fn agents_that_run_already_are_found(lab: &Lab) -> Result<()> {
    let staying: Vec<Running> =
        STAYING.iter().map(|program| program.start(lab)).collect::<Result<_>>()?;
    let mut started = start(lab, Moment::BeforeDaemon)?;
    for agent in &mut started {
        agent.ready()?;
    }
    let place = Place::new(lab, "recall-before")?;
    place.write_policy(&policy::host("monitor"))?;
    // What npx and uvx start must run before the sweep, or it is found as it starts.
    for agent in &started {
        let spent = agent.began.elapsed();
        thread::sleep(Duration::from_secs(4).saturating_sub(spent));
    }
    let daemon = place.start()?;
    let answers = Instant::now();
    let times = Times::of(&place, &mut started)?;
    let others: Vec<&str> = STAYING.iter().map(|program| program.name).collect();
    let took = |name: &str| times.of_agent(name, Some(answers));
    judge(&place, &started, took, ("before the daemon", &others))?;
    drop(staying);
    daemon.stop()?;
    Ok(())
}

fn agents_that_start_are_found(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "recall-after")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let staying: Vec<Running> =
        STAYING.iter().map(|program| program.start(lab)).collect::<Result<_>>()?;
    let visit = place.record("the browser's visit", |each| {
        record::text(each, "/unmapped/governd/kind") == "browser-visit"
    })?;
    let title = record::text(&visit, "/finding_info/title");
    ensure!(title.contains(BROWSER) && title.contains("openai"), "{visit}");
    for program in PASSING {
        program.run(lab)?;
    }
    let mut started = start(lab, Moment::AfterDaemon)?;
    let times = Times::of(&place, &mut started)?;
    let others: Vec<&str> = STAYING
        .iter()
        .map(|program| program.name)
        .chain(PASSING.iter().map(|program| program.name))
        .collect();
    let took = |name: &str| times.of_agent(name, None);
    judge(&place, &started, took, ("after the daemon", &others))?;
    drop(staying);
    daemon.stop()?;
    Ok(())
}
