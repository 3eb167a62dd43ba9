//! Endpoint groups, and the lists of destinations that rules and groups have.

use super::{
    super::{
        document::{EndpointGroupDocument, GroupSpec, Scalar},
        limits::PORT_RANGES_MAX,
        model::EndpointGroup,
        value::group::{GroupRef, Item},
    },
    Checker, Code, Diagnostic, Located, Place, Placed, Ports, Target,
};

impl Checker<'_> {
    /// An endpoint group; `at` is where the document begins.
    pub(crate) fn group(
        &mut self,
        document: EndpointGroupDocument,
        at: &Place,
    ) -> Option<EndpointGroup> {
        let EndpointGroupDocument { api_version: _, kind: _, metadata, spec } = document;
        let name = self.name(metadata, at);
        let spec = self.required(spec, "spec", at)?;
        let place = self.place(&spec);
        let GroupSpec { endpoints, ports } = spec.value;
        let ports = ports.map(|ports| self.ports(ports));
        let list = self.required(endpoints, "endpoints", &place)?;
        let (targets, groups) = self.items("endpoints", &list);
        let remarks = self.remarks(&list);
        let (name, place) = name?;
        Some(EndpointGroup { name, place, targets, groups, ports, remarks })
    }

    /// Destinations and groups of a list.
    pub(super) fn items(
        &mut self,
        field: &str,
        list: &Located<Vec<Located<String>>>,
    ) -> (Vec<Target>, Vec<Placed<GroupRef>>) {
        if list.value.is_empty() && self.is_whole {
            let message = format!("`{field}` is empty, and so matches nothing");
            let hint = "fill it, or remove what it belongs to";
            let place = self.place(list);
            self.out.push(Diagnostic::warning(Code::EmptyList, &place, message).hint(hint));
        }
        let (mut targets, mut groups) = (Vec::new(), Vec::new());
        for one in &list.value {
            match self.parse(one, Item::parse) {
                Some(Item::Target(target)) => targets.push(target),
                Some(Item::Group(value)) => groups.push(Placed { value, place: self.place(one) }),
                None => {}
            }
        }
        (targets, groups)
    }

    /// Ports, sorted and merged.
    pub(super) fn ports(&mut self, ports: Located<Vec<Located<Scalar>>>) -> Vec<Ports> {
        let text = |port: Located<Scalar>| port.map(|Scalar(text)| text);
        let texts: Located<Vec<_>> = ports.map(|list| list.into_iter().map(text).collect());
        let merged = Ports::merge(self.each("ports", &texts, Ports::parse));
        if merged.len() > PORT_RANGES_MAX {
            let message = format!("the list has more than {PORT_RANGES_MAX} ranges of ports");
            let place = self.place(&texts);
            let hint = "name wider ranges, or leave `ports` out";
            self.out.push(Diagnostic::error(Code::Limit, &place, message).hint(hint));
            return Vec::new();
        }
        merged
    }
}
