//! The `governd` binary.

fn main() -> std::process::ExitCode {
    governd::cli::main()
}
