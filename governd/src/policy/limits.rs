//! Maxima of policy documents; those of the tables are in `governd_common::limits`.

use governd_common::limits;

/// Longest policy file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes of all files of a policy together.
pub const SOURCES_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Documents in one file.
pub const DOCUMENTS_PER_SOURCE_MAX: usize = 4_096;
/// YAML nodes (mappings, sequences and scalars) in one file.
pub const NODES_PER_SOURCE_MAX: usize = 250_000;
/// Nesting of mappings and sequences; the deepest document here needs seven.
pub const NESTING_MAX: usize = 16;
/// Aliases (`*name`) in one file.
pub const ALIASES_MAX: usize = 1_000;
/// Nodes that aliases may repeat in one file.
pub const ALIAS_NODES_MAX: usize = 100_000;
/// Diagnostics that one load or compilation reports; more are counted.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Characters that are refused in one file before the rest of it is left unread.
pub const BAD_CHARACTERS_MAX: usize = 20;
/// Passes over one document: each finds one value of the wrong type.
pub const SHAPE_ERRORS_MAX: usize = 20;
/// Longest agent or policy name, in bytes (a DNS label, as Kubernetes wants it).
pub const AGENT_NAME_BYTES_MAX: usize = 63;
/// Longest name of a person, in bytes.
pub const PERSON_NAME_BYTES_MAX: usize = 128;
/// Longest mail address, in bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets).
pub const MAIL_BYTES_MAX: usize = 254;
/// Longest name or value of a label, in bytes (as Kubernetes has it).
pub const LABEL_TEXT_BYTES_MAX: usize = 63;
/// Longest file in which a host says what it is, in bytes.
pub const HOST_FILE_BYTES_MAX: usize = 64 * 1_024;
/// Longest free text, such as a purpose, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Longest path of an executable or cgroup, in bytes (`PATH_MAX` without its NUL).
pub const PATH_BYTES_MAX: usize = 4_095;
/// Longest reference of an image, in bytes.
pub const IMAGE_BYTES_MAX: usize = 512;
/// Longest label of a host name, in bytes (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// Destinations that the text of a rule spells out; more are counted.
pub const RULE_TEXT_TARGETS_MAX: usize = 4;

/// Groups that include one another, from the outermost to the innermost.
pub const GROUP_NESTING_MAX: usize = 16;
/// Destinations of one group, those of the groups that it includes among them.
pub const GROUP_MEMBERS_MAX: usize = 131_072;
/// Destinations of all groups together, and of all rules together: those of a group count for each
/// group and rule that has them.
pub const DESTINATIONS_MAX: usize = 1_048_576;
/// Ranges of ports in one list.
pub const PORT_RANGES_MAX: usize = 256;

/// Name patterns of one policy: half of the trie, which holds two slots.
pub const NAMES_MAX: usize = limits::NAMES_MAX as usize / 2;
/// Networks of one policy, counted per subject.
pub const NETWORKS_MAX: usize = limits::CIDRS_MAX as usize / 2;
/// Rule blocks of one policy.
pub const BLOCKS_MAX: usize = limits::DECISIONS_MAX as usize / 2;
/// Subjects of one policy, the unregistered among them.
pub const SUBJECTS_MAX: usize = limits::SUBJECTS_MAX as usize / 2;
/// Trusted resolvers of one policy.
pub const RESOLVERS_MAX: usize = limits::RESOLVERS_MAX as usize / 2;
/// Executables of resolver processes of one policy.
pub const RESOLVER_EXES_MAX: usize = limits::RESOLVER_EXES_MAX as usize / 2;
/// Executables of one policy.
pub const EXES_MAX: usize = limits::EXES_MAX as usize / 2;
/// User ids of one policy.
pub const UIDS_MAX: usize = limits::UIDS_MAX as usize / 2;
/// cgroups of one policy.
pub const CGROUPS_MAX: usize = limits::CGROUPS_MAX as usize / 2;
