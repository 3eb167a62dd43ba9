//! What a process is, by its executable and command line.

use std::sync::Arc;

use super::{
    Sighting,
    evidence::{Sign, Signal},
    ordinary,
};
use crate::catalog::{Catalog, Command, Runtime, RuntimeKind, Target, Weight};

/// What can become of a process in the inventory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Nature {
    /// The catalogue knows it.
    Runtime,
    /// A program or script like any other.
    Program,
    /// Fetches what somebody names: evidence about its caller.
    Fetcher,
    /// A browser: its user decides where it goes.
    Browser,
    /// Never an agent.
    Ordinary,
}

/// A process's identity and what speaks for it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) nature: Nature,
    /// The product, or the name of the script, module or program.
    pub(super) name: Arc<str>,
    /// What the product is.
    pub(super) kind: Option<RuntimeKind>,
    /// What stays the same when it is started again.
    pub(super) program: String,
    pub(super) signs: Vec<Sign>,
    /// The catalogue's entry is for many tool servers: this one is called by its package.
    pub(super) is_one_of_many: bool,
}

impl Identity {
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self.nature, Nature::Ordinary | Nature::Browser)
    }
}

pub(super) fn identify(catalog: &Catalog, sighting: &Sighting<'_>) -> Identity {
    let process = &sighting.actor.process;
    let path = process.exe.as_ref().map(|exe| exe.path.to_string_lossy()).unwrap_or_default();
    let file = file_name(&path);
    let args = process.args.as_deref().unwrap_or_default();
    let command = Command::parse(args);
    let mut found = Found::default();
    for entry in catalog.lookup_exe(&path) {
        found.add(Signal::Executable, entry, &path);
    }
    let line = short_line(args);
    for entry in catalog.lookup_argv(args) {
        found.add(Signal::CommandLine, entry, &line);
    }
    let script = match command.target {
        Some(Target::Script(script)) => file_name(script),
        Some(Target::Module(module) | Target::Class(module)) => module,
        // npm and its like take the place of their own command line.
        None if file == "node" && matches!(command.program, "npm" | "npx" | "pnpm" | "yarn") => {
            command.program
        }
        _ => "",
    };
    let is_known = found.best.is_some_and(|entry| entry.weight > Weight::Weak);
    let name = if file.is_empty() { process.name.as_str() } else { file };
    let nature = match (found.best, is_known) {
        (_, true) => Nature::Runtime,
        _ if ordinary::is_browser(name) => Nature::Browser,
        _ if ordinary::is_fetcher(name) => Nature::Fetcher,
        _ if ordinary::is_ordinary(name) || ordinary::is_ordinary(script) => Nature::Ordinary,
        (Some(_), false) => Nature::Runtime,
        (None, _) => Nature::Program,
    };
    if nature == Nature::Program && command.target.is_some_and(is_own_code) {
        found.signs.push(interpreted(&line));
    }
    let own = target_text(&command);
    let best = found.best.filter(|_| nature == Nature::Runtime);
    match best {
        Some(entry) if is_known && is_of_many(entry) => {
            one_of_many(entry, package_name(&command, name), found.signs)
        }
        Some(entry) => Identity {
            nature,
            name: Arc::clone(&entry.name),
            kind: Some(entry.kind),
            program: match is_known {
                true => format!("product {}", entry.name),
                false => format!("file {path}{own}"),
            },
            signs: found.signs,
            is_one_of_many: false,
        },
        None => Identity {
            nature,
            name: own_name(&command, name).into(),
            kind: None,
            program: format!("file {}{own}", if path.is_empty() { name } else { &path }),
            signs: found.signs,
            is_one_of_many: false,
        },
    }
}

/// Catalogue entries that match a process.
#[derive(Default)]
struct Found<'a> {
    best: Option<&'a Runtime>,
    signs: Vec<Sign>,
}

impl<'a> Found<'a> {
    fn add(&mut self, signal: Signal, entry: &'a Runtime, value: &str) {
        if entry.kind == RuntimeKind::CodingAgentRisk {
            self.signs.push(Sign::of_runtime(Signal::Risk, entry, value));
            return;
        }
        if !entry.kind.is_agentic() {
            return;
        }
        let sign = Sign::of_runtime(signal, entry, value);
        let same = |one: &&mut Sign| one.signal == signal && one.name == sign.name;
        match self.signs.iter_mut().find(same) {
            Some(known) if known.weight >= sign.weight => {}
            Some(known) => *known = sign,
            None => self.signs.push(sign),
        }
        let rank = |entry: &Runtime| (entry.weight, !is_generic(entry), precedence(entry.kind));
        if self.best.is_none_or(|best| rank(entry) > rank(best)) {
            self.best = Some(entry);
        }
    }
}

/// Entries for whatever follows a naming habit, such as `mcp-generic`.
fn is_generic(entry: &Runtime) -> bool {
    entry.name.ends_with("-generic") || entry.name.ends_with("-sdk")
}

/// Entries for tool servers of many names, such as `mcp-reference-servers`.
fn is_of_many(entry: &Runtime) -> bool {
    entry.kind == RuntimeKind::McpServer && (is_generic(entry) || entry.name.ends_with("-servers"))
}

fn one_of_many(entry: &Runtime, package: &str, signs: Vec<Sign>) -> Identity {
    Identity {
        nature: Nature::Runtime,
        name: package.into(),
        kind: Some(entry.kind),
        program: format!("package {package}"),
        signs,
        is_one_of_many: true,
    }
}

/// The package that a command runs, without its version, or else what it is called by itself.
fn package_name<'a>(command: &Command<'a>, name: &'a str) -> &'a str {
    match command.target {
        Some(Target::Package(_, package)) => {
            let version = package.rfind('@').filter(|at| *at > 0);
            version.and_then(|at| package.get(..at)).unwrap_or(package)
        }
        Some(Target::Script(script)) => {
            Command::npm_package_of(script).unwrap_or_else(|| file_name(script))
        }
        _ => own_name(command, name),
    }
}

/// Which kind names a process that is several things.
fn precedence(kind: RuntimeKind) -> u8 {
    match kind {
        RuntimeKind::CodingAgent | RuntimeKind::GeneralAgent => 6,
        RuntimeKind::AgentDesktopApp | RuntimeKind::LocalModelServer => 5,
        RuntimeKind::McpServer | RuntimeKind::McpGateway | RuntimeKind::LlmGateway => 4,
        RuntimeKind::AgentPlatform | RuntimeKind::AgentUi | RuntimeKind::LlmCli => 3,
        RuntimeKind::AgentFramework => 2,
        _ => 1,
    }
}

/// A script or module of one's own: weak, and independent of where it connects.
fn interpreted(line: &str) -> Sign {
    Sign {
        signal: Signal::CommandLine,
        name: "script".to_owned(),
        value: line.to_owned(),
        weight: Weight::Weak,
        source: "command line".to_owned(),
    }
}

fn is_own_code(target: Target<'_>) -> bool {
    match target {
        Target::Script(script) => !ordinary::is_ordinary(file_name(script)),
        Target::Module(module) => {
            !matches!(module, "venv" | "ensurepip" | "http.server" | "pytest" | "unittest")
        }
        // Large servers and tools are started so.
        Target::Class(_) => false,
        Target::Inline | Target::Package(..) => true,
    }
}

fn target_text(command: &Command<'_>) -> String {
    match command.target {
        Some(Target::Script(script)) => format!(" script {script}"),
        Some(Target::Module(module)) => format!(" module {module}"),
        Some(Target::Class(class)) => format!(" class {class}"),
        Some(Target::Package(ecosystem, name)) => format!(" {} {name}", ecosystem.word()),
        Some(Target::Inline) => " inline code".to_owned(),
        None => String::new(),
    }
}

fn own_name<'a>(command: &Command<'a>, name: &'a str) -> &'a str {
    match command.target {
        Some(Target::Script(script)) => file_name(script),
        Some(Target::Module(module) | Target::Class(module)) => module,
        Some(Target::Package(_, package)) => package,
        Some(Target::Inline) | None => name,
    }
}

fn short_line(args: &[String]) -> String {
    const CHARS_MAX: usize = 160;
    let mut line = args.join(" ");
    if let Some((at, _)) = line.char_indices().nth(CHARS_MAX) {
        line.truncate(at);
        line.push('…');
    }
    line
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
