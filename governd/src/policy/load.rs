//! From the files of a policy to its checked documents.

use std::sync::Arc;

use super::{
    check::{self, Checker},
    diagnostic::{Code, Diagnostic, Diagnostics},
    document::{
        API_VERSION, AgentDocument, EndpointGroupDocument, HostPolicyDocument,
        case::PolicyTestDocument,
    },
    model::Policy,
    shape, words,
    yaml::{self, Node, Value},
};

/// The documents of a policy, checked.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// What they say.
    pub policy: Policy,
    /// What is perhaps not meant so.
    pub warnings: Diagnostics,
}

/// Reads and checks the documents of all files: pairs of a path, for diagnostics, and what is in
/// it. Of a file above [`SOURCE_BYTES_MAX`](super::limits::SOURCE_BYTES_MAX) nothing is read.
///
/// # Errors
/// Everything that is wrong, warnings included, sorted by file and line.
pub fn load<P, T>(sources: &[(P, T)]) -> Result<Documents, Diagnostics>
where
    P: AsRef<str>,
    T: AsRef<[u8]>,
{
    let mut out = Diagnostics::default();
    let mut policy = Policy::default();
    for (path, bytes) in sources {
        let file: Arc<str> = path.as_ref().into();
        for node in yaml::read(&file, bytes.as_ref(), &mut out) {
            document(&file, &node, &mut policy, &mut out);
        }
    }
    check::refuse_duplicates(&policy, &mut out);
    check::check_delegations(&policy, &mut out);
    check::report_groups(&mut policy, &mut out);
    out.sort();
    let (policy, warnings) = out.unless_errors(policy)?;
    Ok(Documents { policy, warnings })
}

fn document(file: &Arc<str>, node: &Node, policy: &mut Policy, out: &mut Diagnostics) {
    if matches!(node.value, Value::Null) {
        return;
    }
    let at = node.place(file);
    let Some(kind) = kind(file, node, out) else {
        return;
    };
    match kind {
        Kind::Agent => {
            let shaped = shape::read::<AgentDocument>(file, node, out);
            policy.agents.extend(shaped.and_then(|shaped| {
                let mut checker = Checker { file, out, is_whole: shaped.is_whole };
                checker.agent(shaped.value, &at)
            }));
        }
        Kind::EndpointGroup => {
            let shaped = shape::read::<EndpointGroupDocument>(file, node, out);
            policy.groups.extend(shaped.and_then(|shaped| {
                let mut checker = Checker { file, out, is_whole: shaped.is_whole };
                checker.group(shaped.value, &at)
            }));
        }
        Kind::PolicyTest => {
            let shaped = shape::read::<PolicyTestDocument>(file, node, out);
            policy.tests.extend(shaped.and_then(|shaped| {
                let mut checker = Checker { file, out, is_whole: shaped.is_whole };
                checker.test(shaped.value, &at)
            }));
        }
        Kind::HostPolicy => {
            let shaped = shape::read::<HostPolicyDocument>(file, node, out);
            policy.hosts.extend(shaped.and_then(|shaped| {
                let mut checker = Checker { file, out, is_whole: shaped.is_whole };
                checker.host(shaped.value, &at)
            }));
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Agent,
    EndpointGroup,
    HostPolicy,
    PolicyTest,
}

/// The kind of a document whose version is known too.
fn kind(file: &Arc<str>, node: &Node, out: &mut Diagnostics) -> Option<Kind> {
    let at = node.place(file);
    if !matches!(node.value, Value::Map(_)) {
        let message = "a policy document is a mapping with apiVersion, kind, metadata and spec";
        out.push(Diagnostic::error(Code::WrongType, &at, message));
        return None;
    }
    let mut missing = |name: &str, hint: &str| {
        let message = format!("the field `{name}` is missing");
        out.push(Diagnostic::error(Code::MissingField, &at, message).hint(hint.to_owned()));
    };
    let version = node.field("apiVersion");
    if version.is_none() {
        missing("apiVersion", "add `apiVersion: governd.dev/v1`");
    }
    let Some(kind) = node.field("kind") else {
        missing("kind", "add `kind: Agent` or `kind: HostPolicy`");
        return None;
    };
    let version = version?;
    if !matches!(&version.value, Value::Text(text) if text == API_VERSION) {
        let message = "this apiVersion is not known";
        let place = version.place(file);
        out.push(
            Diagnostic::error(Code::UnknownKind, &place, message)
                .hint(format!("write {API_VERSION}")),
        );
        return None;
    }
    let known = ["Agent", "EndpointGroup", "HostPolicy", "PolicyTest"];
    let text = match &kind.value {
        Value::Text(text) | Value::Number(text) => text.as_str(),
        _ => "",
    };
    match text {
        "Agent" => Some(Kind::Agent),
        "EndpointGroup" => Some(Kind::EndpointGroup),
        "HostPolicy" => Some(Kind::HostPolicy),
        "PolicyTest" => Some(Kind::PolicyTest),
        _ => {
            let hint = match words::nearest(text, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the kinds are {}", words::list(&known)),
            };
            let message = format!("the kind `{text}` is not known");
            let place = kind.place(file);
            out.push(Diagnostic::error(Code::UnknownKind, &place, message).hint(hint));
            None
        }
    }
}
