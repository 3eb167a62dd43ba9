//! Runtimes, indexed by what they are compared with.

use std::collections::{HashMap, HashSet};

use super::{
    command::{Command, Target, file_name},
    entry::{Ecosystem, Runtime, RuntimeKind, RuntimeMatch, Weight},
    glob,
};

/// Bytes of a command line that are compared.
const LINE_BYTES_MAX: usize = 8_192;

/// Runtimes, indexed.
#[derive(Clone, Debug, Default)]
pub(super) struct Runtimes {
    entries: Vec<Runtime>,
    exe_names: Index,
    exe_paths: Index,
    argv: Index,
    npm: Index,
    pypi: Index,
    ports: HashMap<u16, Vec<usize>>,
    env: Index,
}

/// Patterns without a star by hash, and the others in order.
#[derive(Clone, Debug, Default)]
struct Index {
    plain: HashMap<Box<str>, Vec<usize>>,
    globs: Vec<Glob>,
}

/// Every exec of the host is compared with hundreds of these. Most begin otherwise, which its byte
/// says without a look at the pattern, elsewhere in memory.
#[derive(Clone, Debug)]
struct Glob {
    first: u8,
    pattern: Box<str>,
    entry: usize,
}

impl Glob {
    fn matches(&self, text: &str) -> bool {
        let may_match = self.first == b'*' || text.as_bytes().first() == Some(&self.first);
        may_match && glob::matches(&self.pattern, text)
    }
}

impl Index {
    fn insert(&mut self, pattern: &str, entry: usize) {
        match pattern.as_bytes().first() {
            Some(&first) if pattern.contains('*') => {
                self.globs.push(Glob { first, pattern: pattern.into(), entry });
            }
            _ => self.plain.entry(pattern.into()).or_default().push(entry),
        }
    }

    fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let plain = self.plain.get(text).into_iter().flatten().copied();
        let fits = self.globs.iter().filter(move |glob| glob.matches(text));
        plain.chain(fits.map(|glob| glob.entry))
    }

    /// What names the text itself, or else the patterns that it fits.
    fn most_exact(&self, text: &str) -> Vec<usize> {
        match self.plain.get(text) {
            Some(plain) => plain.clone(),
            None => self.find(text).collect(),
        }
    }
}

impl Runtimes {
    pub(super) fn new(entries: Vec<Runtime>) -> Self {
        let mut runtimes = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            let pattern = &*entry.pattern;
            match entry.matching {
                RuntimeMatch::Exe if pattern.contains('/') => {
                    runtimes.exe_paths.insert(pattern, index);
                }
                RuntimeMatch::Exe => runtimes.exe_names.insert(pattern, index),
                RuntimeMatch::Argv => runtimes.argv.insert(pattern, index),
                RuntimeMatch::Npm => runtimes.npm.insert(&pattern.to_ascii_lowercase(), index),
                RuntimeMatch::Pypi => runtimes.pypi.insert(&normal_pypi(pattern), index),
                RuntimeMatch::Port => {
                    if let Ok(port) = pattern.parse() {
                        runtimes.ports.entry(port).or_default().push(index);
                    }
                }
                RuntimeMatch::Env => runtimes.env.insert(pattern, index),
            }
        }
        Self { entries, ..runtimes }
    }

    pub(super) fn entries(&self) -> &[Runtime] {
        &self.entries
    }

    pub(super) fn exe(&self, path: &str) -> Vec<&Runtime> {
        let package = Command::npm_package_of(path);
        self.collect(
            self.exe_paths
                .find(path)
                .chain(self.exe_names.find(file_name(path)))
                .chain(package.into_iter().flat_map(|name| self.npm.most_exact(name))),
        )
    }

    pub(super) fn argv(&self, args: &[String]) -> Vec<&Runtime> {
        let Some(first) = args.first() else { return Vec::new() };
        if let Some(image) = Command::container_image(args) {
            // What else the line says is of the container, such as its volumes and its name.
            let line = format!("docker run {image}");
            return self.collect(self.argv.find(&line));
        }
        let whole = line(first, args);
        let short = line(file_name(first), args);
        let mut found: Vec<usize> = self.argv.find(&short).collect();
        if whole != short {
            found.extend(self.argv.find(&whole));
        }
        found.extend(self.exe_paths.find(first));
        found.extend(self.exe_names.find(file_name(first)));
        let command = Command::parse(args);
        match command.target {
            Some(Target::Script(path)) => {
                // A package's own command mostly has the package's name.
                if command.program.starts_with("python") && path.contains("/bin/") {
                    found.extend(self.pypi.most_exact(&normal_pypi(file_name(path))));
                }
                found.extend(self.exe_paths.find(path));
                found.extend(self.exe_names.find(file_name(path)));
                if let Some(package) = Command::npm_package_of(path) {
                    found.extend(self.npm.most_exact(package));
                }
            }
            Some(Target::Module(module)) => found.extend(self.module(module)),
            Some(Target::Package(ecosystem, name)) => {
                found.extend(self.in_ecosystem(ecosystem, name));
            }
            Some(Target::Class(_) | Target::Inline) | None => {}
        }
        self.collect(found.into_iter())
    }

    pub(super) fn port(&self, port: u16) -> Vec<&Runtime> {
        self.collect(self.ports.get(&port).into_iter().flatten().copied())
    }

    pub(super) fn model_ports(&self) -> Vec<u16> {
        let is_model = |index: &usize| {
            self.entries.get(*index).is_some_and(|entry| {
                entry.kind == RuntimeKind::LocalModelServer && entry.weight > Weight::Weak
            })
        };
        let ports = self.ports.iter().filter(|(_, entries)| entries.iter().any(is_model));
        let mut ports: Vec<u16> = ports.map(|(port, _)| *port).collect();
        ports.sort_unstable();
        ports
    }

    pub(super) fn env(&self, name: &str) -> Vec<&Runtime> {
        self.collect(self.env.most_exact(name).into_iter())
    }

    pub(super) fn package(&self, ecosystem: Ecosystem, name: &str) -> Vec<&Runtime> {
        self.collect(self.in_ecosystem(ecosystem, name).into_iter())
    }

    fn in_ecosystem(&self, ecosystem: Ecosystem, name: &str) -> Vec<usize> {
        match ecosystem {
            Ecosystem::Npm => {
                let name = name.to_ascii_lowercase();
                let end =
                    name.get(1..).and_then(|rest| rest.find('@')).map_or(name.len(), |at| at + 1);
                self.npm.most_exact(name.get(..end).unwrap_or_default())
            }
            Ecosystem::Pypi => {
                let end = name.find(['[', '=', '<', '>', '~', '!', '@', ';', ' ']);
                let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
                self.pypi.most_exact(&normal_pypi(name))
            }
        }
    }

    pub(super) fn of_module(&self, module: &str) -> Vec<&Runtime> {
        self.collect(self.module(module).into_iter())
    }

    /// A Python module belongs to the package of its own name, or to one that is called otherwise.
    fn module(&self, module: &str) -> Vec<usize> {
        const OTHER_NAMES: &[(&str, &str)] = &[
            ("aider", "aider-chat"),
            ("camel", "camel-ai"),
            ("google.adk", "google-adk"),
            ("haystack", "haystack-ai"),
            ("interpreter", "open-interpreter"),
            ("llama_cpp", "llama-cpp-python"),
            ("mem0", "mem0ai"),
            ("minisweagent", "mini-swe-agent"),
            ("openhands", "openhands-ai"),
            ("pipecat", "pipecat-ai"),
            ("strands", "strands-agents"),
            ("whisper", "openai-whisper"),
        ];
        let top = module.split('.').next().unwrap_or(module);
        let is_within = |name: &str| {
            module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let other = OTHER_NAMES.iter().find(|(name, _)| is_within(name));
        let other = other.map(|(_, package)| *package);
        let mut found = self.pypi.most_exact(&normal_pypi(top));
        found.extend(other.into_iter().flat_map(|package| self.pypi.most_exact(package)));
        found
    }

    fn collect(&self, indices: impl Iterator<Item = usize>) -> Vec<&Runtime> {
        let mut seen = HashSet::new();
        let entry = |index| seen.insert(index).then(|| self.entries.get(index)).flatten();
        indices.filter_map(entry).collect()
    }
}

/// The command line as one text, cut to the limit.
fn line(first: &str, args: &[String]) -> String {
    let mut line = first.to_owned();
    for argument in args.iter().skip(1) {
        if line.len() + argument.len() >= LINE_BYTES_MAX {
            break;
        }
        line.push(' ');
        line.push_str(argument);
    }
    line
}

/// A package's name as PyPI compares it (PEP 503): lower case, `-` for each run of `-`, `_`, `.`.
fn normal_pypi(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for symbol in name.chars() {
        let symbol = if matches!(symbol, '_' | '.') { '-' } else { symbol.to_ascii_lowercase() };
        if symbol != '-' || !normal.ends_with('-') {
            normal.push(symbol);
        }
    }
    normal
}
