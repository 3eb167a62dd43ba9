//! Versions of what cargo does not pin for us.

/// A program that is built from its crate.
pub(crate) struct CargoTool {
    /// Crate, and the program it installs.
    pub(crate) name: &'static str,
    /// Exact version.
    pub(crate) version: &'static str,
    /// cargo's profile: what runs for a second need not be optimised for minutes.
    pub(crate) profile: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// Links the eBPF programs. Its default feature uses rustc's own LLVM, so the version goes with the
/// compiler that `rust-toolchain.toml` names.
pub(crate) const BPF_LINKER: CargoTool = CargoTool {
    name: "bpf-linker",
    version: "0.10.2",
    profile: "release",
    purpose: "links the eBPF programs",
};

/// Checks licences, sources and bans of dependencies.
pub(crate) const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
    profile: "dev",
    purpose: "checks the dependencies",
};

/// Makes a site of the documentation.
pub(crate) const MDBOOK: CargoTool = CargoTool {
    name: "mdbook",
    version: "0.5.1",
    profile: "dev",
    purpose: "makes a site of the documentation",
};
