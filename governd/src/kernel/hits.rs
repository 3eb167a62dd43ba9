//! How often each rule decided, as the programs count it.

use governd_common::{key::RuleKey, names::map, table::RuleHits};

use super::{
    Kernel, KernelError,
    pod::Shared,
    tables::{read_all, removed},
};

impl Kernel {
    /// Takes what was counted since the last time. What is counted while it is read may be lost.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub fn take_rule_hits(&mut self) -> Result<Vec<(RuleKey, RuleHits)>, KernelError> {
        let all = read_all(&self.tables.rule_hits, map::RULE_HITS)?;
        for (key, _) in &all {
            removed(self.tables.rule_hits.remove(key))
                .map_err(KernelError::map("write", map::RULE_HITS))?;
        }
        Ok(all.into_iter().map(|(Shared(key), hits)| (key, hits)).collect())
    }
}
