//! Keys of the policy tables. Each begins with the slot (lowest bit of the generation), so that a
//! new policy is written beside the one in force and comes into force by one store.

use crate::{
    address::Address,
    limits::{NAME_KEY_BYTES, SOCKET_PATH_BYTES_MAX},
    name::NAME_BUFFER_BYTES,
};

shared! {
    /// An executable: device as the kernel keeps it (`s_dev`, 12 bits major, 20 bits minor) and
    /// inode.
    #[derive(Hash)]
    pub struct ExeKey {
        /// Slot.
        pub slot: u32,
        /// `inode->i_sb->s_dev`.
        pub device: u32,
        /// `inode->i_ino`.
        pub inode: u64,
    }
}

shared! {
    /// A user id, in the initial user namespace.
    #[derive(Hash)]
    pub struct UidKey {
        /// Slot.
        pub slot: u32,
        /// The id.
        pub uid: u32,
    }
}

shared! {
    /// A cgroup v2 id (the inode number of its directory).
    #[derive(Hash)]
    pub struct CgroupKey {
        /// Slot.
        pub slot: u64,
        /// The id.
        pub cgroup: u64,
    }
}

shared! {
    /// A subject of the slot's policy.
    #[derive(Hash)]
    pub struct SubjectKey {
        /// Slot.
        pub slot: u32,
        /// The subject; 0 is everything that is not a registered agent.
        pub subject: u32,
    }
}

shared! {
    /// A process of a subject runs what an agent is recognised by.
    #[derive(Hash)]
    pub struct DelegationKey {
        /// Slot.
        pub slot: u32,
        /// The process's subject.
        pub subject: u32,
        /// The agent's.
        pub agent: u32,
    }
}

shared! {
    /// A rule block: what a subject may do with the names or addresses of a set.
    #[derive(Hash)]
    pub struct DecisionKey {
        /// Slot.
        pub slot: u32,
        /// The subject.
        pub subject: u32,
        /// The set, from the name trie or the address trie.
        pub set: u32,
    }
}

shared! {
    /// What a person granted: one destination, which has a set of its own. Not per slot: a grant
    /// outlives a policy.
    #[derive(Hash)]
    pub struct GrantKey {
        /// The subject.
        pub subject: u32,
        /// The set of the name or address.
        pub set: u32,
        /// Destination port, host byte order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u16,
    }
}

shared! {
    /// A trusted resolver.
    #[derive(Hash)]
    pub struct ResolverKey {
        /// Slot.
        pub slot: u32,
        /// Its address.
        pub address: Address,
    }
}

shared! {
    /// An address as a subject learned it from DNS. Not per slot: bindings outlive a policy, and
    /// hold set ids that stay the same for a name pattern while the daemon runs.
    #[derive(Hash)]
    pub struct BindingKey {
        /// The subject, or [`BindingKey::HOST`].
        pub subject: u32,
        /// The address.
        pub address: Address,
    }
}

shared! {
    /// A rule of a policy.
    #[derive(Hash)]
    pub struct RuleKey {
        /// Generation of the policy.
        pub generation: u64,
        /// Number of the rule in it.
        pub rule: u32,
        /// Zero.
        pub reserved: u32,
    }
}

impl BindingKey {
    /// The subject of bindings that a resolver process of this host learned for everybody.
    pub const HOST: u32 = u32::MAX;
}

shared! {
    /// A flow, where there is no socket to tell it by.
    #[derive(Hash)]
    pub struct FlowKey {
        /// Address of the side that asks or connects.
        pub local: Address,
        /// Address of the other side.
        pub remote: Address,
        /// Port of the side that asks or connects, host byte order.
        pub local_port: u16,
        /// Port of the other side, host byte order.
        pub remote_port: u16,
        /// IP protocol number.
        pub protocol: u32,
    }
}

impl FlowKey {
    /// The key of no flow.
    pub const NONE: Self = Self {
        local: Address::UNSPECIFIED,
        remote: Address::UNSPECIFIED,
        local_port: 0,
        remote_port: 0,
        protocol: 0,
    };
}

shared! {
    /// What a socket sends to one address and port.
    #[derive(Hash)]
    pub struct QuicKey {
        /// Cookie of the socket.
        pub cookie: u64,
        /// Destination.
        pub address: Address,
        /// Its port, host byte order.
        pub port: u16,
        /// Zero.
        pub reserved: [u16; 3],
    }
}

shared! {
    /// A DNS query that waits for its answer: everything that the answer must repeat.
    #[derive(Hash)]
    pub struct QueryKey {
        /// Cookie of the socket that asked.
        pub cookie: u64,
        /// Address that was asked.
        pub resolver: Address,
        /// Transaction id.
        pub id: u16,
        /// Question type.
        pub question_type: u16,
        /// IP protocol number.
        pub protocol: u32,
        /// The name in lower case, then zeroes.
        pub name: [u8; NAME_BUFFER_BYTES],
    }
}

shared! {
    /// Data of an address-trie key: the slot and the subject are always matched in full.
    #[derive(Hash)]
    pub struct CidrKey {
        /// Slot, in network byte order.
        pub slot: [u8; 4],
        /// Subject, in network byte order.
        pub subject: [u8; 4],
        /// Address.
        pub address: Address,
    }
}

impl CidrKey {
    /// Bits before the address.
    pub const FIXED_BITS: u32 = 64;

    /// Key of an address or network.
    pub const fn new(slot: u32, subject: u32, address: Address) -> Self {
        Self { slot: slot.to_be_bytes(), subject: subject.to_be_bytes(), address }
    }
}

shared! {
    /// Data of a name-trie key: the slot, then the lower-cased name reversed, then NUL for an exact
    /// name or `.` for a wildcard, so that `*.example.com` is `moc.elpmaxe.` and matches names
    /// below the apex only, while `example.com` is `moc.elpmaxe\0` and matches nothing else.
    #[derive(Hash)]
    pub struct NameKey {
        /// Slot byte, reversed name, terminator, zeroes.
        pub bytes: [u8; NAME_KEY_BYTES],
    }
}

shared! {
    /// Data of a key of the local sockets: a path ends in NUL, so that it matches nothing longer;
    /// the beginning of paths does not.
    #[derive(Hash)]
    pub struct SocketPathKey {
        /// Slot, in network byte order.
        pub slot: [u8; 4],
        /// Subject, in network byte order.
        pub subject: [u8; 4],
        /// For an abstract name its length with the NUL that it begins with, else 0.
        pub abstract_len: u8,
        /// The address, and zeroes.
        pub path: [u8; SOCKET_PATH_BYTES_MAX + 3],
    }
}

impl SocketPathKey {
    /// Bits before the path.
    pub const FIXED_BITS: u32 = 72;

    /// A key without a path.
    pub const fn new(slot: u32, subject: u32) -> Self {
        let path = [0; SOCKET_PATH_BYTES_MAX + 3];
        Self { slot: slot.to_be_bytes(), subject: subject.to_be_bytes(), abstract_len: 0, path }
    }
}
