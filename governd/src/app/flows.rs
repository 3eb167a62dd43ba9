//! Flows of the log, each kind once, for what learns from them or is tried on them.

use std::{collections::BTreeMap, net::IpAddr, path::Path, sync::Arc};

use serde_json::Value;

use crate::{
    audit::log::{Disk, ReadError, Reader},
    policy::{
        image::AgentFacts,
        observed::{FlowKey, Observed},
        value::container::ContainerFacts,
    },
};

/// Kinds of flows that are kept; more are counted.
const FLOWS_MAX: usize = 100_000;
/// OCSF's class of decisions about a destination.
const NETWORK_ACTIVITY: u64 = 4_001;

/// What the log has.
#[derive(Debug, Default)]
pub struct Flows {
    /// Each kind, sorted.
    pub flows: Vec<Observed>,
    /// Flows that no place was left for.
    pub left_out: u64,
}

/// Reads the flows of a log since a time, in milliseconds since the epoch.
///
/// # Errors
/// The log cannot be read, or is damaged.
pub fn read(directory: &Path, since_ms: i64) -> Result<Flows, ReadError> {
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    // A directory that is not there has no records, and is a mistake.
    std::fs::read_dir(directory).map_err(unreadable)?;
    let mut reader = Reader::new(Disk, directory.to_owned(), 0).shown();
    let mut known: BTreeMap<FlowKey, Observed> = BTreeMap::new();
    let mut left_out = 0;
    while let Some(line) = reader.read()? {
        let Some(flow) = observed(&line.bytes, since_ms) else { continue };
        // The address of a name may change with every answer.
        let mut key = flow.key.clone();
        if key.name.is_some() {
            key.address = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        }
        if let Some(before) = known.get_mut(&key) {
            *before = Observed { count: before.count.saturating_add(flow.count), ..flow };
        } else if known.len() < FLOWS_MAX {
            known.insert(key, flow);
        } else {
            left_out += 1;
        }
    }
    Ok(Flows { flows: known.into_values().collect(), left_out })
}

/// The flow that a record is about, if it is about one that is new enough.
fn observed(line: &[u8], since_ms: i64) -> Option<Observed> {
    let record: Value = serde_json::from_slice(line).ok()?;
    let text = |place: &str| record.pointer(place).and_then(Value::as_str).map(Arc::from);
    let number = |place: &str| record.pointer(place).and_then(Value::as_u64);
    if number("/class_uid")? != NETWORK_ACTIVITY || record.get("time")?.as_i64()? < since_ms {
        return None;
    }
    let address = record.pointer("/dst_endpoint/ip")?.as_str()?.parse().ok()?;
    let key = FlowKey {
        agent: text("/unmapped/governd/agent/name")?,
        started_by: AgentFacts::started_by_of(
            text("/unmapped/governd/agent/started_by").as_deref(),
        ),
        exe: text("/actor/process/file/path"),
        user: text("/actor/process/user/name").or_else(|| text("/actor/process/user/uid")),
        container: container(&record),
        name: text("/unmapped/governd/name/value"),
        address,
        port: u16::try_from(number("/dst_endpoint/port")?).ok()?,
        protocol: u8::try_from(number("/connection_info/protocol_num")?).ok()?,
    };
    let decision = record.pointer("/unmapped/governd/decision")?;
    let is_denied = decision.get("verdict")?.as_str()? == "deny";
    Some(Observed {
        key,
        // A record may stand for several, which were the same.
        count: number("/count").unwrap_or(1),
        last_ms: number("/time")?,
        owner: text("/unmapped/governd/agent/owner"),
        was_refused: is_denied && !decision.get("would_deny")?.as_bool()?,
    })
}

/// What a record says of its process's container; `None` if it was in none that was known.
fn container(record: &Value) -> Option<ContainerFacts> {
    let process = record.pointer("/unmapped/governd/process")?;
    let text = |place: &str| process.pointer(place).and_then(Value::as_str).map(Arc::from);
    let labels = process.pointer("/pod/labels").and_then(Value::as_array).into_iter().flatten();
    let label = |label: &Value| {
        let (key, value) = label.as_str()?.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    };
    let facts = ContainerFacts {
        image: text("/container/image"),
        digest: text("/container/image_digest"),
        namespace: text("/pod/namespace"),
        service_account: text("/pod/service_account"),
        labels: labels.filter_map(label).collect(),
    };
    (facts != ContainerFacts::default()).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::personal;

    const ALLOWED: &str =
        include_str!("../audit/record/snapshots/governd__audit__record__tests__flow_allowed.snap");
    const DENIED: &str =
        include_str!("../audit/record/snapshots/governd__audit__record__tests__flow_denied.snap");
    const WOULD_DENY: &str = include_str!(
        "../audit/record/snapshots/governd__audit__record__tests__flow_would_deny.snap"
    );
    const IN_POD: &str =
        include_str!("../audit/record/snapshots/governd__audit__record__tests__exec_in_pod.snap");
    const DNS: &str =
        include_str!("../audit/record/snapshots/governd__audit__record__tests__dns.snap");

    fn read(snapshot: &str, since_ms: i64) -> Option<Observed> {
        let line = personal::plain(snapshot.lines().last().unwrap(), |_| Some("svc-invoice"));
        observed(line.as_bytes(), since_ms)
    }

    #[test]
    fn flows_of_records_are_read_and_nothing_else() {
        let flow = read(ALLOWED, 0).unwrap();
        let key = FlowKey {
            agent: "invoice-bot".into(),
            started_by: Vec::new(),
            exe: Some("/opt/invoice-bot/bin/python3".into()),
            user: Some("svc-invoice".into()),
            container: None,
            name: Some("api.openai.com".into()),
            address: "203.0.113.9".parse().unwrap(),
            port: 443,
            protocol: 6,
        };
        assert_eq!(flow.key, key);
        assert_eq!((flow.count, flow.was_refused), (1, false));
        assert_eq!(flow.owner.as_deref(), Some("Dana Smith <dana@acme.example>"));
        let later_ms = i64::try_from(flow.last_ms).unwrap() + 1;
        assert_eq!(read(ALLOWED, later_ms), None);
        assert!(read(DENIED, 0).unwrap().was_refused);
        assert!(!read(WOULD_DENY, 0).unwrap().was_refused);
        assert_eq!(read(DNS, 0), None);
        assert_eq!(observed(b"{}", 0), None);
        let pod: Value = serde_json::from_str(IN_POD.lines().last().unwrap()).unwrap();
        let expected = ContainerFacts {
            image: Some("registry.acme.example/bot:3".into()),
            digest: Some(format!("sha256:{}", "ef".repeat(32)).into()),
            namespace: Some("agents".into()),
            service_account: Some("bot".into()),
            labels: [("app".to_owned(), "bot".to_owned())].into(),
        };
        assert_eq!(container(&pod), Some(expected));
    }
}
