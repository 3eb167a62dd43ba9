//! What stands beside records: user names and command lines, which can be erased here as on the
//! host. Whose records they are of is in a row for each batch, compressed as the batch is.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, params};

use super::{Host, Store, StoreError, batches::no_memory, integer};
use crate::{
    audit::record::personal::{self, Erasure, Token, Value},
    sink::pack,
};

/// The word for an erasure.
const ERASED: &str = "erased";
/// Whom something is told of that is about no host.
pub const ITSELF: &str = "the sink";
/// Rows that are looked at before others get to write.
const ROWS_MAX: i64 = 64;

impl Store {
    /// Keeps what stands beside the new records of a batch. Where all of them are new, all of it is
    /// theirs; otherwise only what they have: what was erased does not come back with records that
    /// are sent again.
    pub(super) fn keep_beside<'l>(
        &self,
        host: &Host,
        first: u64,
        lines: impl Iterator<Item = &'l str>,
        beside: &[(Token, Value)],
        all: bool,
    ) -> Result<(), StoreError> {
        if beside.is_empty() {
            return Ok(());
        }
        let tokens = |line| personal::tokens(line).map(|(_, token)| token);
        let wanted: HashSet<Token> =
            if all { HashSet::new() } else { lines.flat_map(tokens).collect() };
        let mut text = String::new();
        for (token, value) in beside {
            if all || wanted.contains(token) {
                value.write(&mut text);
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let frame = pack::compress(text.as_bytes()).map_err(no_memory)?;
        self.connection
            .prepare_cached("INSERT INTO beside (host, first, lines) VALUES (?1, ?2, ?3)")?
            .execute(params![host.id, integer(first), frame])?;
        Ok(())
    }

    /// Records of a host from an index on, at most so many, with what stands beside them; and the
    /// index behind the last. It begins with the first that was not deleted.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn shown(
        &self,
        host: &Host,
        from: u64,
        count: usize,
    ) -> Result<(Vec<String>, u64), StoreError> {
        // Nothing is deleted between two reads.
        let _snapshot = self.connection.unchecked_transaction()?;
        let gone = || StoreError::Damaged(host.name.clone());
        let host = &self.host(host.id)?.ok_or_else(gone)?;
        let mut shown = Vec::new();
        let mut next = from.max(host.kept_from());
        while next < host.size && shown.len() < count {
            let damaged = || StoreError::Damaged(host.name.clone());
            let stored = self.batch(host, next)?.ok_or_else(damaged)?;
            let text = pack::decompress(&stored.frame).map_err(|_| damaged())?;
            let values = self.beside(host, stored.first)?;
            let skip = usize::try_from(next - stored.first).map_err(|_| damaged())?;
            let before = shown.len();
            for line in pack::each(&text).skip(skip).take(count - before) {
                let value = |token: &Token| values.get(token).map(String::as_str);
                shown.push(personal::plain(line, value));
            }
            if shown.len() == before {
                return Err(damaged());
            }
            next += (shown.len() - before) as u64;
        }
        Ok((shown, next))
    }

    fn beside(&self, host: &Host, first: u64) -> Result<HashMap<Token, String>, StoreError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT lines FROM beside WHERE host = ?1 AND first = ?2")?;
        let mut rows = query.query(params![host.id, integer(first)])?;
        let Some(row) = rows.next()? else {
            return Ok(HashMap::new());
        };
        let values = parse(host, &row.get::<_, Vec<u8>>(0)?)?;
        Ok(values.into_iter().map(|(token, value)| (token, value.text)).collect())
    }

    /// Erases what is meant of one host, or of all, and notes who did it for the sink to record.
    /// Says how many values that was.
    ///
    /// # Errors
    /// If the store fails: some of it may be erased.
    pub fn erase(
        &mut self,
        host: Option<&Host>,
        which: &Erasure,
        who: &str,
    ) -> Result<u64, StoreError> {
        // What is deleted is overwritten, and no copy stays in the file of changes.
        self.connection.execute_batch("PRAGMA secure_delete = ON")?;
        let hosts = match host {
            Some(host) => vec![host.clone()],
            None => self.hosts()?,
        };
        let mut gone = 0;
        for host in &hosts {
            let mut next = Some(0);
            while let Some(from) = next {
                let change = self.connection.transaction()?;
                let (count, behind) = erase_some(&change, host, from, which)?;
                if count > 0 {
                    let of = if which.user.is_some() { " of one user" } else { "" };
                    let detail = format!("{who} erases {count} values{of} beside its records");
                    tell(&change, &host.name, ERASED, &detail)?;
                }
                change.commit()?;
                gone += count;
                next = behind;
            }
        }
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(gone)
    }

    /// What others did to the store, each once: which host, a word for it, and a sentence.
    ///
    /// # Errors
    /// If the store fails.
    pub fn told(&self) -> Result<Vec<(String, String, String)>, StoreError> {
        let mut query =
            self.connection.prepare_cached("DELETE FROM told RETURNING who, what, detail")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.map(|row| row.map_err(StoreError::from)).collect()
    }

    /// Notes something about the sink itself for it to record.
    ///
    /// # Errors
    /// If the store fails.
    pub fn tell(&self, what: &str, detail: &str) -> Result<(), StoreError> {
        Ok(tell(&self.connection, ITSELF, what, detail)?)
    }
}

/// Notes something for the sink to record.
pub(super) fn tell(
    change: &Connection,
    who: &str,
    what: &str,
    detail: &str,
) -> rusqlite::Result<()> {
    let text = "INSERT INTO told (who, what, detail) VALUES (?1, ?2, ?3)";
    change.execute(text, params![who, what, detail]).map(drop)
}

/// Erases in some rows of a host; how many values, and from where there are more.
fn erase_some(
    change: &Connection,
    host: &Host,
    from: i64,
    which: &Erasure,
) -> Result<(u64, Option<i64>), StoreError> {
    let mut query = change.prepare_cached(
        "SELECT first, lines FROM beside WHERE host = ?1 AND first >= ?2 ORDER BY first LIMIT ?3",
    )?;
    let rows = query.query_map(params![host.id, from, ROWS_MAX], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    let (mut count, mut last) = (0, None);
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (first, frame) = row;
        last = Some(first + 1);
        let values = parse(host, &frame)?;
        let (mut text, before) = (String::new(), count);
        for (_, value) in &values {
            if which.is_meant(value) {
                count += 1;
            } else {
                value.write(&mut text);
            }
        }
        if count > before {
            let frame = pack::compress(text.as_bytes()).map_err(no_memory)?;
            change.execute(
                "UPDATE beside SET lines = ?3 WHERE host = ?1 AND first = ?2",
                params![host.id, first, frame],
            )?;
        }
    }
    Ok((count, last))
}

fn parse(host: &Host, frame: &[u8]) -> Result<Vec<(Token, Value)>, StoreError> {
    let damaged = |_| StoreError::Damaged(host.name.clone());
    let text = pack::decompress(frame).map_err(damaged)?;
    pack::values(&text).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            checkpoint::Signer,
            cosign::{Cosigner, Cosigners},
            record::personal::{SALT_BYTES, USER},
            tree::Frontier,
        },
        sink::store::Arrival,
    };

    fn value(user: &str, logged_ms: u64) -> (Token, Value) {
        let salt = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            [logged_ms as u8; SALT_BYTES],
        );
        let (kind, text) = (USER.to_owned(), user.to_owned());
        let value = Value { kind, logged_ms, salt, text, user: Some(user.to_owned()) };
        (value.token().unwrap(), value)
    }

    /// A store with a host, and what it sends: two records of two users.
    struct Sink {
        directory: tempfile::TempDir,
        store: Store,
        signer: Signer,
        cosigners: Cosigners,
    }

    fn sink() -> Sink {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let signer = Signer::new("governd/host", [1; 32]).unwrap();
        store.add_token("secret", "web-1", 10).unwrap();
        store
            .enroll("secret", &signer.verifier().clone().into(), 1, |_| Ok(((), [7; 32])))
            .unwrap();
        let cosigners = Cosigner::new("sink.example", [2; 32]).unwrap().into();
        Sink { directory, store, signer, cosigners }
    }

    impl Sink {
        /// The host sends the records of values, the first of which is its first.
        fn send(&self, values: &[(Token, Value)]) {
            let mut host = self.host();
            let line =
                |(token, _): &(Token, Value)| format!("{{\"user\":{{\"name\":\"{token}\"}}}}\n");
            let lines: String = values.iter().map(line).collect();
            let leaves = pack::leaves(&lines);
            let mut tree = Frontier::default();
            leaves.iter().for_each(|leaf| tree.push(*leaf));
            let note = self.signer.sign(tree.size(), tree.root());
            let frame = pack::compress(lines.as_bytes()).unwrap();
            let arrival = Arrival {
                first: 0,
                lines: &lines,
                frame: &frame,
                leaves: &leaves,
                note: &note,
                before: None,
                beside: values,
            };
            self.store.append(&mut host, arrival, &self.cosigners, 5).unwrap();
        }

        fn host(&self) -> Host {
            self.store.hosts().unwrap().pop().unwrap()
        }

        fn shown(&self) -> Vec<String> {
            let (lines, _) = self.store.shown(&self.host(), 0, 99).unwrap();
            let name = |line: String| line.split('"').nth(5).unwrap().to_owned();
            lines.into_iter().map(name).collect()
        }
    }

    #[test]
    fn what_is_erased_at_a_sink_is_gone_is_told_and_does_not_come_back() {
        let mut sink = sink();
        let values = [value("dana", 1), value("kim", 2), value("dana", 3)];
        sink.send(&values[..2]);
        assert_eq!(sink.shown(), ["dana", "kim"]);
        let which = Erasure { user: Some("dana".to_owned()), before_ms: None };
        assert_eq!(sink.store.erase(None, &which, "uid 7").unwrap(), 1);
        assert_eq!(sink.store.erase(None, &which, "uid 7").unwrap(), 0);
        assert_eq!(sink.shown(), ["[erased]", "kim"]);
        let told = sink.store.told().unwrap();
        let detail = "uid 7 erases 1 values of one user beside its records";
        assert_eq!(told, [("web-1".to_owned(), ERASED.to_owned(), detail.to_owned())]);
        assert!(sink.store.told().unwrap().is_empty());
        // All of it again, with one that is new.
        sink.send(&values);
        assert_eq!(sink.shown(), ["[erased]", "kim", "dana"]);
        let report = sink.store.verify(&sink.host(), &sink.cosigners.witnesses(), None).unwrap();
        assert_eq!((report.wrong, report.records), (None, 3));
    }

    #[test]
    fn a_store_of_the_version_before_is_brought_up() {
        let sink = sink();
        let back = "DROP TABLE beside; DROP TABLE told; \
                    ALTER TABLE host DROP COLUMN rotations; \
                    ALTER TABLE certificate DROP COLUMN authority; \
                    ALTER TABLE host DROP COLUMN deleted; ALTER TABLE host DROP COLUMN deletion; \
                    ALTER TABLE batch DROP COLUMN came_s; PRAGMA user_version = 2;";
        sink.store.connection.execute_batch(back).unwrap();
        drop(Store::open(sink.directory.path()).unwrap());
        sink.send(&[value("dana", 1)]);
        assert_eq!(sink.shown(), ["dana"]);
    }
}
