//! All fields, the policy for their workloads, and how attempts are spread over them.

use std::{collections::BTreeMap, path::Path, sync::Mutex, thread};

use anyhow::{Context as _, Result, anyhow};
use governd_tests::Lab;

use crate::{
    attempt::{Attempt, Outcome},
    field::Field,
    program::Programs,
};

/// Attempts at the same time; most of their time they wait for something not to arrive.
const WORKERS: usize = 4;

/// The fields.
#[derive(Debug)]
pub(crate) struct Fields {
    all: Vec<Field>,
    lab: String,
    _programs: Programs,
}

impl Fields {
    /// Builds them; `source` has `attempts`, `lib` and the Makefile.
    pub(crate) fn create(lab: &Lab, source: &Path) -> Result<Self> {
        let programs = Programs::build(lab, source)?;
        let outside = lab.cgroup().path();
        let mut all = Vec::new();
        for number in 0..WORKERS {
            all.push(Field::create(number, &programs, outside)?);
        }
        for field in &mut all {
            field.await_ready()?;
        }
        let lab = outside.file_name().context("the lab's cgroup has no name")?;
        Ok(Self { all, lab: lab.to_string_lossy().into_owned(), _programs: programs })
    }

    /// The field for what runs alone.
    pub(crate) fn first(&self) -> Result<&Field> {
        self.all.first().context("no field")
    }

    /// The policy: each attempt is an agent of its own, so that no other profits from what it made
    /// governd believe. It may reach the allowed names, and nothing else but what `further` rules,
    /// as lines of YAML, say.
    pub(crate) fn policy(&self, attempts: &[Attempt], further: &str) -> String {
        let mut text = String::from(
            r#"apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: bypass}
spec:
  mode: enforce
  unregistered: monitor
  resolvers: {host: false, addresses: ["10.99.0.2", "127.0.0.11"]}
"#,
        );
        // How attempts ask the far end what arrived, and get sockets that others made.
        let mut sockets = String::new();
        for field in &self.all {
            let run = field.run().display();
            sockets.push_str(&format!(", \"{run}/ctl.sock\", \"{run}/fd.sock\""));
        }
        let lab = &self.lab;
        for Attempt { id, .. } in attempts {
            let agent = id.replace('_', "-");
            text.push_str(&format!(
                r#"---
apiVersion: governd.dev/v1
kind: Agent
metadata: {{name: {agent}}}
spec:
  owner: {{name: Dana Smith, mail: dana@acme.example}}
  match:
    - cgroup: /{lab}/{id}
  egress:
    default: deny
    accepted: deny
    unix: [ordinary{sockets}]
    rules:
      - allow: [allowed.test, "*.allowed.test"]
        ports: [80, 443, 8025, 8443, 8446, 8449]
        protocol: tcp
      - allow: [allowed.test, "*.allowed.test"]
        ports: [8080]
        protocol: tcp
        plaintext: allow
      - allow: [allowed.test, "*.allowed.test"]
        ports: [8443]
        protocol: udp
        quic: allow
      - allow: [10.95.0.0/24]
        protocol: tcp
{further}"#
            ));
        }
        text
    }

    /// Runs attempts, several at a time, with `further` in their environment.
    pub(crate) fn run_all<'a>(
        &mut self,
        attempts: impl IntoIterator<Item = &'a Attempt>,
        further: &[(&str, String)],
    ) -> Result<BTreeMap<String, Outcome>> {
        let attempts: Vec<&Attempt> = attempts.into_iter().collect();
        // The lock hands out each attempt once.
        let queue = Mutex::new(attempts.into_iter());
        let outcomes = thread::scope(|scope| {
            let queue = &queue;
            let fields = self.all.iter_mut();
            let running: Vec<_> =
                fields.map(|field| scope.spawn(move || work(field, queue, further))).collect();
            let done =
                running.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("panic")));
            done.collect::<Result<Result<Vec<_>>>>()
        })??;
        Ok(outcomes.into_iter().flatten().collect())
    }
}

fn work<'a>(
    field: &Field,
    queue: &Mutex<impl Iterator<Item = &'a Attempt>>,
    further: &[(&str, String)],
) -> Result<Vec<(String, Outcome)>> {
    let next = || match queue.lock() {
        Ok(mut queue) => Ok(queue.next()),
        Err(_) => Err(anyhow!("another worker panicked")),
    };
    let mut outcomes = Vec::new();
    while let Some(attempt) = next()? {
        let outcome = field.attempt(attempt, further).with_context(|| attempt.id.clone())?;
        outcomes.push((attempt.id.clone(), outcome));
    }
    Ok(outcomes)
}
