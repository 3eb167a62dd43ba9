//! Rows to agents. What cannot be understood is left out and removed: somebody else wrote it, or
//! the disk did.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rusqlite::{Connection, Error, Row, Rows};

use super::save::StoredProcess;
use crate::{
    audit::record::Actor,
    catalog::{RuntimeKind, Weight},
    core::inventory::{
        AGENTS_MAX, Agent, AgentState, ENDPOINTS_MAX, EVIDENCE_MAX, EndpointSeen, Evidence,
        INSTANCES_MAX, Instance, Key, Program, Signal, Standing, Traffic,
    },
};

/// The agents that were seen last, at most as many as an inventory holds, and how many rows were
/// removed.
pub(super) fn agents(
    connection: &mut Connection,
    boot_id: &str,
) -> rusqlite::Result<(Vec<Agent>, u64)> {
    let mut known: HashMap<String, Agent> = HashMap::new();
    let mut order = Vec::new();
    let mut discarded =
        each(connection, "SELECT * FROM agents ORDER BY standing, last_ms DESC", |row| {
            let Some(agent) = agent(row)?.filter(|_| order.len() < AGENTS_MAX) else {
                return Ok(false);
            };
            order.push(Arc::clone(&agent.id));
            known.insert(agent.id.to_string(), agent);
            Ok(true)
        })?;
    let evidence_rows = "SELECT * FROM evidence ORDER BY agent, position";
    discarded += each(connection, evidence_rows, |row| {
        let Some(agent) = known.get_mut(&row.get::<_, String>("agent")?) else { return Ok(false) };
        let one = evidence(row)?.filter(|_| agent.evidence.len() < EVIDENCE_MAX);
        let is_taken = one.is_some();
        agent.evidence.extend(one);
        Ok(is_taken)
    })?;
    discarded += each(connection, "SELECT * FROM endpoints", |row| {
        let Some(agent) = known.get_mut(&row.get::<_, String>("agent")?) else { return Ok(false) };
        let seen = endpoint(row)?.filter(|_| agent.endpoints.len() < ENDPOINTS_MAX);
        let is_taken = seen.is_some();
        agent.endpoints.extend(seen.map(|seen| ((seen.host.clone(), seen.port), seen)));
        Ok(is_taken)
    })?;
    let instance_rows = "SELECT * FROM instances ORDER BY agent, first_ms, started_ns";
    discarded += each(connection, instance_rows, |row| {
        let Some(agent) = known.get_mut(&row.get::<_, String>("agent")?) else { return Ok(false) };
        let here = row.get::<_, String>("boot_id")? == boot_id && row.get("is_running")?;
        let Some(instance) = instance(row)? else { return Ok(false) };
        if row.get("is_latest")? {
            agent.latest = Some(instance.clone());
        }
        if here && agent.instances.len() < INSTANCES_MAX {
            agent.instances.push(instance);
        }
        Ok(true)
    })?;
    if discarded > 0 {
        prune(connection, &known)?;
    }
    let agents = order.iter().filter_map(|id| known.remove(&**id));
    Ok((agents.filter(|agent| !agent.evidence.is_empty()).collect(), discarded))
}

/// Gives every row to `take`, and the number of those that it does not want or that hold what no
/// column of ours does.
fn each(
    connection: &Connection,
    query: &str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare(query)?;
    let mut rows: Rows<'_> = statement.query([])?;
    let mut discarded = 0;
    while let Some(row) = rows.next()? {
        let is_taken = match take(row) {
            Err(
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..),
            ) => false,
            taken => taken?,
        };
        discarded += u64::from(!is_taken);
    }
    Ok(discarded)
}

/// Removes agents that are not known, with all that belongs to them.
fn prune(connection: &mut Connection, known: &HashMap<String, Agent>) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch("CREATE TEMP TABLE kept (id TEXT PRIMARY KEY) STRICT")?;
    {
        let mut insert = transaction.prepare("INSERT INTO kept VALUES (?1)")?;
        for id in known.keys() {
            insert.execute([id])?;
        }
    }
    transaction.execute_batch(
        "DELETE FROM agents WHERE id NOT IN (SELECT id FROM kept);
         DELETE FROM evidence WHERE agent NOT IN (SELECT id FROM kept);
         DELETE FROM endpoints WHERE agent NOT IN (SELECT id FROM kept);
         DELETE FROM instances WHERE agent NOT IN (SELECT id FROM kept);
         DROP TABLE kept;",
    )?;
    transaction.commit()
}

fn agent(row: &Row<'_>) -> rusqlite::Result<Option<Agent>> {
    let kind: Option<String> = row.get("kind")?;
    let words = (
        Standing::from_word(&row.get::<_, String>("standing")?),
        AgentState::from_word(&row.get::<_, String>("state")?),
    );
    let (Some(standing), Some(state)) = words else { return Ok(None) };
    let id: Arc<str> = text(row, "id")?;
    let key = Key { program: row.get("program")?, place: row.get("place")?, uid: row.get("uid")? };
    if key.id() != id {
        return Ok(None);
    }
    Ok(Some(Agent {
        id,
        key,
        name: text(row, "name")?,
        // A later catalogue may have other kinds.
        kind: kind.as_deref().and_then(RuntimeKind::from_word),
        standing,
        state,
        reason: None,
        digest: maybe_text(row, "digest")?,
        // Containers are asked about anew.
        image: None,
        program: Program {
            script: maybe_text(row, "script")?,
            sha256: maybe_text(row, "script_digest")?,
            version: maybe_text(row, "version")?,
        },
        subject: None,
        registered_as: maybe_text(row, "registered_as")?,
        owner: maybe_text(row, "owner")?,
        parent: maybe_text(row, "parent")?,
        evidence: Vec::new(),
        confidence: row.get("confidence")?,
        instances: Vec::new(),
        latest: None,
        instances_total: count(row, "instances_total")?,
        endpoints: BTreeMap::new(),
        endpoints_dropped: count(row, "endpoints_dropped")?,
        first_ms: count(row, "first_ms")?,
        last_ms: count(row, "last_ms")?,
        is_runtime: row.get("is_runtime")?,
    }))
}

fn evidence(row: &Row<'_>) -> rusqlite::Result<Option<Evidence>> {
    let signal = Signal::from_word(&row.get::<_, String>("signal")?);
    let weight = Weight::from_word(&row.get::<_, String>("weight")?);
    let (Some(signal), Some(weight)) = (signal, weight) else { return Ok(None) };
    Ok(Some(Evidence {
        signal,
        name: row.get("name")?,
        value: row.get("value")?,
        weight,
        source: row.get("source")?,
        count: count(row, "count")?,
        first_ms: count(row, "first_ms")?,
        last_ms: count(row, "last_ms")?,
    }))
}

fn endpoint(row: &Row<'_>) -> rusqlite::Result<Option<EndpointSeen>> {
    let Ok(address) = row.get::<_, String>("address")?.parse() else { return Ok(None) };
    Ok(Some(EndpointSeen {
        host: row.get("host")?,
        address,
        port: row.get("port")?,
        provider: maybe_text(row, "provider")?,
        count: count(row, "count")?,
        denied: count(row, "denied")?,
        sent_bytes: count(row, "sent_bytes")?,
        received_bytes: count(row, "received_bytes")?,
        open: Traffic::default(),
        first_ms: count(row, "first_ms")?,
        last_ms: count(row, "last_ms")?,
        outside_ms: row.get::<_, Option<i64>>("outside_ms")?.and_then(|at| u64::try_from(at).ok()),
    }))
}

fn instance(row: &Row<'_>) -> rusqlite::Result<Option<Instance>> {
    let stored: Result<StoredProcess, _> = serde_json::from_str(&row.get::<_, String>("process")?);
    let Ok(stored) = stored else { return Ok(None) };
    let (process, lineage) = stored.into_process(row.get("pid")?, count(row, "started_ns")?);
    let actor = Actor { process: Arc::new(process), lineage: lineage.into() };
    Ok(Some(Instance { actor, first_ms: count(row, "first_ms")? }))
}

fn text(row: &Row<'_>, column: &str) -> rusqlite::Result<Arc<str>> {
    Ok(row.get::<_, String>(column)?.into())
}

fn maybe_text(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Arc<str>>> {
    Ok(row.get::<_, Option<String>>(column)?.map(Into::into))
}

fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}
