//! Agents to rows.

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::core::{
    inventory::{Agent, Instance, Write},
    process::{Ancestor, Exe, Login, Process},
};

/// Writes all of these, or none.
pub(super) fn apply<'a>(
    connection: &mut Connection,
    boot_id: &str,
    writes: impl Iterator<Item = &'a Write>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for write in writes {
        match write {
            Write::Save(agent) => save(&transaction, agent, boot_id)?,
            Write::Forget(id) => forget(&transaction, id)?,
        }
    }
    transaction.commit()
}

fn forget(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM agents WHERE id = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM endpoints WHERE agent = ?1")?.execute([id])?;
    forget_parts(transaction, id)
}

/// Rows that are written anew each time.
fn forget_parts(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM evidence WHERE agent = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM instances WHERE agent = ?1")?.execute([id])?;
    Ok(())
}

fn save(transaction: &Transaction<'_>, agent: &Agent, boot_id: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO agents (id, program, place, uid, name, kind, standing, state,
                registered_as, owner, parent, confidence, is_runtime, instances_total,
                endpoints_dropped, first_ms, last_ms, digest, script, script_digest, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            &*agent.id,
            agent.key.program,
            agent.key.place,
            agent.key.uid,
            &*agent.name,
            agent.kind.map(|kind| kind.word()),
            agent.standing.word(),
            agent.state.word(),
            agent.registered_as.as_deref(),
            agent.owner.as_deref(),
            agent.parent.as_deref(),
            agent.confidence,
            agent.is_runtime,
            integer(agent.instances_total),
            integer(agent.endpoints_dropped),
            integer(agent.first_ms),
            integer(agent.last_ms),
            agent.digest.as_deref(),
            agent.program.script.as_deref(),
            agent.program.sha256.as_deref(),
            agent.program.version.as_deref(),
        ])?;
    forget_parts(transaction, &agent.id)?;
    save_evidence(transaction, agent)?;
    save_endpoints(transaction, agent)?;
    save_instances(transaction, agent, boot_id)
}

fn save_evidence(transaction: &Transaction<'_>, agent: &Agent) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO evidence (agent, position, signal, name, value, weight, source,
            count, first_ms, last_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (position, one) in agent.evidence.iter().enumerate() {
        insert.execute(params![
            &*agent.id,
            integer(position as u64),
            one.signal.word(),
            one.name,
            one.value,
            one.weight.word(),
            one.source,
            integer(one.count),
            integer(one.first_ms),
            integer(one.last_ms),
        ])?;
    }
    Ok(())
}

fn save_endpoints(transaction: &Transaction<'_>, agent: &Agent) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO endpoints (agent, host, port, address, provider, count, denied,
            first_ms, last_ms, outside_ms, sent_bytes, received_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for seen in agent.endpoints.values() {
        insert.execute(params![
            &*agent.id,
            seen.host,
            seen.port,
            seen.address.to_string(),
            seen.provider.as_deref(),
            integer(seen.count),
            integer(seen.denied),
            integer(seen.first_ms),
            integer(seen.last_ms),
            seen.outside_ms.map(integer),
            integer(seen.sent_bytes),
            integer(seen.received_bytes),
        ])?;
    }
    Ok(())
}

fn save_instances(
    transaction: &Transaction<'_>,
    agent: &Agent,
    boot_id: &str,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO instances (agent, boot_id, pid, started_ns, is_latest, is_running,
            first_ms, process)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let started =
        |instance: &Instance| (instance.actor.process.pid, instance.actor.process.started_ns);
    let latest = agent.latest.as_ref();
    let is_running = |one: &Instance| agent.instances.iter().any(|it| started(it) == started(one));
    let ended = latest.filter(|one| !is_running(one));
    for instance in agent.instances.iter().chain(ended) {
        let process = &instance.actor.process;
        let text = serde_json::to_string(&StoredProcess::of(instance))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        insert.execute(params![
            &*agent.id,
            boot_id,
            process.pid,
            integer(process.started_ns),
            latest.is_some_and(|latest| started(latest) == started(instance)),
            is_running(instance),
            integer(instance.first_ms),
            text,
        ])?;
    }
    Ok(())
}

/// SQLite's integers have a sign.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A process in the file. Arguments are redacted, as everywhere.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct StoredProcess {
    parent: Option<u32>,
    name: String,
    exe: Option<StoredExe>,
    args: Option<Vec<String>>,
    uid: Option<u32>,
    user: Option<String>,
    gid: Option<u32>,
    cgroup_id: Option<u64>,
    cgroup: Option<String>,
    #[serde(default)]
    login_uid: Option<u32>,
    #[serde(default)]
    login_session: Option<u32>,
    #[serde(default)]
    session: Option<u32>,
    #[serde(default)]
    trace: Option<String>,
    lineage: Vec<StoredAncestor>,
}

#[derive(Debug, Deserialize, Serialize)]
struct StoredExe {
    path: String,
    device: u32,
    inode: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct StoredAncestor {
    pid: u32,
    name: String,
    exe: Option<String>,
}

impl StoredProcess {
    fn of(instance: &Instance) -> Self {
        let process = &*instance.actor.process;
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            parent: process.parent,
            name: process.name.clone(),
            exe: process.exe.as_ref().map(|exe| StoredExe {
                path: exe.path.to_string_lossy().into_owned(),
                device: exe.device,
                inode: exe.inode,
            }),
            args: process.args.as_ref().map(|args| args.to_vec()),
            uid: process.uid,
            user: text(&process.user),
            gid: process.gid,
            cgroup_id: process.cgroup_id,
            cgroup: text(&process.cgroup),
            login_uid: process.login.uid,
            login_session: process.login.session,
            session: process.session,
            trace: text(&process.trace),
            lineage: instance.actor.lineage.iter().map(StoredAncestor::of).collect(),
        }
    }

    /// The process, and its lineage.
    pub(super) fn into_process(self, pid: u32, started_ns: u64) -> (Process, Vec<Ancestor>) {
        let Self {
            parent,
            name,
            exe,
            args,
            uid,
            user,
            gid,
            cgroup_id,
            cgroup,
            login_uid,
            login_session,
            session,
            trace,
            lineage,
        } = self;
        let exe =
            exe.map(|StoredExe { path, device, inode }| Exe { path: path.into(), device, inode });
        let process = Process {
            pid,
            started_ns,
            parent,
            name,
            exe,
            // Of the file as it was; it may be another now.
            digest: None,
            args: args.map(Into::into),
            uid,
            user: user.map(Into::into),
            gid,
            cgroup_id,
            cgroup: cgroup.map(Into::into),
            // Runtimes are asked anew by whoever runs now.
            workload: None,
            login: Login { uid: login_uid, session: login_session },
            session,
            trace: trace.map(Into::into),
        };
        let lineage = lineage.into_iter().map(|StoredAncestor { pid, name, exe }| Ancestor {
            pid,
            name,
            exe: exe.map(Into::into),
        });
        (process, lineage.collect())
    }
}

impl StoredAncestor {
    fn of(ancestor: &Ancestor) -> Self {
        let Ancestor { pid, name, exe } = ancestor;
        let exe = exe.as_ref().map(|path| path.to_string_lossy().into_owned());
        Self { pid: *pid, name: name.clone(), exe }
    }
}
