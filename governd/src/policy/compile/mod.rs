//! From the model to the tables.
//!
//! Unions are computed here, so that the kernel looks up one name, one network and a few blocks,
//! whatever the number of rules. A set stands for a node of a trie. The kernel finds only the
//! longest node of a name or address, so the block of a subject at a node holds the subject's rules
//! on the node itself and on every wildcard or network around it, most specific first.

mod blocks;
pub mod delegation;
mod digest;
mod held;
pub mod hosts;
mod lints;
mod models;
mod names;
mod networks;
mod questions;
mod resolvers;
mod selectors;
pub mod specificity;
mod unclassified;
mod unregistered;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::Arc,
};

use governd_common::{
    address::Address,
    table::{RuleBlock, Subject, entry_flag, set_id, subject_flag},
    verdict::{Mode, Verdict},
};

use super::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    groups,
    host::Host,
    ids::Ids,
    image::{AgentFacts, Compiled, RuleFacts, TableImage},
    lifecycle::{self, Lapse},
    limits::{BLOCKS_MAX, NAMES_MAX, NETWORKS_MAX, RESOLVER_EXES_MAX, RESOLVERS_MAX, SUBJECTS_MAX},
    load::Documents,
    model::{Agent, HostPolicy, Rule},
    value::{
        LogFailure, Questions, Target, Tier,
        local::LocalSockets,
        name::HostPattern,
        network::Network,
        port::{Ports, Protocol},
        verdict_word,
    },
};

/// What a policy meets on the host where it is put into force.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// AI endpoints of the catalogue.
    pub endpoints: &'a [Endpoint],
    /// Ports on which nothing but local model servers listen.
    pub model_ports: &'a [u16],
    /// Takes the place of the mode of every document.
    pub mode: Option<Mode>,
}

/// What happened to a policy since it was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Under<'a> {
    /// Destinations that agents were granted.
    pub granted: &'a [(Arc<str>, Target)],
    /// Agents whose approval does not hold any more.
    pub lapses: &'a [Lapse],
    /// Agents that nobody registered and somebody quarantined.
    pub held: &'a [Arc<str>],
}

/// An AI endpoint of the catalogue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Exact name, or `*.` and a name.
    pub pattern: String,
    /// Who runs it, such as `openai`.
    pub provider: Arc<str>,
    /// What it serves, such as `model-api`.
    pub kind: &'static str,
}

/// One rule on one target, for one subject.
#[derive(Clone, Copy, PartialEq)]
struct Claim<'a> {
    subject: u32,
    rule: u32,
    tier: Tier,
    /// How specific, target, ports and protocol together.
    specificity: u16,
    ports: &'a [Ports],
    protocol: Protocol,
    /// Bits of `entry_flag`.
    flags: u8,
    /// The name may be asked for, as a name that resolvers try before the one that is meant.
    is_question: bool,
}

/// How the names of rules begin that the unregistered have on AI endpoints.
pub(super) const AI_RULES: &str = "unregistered/ai/";

/// Every port, for rules that name none.
const EVERY_PORT: &[Ports] = &[Ports::EVERY];

impl Documents {
    /// Compiles the policy for a host.
    ///
    /// # Errors
    /// Everything that cannot be put into the tables, and ambiguous matches.
    pub fn compile(
        &self,
        around: &Surroundings<'_>,
        ids: &mut Ids,
    ) -> Result<Compiled, Diagnostics> {
        self.compile_under(around, ids, &Under::default())
    }

    /// The same, under what people granted and what time and drift took away. Each destination that
    /// an agent was granted has a set, so that a grant is for it alone.
    ///
    /// # Errors
    /// As above.
    pub fn compile_under(
        &self,
        around: &Surroundings<'_>,
        ids: &mut Ids,
        under: &Under<'_>,
    ) -> Result<Compiled, Diagnostics> {
        let mut out = self.warnings.clone();
        let built_in = HostPolicy::built_in();
        let (host, choice) = hosts::choose(&self.policy, around.host, &mut out);
        let host = host.unwrap_or(&built_in);
        let endpoints = endpoints(around.endpoints, &mut out);
        let model_ports: Vec<Ports> =
            around.model_ports.iter().take(blocks::LEN).map(|port| Ports::one(*port)).collect();
        let expanded = groups::expand(&self.policy, around.endpoints, &mut out).agents;
        let agents = expanded.into_iter().map(|agent| lifecycle::in_force(agent, under.lapses));
        let agents: Vec<_> = agents.collect();
        let mut compiler = Compiler {
            mode: around.mode,
            host,
            ids,
            out: &mut out,
            compiled: Compiled::default(),
            places: Vec::new(),
            names: Vec::new(),
            networks: Vec::new(),
            granted: under.granted,
        };
        compiler.unregistered(&endpoints);
        for agent in &agents {
            compiler.agent(agent, under.lapses.iter().find(|lapse| lapse.agent == agent.name));
        }
        for name in under.held {
            compiler.held(name);
        }
        compiler.local_models(&model_ports);
        compiler.questions(&around.host.search_domains());
        compiler.unclassified(&endpoints, &self.policy.agents);
        compiler.tables();
        if !compiler.out.has_errors() {
            compiler.shadowed();
            compiler.weak_denials();
        }
        compiler.selectors(&self.policy, around.host, under.lapses);
        compiler.unclassified_cgroups(around.host);
        compiler.resolvers(around.host);
        let Compiler { mut compiled, .. } = compiler;
        compiled.digest = digest::digest(&self.policy);
        compiled.host_policy = choice;
        compiled.selftest_s = host.selftest_s;
        compiled.exporters.clone_from(&host.exporters);
        compiled.denies_unrecorded_ai = host.on_log_failure == LogFailure::DenyAi;
        compiled.agents.sort_by_key(|agent| agent.subject);
        compiled.started.sort_by_key(|agent| agent.subject);
        let (mut compiled, warnings) = out.unless_errors(compiled)?;
        compiled.warnings = warnings;
        Ok(compiled)
    }
}

/// The catalogue's patterns, parsed; the catalogue is tested, so that none is wrong.
fn endpoints<'a>(list: &'a [Endpoint], out: &mut Diagnostics) -> Vec<(HostPattern, &'a str)> {
    let mut parsed = Vec::new();
    for endpoint in list {
        match HostPattern::parse(&endpoint.pattern) {
            Ok(pattern) => parsed.push((pattern, &*endpoint.provider)),
            Err(fault) => {
                let place = Place { file: "endpoint catalogue".into(), line: 0, column: 0 };
                out.push(fault.at(&place));
            }
        }
    }
    parsed
}

struct Compiler<'a, 'b> {
    mode: Option<Mode>,
    host: &'a HostPolicy,
    ids: &'b mut Ids,
    out: &'b mut Diagnostics,
    compiled: Compiled,
    /// Where each rule was written, by rule number.
    places: Vec<Option<Place>>,
    names: Vec<(HostPattern, Claim<'a>)>,
    networks: Vec<(Network, Claim<'a>)>,
    granted: &'a [(Arc<str>, Target)],
}

impl<'a> Compiler<'a, '_> {
    fn agent(&mut self, agent: &'a Agent, lapse: Option<&Lapse>) {
        let Agent {
            name,
            place,
            owner,
            page,
            sponsor,
            risk,
            approval,
            mode,
            default,
            accepted,
            local_sockets,
            questions,
            rules,
            limits,
            ..
        } = agent;
        if self.compiled.image.subjects.len() >= SUBJECTS_MAX {
            self.limit(place, format!("the policy has more than {} agents", SUBJECTS_MAX - 1));
            return;
        }
        let subject = self.ids.subject(name);
        let mode = self.mode.or(*mode).unwrap_or(self.host.mode);
        let text = format!("{} what no rule matches", verdict_word(*default));
        let id = format!("{name}/default");
        let default_rule = self.rule(&id, subject, text, Tier::of(*default), Some(place.clone()));
        for rule in rules {
            self.egress_rule(name, subject, rule);
        }
        let mut flags = 0;
        if self.host.loopback == Verdict::Allow {
            flags |= subject_flag::LOOPBACK;
        }
        if rules.iter().any(Rule::denies_names) {
            flags |= subject_flag::NAME_DENIALS;
        }
        if *accepted == Verdict::Deny {
            flags |= subject_flag::JUDGE_ACCEPTED;
        }
        if *questions == Questions::Restrict {
            flags |= subject_flag::DNS_RESTRICT;
        }
        flags |= self.local_sockets(subject, local_sockets);
        let default_verdict = *default as u8;
        let members = Subject::ALONE;
        let settings = Subject { mode: mode as u8, default_verdict, flags, default_rule, members };
        self.compiled.image.subjects.push((subject, settings));
        if !limits.is_empty() {
            self.compiled.image.limits.push((subject, *limits));
        }
        self.compiled.agents.push(AgentFacts {
            subject,
            name: Arc::clone(name),
            owner: Some(owner.to_string().into()),
            sponsor: sponsor.as_ref().map(|person| person.to_string().into()),
            page: page.clone(),
            risk: *risk,
            approval: approval.clone(),
            lapse: lapse.cloned(),
            mode,
            limits: *limits,
            started_by: Arc::new([]),
        });
    }

    fn egress_rule(&mut self, agent: &str, subject: u32, rule: &'a Rule) {
        let id = format!("{agent}/egress/{}", rule.index);
        let number = self.rule(&id, subject, rule.text(), rule.tier, Some(rule.place.clone()));
        for (target, ports) in rule.destinations() {
            let claim = Claim {
                subject,
                rule: number,
                tier: rule.tier,
                specificity: specificity::of(target, ports.is_some(), rule.protocol),
                ports: ports.unwrap_or(EVERY_PORT),
                protocol: rule.protocol,
                flags: blocks::entry_flags(rule),
                is_question: false,
            };
            match target {
                Target::Name(pattern) => self.names.push((pattern.clone(), claim)),
                Target::Network(network) => self.networks.push((*network, claim)),
            }
        }
    }

    /// Writes the list of an agent's local sockets, and gives the flags that say so.
    fn local_sockets(&mut self, subject: u32, sockets: &LocalSockets) -> u16 {
        match sockets {
            LocalSockets::Any => subject_flag::LOCAL_SOCKETS,
            LocalSockets::Listed(list) => {
                let sockets = list.iter().map(|socket| (subject, socket.clone()));
                self.compiled.image.local_sockets.extend(sockets);
                0
            }
        }
    }

    fn rule(
        &mut self,
        id: &str,
        subject: u32,
        text: String,
        tier: Tier,
        place: Option<Place>,
    ) -> u32 {
        let number = self.compiled.rules.len() as u32;
        let source = place.as_ref().map(|place| (Arc::clone(&place.file), place.line));
        let text = text.into();
        self.compiled.rules.push(RuleFacts { id: id.into(), subject, text, tier, source });
        self.places.push(place);
        number
    }

    /// Names, networks and their blocks.
    fn tables(&mut self) {
        let addresses = networks::granted(self.granted, &self.compiled.agents);
        let Self { ids, out, compiled, places, names, networks, granted, .. } = self;
        let Compiled { image, sets, .. } = compiled;
        let mut latest = blocks::Latest::default();
        let mut pairs = 0;
        let mut written = String::new();
        let mut node = |key: Key<'_>, claims: &mut [Claim<'a>]| {
            written.clear();
            // Writing into a string cannot fail.
            write!(written, "{key}").ok();
            let (text, set) = ids.set(&written);
            match key {
                Key::Name(pattern) => image.names.push((pattern.trie_key(), set)),
                Key::Network(subject, network) => {
                    let (address, prefix) = (network.mapped_address(), network.mapped_prefix());
                    image.networks.push((subject, address, prefix, set));
                }
            }
            sets.insert(set, text);
            // Those of one subject stay in their order.
            claims.sort_by_key(|claim| claim.subject);
            for own in claims.chunk_by(|one, other| one.subject == other.subject) {
                let subject = own.first().map_or(0, |claim| claim.subject);
                pairs += 1;
                match latest.block(own) {
                    // More of them are only counted.
                    Ok(_) if pairs > BLOCKS_MAX => {}
                    Ok(block) => image.blocks.push((subject, set, block)),
                    Err(many) => {
                        let place = places.get(many.rule as usize).cloned().flatten();
                        out.push(many.diagnostic(&key, place));
                    }
                }
            }
        };
        names::nodes(names, granted, &mut node);
        networks::nodes(networks, &addresses, &mut node);
        self.any_address();
        let TableImage { names, networks, blocks, .. } = &self.compiled.image;
        let pairs = blocks.len().max(pairs);
        let counts = [
            (names.len(), NAMES_MAX, "names and wildcards"),
            (networks.len(), NETWORKS_MAX, "networks, counted for each agent"),
            (pairs, BLOCKS_MAX, "pairs of an agent and a destination"),
        ];
        for (count, max, what) in counts {
            self.limit_count(count, max, what);
        }
    }

    /// What a subject may begin whatever the address, because the first bytes alone prove the name.
    fn any_address(&mut self) {
        let mut by_subject: BTreeMap<u32, Vec<Claim<'a>>> = BTreeMap::new();
        for (_, claim) in &self.names {
            let is_by_bytes = claim.flags & entry_flag::VERIFY_SNI != 0;
            if is_by_bytes && claim.tier.verdict() == Verdict::Allow && !claim.ports.is_empty() {
                by_subject.entry(claim.subject).or_default().push(*claim);
            }
        }
        for (subject, claims) in by_subject {
            match blocks::block(&claims) {
                Ok(block) => {
                    self.compiled.image.blocks.push((subject, set_id::ANY_ADDRESS, block));
                }
                Err(many) => {
                    let place = self.places.get(many.rule as usize).cloned().flatten();
                    self.out.push(many.diagnostic(&"verify: sni", place));
                }
            }
        }
    }

    fn resolvers(&mut self, host: &dyn Host) {
        let own = self.host.resolvers.iter().copied();
        let theirs = if self.host.host_resolvers { host.resolvers() } else { Vec::new() };
        let mut all: Vec<Address> = own.chain(theirs).map(Address::from).collect();
        all.sort_by_key(|address| address.bytes);
        all.dedup();
        self.limit_count(all.len(), RESOLVERS_MAX, "trusted resolvers");
        self.compiled.image.resolvers = all;
        let exes = resolvers::executables(self.host, host, self.out);
        self.limit_count(exes.len(), RESOLVER_EXES_MAX, "executables of resolvers");
        self.compiled.image.resolver_exes = exes;
    }

    fn limit_count(&mut self, count: usize, max: usize, what: &str) {
        if count > max {
            let place = Place { file: "the policy".into(), line: 0, column: 0 };
            self.limit(&place, format!("{count} {what}; the kernel's tables hold {max}"));
        }
    }

    fn limit(&mut self, place: &Place, message: String) {
        let hint =
            "put agents that do not run here into the policy of other hosts, or use wildcards";
        self.out.push(Diagnostic::error(Code::Limit, place, message).hint(hint));
    }
}

/// A node of a trie: what the kernel finds. The trie of networks is each subject's own.
#[derive(Clone, Copy)]
enum Key<'k> {
    Name(&'k HostPattern),
    Network(u32, &'k Network),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(pattern) => pattern.fmt(f),
            Self::Network(_, network) => network.fmt(f),
        }
    }
}

/// The empty block: nothing matches.
const EMPTY_BLOCK: RuleBlock = RuleBlock { len: 0, entries: [blocks::EMPTY_ENTRY; blocks::LEN] };
