//! A record as most are, for benches.
#![allow(dead_code, reason = "not every bench needs all of it")]

use std::sync::Arc;

use governd::{
    audit::record::{
        Actor, Context, Decision, Destination, Evidence, Flow, PolicyRef, Record, RuleRef, Subject,
        Token, Tokens, personal::SALT_BYTES,
    },
    core::process::{Ancestor, Exe, Process},
};
use governd_common::{
    event::Hook,
    verdict::{Mode, Reason, Verdict},
};

/// Where it is.
pub(crate) fn context() -> Context {
    Context {
        hostname: "host-a.example".into(),
        machine_id: Some("5c0f3a4e5c0f3a4e5c0f3a4e5c0f3a4e".into()),
        boot_id: "8f0b8f0b-0000-4000-8000-00000000008f".into(),
        booted_ms: 1_763_600_000_000,
        kernel: "6.18.44".into(),
        version: "0.1.0".into(),
        degraded: [].into(),
    }
}

/// A denial.
pub(crate) fn record() -> Record {
    record_of(0)
}

/// One of many, as an agent's differ.
pub(crate) fn record_of(number: u64) -> Record {
    let process = Process {
        pid: 4_242 + u32::try_from(number / 16).unwrap_or_default(),
        started_ns: 39_000_123_456_789 + number / 16 * 7_919_777,
        parent: Some(4_200),
        name: "python3".to_owned(),
        exe: Some(Exe { path: "/opt/bot/bin/python3".into(), device: 8 << 20 | 1, inode: 131_072 }),
        args: Some(["python3".to_owned(), "-m".to_owned(), "bot".to_owned()].into()),
        uid: Some(1_001),
        user: Some("svc-bot".into()),
        gid: Some(1_001),
        cgroup_id: Some(5_555),
        cgroup: Some("/system.slice/bot.service".into()),
        ..Process::default()
    };
    let shell = Ancestor { pid: 4_200, name: "bash".to_owned(), exe: Some("/usr/bin/bash".into()) };
    let init = Ancestor { pid: 1, name: "systemd".to_owned(), exe: None };
    Record::Flow(Flow {
        actor: Actor { process: Arc::new(process), lineage: [shell, init].into() },
        subject: Arc::new(Subject {
            id: 3,
            agent: "bot".into(),
            owner: Some("Dana Smith <dana@acme.example>".into()),
            sponsor: Some("Lee Wong <lee@acme.example>".into()),
            ..Subject::default()
        }),
        decision: Decision {
            verdict: Verdict::Deny,
            reason: Reason::NoRule,
            mode: Mode::Enforce,
            rule: Some(RuleRef { id: "bot/egress/default".into(), text: "deny the rest".into() }),
            policy: PolicyRef {
                digest: format!("sha256:{}", "cd".repeat(32)).into(),
                generation: 17,
            },
        },
        hook: Hook::Connect,
        destination: Some(Destination {
            address: [203, 0, 113, number.to_le_bytes()[0]].into(),
            port: if number.is_multiple_of(5) { 80 } else { 443 },
            name: Some("api.openai.com".into()),
            evidence: Evidence::Dns,
            service: Some("openai".into()),
            said: None,
        }),
        path: None,
        protocol: 6,
        cookie: 77_123 + number,
    })
}

/// What stands for the user and the command line of a host's process: digests, which do not
/// compress, and which a process's records have in common.
pub(crate) fn tokens(host: u64, number: u64) -> Tokens {
    let token = |of| {
        let mut salt = [of; SALT_BYTES];
        for (to, from) in
            salt.iter_mut().zip([host, number / 16].map(u64::to_le_bytes).as_flattened())
        {
            *to = *from;
        }
        Some(Token::of(&salt, "value"))
    };
    Tokens { user: token(1), command_line: token(2) }
}
