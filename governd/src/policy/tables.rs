//! The tables of an image in user space: what `explain` and the tests decide with.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::Ipv6Addr,
};

use governd_common::{
    address::Address,
    decide::Tables,
    key::{BindingKey, GrantKey},
    limits::BINDING_SETS_MAX,
    table::{Binding, BoundSet, RuleBlock, Subject},
};

use super::image::TableImage;

/// What people said at run time, in the numbers of an image.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    /// Grants, and the `CLOCK_BOOTTIME` until which each holds, in nanoseconds.
    pub grants: HashMap<GrantKey, u64>,
    /// Quarantined subjects.
    pub quarantined: HashSet<u32>,
}

/// An image, indexed, with the bindings that the caller knows of.
#[derive(Debug)]
pub struct ImageTables<'a> {
    subjects: HashMap<u32, &'a Subject>,
    blocks: HashMap<(u32, u32), &'a RuleBlock>,
    names: HashMap<&'a [u8], u32>,
    networks: HashMap<(u32, u8, [u8; 16]), u32>,
    prefixes: HashMap<u32, BTreeSet<u8>>,
    resolvers: HashSet<[u8; 16]>,
    bindings: HashMap<(u32, [u8; 16]), Binding>,
    controls: Controls,
}

impl<'a> ImageTables<'a> {
    /// Indexes an image; nothing is bound yet.
    pub fn new(image: &'a TableImage) -> Self {
        let mut networks = HashMap::with_capacity(image.networks.len());
        let mut prefixes: HashMap<u32, BTreeSet<u8>> = HashMap::new();
        for (subject, address, prefix, set) in &image.networks {
            networks.insert((*subject, *prefix, address.bytes), *set);
            prefixes.entry(*subject).or_default().insert(*prefix);
        }
        let blocks = image.blocks.iter().map(|(subject, set, block)| ((*subject, *set), block));
        Self {
            subjects: image.subjects.iter().map(|(id, subject)| (*id, subject)).collect(),
            blocks: blocks.collect(),
            names: image.names.iter().map(|(key, set)| (&**key, *set)).collect(),
            networks,
            prefixes,
            resolvers: image.resolvers.iter().map(|address| address.bytes).collect(),
            bindings: HashMap::new(),
            controls: Controls::default(),
        }
    }

    /// Forgets every binding.
    pub fn unbind(&mut self) {
        self.bindings.clear();
    }

    /// Has an address stand for something.
    pub fn put(&mut self, key: BindingKey, binding: Binding) {
        self.bindings.insert((key.subject, key.address.bytes), binding);
    }

    /// Decides under what people said at run time, too.
    pub fn under(self, controls: Controls) -> Self {
        Self { controls, ..self }
    }

    /// The set of the longest pattern that matches a name (lower case, without final dot), as the
    /// name trie finds it.
    pub fn name_set(&self, name: &str) -> Option<u32> {
        let mut key: Vec<u8> = name.bytes().rev().chain([0]).collect();
        if let Some(set) = self.names.get(key.as_slice()) {
            return Some(*set);
        }
        while let Some(dot) = key.iter().rposition(|byte| *byte == b'.') {
            key.truncate(dot + 1);
            if let Some(set) = self.names.get(key.as_slice()) {
                return Some(*set);
            }
            key.truncate(dot);
        }
        None
    }

    /// Binds a name to an address for a subject, or for everybody with `BindingKey::HOST`, as a
    /// DNS answer would, until `expires_ns`. False if no pattern matches the name, or all places
    /// are taken.
    pub fn bind(&mut self, subject: u32, name: &str, address: Address, expires_ns: u64) -> bool {
        let Some(set) = self.name_set(name) else {
            return false;
        };
        let binding = self.bindings.entry((subject, address.bytes)).or_insert(Binding {
            sets: [BoundSet { expires_ns: 0, set: 0, reserved: 0 }; BINDING_SETS_MAX],
        });
        let mut free = None;
        for slot in &mut binding.sets {
            if slot.set == set && slot.expires_ns > 0 {
                slot.expires_ns = slot.expires_ns.max(expires_ns);
                return true;
            }
            if slot.expires_ns == 0 && free.is_none() {
                free = Some(slot);
            }
        }
        free.map(|slot| *slot = BoundSet { expires_ns, set, reserved: 0 }).is_some()
    }
}

impl Tables for ImageTables<'_> {
    fn subject(&self, subject: u32) -> Option<&Subject> {
        self.subjects.get(&subject).copied()
    }

    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding> {
        self.bindings.get(&(subject, address.bytes))
    }

    fn network(&self, subject: u32, address: &Address) -> Option<u32> {
        let bits = Ipv6Addr::from(address.bytes).to_bits();
        self.prefixes.get(&subject)?.iter().rev().find_map(|prefix| {
            let mask = u128::MAX.checked_shl(128 - u32::from(*prefix)).unwrap_or(0);
            let base = Ipv6Addr::from_bits(bits & mask).octets();
            self.networks.get(&(subject, *prefix, base)).copied()
        })
    }

    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock> {
        self.blocks.get(&(subject, set)).copied()
    }

    fn is_resolver(&self, address: &Address) -> bool {
        self.resolvers.contains(&address.bytes)
    }

    fn granted_until(&self, grant: &GrantKey) -> u64 {
        self.controls.grants.get(grant).copied().unwrap_or(0)
    }

    fn is_quarantined(&self, subject: u32) -> bool {
        self.controls.quarantined.contains(&subject)
    }
}
