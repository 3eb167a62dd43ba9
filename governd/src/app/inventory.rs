//! The inventory's file: opened once the policy is in force, written each second, closed last.

use std::{io, path::Path, sync::Arc};

use super::{discovery::trouble, engine::Engine, sinking};
use crate::{
    audit::record::{Record, personal::Erasure},
    catalog::Catalog,
    control::protocol::InventoryStatus,
    core::inventory::{Inventory, Standing},
    settings::INVENTORY_FILE,
    store::{Opened, Store},
};

/// Agents that are handed to the file at once.
const WRITES_MAX: usize = 256;

/// Id of a boot that the file does not say.
const UNKNOWN_BOOT: &str = "unknown";

/// Erases from the inventory of a state directory that no daemon uses; how many values went.
///
/// # Errors
/// If the file cannot be used.
pub(super) fn erase(state_dir: &Path, which: &Erasure) -> io::Result<u64> {
    let path = state_dir.join(INVENTORY_FILE);
    if !path.exists() {
        return Ok(0);
    }
    let host = sinking::host();
    let gone = || -> io::Result<u64> {
        let opened = Store::open(&path, host.boot_id().unwrap_or(UNKNOWN_BOOT));
        let (store, opened) = opened.map_err(io::Error::other)?;
        let mut inventory = Inventory::new(Arc::new(Catalog::built_in()));
        inventory.restore(opened.agents);
        let gone = inventory.erase(which, true);
        store.erase();
        store.finish(inventory.writes(usize::MAX));
        Ok(gone)
    };
    let count = gone()?;
    // The file is written elsewhere: what it has now says whether that went well.
    if count > 0 && gone()? > 0 {
        return Err(io::Error::other(format!("{} cannot be written", path.display())));
    }
    Ok(count)
}

impl Engine {
    /// Takes back what an earlier daemon knew. Without a usable file the inventory lives as long
    /// as the daemon, and a finding says so.
    pub(super) fn open_inventory(&mut self, directory: &Path) {
        let path = directory.join(INVENTORY_FILE);
        let boot_id = self.host.boot_id().unwrap_or(UNKNOWN_BOOT);
        match Store::open(&path, boot_id) {
            Ok((store, opened)) => {
                self.discovery.store = Some(store);
                self.take_back(opened);
            }
            Err(error) => {
                tracing::error!(reason = error.line(), hint = error.hint(), "no inventory file");
                let title = "the inventory's file cannot be used: agents are forgotten at the end";
                let evidence = vec![error.line(), error.hint().to_owned()];
                let finding = trouble("inventory-unusable", title, evidence);
                self.journal.record(Record::Finding(finding), None);
            }
        }
    }

    fn take_back(&mut self, opened: Opened) {
        let Opened { agents, discarded, damage } = opened;
        tracing::info!(agents = agents.len(), "inventory opened");
        if let Some(damage) = damage {
            let aside = damage.path.display();
            tracing::error!(reason = damage.reason, path = %aside, "the inventory was damaged");
            let title = "the inventory's file was damaged; a new one was begun";
            let evidence = vec![damage.reason.clone(), format!("the damaged file is {aside}")];
            let finding = trouble("inventory-damaged", title, evidence);
            self.journal.record(Record::Finding(finding), None);
        }
        if discarded > 0 {
            tracing::error!(rows = discarded, "the inventory held what nobody understands");
            let title = "the inventory's file held what governd did not write, which was removed";
            let evidence = vec![format!("{discarded} rows")];
            let finding = trouble("inventory-damaged", title, evidence);
            self.journal.record(Record::Finding(finding), None);
        }
        self.discovery.inventory.restore(agents);
        self.discover_ended();
        self.discover_registered();
    }

    /// Erases what is kept of processes that ended; how many values went.
    pub(super) fn erase_inventory(&mut self, which: &Erasure) -> u64 {
        self.discovery.is_erased = true;
        self.discovery.inventory.erase(which, false)
    }

    /// Hands what changed to the file. Never waits.
    pub(super) fn save_inventory(&mut self) {
        let discovery = &mut self.discovery;
        let Some(store) = &discovery.store else {
            // Nobody will ask for it.
            discovery.inventory.writes(usize::MAX);
            return;
        };
        if store.is_ready() {
            let writes = discovery.inventory.writes(WRITES_MAX);
            // The last of what was changed by it takes all copies away.
            if discovery.is_erased && writes.len() < WRITES_MAX {
                discovery.is_erased = false;
                store.erase();
            }
            if !writes.is_empty() && !store.apply(writes) {
                tracing::error!(path = %store.path().display(), "the inventory is not written");
            }
        }
        let trouble_now = store.trouble();
        let has_begun = trouble_now.is_some() && !discovery.is_store_failing;
        discovery.is_store_failing = trouble_now.is_some();
        if let Some(reason) = trouble_now.filter(|_| has_begun) {
            let title = "the inventory's file cannot be written; it is tried again";
            let finding = trouble("inventory-unwritable", title, vec![reason.to_string()]);
            self.journal.record(Record::Finding(finding), None);
        }
    }

    /// Writes what is left.
    pub(super) fn close_inventory(&mut self) {
        if let Some(store) = self.discovery.store.take() {
            store.finish(self.discovery.inventory.writes(usize::MAX));
        }
    }

    pub(super) fn inventory_status(&self) -> InventoryStatus {
        let inventory = &self.discovery.inventory;
        let count =
            |standing| inventory.agents().filter(|agent| agent.standing == standing).count() as u64;
        let store = self.discovery.store.as_ref();
        InventoryStatus {
            file: store.map(|store| store.path().display().to_string()),
            agents: count(Standing::Agent),
            candidates: count(Standing::Candidate),
            dropped: inventory.dropped(),
            failing: store.and_then(Store::trouble).map(|reason| reason.to_string()),
        }
    }
}
