//! Entries of the catalogue.

use std::sync::Arc;

/// An enumeration whose values have words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that files, records and the command line use.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads a word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What an endpoint serves.
    EndpointKind {
        /// Models by API.
        ModelApi => "model-api",
        /// Models of many providers behind one API.
        LlmGateway => "llm-gateway",
        /// Model files.
        ModelHub => "model-hub",
        /// Agents, assistants and chat pages as a service.
        AgentSaas => "agent-saas",
        /// Tools for agents: remote MCP servers and their registries.
        ToolMcp => "tool-mcp",
        /// Web search and scraping made for agents.
        SearchTool => "search-tool",
        /// Vector stores and memories.
        VectorDb => "vector-db",
        /// Sandboxes and browsers in which agents run code.
        CodeExecSandbox => "code-exec-sandbox",
        /// Traces and usage data of AI software.
        Telemetry => "telemetry",
        /// Name resolution over HTTPS, which hides names.
        DohResolver => "doh-resolver",
    }
}

words! {
    /// How a domain is compared.
    HostMatch {
        /// Equal.
        Exact => "exact",
        /// With `*` for one or more characters but a dot.
        Pattern => "pattern",
        /// The domain or anything below it.
        Suffix => "suffix",
    }
}

words! {
    /// What a runtime is.
    RuntimeKind {
        /// Desktop applications with an agent in them.
        AgentDesktopApp => "agent-desktop-app",
        /// Variables that agents set for their children.
        AgentEnvMarker => "agent-env-marker",
        /// Libraries to build agents with.
        AgentFramework => "agent-framework",
        /// Tools that watch or restrict agents.
        AgentGovernance => "agent-governance",
        /// Servers that run agents and workflows.
        AgentPlatform => "agent-platform",
        /// Sandboxes for agents.
        AgentSandbox => "agent-sandbox",
        /// Chat interfaces.
        AgentUi => "agent-ui",
        /// Names of variables that hold API keys.
        ApiKeyEnv => "api-key-env",
        /// Coding agents.
        CodingAgent => "coding-agent",
        /// Arguments that switch an agent's own safety off.
        CodingAgentRisk => "coding-agent-risk",
        /// Names of variables that configure AI software.
        ConfigEnv => "config-env",
        /// Agents for anything.
        GeneralAgent => "general-agent",
        /// Command-line clients of models.
        LlmCli => "llm-cli",
        /// Proxies to models of many providers.
        LlmGateway => "llm-gateway",
        /// Clients of model APIs, as libraries.
        LlmSdk => "llm-sdk",
        /// Servers of models on this host.
        LocalModelServer => "local-model-server",
        /// Proxies to MCP servers.
        McpGateway => "mcp-gateway",
        /// MCP servers.
        McpServer => "mcp-server",
        /// Vector stores.
        VectorDb => "vector-db",
    }
}

impl RuntimeKind {
    /// Whether a process that is one counts as an agent or as what agents are made of, rather than
    /// as something that agents use.
    pub const fn is_agentic(self) -> bool {
        match self {
            Self::AgentDesktopApp
            | Self::AgentFramework
            | Self::AgentPlatform
            | Self::AgentUi
            | Self::CodingAgent
            | Self::GeneralAgent
            | Self::LlmCli
            | Self::LlmGateway
            | Self::LlmSdk
            | Self::LocalModelServer
            | Self::McpGateway
            | Self::McpServer => true,
            Self::AgentEnvMarker
            | Self::AgentGovernance
            | Self::AgentSandbox
            | Self::ApiKeyEnv
            | Self::CodingAgentRisk
            | Self::ConfigEnv
            | Self::VectorDb => false,
        }
    }
}

words! {
    /// What a runtime's pattern is compared with.
    RuntimeMatch {
        /// The executable: its file name, or its path if the pattern has a slash.
        Exe => "exe",
        /// The command line.
        Argv => "argv",
        /// A package of npm.
        Npm => "npm",
        /// A package of PyPI.
        Pypi => "pypi",
        /// A TCP listener's port.
        Port => "port",
        /// The name of an environment variable.
        Env => "env",
    }
}

words! {
    /// How much a match says by itself.
    Weight {
        /// Little: other software matches too.
        Weak => "weak",
        /// Something, together with other evidence.
        Medium => "medium",
        /// Much.
        Strong => "strong",
    }
}

words! {
    /// Where a package comes from.
    Ecosystem {
        /// The npm registry.
        Npm => "npm",
        /// The Python Package Index.
        Pypi => "pypi",
    }
}

/// The file and line of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

/// A host name that AI software talks to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The domain or pattern, in lower case.
    pub domain: Arc<str>,
    /// How it is compared.
    pub matching: HostMatch,
    /// Who runs it.
    pub provider: Arc<str>,
    /// What it serves.
    pub kind: EndpointKind,
    /// True if it serves other things too, so that contact says little.
    pub is_shared: bool,
    /// Where the fact comes from.
    pub source: Arc<str>,
    /// Where the entry is.
    pub origin: Origin,
}

/// A trait by which AI software is recognised on a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Runtime {
    /// The product.
    pub name: Arc<str>,
    /// What it is.
    pub kind: RuntimeKind,
    /// What the pattern is compared with.
    pub matching: RuntimeMatch,
    /// The pattern; `*` is any characters.
    pub pattern: Arc<str>,
    /// How much a match says.
    pub weight: Weight,
    /// Where the fact comes from.
    pub source: Arc<str>,
    /// Where the entry is.
    pub origin: Origin,
}
