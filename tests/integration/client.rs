//! The clients of the tests, and what they report.

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::{Client, Family},
    command::Finished,
    site::{PORT_DISCARD, PORT_ECHO},
};
use serde_json::Value;

/// What an official client does, and as which agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Official {
    pub(crate) name: &'static str,
    pub(crate) agent: &'static str,
    pub(crate) start: fn(&Lab, Family, &str) -> Client,
}

/// Every official client.
pub(crate) const OFFICIAL: &[Official] = &[
    Official { name: "openai, Python", agent: crate::policy::PYTHON, start: openai_python },
    Official { name: "anthropic, Python", agent: crate::policy::PYTHON, start: anthropic_python },
    Official { name: "openai, Node.js", agent: crate::policy::NODE, start: openai_node },
];

fn openai_python(lab: &Lab, family: Family, host: &str) -> Client {
    python(lab, family, "openai_chat.py").arg(host)
}

fn anthropic_python(lab: &Lab, family: Family, host: &str) -> Client {
    python(lab, family, "anthropic_message.py").arg(host)
}

fn openai_node(lab: &Lab, family: Family, host: &str) -> Client {
    lab.client(family, lab.tools().node())
        .arg(lab.tools().script("openai_chat.cjs"))
        .arg(host)
        .variable("NODE_PATH", lab.tools().node_modules())
}

/// A script that the Python agent runs.
pub(crate) fn python(lab: &Lab, family: Family, script: &str) -> Client {
    lab.client(family, lab.tools().agent()).arg(lab.tools().script(script))
}

/// curl, which no agent starts.
pub(crate) fn curl(lab: &Lab, family: Family, host: &str) -> Client {
    lab.client(family, "curl")
        .args(["--silent", "--show-error", "--max-time", "10"])
        .arg(format!("https://{host}/"))
}

/// What `flows.py` reports.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The process that opened them.
    pub(crate) pid: u64,
    /// Tries that arrived.
    pub(crate) reached: u64,
    /// Name and number of each failure.
    pub(crate) errors: Vec<String>,
    /// The quickest call, in microseconds.
    pub(crate) microseconds: f64,
}

/// Opens flows of a kind (see `flows.py`) as the Python agent.
pub(crate) fn flow(lab: &Lab, family: Family, kind: &str, host: &str, tries: u32) -> Result<Flow> {
    let port = if kind.starts_with("udp") || kind.ends_with("nonblocking") {
        PORT_ECHO
    } else {
        PORT_DISCARD
    };
    let finished = python(lab, family, "flows.py")
        .args([kind, host, &port.to_string(), &tries.to_string()])
        .run()?;
    let said = report(&finished)?;
    let errors = said.get("errors").and_then(Value::as_array).into_iter().flatten();
    Ok(Flow {
        pid: said.get("pid").and_then(Value::as_u64).context("no pid")?,
        reached: said.get("reached").and_then(Value::as_u64).context("no count")?,
        errors: errors.filter_map(|error| Some(error.as_str()?.to_owned())).collect(),
        microseconds: said.get("microseconds").and_then(Value::as_f64).unwrap_or(f64::NAN),
    })
}

/// The JSON that a client printed, whatever its exit code.
pub(crate) fn report(finished: &Finished) -> Result<Value> {
    finished.json()
}

/// The answer of an official client or of `child_curl.py`.
pub(crate) fn answer(finished: &Finished) -> Result<String> {
    let said = report(finished)?;
    let answer = said.get("answer").and_then(Value::as_str);
    Ok(answer.with_context(|| format!("no answer: {finished}"))?.to_owned())
}

/// The names of the errors that led to a client's failure.
pub(crate) fn causes(finished: &Finished) -> Result<Vec<String>> {
    let said = report(finished)?;
    ensure!(said.get("answer").is_some_and(Value::is_null), "it got an answer: {finished}");
    let causes = said.get("causes").and_then(Value::as_array).into_iter().flatten();
    Ok(causes.filter_map(|cause| Some(cause.as_str()?.to_owned())).collect())
}

/// How long each `connect(2)` took that a Python client made, in microseconds, with its error.
pub(crate) fn connects(finished: &Finished) -> Result<Vec<(f64, Option<String>)>> {
    let said = report(finished)?;
    let connects = said.get("connects").and_then(Value::as_array).into_iter().flatten();
    Ok(connects
        .filter_map(|connect| {
            let error = connect.get("error")?.as_str().map(str::to_owned);
            Some((connect.get("microseconds")?.as_f64()?, error))
        })
        .collect())
}
