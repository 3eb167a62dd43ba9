//! OpenTelemetry logs over HTTP, as protobuf (OTLP 1.x), with the names of its conventions.

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;
use serde_json::Value;

use super::{Batch, Delivered, Destination, Fault, Item, SetUpError, config, http::Client, record};

const NANOS_PER_MILLI: u64 = 1_000_000;
/// Bytes of a W3C trace id.
const TRACE_ID_BYTES: usize = 16;

/// Attributes of a log record, and where a record of ours has them.
const ATTRIBUTES: [(&str, &str); 21] = [
    ("log.record.uid", "/metadata/uid"),
    ("process.pid", "/actor/process/pid"),
    ("process.executable.name", "/actor/process/file/name"),
    ("process.executable.path", "/actor/process/file/path"),
    ("process.command_line", "/actor/process/cmd_line"),
    ("process.parent_pid", "/actor/process/parent_process/pid"),
    ("user.name", "/actor/process/user/name"),
    ("user.id", "/actor/process/user/uid"),
    ("destination.address", "/dst_endpoint/ip"),
    ("destination.port", "/dst_endpoint/port"),
    ("server.address", "/dst_endpoint/hostname"),
    ("network.transport", "/connection_info/protocol_name"),
    ("dns.question.name", "/query/hostname"),
    ("governd.agent.name", "/unmapped/governd/agent/name"),
    ("governd.agent.owner", "/unmapped/governd/agent/owner"),
    ("governd.decision.verdict", "/unmapped/governd/decision/verdict"),
    ("governd.decision.reason", "/unmapped/governd/decision/reason"),
    ("governd.decision.rule", "/unmapped/governd/decision/rule"),
    ("governd.decision.mode", "/unmapped/governd/decision/mode"),
    ("governd.decision.would_deny", "/unmapped/governd/decision/would_deny"),
    ("ocsf.type_uid", "/type_uid"),
];

pub(super) struct Otlp {
    client: Client,
}

impl Otlp {
    pub(super) fn new(spec: &config::Otlp) -> Result<Self, SetUpError> {
        let config::Otlp { name, from: _, url, token_file, tls } = spec;
        Ok(Self { client: Client::new(name, url, token_file.as_ref(), tls)? })
    }
}

impl Destination for Otlp {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        let body = request(batch).encode_to_vec();
        let answer = self.client.post("application/x-protobuf", &batch.key(), &[], &body)?;
        // One that is no protobuf says nothing of what was rejected.
        let answer = ExportLogsServiceResponse::decode(answer.as_slice()).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_log_records);
        Ok(Delivered { rejected: u64::try_from(rejected).unwrap_or(0) })
    }
}

fn request(batch: Batch<'_>) -> ExportLogsServiceRequest {
    // All records of a log are of one host.
    let host = batch.items.first().map(|item| record(&item.line)).unwrap_or_default();
    let resource = Resource {
        attributes: [
            ("service.name", Some(string("governd"))),
            ("service.version", at(&host, "/metadata/product/version")),
            ("host.name", at(&host, "/device/hostname")),
            ("host.id", at(&host, "/device/uid")),
            ("os.type", Some(string("linux"))),
            ("os.version", at(&host, "/device/os/kernel_release")),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(attribute(key, value?)))
        .collect(),
        ..Default::default()
    };
    let scope = InstrumentationScope { name: "governd.audit".to_owned(), ..Default::default() };
    let log_records = batch.items.iter().map(|item| log_record(batch.origin, item)).collect();
    let logs = ScopeLogs { scope: Some(scope), log_records, ..Default::default() };
    let logs =
        ResourceLogs { resource: Some(resource), scope_logs: vec![logs], ..Default::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}

fn log_record(origin: &str, item: &Item) -> LogRecord {
    let record = record(&item.line);
    let nanos = |pointer: &str| {
        let ms = record.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        ms.saturating_mul(NANOS_PER_MILLI)
    };
    let (severity_number, severity_text) = severity(&record);
    let mut attributes: Vec<KeyValue> = ATTRIBUTES
        .iter()
        .filter_map(|(key, pointer)| Some(attribute(key, at(&record, pointer)?)))
        .collect();
    attributes.push(attribute("governd.log.origin", string(origin)));
    let index = i64::try_from(item.index).unwrap_or(i64::MAX);
    attributes.push(attribute("governd.log.index", any_value::Value::IntValue(index)));
    attributes.push(attribute("log.record.original", string(&item.line)));
    LogRecord {
        time_unix_nano: nanos("/time"),
        observed_time_unix_nano: nanos("/metadata/logged_time"),
        severity_number,
        severity_text: severity_text.to_owned(),
        body: at(&record, "/message").map(|value| AnyValue { value: Some(value) }),
        attributes,
        trace_id: trace_id(&record).unwrap_or_default(),
        ..Default::default()
    }
}

/// OpenTelemetry's severity for OCSF's.
fn severity(record: &Value) -> (i32, &'static str) {
    match record.pointer("/severity_id").and_then(Value::as_u64) {
        Some(1) => (9, "Informational"),
        Some(2) => (10, "Low"),
        Some(3) => (13, "Medium"),
        Some(4) => (17, "High"),
        Some(5) => (18, "Critical"),
        Some(6) => (21, "Fatal"),
        _ => (0, ""),
    }
}

/// The trace that the process belongs to.
fn trace_id(record: &Value) -> Option<Vec<u8>> {
    let hex = super::text(record, "/unmapped/governd/trace_id")?;
    let digits = hex.as_bytes().chunks_exact(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    (bytes.len() == TRACE_ID_BYTES).then_some(bytes)
}

fn at(record: &Value, pointer: &str) -> Option<any_value::Value> {
    Some(match record.pointer(pointer)? {
        Value::String(text) => string(text),
        Value::Bool(yes) => any_value::Value::BoolValue(*yes),
        Value::Number(number) => any_value::Value::IntValue(number.as_i64()?),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    })
}

fn string(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.to_owned())
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::export::tests::DENIED;

    #[test]
    fn a_record_keeps_its_line_and_has_the_conventions_names() {
        let line = DENIED.to_owned();
        let items = [Item { index: 42, line: line.clone() }];
        let request = request(Batch { origin: "governd/0123", items: &items });
        let logs = &request.resource_logs[0];
        let value = |attributes: &[KeyValue], key: &str| {
            let found = attributes.iter().find(|attribute| attribute.key == key);
            found.and_then(|attribute| attribute.value.clone()?.value)
        };
        let of_host = |key| value(&logs.resource.as_ref().unwrap().attributes, key);
        assert_eq!(of_host("host.name"), Some(string("host-a.example")));
        assert_eq!(of_host("service.name"), Some(string("governd")));
        let log = &logs.scope_logs[0].log_records[0];
        let of = |key| value(&log.attributes, key);
        assert_eq!(log.time_unix_nano, 1_763_640_000_101 * NANOS_PER_MILLI);
        assert_eq!((log.severity_number, &*log.severity_text), (13, "Medium"));
        assert_eq!(of("server.address"), Some(string("api.openai.com")));
        assert_eq!(of("destination.port"), Some(any_value::Value::IntValue(443)));
        assert_eq!(of("governd.decision.verdict"), Some(string("deny")));
        assert_eq!(of("governd.log.origin"), Some(string("governd/0123")));
        assert_eq!(of("governd.log.index"), Some(any_value::Value::IntValue(42)));
        assert_eq!(of("log.record.original"), Some(string(&line)));
        assert_eq!(of("dns.question.name"), None);
        let mut keys: Vec<_> = log.attributes.iter().map(|attribute| &attribute.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), log.attributes.len());
    }

    #[test]
    fn a_trace_id_is_sixteen_bytes_or_none() {
        for (text, is_one) in [
            ("4bf92f3577b34da6a3ce929d0e0e4736", true),
            ("4bf92f3577b34da6a3ce929d0e0e47", false),
            ("4bf92f3577b34da6a3ce929d0e0e473é", false),
            ("", false),
        ] {
            let record = serde_json::json!({"unmapped": {"governd": {"trace_id": text}}});
            assert_eq!(trace_id(&record).is_some(), is_one, "{text}");
        }
    }
}
