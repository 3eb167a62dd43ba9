//! What is wrong with hosts: kept once while it lasts, and counted. What is over is kept for half a
//! year more; the sink's own log has a record of each.

use rusqlite::params;

use super::{Host, Store, StoreError, beside::tell, integer};

/// The word for a host that is not heard of.
pub const SILENT: &str = "silent";
/// The word for a host of which what is old enough cannot be deleted.
pub const UNDELETED: &str = "undeleted";
/// The word for what somebody says to be over.
const SETTLED: &str = "settled";
/// How long what is over is kept, in seconds: as long as records at least (183 days).
const KEPT_S: u64 = 183 * 86_400;

/// Something that is wrong with a host or its log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The host's name.
    pub host: String,
    /// When it was seen first, in seconds since 1970.
    pub time_s: u64,
    /// The word for it.
    pub what: String,
    /// What it is.
    pub detail: String,
    /// How often it was seen.
    pub count: u64,
}

impl Store {
    /// Keeps that something is wrong; whether it is new.
    ///
    /// # Errors
    /// If the store fails.
    pub fn find(
        &self,
        host: &Host,
        what: &str,
        detail: &str,
        now_s: u64,
    ) -> Result<bool, StoreError> {
        let mut query = self.connection.prepare_cached(
            "INSERT INTO finding (host, time_s, what, detail, count) VALUES (?1, ?2, ?3, ?4, 1) \
             ON CONFLICT (host, what) WHERE ended_s IS NULL DO UPDATE SET count = count + 1 \
             RETURNING count",
        )?;
        let values = params![host.id, integer(now_s), what, detail];
        Ok(query.query_row(values, |row| row.get::<_, i64>(0))? == 1)
    }

    /// Something is over; whether there was something.
    ///
    /// # Errors
    /// If the store fails.
    pub fn end(&self, host: &Host, what: &str, now_s: u64) -> Result<bool, StoreError> {
        let ended = self
            .connection
            .prepare_cached(
                "UPDATE finding SET ended_s = ?3 \
                 WHERE host = ?1 AND what = ?2 AND ended_s IS NULL",
            )?
            .execute(params![host.id, what, integer(now_s)])?;
        Ok(ended > 0)
    }

    /// Somebody says that what is wrong with a host, or one kind of it, is over, and it is noted
    /// for the sink to record who. Says how much that was.
    ///
    /// # Errors
    /// If the store fails: then nothing is over.
    pub fn settle(
        &mut self,
        host: &Host,
        what: Option<&str>,
        who: &str,
        now_s: u64,
    ) -> Result<u64, StoreError> {
        let change = self.connection.transaction()?;
        let ended: Vec<String> = change
            .prepare_cached(
                "UPDATE finding SET ended_s = ?3 WHERE host = ?1 AND ended_s IS NULL \
                 AND what = ifnull(?2, what) RETURNING what",
            )?
            .query_map(params![host.id, what, integer(now_s)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for what in &ended {
            let detail = format!("{who} says that \"{what}\" is over");
            tell(&change, &host.name, SETTLED, &detail)?;
        }
        change.commit()?;
        Ok(ended.len() as u64)
    }

    /// Deletes what is over for longer than half a year. Says how much that was.
    ///
    /// # Errors
    /// If the store fails.
    pub fn forget_findings(&self, now_s: u64) -> Result<u64, StoreError> {
        let mut query = self.connection.prepare_cached("DELETE FROM finding WHERE ended_s < ?1")?;
        Ok(query.execute([integer(now_s.saturating_sub(KEPT_S))])? as u64)
    }

    /// What is wrong and not over, the latest last.
    ///
    /// # Errors
    /// If the store fails.
    pub fn findings(&self) -> Result<Vec<Found>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT name, time_s, what, detail, count FROM finding JOIN host ON host.id = host \
             WHERE ended_s IS NULL ORDER BY finding.id",
        )?;
        let rows = query.query_map([], |row| {
            Ok(Found {
                host: row.get(0)?,
                time_s: row.get::<_, i64>(1)?.unsigned_abs(),
                what: row.get(2)?,
                detail: row.get(3)?,
                count: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })?;
        rows.map(|row| row.map_err(StoreError::from)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::Signer;

    #[test]
    fn what_is_over_is_kept_for_half_a_year_and_what_is_not_for_as_long_as_it_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let key = Signer::new("governd/host", [1; 32]).unwrap().verifier().clone();
        store.add_token("secret", "web-1", 10).unwrap();
        store.enroll("secret", &key.into(), 1, |_| Ok(((), [7; 32]))).unwrap();
        let host = &store.hosts().unwrap().pop().unwrap();
        for what in ["fork", "root", SILENT] {
            assert!(store.find(host, what, "it is so", 5).unwrap());
        }
        let open = |store: &Store| -> Vec<String> {
            store.findings().unwrap().into_iter().map(|found| found.what).collect()
        };
        assert_eq!(store.settle(host, Some("root"), "uid 7", 100).unwrap(), 1);
        assert_eq!(store.settle(host, Some("root"), "uid 7", 101).unwrap(), 0);
        assert_eq!(open(&store), ["fork", SILENT]);
        let told = store.told().unwrap();
        let want = ("web-1".to_owned(), SETTLED.to_owned(), told[0].2.clone());
        assert_eq!(told, [want]);
        assert_eq!(told[0].2, "uid 7 says that \"root\" is over");
        // It happens again: that is new.
        assert!(store.find(host, "root", "once more", 102).unwrap());
        assert_eq!(store.settle(host, None, "uid 7", 200).unwrap(), 3);
        assert!(store.find(host, "fork", "it is so", 201).unwrap());
        assert_eq!(store.forget_findings(100 + KEPT_S).unwrap(), 0);
        assert_eq!(store.forget_findings(101 + KEPT_S).unwrap(), 1);
        assert_eq!(store.forget_findings(u64::from(u32::MAX)).unwrap(), 3);
        assert_eq!(open(&store), ["fork"]);
    }
}
