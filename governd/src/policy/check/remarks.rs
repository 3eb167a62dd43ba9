//! Destinations that are valid, and perhaps wider or others than was meant.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        model::{EndpointGroup, Policy},
        value::{group::GroupRef, idn, name},
    },
    Checker, Code, Diagnostic, Diagnostics, HostPattern, Located, Placed, Target,
};

impl Checker<'_> {
    /// What there is to say of a list whose destinations may be reached.
    pub(super) fn remarks(&self, list: &Located<Vec<Located<String>>>) -> Diagnostics {
        let mut found = Diagnostics::default();
        for one in &list.value {
            let is_wildcard = one.value.starts_with('*');
            let is_international = !one.value.is_ascii() || one.value.contains("xn--");
            if !is_wildcard && !is_international {
                continue;
            }
            let Ok(Target::Name(pattern)) = Target::parse(&one.value) else { continue };
            for (code, message, hint) in wide(&pattern).into_iter().chain(mixed(&pattern)) {
                found.push(Diagnostic::warning(code, &self.place(one), message).hint(hint));
            }
        }
        found
    }
}

/// Code, message and hint.
type Remark = (Code, String, String);

/// Wildcards under which anybody can get a name.
fn wide(pattern: &HostPattern) -> Option<Remark> {
    let base = pattern.base();
    let (code, message) = match () {
        () if !pattern.is_wildcard() => return None,
        () if name::is_public_suffix(base) => {
            (Code::PublicSuffix, format!("anybody can register a name below `{base}`"))
        }
        () if name::is_shared_domain(base) => {
            (Code::SharedDomain, format!("every customer of a cloud has names below `{base}`"))
        }
        () => return None,
    };
    Some((code, message, format!("name the domain that is meant, such as *.your-name.{base}")))
}

/// Names with letters that pass for others.
fn mixed(pattern: &HostPattern) -> Option<Remark> {
    let label = idn::mixed_label(pattern.base())?;
    let message = format!("`{label}` has letters of several alphabets, which look alike");
    let hint = format!("it is {pattern}; make sure that this is the name that is meant");
    Some((Code::MixedScript, message, hint))
}

/// Reports what there is to say of the members of groups, but of those that rules only close.
pub(crate) fn report_groups(policy: &mut Policy, out: &mut Diagnostics) {
    let rules = || policy.agents.iter().flat_map(|agent| &agent.rules);
    let used = reached(&policy.groups, rules().flat_map(|rule| &rule.groups));
    let opening = rules().filter(|rule| rule.tier.opens());
    let opened = reached(&policy.groups, opening.flat_map(|rule| &rule.groups));
    let is_meant: Vec<bool> = policy
        .groups
        .iter()
        .map(|group| opened.contains(&*group.name) || !used.contains(&*group.name))
        .collect();
    for (group, is_meant) in policy.groups.iter_mut().zip(is_meant) {
        let remarks = std::mem::take(&mut group.remarks);
        if is_meant {
            out.extend(remarks);
        }
    }
}

/// The groups that some references lead to, those included that others include.
fn reached<'p>(
    groups: &'p [EndpointGroup],
    from: impl Iterator<Item = &'p Placed<GroupRef>>,
) -> HashSet<&'p str> {
    let known: HashMap<&str, &EndpointGroup> =
        groups.iter().map(|group| (&*group.name, group)).collect();
    let name = |reference: &'p Placed<GroupRef>| match &reference.value {
        GroupRef::Named(name) => Some(&**name),
        GroupRef::Catalogue { .. } => None,
    };
    let mut found = HashSet::new();
    let mut open: Vec<&str> = from.filter_map(name).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            let included = known.get(next).into_iter().flat_map(|group| &group.groups);
            open.extend(included.filter_map(name));
        }
    }
    found
}
