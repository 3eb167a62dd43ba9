//! What people decide at run time: approvals, grants and quarantine.

use clap::Args;
use serde::de::DeserializeOwned;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Socket,
    printer::{Printer, Table, Tone, printable},
    status::failure,
    unwritable,
};
use crate::{
    app::clock,
    control::{client, protocol},
    core::controls::{GRANT_MAX_S, Grant, Quarantine, Request},
};

const S_PER_MIN: u64 = 60;
const S_PER_H: u64 = 3_600;
const S_PER_DAY: u64 = 86_400;
const MS_PER_S: u64 = 1_000;

/// `governd approvals`, `grants`: lists.
#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    socket: Socket,
    /// Print JSON: one object for each.
    #[arg(long)]
    json: bool,
}

/// `governd approve`.
#[derive(Args, Debug)]
pub(super) struct Approve {
    /// Number of the request, as `governd approvals` shows it.
    #[arg(value_name = "ID")]
    id: u64,
    /// How long it holds, such as 30s, 15m, 2h or 7d; at most 30d.
    #[arg(long = "for", value_name = "TIME", value_parser = grant_seconds)]
    time_s: u64,
    #[command(flatten)]
    socket: Socket,
}

/// `governd deny` and `governd revoke`.
#[derive(Args, Debug)]
pub(super) struct ById {
    /// Its number.
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    socket: Socket,
}

/// `governd quarantine`.
#[derive(Args, Debug)]
pub(super) struct Set {
    /// An agent of the policy or of `governd agents`, or the id of one of its processes; without it
    /// and --all, what is quarantined is listed.
    #[arg(value_name = "AGENT|PID")]
    target: Option<String>,
    /// Every agent, also those that nobody registered.
    #[arg(long, conflicts_with = "target")]
    all: bool,
    /// End their processes, too.
    #[arg(long)]
    kill: bool,
    #[command(flatten)]
    list: List,
}

/// `governd release`.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("whom").required(true).args(["agent", "all"])))]
pub(super) struct Release {
    /// The agent.
    #[arg(value_name = "AGENT")]
    agent: Option<String>,
    /// Every agent.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    socket: Socket,
}

impl List {
    pub(super) fn approvals(self) -> Outcome {
        let head = ["ID", "WHAT", "RULE", "TIMES", "LAST", "BY"];
        self.show(&protocol::Request::Approvals, head, "nothing waits", |one: &Request| {
            let last_s = clock::now_ms().saturating_sub(one.last_ms) / MS_PER_S;
            let matter = one.matter.to_string();
            let processes = one.processes.join(" < ");
            let (times, last) = (one.count.to_string(), format!("{last_s} s ago"));
            [one.id.to_string(), matter, one.rule.clone(), times, last, processes]
        })
    }

    pub(super) fn grants(self) -> Outcome {
        let head = ["ID", "WHAT", "LEFT", "BY"];
        self.show(&protocol::Request::Grants, head, "nothing is granted", |one: &Grant| {
            let left_s = one.until_ns.saturating_sub(clock::boot_ns()) / (MS_PER_S * 1_000_000);
            let left = format!("{left_s} s");
            [one.id.to_string(), one.matter.to_string(), left, one.by.clone()]
        })
    }

    fn quarantined(self) -> Outcome {
        let request = protocol::Request::Quarantined;
        self.show(&request, ["AGENT", "BY"], "nothing is quarantined", |one: &Quarantine| {
            [one.agent.clone(), one.by.clone()]
        })
    }

    fn show<T: DeserializeOwned + serde::Serialize, const N: usize>(
        self,
        request: &protocol::Request,
        head: [&str; N],
        nothing: &str,
        row: impl Fn(&T) -> [String; N],
    ) -> Outcome {
        let printer = Printer::new(self.json);
        let all: Vec<T> = ask(&self.socket, request)?;
        if printer.is_json() {
            all.iter().try_for_each(|one| printer.value(one)).map_err(unwritable)?;
        } else if all.is_empty() {
            printer.note(nothing);
        } else {
            let mut table = Table::default();
            table.row(head.map(|word| (Tone::Dim, word.to_owned())));
            for one in &all {
                table.row(row(one).map(|text| (Tone::Plain, printable(&text))));
            }
            let lines = table.lines(&printer);
            lines.iter().try_for_each(|line| printer.line(line)).map_err(unwritable)?;
        }
        Ok(if all.is_empty() { Exit::No } else { Exit::Yes })
    }
}

impl Approve {
    pub(super) fn run(self) -> Outcome {
        let request = protocol::Request::Approve { id: self.id, seconds: self.time_s };
        let grant: Grant = ask(&self.socket, &request)?;
        say(&format!("granted for {} s: {}", self.time_s, grant.matter))
    }
}

impl ById {
    pub(super) fn deny(self) -> Outcome {
        let request: Request = ask(&self.socket, &protocol::Request::Deny { id: self.id })?;
        say(&format!("refused: {}", request.matter))
    }

    pub(super) fn revoke(self) -> Outcome {
        let grant: Grant = ask(&self.socket, &protocol::Request::Revoke { id: self.id })?;
        say(&format!("revoked: {}", grant.matter))
    }
}

impl Set {
    pub(super) fn run(self) -> Outcome {
        let Self { target, all, kill, list } = self;
        if target.is_none() && !all {
            return list.quarantined();
        }
        let request = protocol::Request::Quarantine { target, kill };
        let new: Vec<String> = ask(&list.socket, &request)?;
        if new.is_empty() {
            return say("quarantined already");
        }
        say(&format!("quarantined: {}", new.join(", ")))
    }
}

impl Release {
    pub(super) fn run(self) -> Outcome {
        let request = protocol::Request::Release { target: self.agent };
        let released: Vec<String> = ask(&self.socket, &request)?;
        say(&format!("released: {}", released.join(", ")))
    }
}

pub(super) fn ask<T: DeserializeOwned>(
    socket: &Socket,
    request: &protocol::Request,
) -> Result<T, Failure> {
    let value = client::call(&socket.socket, request).map_err(failure)?;
    serde_json::from_value(value).map_err(|error| Failure::plain(Exit::Internal, error))
}

pub(super) fn say(line: &str) -> Outcome {
    Printer::new(false).line(line).map_err(unwritable)?;
    Ok(Exit::Yes)
}

/// How long a grant may hold.
fn grant_seconds(text: &str) -> Result<u64, String> {
    match seconds(text)? {
        long if long > GRANT_MAX_S => {
            Err(format!("a grant lasts at most {} days", GRANT_MAX_S / S_PER_DAY))
        }
        fitting => Ok(fitting),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', S_PER_MIN), ('h', S_PER_H), ('d', S_PER_DAY)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*seconds)
    });
    parsed.filter(|seconds| *seconds > 0).ok_or_else(|| "write it as 30s, 15m, 2h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{GRANT_MAX_S, grant_seconds, seconds};

    #[test]
    fn a_grant_is_no_longer_than_the_daemon_gives_it() {
        assert_eq!(grant_seconds("30d"), Ok(GRANT_MAX_S));
        assert_eq!(grant_seconds("720h"), Ok(GRANT_MAX_S));
        for text in ["31d", "721h", "2592001s"] {
            assert_eq!(grant_seconds(text), Err("a grant lasts at most 30 days".to_owned()));
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        let rows = [("30s", 30), ("15m", 900), ("2h", 7_200), ("7d", 604_800)];
        for (text, expected) in rows {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "30", "0s", "h", "-1h", "2w", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
