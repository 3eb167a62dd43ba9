//! The command line: one file per verb, a printer that is passed, and exit codes that are a
//! contract (see [`exit::Exit`]).

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod agents;
mod audit;
mod catalog;
mod controls;
mod daemon;
mod doctor;
mod enroll;
pub mod exit;
mod explain;
mod flags;
mod install;
mod limits;
mod mode;
mod policy;
pub mod printer;
mod replay;
mod selftest;
mod sink;
mod status;
mod stop;
mod watch;

use exit::{Exit, Failure};
use printer::Printer;

/// Knows every AI agent on a host, lets each reach only approved endpoints, and proves it.
#[derive(Debug, Parser)]
#[command(name = "governd", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon.
    Run(daemon::Run),
    /// Run the daemon in the foreground, in monitor mode, and show what it finds.
    Up(daemon::Up),
    /// Stop the daemon. What it enforces goes on unless it is told to end.
    Stop(stop::Stop),
    /// Follow events as they happen.
    Watch(watch::Watch),
    /// Say which agents run on this host, who owns them, and which nobody approved.
    Agents(agents::Verb),
    /// Say what is in force and how the daemon fares.
    Status(status::Status),
    /// Say why a connection is or was allowed or denied, and whom to ask.
    Explain(explain::Explain),
    /// Show what agents were denied and a person may grant.
    Approvals(controls::List),
    /// Grant such a request, for a time.
    Approve(controls::Approve),
    /// Refuse such a request.
    Deny(controls::ById),
    /// Show what is granted, and for how long still.
    Grants(controls::List),
    /// End a grant before its time.
    Revoke(controls::ById),
    /// Let nothing of an agent pass any more, or show what is quarantined.
    Quarantine(controls::Set),
    /// End a quarantine.
    Release(controls::Release),
    /// Set monitor or enforce at run time, or show what is set.
    Mode(mode::Mode),
    /// Test whether the kernel decides about each enforced agent as its policy says.
    Selftest(selftest::SelfTests),
    /// Install this program as a service, on a host without a package of it.
    Install(install::Install),
    /// Remove the service and everything that it enforces.
    Uninstall(install::Uninstall),
    /// Check whether this host can run governd, and what is degraded.
    Doctor(doctor::Doctor),
    /// Check policy documents before they are put into force.
    Policy(policy::Policy),
    /// Show what is known of AI endpoints and runtimes.
    Catalog(catalog::Verb),
    /// Search the log, check that it is what this host signed, and prove it to others.
    Audit(audit::Audit),
    /// Say what names governd sees in captures.
    Replay(replay::Replay),
    /// Take the logs of many hosts, check that each only grows, and cosign what was seen.
    Sink(sink::Sink),
    /// Let a sink take this host's log.
    Enroll(enroll::Enroll),
}

/// The whole command line, for what is generated from it: manual pages, completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// What a verb ends with.
type Outcome = Result<Exit, Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb {
        Verb::Run(verb) => verb.run(),
        Verb::Up(verb) => verb.run(),
        Verb::Stop(verb) => verb.run(),
        Verb::Watch(verb) => verb.run(),
        Verb::Explain(verb) => verb.run(),
        Verb::Approvals(verb) => verb.approvals(),
        Verb::Approve(verb) => verb.run(),
        Verb::Deny(verb) => verb.deny(),
        Verb::Grants(verb) => verb.grants(),
        Verb::Revoke(verb) => verb.revoke(),
        Verb::Quarantine(verb) => verb.run(),
        Verb::Release(verb) => verb.run(),
        Verb::Mode(verb) => verb.run(),
        Verb::Selftest(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run(),
        Verb::Install(verb) => verb.run(),
        Verb::Uninstall(verb) => verb.run(),
        Verb::Policy(verb) => verb.run(),
        Verb::Agents(verb) => verb.run(),
        Verb::Catalog(verb) => verb.run(),
        Verb::Audit(verb) => verb.run(),
        Verb::Replay(verb) => verb.run(),
        Verb::Sink(verb) => verb.run(),
        Verb::Enroll(verb) => verb.run(),
        Verb::Status(verb) => verb.run(),
    };
    outcome.unwrap_or_else(|failure| report(&failure)).into()
}

fn report(failure: &Failure) -> Exit {
    let pipe_closed = failure
        .error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if pipe_closed {
        return Exit::Yes;
    }
    Printer::new(false).note(failure);
    failure.exit
}

/// stdout could not be written.
fn unwritable(error: std::io::Error) -> Failure {
    Failure::plain(Exit::Environment, error)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
