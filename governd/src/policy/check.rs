//! From documents to the model: reads every word into its type, and reports all that is wrong.

use std::{collections::HashMap, sync::Arc};

use governd_common::verdict::{Mode, Verdict};

use super::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    document::{AgentDocument, AgentSpec, EgressDocument, Metadata, OneOrMany, RuleDocument},
    model::{Agent, Approval, Placed, Policy, Rule},
    shape::Located,
    value::{
        self, Delegation, Fault, Posture, Questions, Target, Tier, Verify,
        approval::{Day, Fallback, Risk},
        local::{self, LocalSockets},
        name::{self, HostGlob, HostPattern},
        network::Network,
        port::{Ports, Protocol},
        process::{Cgroup, Executable, Script, User},
    },
};

mod approval;
mod case;
mod delegation;
mod group;
mod host;
mod limits;
mod matching;
mod remarks;

pub(crate) use delegation::check_delegations;
pub(crate) use remarks::report_groups;

/// Checks the documents of one file.
pub(crate) struct Checker<'a> {
    /// The file.
    pub(crate) file: &'a Arc<str>,
    /// What is wrong.
    pub(crate) out: &'a mut Diagnostics,
    /// False if fields were left out because they were reported.
    pub(crate) is_whole: bool,
}

impl Checker<'_> {
    /// An agent document; `at` is where the document begins.
    pub(crate) fn agent(&mut self, document: AgentDocument, at: &Place) -> Option<Agent> {
        let AgentDocument { api_version: _, kind: _, metadata, spec } = document;
        let name = self.name(metadata, at);
        let spec = self.required(spec, "spec", at)?;
        let place = self.place(&spec);
        let AgentSpec {
            owner,
            sponsor,
            purpose,
            risk,
            approval,
            review_by,
            on_expired,
            on_drift,
            provenance,
            mode,
            delegation,
            matches,
            egress,
            limits,
        } = spec.value;
        let fallback = |checker: &mut Self, word: Option<Located<String>>| {
            word.and_then(|word| checker.parse(&word, Fallback::parse)).unwrap_or_default()
        };
        let owner = match owner {
            Some(owner) => self.owner(owner),
            None => self.missing_owner(&place),
        };
        let sponsor = sponsor.map(|sponsor| self.answerable(sponsor, "a sponsor"));
        let purpose = purpose.and_then(|purpose| self.text(&purpose));
        let risk = risk.and_then(|risk| self.parse(&risk, Risk::parse));
        let mode = mode.and_then(|mode| self.parse(&mode, value::parse_mode));
        let delegation = delegation.and_then(|word| self.delegation(&word));
        let matches = self.matches(matches, &place);
        let via = egress.as_ref().and_then(|egress| egress.value.via.clone());
        let approval = Approval {
            via: via.map_or_else(Vec::new, |list| self.each("via", &list, HostPattern::parse)),
            review_by: review_by.and_then(|day| self.parse(&day, Day::parse)),
            on_expired: fallback(self, on_expired),
            on_drift: fallback(self, on_drift),
            ..self.approval(approval, provenance)
        };
        let accepted = self.accepted(egress.as_ref());
        let unix = egress.as_ref().and_then(|egress| egress.value.unix.clone());
        let (default, questions, rules) = self.egress(egress);
        let local_sockets = self.local_sockets(unix, default);
        let limits = self.limits(limits);
        let (name, place) = name?;
        let (owner, page) = owner?;
        let agent = Agent {
            name,
            place,
            owner,
            page,
            sponsor: sponsor.flatten(),
            purpose,
            risk,
            approval,
            mode,
            delegation,
            matches,
            default,
            accepted,
            local_sockets,
            questions,
            rules,
            limits,
        };
        Some(agent)
    }

    fn accepted(&mut self, egress: Option<&Located<EgressDocument>>) -> Verdict {
        let word = egress.and_then(|egress| egress.value.accepted.as_ref());
        let accepted = word.and_then(|word| self.parse(word, value::parse_verdict));
        accepted.unwrap_or(Verdict::Allow)
    }

    fn name(
        &mut self,
        metadata: Option<Located<Metadata>>,
        at: &Place,
    ) -> Option<(Arc<str>, Place)> {
        let metadata = self.required(metadata, "metadata", at)?;
        let place = self.place(&metadata);
        let name = self.required(metadata.value.name, "name", &place)?;
        let place = self.place(&name);
        self.parse(&name, name::check_document_name)?;
        Some((name.value.into(), place))
    }

    fn executable(&mut self, path: &Located<String>) -> Option<Placed<Executable>> {
        let value = self.parse(path, Executable::parse)?;
        Some(Placed { value, place: self.place(path) })
    }

    fn egress(
        &mut self,
        egress: Option<Located<EgressDocument>>,
    ) -> (Verdict, Questions, Vec<Rule>) {
        let Some(egress) = egress else {
            return (Verdict::Deny, Questions::Restrict, Vec::new());
        };
        let EgressDocument { default, via: _, accepted: _, unix: _, dns, rules } = egress.value;
        let default = default.and_then(|word| self.parse(&word, value::parse_verdict));
        let default = default.unwrap_or(Verdict::Deny);
        let questions = self.questions(dns, default);
        let rules = rules.map(|rules| rules.value).unwrap_or_default();
        let rules = rules.into_iter().enumerate();
        let rules = rules.filter_map(|(index, rule)| self.rule(index as u32 + 1, rule));
        let rules = rules.collect();
        (default, questions, rules)
    }

    fn questions(&mut self, dns: Option<Located<String>>, default: Verdict) -> Questions {
        let own = if default == Verdict::Deny { Questions::Restrict } else { Questions::Any };
        let Some(dns) = dns else {
            return own;
        };
        let questions = self.parse(&dns, Questions::parse).unwrap_or(own);
        if questions == Questions::Restrict && default == Verdict::Allow {
            let message = "names that only the default allows cannot be asked for, nor reached";
            let hint = "leave `dns` out, or set `default: deny`";
            let warning = Diagnostic::warning(Code::Unaskable, &self.place(&dns), message);
            self.out.push(warning.hint(hint));
        }
        questions
    }

    /// Local sockets. One that cannot be read is an error, and opens nothing.
    fn local_sockets(
        &mut self,
        unix: Option<Located<OneOrMany>>,
        default: Verdict,
    ) -> LocalSockets {
        let Some(Located { value, line, column }) = unix else {
            return match default {
                Verdict::Deny => LocalSockets::ordinary(),
                Verdict::Allow => LocalSockets::Any,
            };
        };
        let list = match value {
            OneOrMany::One(word) if word == LocalSockets::ANY_WORD => return LocalSockets::Any,
            OneOrMany::One(value) => vec![Located { value, line, column }],
            OneOrMany::Many(many) => many,
        };
        let parsed = list.iter().filter_map(|one| self.parse(one, local::parse));
        LocalSockets::Listed(parsed.flatten().collect())
    }

    fn rule(&mut self, index: u32, rule: Located<RuleDocument>) -> Option<Rule> {
        let place = self.place(&rule);
        let RuleDocument {
            allow,
            notify,
            approve,
            halt,
            deny,
            ports,
            protocol,
            verify,
            plaintext,
            quic,
        } = rule.value;
        let protocol = protocol.and_then(|word| self.parse(&word, Protocol::parse));
        let verify = verify.and_then(|word| self.parse(&word, Verify::parse)).unwrap_or_default();
        let plaintext = plaintext.and_then(|word| self.parse(&word, value::parse_verdict));
        let quic = quic.and_then(|word| self.parse(&word, value::parse_verdict));
        let ports = ports.map(|ports| self.ports(ports));
        let lists = [
            (Tier::Allow, allow),
            (Tier::Notify, notify),
            (Tier::Approve, approve),
            (Tier::Halt, halt),
            (Tier::Deny, deny),
        ];
        let (tier, list) = self.tier(lists, &place)?;
        let (targets, groups) = self.items(tier.word(), &list);
        if tier.opens() {
            let remarks = self.remarks(&list);
            self.out.extend(remarks);
        }
        if tier == Tier::Approve && verify == Verify::Sni {
            let message = "which connections to grant cannot be told before their first bytes";
            let hint = "leave `verify` out of a rule with `approve`, or say `dns`";
            self.out.push(Diagnostic::error(Code::BadWord, &place, message).hint(hint));
        }
        Some(Rule {
            place,
            index,
            tier,
            targets,
            groups,
            members: Arc::new([]),
            ports,
            protocol: protocol.unwrap_or_default(),
            verify,
            plaintext: plaintext.unwrap_or(Verdict::Deny),
            quic: quic.unwrap_or(Verdict::Deny),
        })
    }

    /// The one list that a rule has, and its tier.
    fn tier<T>(
        &mut self,
        lists: [(Tier, Option<T>); Tier::ALL.len()],
        place: &Place,
    ) -> Option<(Tier, T)> {
        let mut lists = lists.into_iter().filter_map(|(tier, list)| Some((tier, list?)));
        match (lists.next(), lists.next()) {
            (Some(only), None) => return Some(only),
            _ if !self.is_whole => {}
            (Some((one, _)), Some((two, _))) => {
                let message = format!("the rule has both `{}` and `{}`", one.word(), two.word());
                let hint = "write one rule for each";
                self.out.push(Diagnostic::error(Code::WrongType, place, message).hint(hint));
            }
            (None, _) => {
                let message = "the rule has no list of destinations";
                let hint = "it is one of `allow`, `notify`, `approve`, `halt` and `deny`";
                self.out.push(Diagnostic::error(Code::MissingField, place, message).hint(hint));
            }
        }
        None
    }

    /// Parses all of a list that parse; an empty list is worth a warning.
    fn each<T>(
        &mut self,
        field: &str,
        list: &Located<Vec<Located<String>>>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<T> {
        if list.value.is_empty() && self.is_whole {
            let message = format!("`{field}` is empty, and so matches nothing");
            let hint = "fill it, or remove what it belongs to";
            let place = self.place(list);
            self.out.push(Diagnostic::warning(Code::EmptyList, &place, message).hint(hint));
        }
        list.value.iter().filter_map(|one| self.parse(one, &parse)).collect()
    }

    fn parse<T>(
        &mut self,
        text: &Located<String>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.out.push(fault.at(&self.place(text)));
                None
            }
        }
    }

    fn required<T>(&mut self, field: Option<T>, name: &str, at: &Place) -> Option<T> {
        if field.is_none() && self.is_whole {
            let message = format!("the field `{name}` is missing");
            self.out.push(Diagnostic::error(Code::MissingField, at, message));
        }
        field
    }

    fn place<T>(&self, located: &Located<T>) -> Place {
        let Located { line, column, .. } = located;
        Place { file: Arc::clone(self.file), line: *line, column: *column }
    }
}

/// Refuses two documents of one kind and name.
pub(crate) fn refuse_duplicates(policy: &Policy, out: &mut Diagnostics) {
    let agents = policy.agents.iter().map(|agent| (&agent.name, &agent.place));
    duplicates("agent", agents, out);
    let groups = policy.groups.iter().map(|group| (&group.name, &group.place));
    duplicates("endpoint group", groups, out);
    let tests = policy.tests.iter().map(|test| (&test.name, &test.place));
    duplicates("policy test", tests, out);
    let hosts = policy.hosts.iter();
    let hosts = hosts.filter_map(|host| host.place.as_ref().map(|place| (&host.name, place)));
    duplicates("host policy", hosts, out);
}

fn duplicates<'a>(
    noun: &str,
    named: impl Iterator<Item = (&'a Arc<str>, &'a Place)>,
    out: &mut Diagnostics,
) {
    let mut first: HashMap<&str, &Place> = HashMap::new();
    for (name, place) in named {
        if let Some(before) = first.get(&**name) {
            let message = format!("the {noun} `{name}` is already defined at {before}");
            let diagnostic = Diagnostic::error(Code::Duplicate, place, message);
            out.push(diagnostic.hint("rename one of the two, or merge them"));
        } else {
            first.insert(name, place);
        }
    }
}
