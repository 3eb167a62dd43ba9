//! What compiling a policy needs to know of the host.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::Deserialize;
use toml::Spanned;

use super::{
    diagnostic::{Code, Diagnostic, Place},
    value::{
        Fault,
        container::{ContainerFacts, ContainerMatch},
        label::{Environment, LabelKey, LabelValue},
        process::Cgroup,
    },
};

/// What a host says of itself, for selectors of host policies.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct HostLabels {
    /// Where it belongs.
    pub environment: Option<Environment>,
    /// Its labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
}

/// The file in which a host says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFile {
    environment: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl HostLabels {
    /// Reads a host's file, which is TOML.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(file: &Arc<str>, text: &str) -> Result<Self, Diagnostic> {
        let at = |byte: usize| {
            let before = text.get(..byte).unwrap_or_default();
            let line = before.rsplit('\n').next().unwrap_or_default();
            let (line, column) = (before.matches('\n').count(), line.chars().count());
            Place { file: Arc::clone(file), line: line as u32 + 1, column: column as u32 + 1 }
        };
        let HostFile { environment, labels } = toml::from_str(text).map_err(|error| {
            let place = at(error.span().map_or(0, |span| span.start));
            let hint = "it has `environment = \"…\"` and a table `[labels]` of texts";
            Diagnostic::error(Code::BadHostFile, &place, error.message()).hint(hint)
        })?;
        fn read<T>(
            text: &Spanned<String>,
            parse: impl Fn(&str) -> Result<T, Fault>,
            at: impl Fn(usize) -> Place,
        ) -> Result<T, Diagnostic> {
            parse(text.get_ref()).map_err(|fault| fault.at(&at(text.span().start)))
        }
        let environment =
            environment.map(|text| read(&text, Environment::parse, at)).transpose()?;
        let label = |(key, value): (&Spanned<String>, &Spanned<String>)| {
            Ok((read(key, LabelKey::parse, at)?, read(value, LabelValue::parse, at)?))
        };
        let labels = labels.iter().map(label).collect::<Result<_, Diagnostic>>()?;
        Ok(Self { environment, labels })
    }

    /// The file cannot be read.
    pub fn unreadable(file: &Arc<str>, error: &std::io::Error) -> Diagnostic {
        let place = Place { file: Arc::clone(file), line: 0, column: 0 };
        let message = format!("what this host is cannot be read: {error}");
        Diagnostic::error(Code::BadHostFile, &place, message)
            .hint("make it a readable file, or name another one with --host-file")
    }
}

/// Facts of the host, answered by the workload room and by tables in tests.
pub trait Host {
    /// Device (`s_dev`) and inode of an executable or a script, symbolic links followed; `None` if
    /// there is no such file.
    fn executable(&self, path: &Path) -> Option<(u32, u64)>;
    /// Whether the file begins with `#!`: the kernel then runs the interpreter that it names, and
    /// the process has the interpreter's executable. A host that does not know says no.
    fn is_script(&self, _path: &Path) -> bool {
        false
    }
    /// What [`Host::executable`] says, of one that belongs to root and that nobody else may write.
    fn system_executable(&self, path: &Path) -> Option<(u32, u64)>;
    /// User id of a user name.
    fn user(&self, name: &str) -> Option<u32>;
    /// cgroup v2 ids of the cgroups that a path (below the mount, leading slash, `*` matches within
    /// one component) names now.
    fn cgroups(&self, pattern: &str) -> Vec<u64>;
    /// cgroup v2 ids of the containers that run now and are as wanted; of each what lies in the
    /// cgroups that `within` names, where it is given. A host that knows of no container has none.
    fn containers(&self, _wanted: &ContainerMatch, _within: Option<&Cgroup>) -> Vec<u64> {
        Vec::new()
    }
    /// Ids that [`Host::containers`] gave, or would give, for a container of the past. A host that
    /// remembers none has none.
    fn containing(&self, _facts: &ContainerFacts) -> Vec<u64> {
        Vec::new()
    }
    /// cgroup v2 ids of the containers that run now and of which nobody knows yet what they are.
    fn unclassified(&self) -> Vec<u64> {
        Vec::new()
    }
    /// Addresses of the resolvers that this host trusts by its own configuration.
    fn resolvers(&self) -> Vec<std::net::IpAddr>;
    /// Domains that resolvers of this host append to names (resolv.conf(5), `search`).
    fn search_domains(&self) -> Vec<String>;
    /// Host name, for selectors of host policies.
    fn name(&self) -> &str;
    /// Environment and labels of the host, by its own configuration.
    ///
    /// # Errors
    /// The configuration is wrong, so that nobody knows which policy is meant.
    fn labels(&self) -> Result<HostLabels, Diagnostic> {
        Ok(HostLabels::default())
    }
}
