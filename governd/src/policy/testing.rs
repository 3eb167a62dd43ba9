//! The test cases of a policy, run: on a host that has whatever the documents name, with the tables
//! and the decision that the kernel has.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, btree_map::Entry},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use serde::{Serialize, Serializer};

use super::{
    compile::{Endpoint, Surroundings},
    diagnostic::{Diagnostic, Diagnostics, Place},
    explain::{Answer, Bound, Destination, Question, explain_decision},
    host::{Host, HostLabels},
    ids::Ids,
    image::{Compiled, TableImage},
    lineage,
    load::Documents,
    model::{Case, TestProcess, Who},
    recognised,
    tables::ImageTables,
    value::{
        container::{ContainerFacts, ContainerMatch},
        process::{Cgroup, User},
        verdict_word,
    },
    whole::Asker,
    words,
};

/// What became of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the test.
    pub test: String,
    /// Number of the case in it, from 1.
    pub case: usize,
    /// Whether everything is as expected.
    pub passed: bool,
    /// Where the case is written.
    #[serde(serialize_with = "place")]
    pub place: Place,
    /// Who it is, `unregistered` or an agent.
    pub agent: String,
    /// Agents that started it, and whose policies hold, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub started_by: Vec<String>,
    /// Where to, in words.
    pub destination: String,
    /// What the policy decides: `allow` or `deny`.
    pub verdict: &'static str,
    /// The rule that decides, such as `bot/egress/1` or `bot/default`.
    pub rule: String,
    /// What was expected and is not so; empty if the case passed.
    pub faults: Vec<String>,
}

fn place<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

/// Runs every case of the documents.
///
/// # Errors
/// The policy cannot be compiled.
pub fn run(documents: &Documents, endpoints: &[Endpoint]) -> Result<Vec<Outcome>, Diagnostics> {
    let mut by_host: BTreeMap<(&str, &HostLabels), Bench> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for test in &documents.policy.tests {
        let host = (&*test.host, &test.labels);
        let bench = match by_host.entry(host) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Bench::new(documents, host, endpoints)?),
        };
        for (index, case) in test.cases.iter().enumerate() {
            outcomes.push(bench.outcome(&test.name, index + 1, case));
        }
    }
    Ok(outcomes)
}

/// A policy, compiled for a host of a name.
struct Bench {
    compiled: Compiled,
    host: NamedHost,
}

impl Bench {
    fn new(
        documents: &Documents,
        (name, labels): (&str, &HostLabels),
        endpoints: &[Endpoint],
    ) -> Result<Self, Diagnostics> {
        let (name, labels) = (name.to_owned(), labels.clone());
        let host = NamedHost { name, labels, numbers: RefCell::default() };
        let around = Surroundings { host: &host, endpoints, model_ports: &[], mode: None };
        let compiled = documents.compile(&around, &mut Ids::default())?;
        Ok(Self { compiled, host })
    }

    fn outcome(&self, test: &str, number: usize, case: &Case) -> Outcome {
        let mut faults = Vec::new();
        let subject = self.subject(case, &mut faults);
        let answer = self.ask(subject, case);
        let rule = self.compiled.rule(answer.decision.rule);
        let rule = rule.map_or_else(|| "none".to_owned(), |rule| rule.id.to_string());
        let verdict = answer.decision.verdict;
        if faults.is_empty() && verdict != case.expect {
            let by = answer.words().into_iter().nth(2).unwrap_or_default();
            faults.push(format!("expected {}: {by}", verdict_word(case.expect)));
        }
        if let Some(expected) = case.rule.as_ref().filter(|expected| ***expected != *rule) {
            faults.push(format!("expected the rule {expected}, and {rule} decides"));
        }
        Outcome {
            test: test.to_owned(),
            case: number,
            passed: faults.is_empty(),
            place: case.place.clone(),
            agent: answer.agent.name.to_string(),
            started_by: answer.agent.started_by.iter().map(ToString::to_string).collect(),
            destination: answer.destination,
            verdict: verdict_word(verdict),
            rule,
            faults,
        }
    }

    /// Who a case is about, as those begin one after the other that it names.
    fn subject(&self, case: &Case, faults: &mut Vec<String>) -> u32 {
        let image = &self.compiled.image;
        let mut above = 0;
        for (index, name) in case.started_by.iter().enumerate() {
            let Some(agent) = self.agent(name, faults) else { return 0 };
            let subject = lineage::step(image, above, agent);
            let others = case.started_by.get(..index).unwrap_or_default();
            if self.compiled.registered(subject) != agent {
                faults.push(not_recognised(name, others));
                return 0;
            }
            above = subject;
        }
        match &case.who {
            Who::Process(process) => {
                let agent = self.host.classify(image, process, above);
                agent.map_or(above, |agent| lineage::step(image, above, agent))
            }
            Who::Agent(name) if case.started_by.is_empty() => self.agent(name, faults).unwrap_or(0),
            Who::Agent(name) => {
                let Some(agent) = self.agent(name, faults) else { return 0 };
                let subject = lineage::step(image, above, agent);
                if self.compiled.registered(subject) != agent {
                    faults.push(not_recognised(name, &case.started_by));
                }
                subject
            }
        }
    }

    fn agent(&self, name: &Arc<str>, faults: &mut Vec<String>) -> Option<u32> {
        let agent = self.compiled.agents.iter().find(|agent| agent.name == *name);
        if agent.is_none() {
            faults.push(format!("no agent is called {name}"));
        }
        agent.map(|agent| agent.subject)
    }

    fn ask(&self, subject: u32, case: &Case) -> Answer {
        let Case { destination, address, port, protocol, .. } = case;
        let bound: Vec<Bound> = match (destination, address) {
            (Destination::Name(name), Some(address)) => {
                vec![Bound { name: Arc::clone(name), address: *address, is_hosts: false }]
            }
            _ => Vec::new(),
        };
        let question = Question {
            process: "the process",
            subject,
            destination: destination.clone(),
            port: *port,
            protocol: *protocol,
            bound: &bound,
        };
        let asker = Asker { subject, port: *port, protocol: *protocol };
        let mut tables = ImageTables::new(&self.compiled.image);
        let decision = match destination {
            Destination::Name(name) => asker.to_name(&mut tables, name, *address),
            Destination::Address(address) => asker.to_address(&mut tables, *address),
        };
        explain_decision(&self.compiled, &question, decision)
    }
}

fn not_recognised(agent: &str, started_by: &[Arc<str>]) -> String {
    match words::list(&started_by.iter().map(|name| &**name).collect::<Vec<_>>()) {
        others if others.is_empty() => {
            format!("{agent} is recognised only where its parent started it")
        }
        others => format!("{agent} is not recognised where {others} started it"),
    }
}

impl Outcome {
    /// The outcome in one line, with what is wrong on lines of its own.
    pub fn words(&self) -> Vec<String> {
        let Self { test, case, agent, started_by, destination, verdict, rule, .. } = self;
        let others = match started_by.as_slice() {
            [] => String::new(),
            others => format!(", started by {}", others.join(" and ")),
        };
        let head = format!("{test}/{case}: {agent}{others} to {destination}: {verdict} by {rule}");
        let faults = self.faults.iter().map(|fault| format!("  {}: {fault}", self.place));
        std::iter::once(head).chain(faults).collect()
    }
}

/// A host on which everything exists that somebody names.
struct NamedHost {
    name: String,
    labels: HostLabels,
    numbers: RefCell<Numbers>,
}

/// Numbers of what was named, from 1.
#[derive(Default)]
struct Numbers {
    executables: HashMap<String, u64>,
    users: HashMap<String, u32>,
    cgroups: HashMap<String, u64>,
    containers: HashMap<(ContainerMatch, Option<Cgroup>), u64>,
}

impl Numbers {
    /// Cgroups and containers share their numbers, as on a host.
    fn next_cgroup(&self) -> u64 {
        (self.cgroups.len() + self.containers.len()) as u64 + 1
    }
}

impl NamedHost {
    /// The agent of a process that a subject started.
    fn classify(&self, image: &TableImage, process: &TestProcess, above: u32) -> Option<u32> {
        let TestProcess { exe, script, user, cgroup, container } = process;
        let [_, _, mut cgroups] = image.any;
        let exe = exe.as_ref().and_then(|exe| self.executable(exe.path()));
        let script = script.as_ref().and_then(|script| self.executable(script.path()));
        let user = user.as_ref().and_then(|user| match user {
            User::Id(id) => Some(*id),
            User::Name(name) => self.user(name),
        });
        let around = cgroup.iter().flat_map(|cgroup| self.around(cgroup));
        let containers = container.iter().flat_map(|facts| self.containing(facts, cgroup.as_ref()));
        for id in around.chain(containers) {
            let found = image.cgroups.iter().filter(|(known, _)| *known == id);
            found.for_each(|(_, set)| cgroups.join(set));
        }
        let (exes, users) = (recognised::by_exe(image, exe), recognised::by_user(image, user));
        let sets = [exes, users, cgroups, recognised::by_script(image, script)];
        recognised::first(image, sets, above)
    }

    /// Numbers of the cgroups of the documents that a cgroup is, or is in.
    fn around(&self, cgroup: &Cgroup) -> Vec<u64> {
        let numbers = self.numbers.borrow();
        let holds = |pattern: &String| Cgroup::parse(pattern).is_ok_and(|one| one.holds(cgroup));
        numbers.cgroups.iter().filter(|(one, _)| holds(one)).map(|(_, number)| *number).collect()
    }

    /// The same of the containers that the documents are about.
    fn containing(&self, facts: &ContainerFacts, cgroup: Option<&Cgroup>) -> Vec<u64> {
        let is_within = |within: &Option<Cgroup>| match (within, cgroup) {
            (Some(within), Some(cgroup)) => within.holds(cgroup),
            (within, _) => within.is_none(),
        };
        let numbers = self.numbers.borrow();
        let fitting = numbers.containers.iter();
        let fitting =
            fitting.filter(|((wanted, within), _)| wanted.fits(facts) && is_within(within));
        fitting.map(|(_, number)| *number).collect()
    }
}

impl Host for NamedHost {
    fn executable(&self, path: &Path) -> Option<(u32, u64)> {
        let known = &mut self.numbers.borrow_mut().executables;
        let next = known.len() as u64 + 1;
        Some((1, *known.entry(path.to_string_lossy().into_owned()).or_insert(next)))
    }

    fn system_executable(&self, path: &Path) -> Option<(u32, u64)> {
        self.executable(path)
    }

    /// Numbers from the upper end, which no document uses.
    fn user(&self, name: &str) -> Option<u32> {
        let known = &mut self.numbers.borrow_mut().users;
        let next = (u32::MAX - 1).checked_sub(known.len() as u32)?;
        Some(*known.entry(name.to_owned()).or_insert(next))
    }

    fn cgroups(&self, pattern: &str) -> Vec<u64> {
        let numbers = &mut self.numbers.borrow_mut();
        let next = numbers.next_cgroup();
        vec![*numbers.cgroups.entry(pattern.to_owned()).or_insert(next)]
    }

    fn containers(&self, wanted: &ContainerMatch, within: Option<&Cgroup>) -> Vec<u64> {
        let numbers = &mut self.numbers.borrow_mut();
        let next = numbers.next_cgroup();
        let key = (wanted.clone(), within.cloned());
        vec![*numbers.containers.entry(key).or_insert(next)]
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    fn search_domains(&self) -> Vec<String> {
        Vec::new()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> Result<HostLabels, Diagnostic> {
        Ok(self.labels.clone())
    }
}
