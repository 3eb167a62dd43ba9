//! Who answers for an agent, and what was approved.

use std::sync::Arc;

use super::Checker;
use crate::policy::{
    diagnostic::{Code, Diagnostic, Place},
    document::{ApprovalDocument, OwnerDocument, PersonDocument, ProvenanceDocument},
    limits::{PERSON_NAME_BYTES_MAX, TEXT_BYTES_MAX},
    model::{Approval, Person},
    shape::Located,
    value::{
        Mail,
        approval::{Day, ImageDigest, Sha256, Version},
    },
};

impl Checker<'_> {
    pub(super) fn missing_owner<T>(&mut self, place: &Place) -> Option<T> {
        if self.is_whole {
            let message = "the agent has no owner, so there is nobody to ask about it";
            let hint = "add `owner: {name: Dana Smith, mail: dana@acme.example}`";
            self.out.push(Diagnostic::error(Code::MissingOwner, place, message).hint(hint));
        }
        None
    }

    /// Who is asked, and where to page.
    pub(super) fn owner(
        &mut self,
        owner: Located<OwnerDocument>,
    ) -> Option<(Person, Option<Arc<str>>)> {
        let Located { value: OwnerDocument { name, mail, page }, line, column } = owner;
        let value = PersonDocument { name, mail };
        let person = self.person(Located { value, line, column });
        let page = page.and_then(|page| self.text(&page));
        Some((person?, page))
    }

    fn person(&mut self, person: Located<PersonDocument>) -> Option<Person> {
        let place = self.place(&person);
        let PersonDocument { name, mail } = person.value;
        let name = self.required(name, "name", &place);
        let mail = self.required(mail, "mail", &place);
        let mail = mail.and_then(|mail| self.mail(&mail));
        let name = name.and_then(|name| {
            let place = self.place(&name);
            let name = name.value.trim();
            if name.is_empty() || name.len() > PERSON_NAME_BYTES_MAX || name.contains('\n') {
                let message =
                    format!("a person's name has from 1 to {PERSON_NAME_BYTES_MAX} bytes");
                self.out.push(Diagnostic::error(Code::BadName, &place, message));
                return None;
            }
            Some(name.into())
        });
        Some(Person { name: name?, mail: mail? })
    }

    fn mail(&mut self, text: &Located<String>) -> Option<Mail> {
        let mail = self.parse(text, Mail::parse)?;
        if mail.is_nobodys() {
            let message = format!("no mail ever reaches `{}`", mail.as_str());
            let hint = "write the name and address of the person who answers for the agent";
            let warning = Diagnostic::warning(Code::NobodysMail, &self.place(text), message);
            self.out.push(warning.hint(hint));
        }
        Some(mail)
    }

    /// A person who answers for something: never a service, a team or a machine.
    pub(super) fn answerable(
        &mut self,
        person: Located<PersonDocument>,
        role: &str,
    ) -> Option<Person> {
        let place = self.place(&person);
        let person = self.person(person)?;
        if person.mail.is_service() {
            let message = format!("`{}` is nobody's own address", person.mail.as_str());
            let hint = format!("{role} is a person, who answers for the agent");
            self.out.push(Diagnostic::error(Code::NotAPerson, &place, message).hint(hint));
            return None;
        }
        Some(person)
    }

    pub(super) fn text(&mut self, text: &Located<String>) -> Option<Arc<str>> {
        if text.value.len() > TEXT_BYTES_MAX {
            let message = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
            self.out.push(Diagnostic::error(Code::Limit, &self.place(text), message));
            return None;
        }
        Some(text.value.as_str().into())
    }

    /// Who approved what.
    pub(super) fn approval(
        &mut self,
        approval: Option<Located<ApprovalDocument>>,
        provenance: Option<Located<ProvenanceDocument>>,
    ) -> Approval {
        let given = approval.map(|approval| self.given(approval)).unwrap_or_default();
        let ProvenanceDocument { sha256, scripts, images, versions } =
            provenance.map(|provenance| provenance.value).unwrap_or_default();
        let versions = versions.map(|list| {
            list.map(|list| {
                list.into_iter().map(|one| one.map(|version| version.0)).collect::<Vec<_>>()
            })
        });
        Approval {
            digests: sha256.map_or_else(Vec::new, |list| self.each("sha256", &list, Sha256::parse)),
            scripts: scripts
                .map_or_else(Vec::new, |list| self.each("scripts", &list, Sha256::parse)),
            images: images
                .map_or_else(Vec::new, |list| self.each("images", &list, ImageDigest::parse)),
            versions: versions
                .map_or_else(Vec::new, |list| self.each("versions", &list, Version::parse)),
            ..given
        }
    }

    fn given(&mut self, approval: Located<ApprovalDocument>) -> Approval {
        let place = self.place(&approval);
        let ApprovalDocument { by, on, ticket } = approval.value;
        let by = self.required(by, "by", &place);
        let on = self.required(on, "on", &place);
        Approval {
            by: by.and_then(|by| self.answerable(by, "who approves")),
            on: on.and_then(|day| self.parse(&day, Day::parse)),
            ticket: ticket.and_then(|ticket| self.text(&ticket)),
            ..Approval::default()
        }
    }
}
