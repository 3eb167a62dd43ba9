//! What processes are recognised by.

use super::{
    super::{
        document::{MatchDocument, OneOrMany},
        model::Match,
        value::container::{ContainerMatch, ImagePattern, Namespace, ServiceAccount},
    },
    Cgroup, Checker, Code, Diagnostic, Executable, Located, Place, Placed, Script, User,
    host::Labels,
    name,
};

impl Checker<'_> {
    pub(super) fn matches(
        &mut self,
        matches: Option<Located<Vec<Located<MatchDocument>>>>,
        at: &Place,
    ) -> Vec<Match> {
        let Some(matches) = self.required(matches, "match", at) else {
            return Vec::new();
        };
        if matches.value.is_empty() && self.is_whole {
            let message = "the list is empty: no process would ever be this agent";
            self.out.push(
                Diagnostic::error(Code::EmptyMatch, &self.place(&matches), message)
                    .hint("add an entry such as `- exe: /opt/agent/bin/agent`"),
            );
        }
        matches.value.into_iter().filter_map(|one| self.one_match(one)).collect()
    }

    fn one_match(&mut self, one: Located<MatchDocument>) -> Option<Match> {
        let place = self.place(&one);
        let MatchDocument {
            exe,
            script,
            user,
            cgroup,
            image,
            namespace,
            service_account,
            labels,
            parent,
        } = one.value;
        let says_container =
            image.is_some() || namespace.is_some() || service_account.is_some() || labels.is_some();
        let says_program = exe.is_some() || script.is_some();
        if !says_program && user.is_none() && cgroup.is_none() && !says_container {
            if self.is_whole {
                let message = match parent {
                    Some(_) => "the entry would match all that the parent starts",
                    None => "the entry says nothing, and would match every process",
                };
                self.out.push(
                    Diagnostic::error(Code::EmptyMatch, &place, message)
                        .hint("name an `exe`, a `user`, a `cgroup` or an `image`"),
                );
            }
            return None;
        }
        let exes = match exe {
            None => Vec::new(),
            Some(exe) => self.some(exe, "name an executable", Executable::parse)?,
        };
        let scripts = match script {
            None => Vec::new(),
            Some(script) => self.some(script, "name a script", Script::parse)?,
        };
        let user = match user {
            None => None,
            Some(user) => {
                let value = self.parse(&user.as_ref().map(|user| user.0.clone()), User::parse);
                Some(Placed { value: value?, place: self.place(&user) })
            }
        };
        let cgroup = match cgroup {
            None => None,
            Some(cgroup) => {
                let value = self.parse(&cgroup, Cgroup::parse);
                Some(Placed { value: value?, place: self.place(&cgroup) })
            }
        };
        let container = self.container(image, namespace, service_account, labels)?;
        let parent = match parent {
            None => None,
            Some(parent) => {
                self.parse(&parent, name::check_document_name)?;
                Some(Placed { value: parent.value.as_str().into(), place: self.place(&parent) })
            }
        };
        Some(Match { place, exes, scripts, user, cgroup, container, parent })
    }

    fn container(
        &mut self,
        image: Option<Located<OneOrMany>>,
        namespace: Option<Located<String>>,
        service_account: Option<Located<String>>,
        labels: Option<Labels>,
    ) -> Option<ContainerMatch> {
        let images = match image {
            None => Vec::new(),
            Some(image) => {
                let images = self.some(image, "name an image", ImagePattern::parse)?;
                images.into_iter().map(|image| image.value).collect()
            }
        };
        let namespace = match namespace {
            None => None,
            Some(namespace) => Some(self.parse(&namespace, Namespace::parse)?),
        };
        let service_account = match service_account {
            None => None,
            Some(account) => Some(self.parse(&account, ServiceAccount::parse)?),
        };
        let wanted = labels.as_ref().map(|labels| (self.place(labels), labels.value.len()));
        let labels = self.labels(labels);
        if let Some((place, written)) = wanted {
            if written == 0 && self.is_whole {
                let message = "there is no label: every pod would have them";
                let hint = "name a label, such as {app: invoice-bot}, or remove the field";
                self.out.push(Diagnostic::error(Code::EmptyMatch, &place, message).hint(hint));
            }
            // One that cannot be read is reported, and must not make the entry say less.
            if written == 0 || labels.len() < written {
                return None;
            }
        }
        Some(ContainerMatch { images, namespace, service_account, labels })
    }

    /// A text or a list of texts; an empty list would match nothing.
    fn some<T>(
        &mut self,
        texts: Located<OneOrMany>,
        what: &str,
        parse: impl Fn(&str) -> Result<T, super::Fault>,
    ) -> Option<Vec<Placed<T>>> {
        let place = self.place(&texts);
        let Located { value, line, column } = texts;
        let list = match value {
            OneOrMany::One(value) => vec![Located { value, line, column }],
            OneOrMany::Many(many) => many,
        };
        if list.is_empty() {
            let message = "the list is empty: the entry would match no process";
            let hint = format!("{what}, or remove the field to match any");
            self.out.push(Diagnostic::error(Code::EmptyMatch, &place, message).hint(hint));
            return None;
        }
        let parsed: Vec<_> = list
            .iter()
            .map(|one| Some(Placed { value: self.parse(one, &parse)?, place: self.place(one) }))
            .collect();
        parsed.into_iter().collect()
    }
}
