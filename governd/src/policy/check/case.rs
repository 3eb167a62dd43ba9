//! Test cases of a policy.

use std::sync::Arc;

use super::{
    super::{
        document::{
            OneOrMany, Scalar,
            case::{CaseDocument, PolicyTestDocument, ProcessDocument, TestSpec},
        },
        explain::Destination,
        host::HostLabels,
        model::{Case, TestProcess, Tested, Who},
        value::{
            container::{ContainerFacts, Namespace, ServiceAccount},
            label::Environment,
        },
    },
    Cgroup, Checker, Code, Diagnostic, Executable, Fault, Located, Network, Place, Ports, Script,
    Target, User, value,
};

const PORT_HTTPS: u16 = 443;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Host of the cases that name none.
const LOCALHOST: &str = "localhost";

impl Checker<'_> {
    /// A policy test; `at` is where the document begins.
    pub(crate) fn test(&mut self, document: PolicyTestDocument, at: &Place) -> Option<Tested> {
        let PolicyTestDocument { api_version: _, kind: _, metadata, spec } = document;
        let name = self.name(metadata, at);
        let spec = self.required(spec, "spec", at)?;
        let place = self.place(&spec);
        let TestSpec { host, environment, labels, cases } = spec.value;
        let host = host.map_or_else(|| LOCALHOST.into(), |host| host.value.into());
        let environment = environment.and_then(|one| self.parse(&one, Environment::parse));
        let labels = HostLabels { environment, labels: self.labels(labels) };
        let cases = self.required(cases, "cases", &place)?;
        let cases = cases.value.into_iter().filter_map(|one| self.case(one)).collect();
        let (name, place) = name?;
        Some(Tested { name, place, host, labels, cases })
    }

    fn case(&mut self, case: Located<CaseDocument>) -> Option<Case> {
        let place = self.place(&case);
        let CaseDocument { agent, process, started_by, to, address, port, protocol, expect, rule } =
            case.value;
        let who = self.who(agent, process, &place);
        let to = self.required(to, "to", &place);
        let destination = to.and_then(|to| self.parse(&to, destination));
        let address = address.and_then(|address| self.parse(&address, Network::parse_host));
        let port = port.map(|port| port.map(|Scalar(text)| text));
        let port = port.and_then(|port| self.parse(&port, Ports::parse_one));
        let protocols = [("tcp", PROTOCOL_TCP), ("udp", PROTOCOL_UDP)];
        let protocol =
            protocol.and_then(|word| self.parse(&word, |text| value::word(text, &protocols)));
        let expect = self.required(expect, "expect", &place);
        let expect = expect.and_then(|word| self.parse(&word, value::parse_verdict));
        Some(Case {
            place,
            who: who?,
            started_by: started_by.map_or_else(Vec::new, names),
            destination: destination?,
            address,
            port: port.unwrap_or(PORT_HTTPS),
            protocol: protocol.unwrap_or(PROTOCOL_TCP),
            expect: expect?,
            rule: rule.map(|rule| rule.value.into()),
        })
    }

    fn who(
        &mut self,
        agent: Option<Located<String>>,
        process: Option<Located<ProcessDocument>>,
        place: &Place,
    ) -> Option<Who> {
        let process = match (agent, process) {
            (Some(agent), None) => return Some(Who::Agent(agent.value.into())),
            (None, Some(process)) => process,
            (agent, _) => {
                if self.is_whole {
                    let (code, message) = match agent {
                        Some(_) => (Code::WrongType, "a case has either `agent` or `process`"),
                        None => (Code::MissingField, "the case has neither `agent` nor `process`"),
                    };
                    let hint = "write `agent: NAME`, or `process: {exe: /path}`";
                    self.out.push(Diagnostic::error(code, place, message).hint(hint));
                }
                return None;
            }
        };
        let ProcessDocument {
            exe,
            script,
            user,
            cgroup,
            image,
            namespace,
            service_account,
            labels,
        } = process.value;
        let user = user.map(|user| user.map(|Scalar(text)| text));
        let is_contained =
            image.is_some() || namespace.is_some() || service_account.is_some() || labels.is_some();
        let namespace = namespace.and_then(|one| self.parse(&one, Namespace::parse));
        let account = service_account.and_then(|one| self.parse(&one, ServiceAccount::parse));
        let labels = self.labels(labels).into_iter();
        let image: Option<Arc<str>> = image.map(|image| image.value.into());
        let is_digest = image.as_ref().is_some_and(|image| image.starts_with("sha256:"));
        let (digest, image) = if is_digest { (image, None) } else { (None, image) };
        let facts = ContainerFacts {
            image,
            digest,
            namespace: namespace.map(|one| one.as_str().into()),
            service_account: account.map(|one| one.as_str().into()),
            labels: labels.map(|(key, it)| (key.to_string(), it.to_string())).collect(),
        };
        Some(Who::Process(TestProcess {
            container: is_contained.then_some(facts),
            exe: exe.and_then(|exe| self.parse(&exe, Executable::parse)),
            script: script.and_then(|script| self.parse(&script, Script::parse)),
            user: user.and_then(|user| self.parse(&user, User::parse)),
            cgroup: cgroup.and_then(|cgroup| self.parse(&cgroup, Cgroup::parse)),
        }))
    }
}

fn names(list: Located<OneOrMany>) -> Vec<Arc<str>> {
    match list.value {
        OneOrMany::One(name) => vec![name.into()],
        OneOrMany::Many(names) => names.into_iter().map(|name| name.value.into()).collect(),
    }
}

/// A name or an address, not a wildcard or a network.
fn destination(text: &str) -> Result<Destination, Fault> {
    let one = |what: &str| {
        let fault = Fault::new(Code::BadPattern, format!("`{text}` is a {what}"));
        Err(fault.hint("a case is about one name or address"))
    };
    match Target::parse(text)? {
        Target::Name(pattern) if pattern.is_wildcard() => one("wildcard"),
        Target::Name(pattern) => Ok(Destination::Name(Arc::from(pattern.base()))),
        Target::Network(network) if !network.is_host() => one("network"),
        Target::Network(network) => Ok(Destination::Address(network.address())),
    }
}
