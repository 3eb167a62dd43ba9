//! What coding agents are configured to start or call as tool servers (MCP): which files say so,
//! and what is kept of them.
//!
//! Of a server its name is kept, and what it is: a package, a program's file name, or a host. What
//! it is told beside that (arguments, variables, headers, paths of an address) is read over and
//! kept nowhere, since keys are written there.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read},
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use self::uncommented::Uncommented;
use crate::catalog::{Command, Target};

mod uncommented;

/// Servers of one file that are kept.
const SERVERS_MAX: usize = 32;
/// Words of a command that are looked at.
const WORDS_MAX: usize = 64;
/// Bytes of a file in TOML or YAML, which has to be in memory as a whole.
const WHOLE_BYTES_MAX: u64 = 256 * 1_024;
/// Nodes of a document in YAML, and how deep they may stand; what anchors repeat counts.
const NODES_MAX: usize = 20_000;
const NESTING_MAX: usize = 32;
/// Characters of a server's name, and of what it is.
const TEXT_MAX: usize = 96;

/// Where a path begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Base {
    /// The home directory of the process's user.
    Home,
    /// The directory that the process works in.
    Directory,
    /// The root of its file system, for what the host's administrator wrote.
    Root,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// JSON, with comments and commas at ends as editors allow them.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

/// A file in which a product looks for its servers.
#[derive(Clone, Copy, Debug)]
pub struct ToolFile {
    /// What the catalogue calls the product.
    pub product: &'static str,
    /// Where it is.
    pub base: Base,
    /// Path below that.
    pub path: &'static str,
    /// The variable that names another directory in the place of what is above, and the path below
    /// that one.
    pub moved: Option<(&'static str, &'static str)>,
    /// How it is written.
    pub format: Format,
    /// Which key holds the servers.
    key: &'static str,
}

const fn json(
    product: &'static str,
    base: Base,
    path: &'static str,
    key: &'static str,
) -> ToolFile {
    ToolFile { product, base, path, moved: None, format: Format::Json, key }
}

const fn toml(
    product: &'static str,
    base: Base,
    path: &'static str,
    key: &'static str,
) -> ToolFile {
    ToolFile { product, base, path, moved: None, format: Format::Toml, key }
}

/// Where freedesktop.org's base directories are kept to.
const CONFIG_HOME: &str = "XDG_CONFIG_HOME";

/// The key of most products.
const SERVERS: &str = "mcpServers";

/// As the products' own documentation says.
pub const FILES: [ToolFile; 27] = [
    json("claude-code", Base::Home, ".claude.json", SERVERS)
        .moved("CLAUDE_CONFIG_DIR", ".claude.json"),
    json("claude-code", Base::Directory, ".mcp.json", SERVERS),
    json("claude-code", Base::Root, "etc/claude-code/managed-mcp.json", SERVERS),
    json("claude-desktop", Base::Home, ".config/Claude/claude_desktop_config.json", SERVERS),
    toml("codex", Base::Home, ".codex/config.toml", "mcp_servers")
        .moved("CODEX_HOME", "config.toml"),
    toml("codex", Base::Directory, ".codex/config.toml", "mcp_servers"),
    json("cursor", Base::Home, ".cursor/mcp.json", SERVERS),
    json("cursor", Base::Directory, ".cursor/mcp.json", SERVERS),
    json("opencode", Base::Home, ".config/opencode/opencode.json", "mcp")
        .moved(CONFIG_HOME, "opencode/opencode.json"),
    json("opencode", Base::Home, ".config/opencode/opencode.jsonc", "mcp")
        .moved(CONFIG_HOME, "opencode/opencode.jsonc"),
    json("opencode", Base::Directory, "opencode.json", "mcp"),
    json("opencode", Base::Directory, "opencode.jsonc", "mcp"),
    json("gemini-cli", Base::Home, ".gemini/settings.json", SERVERS),
    json("gemini-cli", Base::Directory, ".gemini/settings.json", SERVERS),
    json("gemini-cli", Base::Root, "etc/gemini-cli/settings.json", SERVERS),
    json("qwen-code", Base::Home, ".qwen/settings.json", SERVERS),
    json("qwen-code", Base::Directory, ".qwen/settings.json", SERVERS),
    json("windsurf", Base::Home, ".codeium/windsurf/mcp_config.json", SERVERS),
    json("copilot-cli", Base::Home, ".copilot/mcp-config.json", SERVERS),
    json("vscode-copilot", Base::Home, ".config/Code/User/mcp.json", "servers"),
    json("vscode-copilot", Base::Directory, ".vscode/mcp.json", "servers"),
    json("kiro", Base::Home, ".kiro/settings/mcp.json", SERVERS),
    json("kiro", Base::Directory, ".kiro/settings/mcp.json", SERVERS),
    json("zed", Base::Home, ".config/zed/settings.json", "context_servers")
        .moved(CONFIG_HOME, "zed/settings.json"),
    json("amp", Base::Home, ".config/amp/settings.json", "amp.mcpServers"),
    json("crush", Base::Home, ".config/crush/crush.json", "mcp")
        .moved(CONFIG_HOME, "crush/crush.json"),
    ToolFile {
        product: "goose",
        base: Base::Home,
        path: ".config/goose/config.yaml",
        moved: Some((CONFIG_HOME, "goose/config.yaml")),
        format: Format::Yaml,
        key: "extensions",
    },
];

/// Whether anything is known of where a product keeps its servers.
pub fn is_known(product: &str) -> bool {
    FILES.iter().any(|file| file.product == product)
}

/// The variables that name directories with such files.
pub fn variables() -> BTreeSet<&'static str> {
    FILES.iter().filter_map(|file| file.moved).map(|(variable, _)| variable).collect()
}

impl ToolFile {
    const fn moved(self, variable: &'static str, path: &'static str) -> Self {
        Self { moved: Some((variable, path)), ..self }
    }

    /// What it is called for people, whosever it is and wherever the variable leads that moved it.
    pub fn shown(&self, moved_by: Option<&str>) -> String {
        if let Some((variable, path)) = self.moved.filter(|(name, _)| moved_by == Some(name)) {
            return format!("${variable}/{path}");
        }
        match self.base {
            Base::Home => format!("~/{}", self.path),
            Base::Directory => format!("./{}", self.path),
            Base::Root => format!("/{}", self.path),
        }
    }

    /// The servers of its text, for somebody who works in a directory. `None` if it is none that
    /// the product would understand.
    pub fn servers(&self, text: impl Read, directory: Option<&str>) -> Option<Vec<Server>> {
        let document = Part::Document { key: self.key, directory };
        let entries = match self.format {
            Format::Json => {
                let mut json = serde_json::Deserializer::from_reader(Uncommented::new(text));
                document.deserialize(&mut json).ok()?
            }
            Format::Toml => {
                let text = io::read_to_string(text.take(WHOLE_BYTES_MAX)).ok()?;
                document.deserialize(toml::Deserializer::parse(&text).ok()?).ok()?
            }
            Format::Yaml => {
                let text = io::read_to_string(text.take(WHOLE_BYTES_MAX)).ok()?;
                let read = |yaml: serde_saphyr::Deserializer<'_, '_>| document.deserialize(yaml);
                serde_saphyr::with_deserializer_from_str_with_options(&text, yaml(), read).ok()?
            }
        };
        let others = entries.iter().filter(|(_, entry)| !entry.is_own());
        let mut servers: Vec<Server> = others.map(Server::of).collect();
        servers.sort();
        servers.dedup();
        Some(servers)
    }
}

/// A tool server that an agent is told of.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Server {
    /// What the configuration calls it.
    pub name: String,
    /// The package, program or host that it is; empty if that cannot be told.
    pub what: String,
}

impl Server {
    fn of((name, entry): &(String, Entry)) -> Self {
        Self { name: plain(name), what: entry.what().map(|what| plain(&what)).unwrap_or_default() }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what.as_str() {
            "" => f.write_str(&self.name),
            what => write!(f, "{}: {what}", self.name),
        }
    }
}

/// Text that somebody else wrote, with nothing in it that could deceive who reads it.
fn plain(text: &str) -> String {
    let is_fine = |one: char| one.is_ascii_alphanumeric() || "@/._-+: ".contains(one);
    let fine = text.chars().take(TEXT_MAX).map(|one| if is_fine(one) { one } else { '_' });
    fine.collect()
}

/// What is read of a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(alias = "cmd")]
    command: Words,
    args: Words,
    #[serde(alias = "serverUrl", alias = "httpUrl", alias = "uri")]
    url: Words,
    #[serde(rename = "type")]
    kind: Words,
}

/// One word or several, of which the first are kept; anything else is none.
#[derive(Debug, Default)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words")
    }

    fn visit_str<E>(self, word: &str) -> Result<Words, E> {
        Ok(Words(vec![word.to_owned()]))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Words, S::Error> {
        let mut words = Vec::new();
        while words.len() < WORDS_MAX
            && let Some(Words(word)) = seq.next_element()?
        {
            words.extend(word);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Words(words))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Words, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Words::default())
    }

    fn visit_unit<E>(self) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Words, E> {
        Ok(Words::default())
    }
}

impl Entry {
    /// Part of the product itself (Goose), and no server.
    fn is_own(&self) -> bool {
        self.kind.0.iter().any(|kind| matches!(kind.as_str(), "builtin" | "platform"))
    }

    fn what(&self) -> Option<String> {
        if let Some(url) = self.url.0.first() {
            return host(url);
        }
        let words = match (self.command.0.as_slice(), self.args.0.as_slice()) {
            ([one], []) => one.split_whitespace().map(str::to_owned).collect(),
            (command, args) => [command, args].concat(),
        };
        if let Some(image) = Command::container_image(&words) {
            return Some(image.to_owned());
        }
        let Command { program, target } = Command::parse(&words);
        let what = match target {
            // A package may be an address, with a key in it.
            Some(Target::Package(_, package)) if package.contains("://") => host(package)?,
            Some(Target::Package(_, name) | Target::Module(name) | Target::Class(name)) => {
                name.to_owned()
            }
            Some(Target::Script(script)) => file_name(script).to_owned(),
            Some(Target::Inline) | None => program.to_owned(),
        };
        (!what.is_empty()).then_some(what)
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The host of an address.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: NESTING_MAX,
        },
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_nodes: NODES_MAX,
            max_depth: NESTING_MAX,
            flow_nesting_limit: NESTING_MAX,
        },
    }
}

type Entries = Vec<(String, Entry)>;

/// A part of a document in which there are servers.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// A document: servers under one key, and those that Claude Code keeps for each directory.
    Document { key: &'a str, directory: Option<&'a str> },
    /// Documents by directory, of which one counts.
    Projects(&'a str),
    /// Servers by name.
    Servers,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Entries;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Entries, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document { .. } => "a configuration",
            Self::Projects(_) => "configurations by directory",
            Self::Servers => "servers by name",
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let part = match self {
                Self::Document { key, .. } if name == key => Self::Servers,
                Self::Document { directory: Some(directory), .. } if name == "projects" => {
                    Self::Projects(directory)
                }
                Self::Projects(directory) if name == directory => {
                    Self::Document { key: SERVERS, directory: None }
                }
                Self::Servers if entries.len() < SERVERS_MAX => {
                    entries.push((name, map.next_value()?));
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            entries.extend(map.next_value_seed(part)?);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(path: &str, text: &str) -> Option<Vec<String>> {
        let file = FILES.iter().find(|file| file.shown(None) == path).unwrap();
        let servers = file.servers(text.as_bytes(), Some("/srv/app"))?;
        Some(servers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_products_servers_are_what_they_run_and_nothing_more() {
        let claude = r#"{"numStartups": 9, "mcpServers": {
            "memory": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory"],
                       "env": {"KEY": "sk-secret"}},
            "time": {"type": "stdio", "command": "/usr/bin/uvx",
                     "args": ["mcp-server-time", "--key=sk-secret"]},
            "git": {"command": "python3", "args": ["-m", "mcp_server_git"]},
            "web": {"command": "docker",
                    "args": ["run", "-i", "--rm", "-e", "KEY=sk-secret", "mcp/fetch"]},
            "notes": {"type": "http",
                      "url": "https://me:sk-secret@mcp.notion.com/mcp?key=sk-secret"},
            "own": {"command": "/opt/tools/own-server", "args": ["--token", "sk-secret"]},
            "odd": {"command": {"path": 1}}},
          "projects": {
            "/srv/app": {"mcpServers": {"app": {"command": "node", "args": ["/srv/app/tool.js"]}}},
            "/srv/other": {"mcpServers": {"no": {"command": "no"}}}}}"#;
        let expected = [
            "app: tool.js",
            "git: mcp_server_git",
            "memory: @modelcontextprotocol/server-memory",
            "notes: mcp.notion.com",
            "odd",
            "own: own-server",
            "time: mcp-server-time",
            "web: mcp/fetch",
        ];
        assert_eq!(servers("~/.claude.json", claude).unwrap(), expected);
        let codex = "model = 'o4'\n[mcp_servers.docs]\ncommand = 'npx'\nargs = ['-y', 'docs-mcp']\n\
                     env = { KEY = 'sk-secret' }\n\
                     [mcp_servers.far]\nurl = 'https://far.example/x'\n";
        assert_eq!(
            servers("~/.codex/config.toml", codex).unwrap(),
            ["docs: docs-mcp", "far: far.example"]
        );
        let goose = "GOOSE_MODEL: x\nextensions:\n  developer:\n    type: builtin\n    timeout: 300\n    \
                     enabled: true\n  github:\n    type: stdio\n    cmd: npx\n    args:\n      - -y\n      \
                     - '@acme/github-mcp'\n    envs: {KEY: sk-secret}\n    timeout: 300\n  far:\n    \
                     type: streamable_http\n    uri: https://far.example/mcp?key=sk-secret\n";
        assert_eq!(
            servers("~/.config/goose/config.yaml", goose).unwrap(),
            ["far: far.example", "github: @acme/github-mcp"]
        );
        let opencode = r#"{ // mine
            "theme": "a//b", "mcp": { /* two, */
              "a": {"type": "local", "command": ["bun", "x", "my-mcp"], "enabled": true,},
              "b": {"type": "remote", "url": "https://b.example"},
            },
          }"#;
        assert_eq!(servers("./opencode.jsonc", opencode).unwrap(), ["a: my-mcp", "b: b.example"]);
    }

    #[test]
    fn what_is_no_configuration_says_nothing() {
        for text in ["", "[]", "{", "{\"mcpServers\": 1}", "{\"mcpServers\": {\"a\": \"b\"}}", "/"]
        {
            assert_eq!(servers("~/.claude.json", text), None, "{text}");
        }
        assert_eq!(servers("~/.codex/config.toml", "a = "), None);
        let bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n";
        let more = (b'b'..b'j').map(|name| {
            let (own, of) = (char::from(name), char::from(name - 1));
            format!("{own}: &{own} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]\n")
        });
        let bomb = format!("{bomb}{}extensions: {{x: {{args: *i}}}}\n", more.collect::<String>());
        for text in ["a: [", "- a", "extensions: 1", &bomb] {
            assert_eq!(servers("~/.config/goose/config.yaml", text), None, "{text}");
        }
        assert_eq!(servers("~/.claude.json", "{}").unwrap(), [""; 0]);
        let many: Vec<String> =
            (0..100).map(|number| format!("\"s{number}\": {{\"command\": \"x\"}}")).collect();
        let many = format!("{{\"mcpServers\": {{{}}}}}", many.join(","));
        assert_eq!(servers("~/.claude.json", &many).unwrap().len(), SERVERS_MAX);
        let long = format!("{{\"mcpServers\": {{\"{}\\u001b[2J\": {{}}}}}}", "n".repeat(90));
        let shown = servers("~/.claude.json", &long).unwrap().concat();
        assert!(shown.len() <= TEXT_MAX && !shown.contains('\u{1b}'), "{shown}");
    }
}
