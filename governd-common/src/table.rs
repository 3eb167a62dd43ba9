//! Values of the tables.

pub use crate::binding::{Binding, BoundSet, place_of_rank};
use crate::{
    address::Address,
    conversation::Conversation,
    key::NameKey,
    limits::{MEMBERS_MAX, PIDS_PER_BLOCK, RULES_PER_BLOCK_MAX, SELECTOR_WORDS},
    tls::Hello,
    verdict::Verdict,
};

/// Version of what the maps hold. Raised with every change of what their bytes or events mean that
/// no size tells: a daemon goes on with maps of its own version only.
pub const STATE_VERSION: u32 = 1;

shared! {
    /// What a policy sets for the whole host.
    pub struct Settings {
        /// Generation, for events.
        pub generation: u64,
        /// Bits of [`settings_flag`].
        pub flags: u32,
        /// Words of the selector bitmaps in use, at most `SELECTOR_WORDS`.
        pub selector_words: u32,
        /// Selectors that say nothing about the executable.
        pub any_exe: SelectorSet,
        /// Selectors that say nothing about the user.
        pub any_uid: SelectorSet,
        /// Selectors that say nothing about the cgroup.
        pub any_cgroup: SelectorSet,
    }
}

/// Bits of [`Settings::flags`].
pub mod settings_flag {
    /// The slot holds a complete policy. Without it every enforced subject is denied.
    pub const COMPLETE: u32 = 1 << 0;
    /// Some selector looks at the user or the cgroup without an executable: processes that are not
    /// tracked are classified at each connect.
    pub const CLASSIFY_AT_CONNECT: u32 = 1 << 1;
    /// Every process's exec is reported, not only those of tracked ones.
    pub const REPORT_ALL_EXECS: u32 = 1 << 2;
    /// Some selector names a cgroup. Set by the kernel room from the image.
    pub const HAS_CGROUPS: u32 = 1 << 3;
    /// Some agent is registered. Set by the kernel room from the image.
    pub const HAS_AGENTS: u32 = 1 << 5;
    /// An agent that another starts may become another subject by that. Set by the kernel room from
    /// the image.
    pub const HAS_DELEGATIONS: u32 = 1 << 7;
    /// Some selector is for what an agent starts. Set by the kernel room from the image.
    pub const HAS_PARENTS: u32 = 1 << 8;
    /// Who is not registered and in a cgroup that user space has not looked at is
    /// [`SocketOwner::UNCLASSIFIED`].
    pub const HAS_UNCLASSIFIED: u32 = 1 << 9;
    /// Some subject has a limit. Set by the kernel room from the image.
    pub const HAS_LIMITS: u32 = 1 << 16;
    /// Some subject has a limit of bytes. Set by the kernel room from the image.
    pub const HAS_BYTE_LIMITS: u32 = 1 << 17;
    /// Who is not registered may reach, unrecorded, all but loopback and addresses that names are
    /// bound to; only DNS, HTTP and HTTPS are looked at. Set by the kernel room from the image.
    pub const ORDINARY_FREE: u32 = 1 << 6;
    /// Some subject is enforced: a process whose subject is lost is denied, and not only reported.
    /// Set by the kernel room from the image.
    pub const ENFORCES: u32 = 1 << 4;
}

shared! {
    /// A bitmap of selectors. The lowest bit set in the intersection of executable, user and cgroup
    /// wins: user space numbers selectors from the most to the least specific.
    #[derive(Default)]
    pub struct SelectorSet {
        /// The bits, lowest first.
        pub words: [u64; SELECTOR_WORDS],
    }
}

impl SelectorSet {
    /// Adds the selectors of another set.
    pub fn join(&mut self, more: &Self) {
        self.words.iter_mut().zip(more.words).for_each(|(word, more)| *word |= more);
    }

    /// Keeps what another set has, too.
    pub fn meet(&mut self, other: &Self) {
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word &= other);
    }

    /// Those that it has not.
    pub fn complement(&self) -> Self {
        Self { words: self.words.map(|word| !word) }
    }
}

shared! {
    /// A tracked process.
    pub struct Task {
        /// Its subject.
        pub subject: u32,
        /// tgid of the process at which the subject began.
        pub root: u32,
        /// `CLOCK_BOOTTIME` at which the process became tracked, in nanoseconds.
        pub since_ns: u64,
    }
}

shared! {
    /// What a policy sets for one subject.
    pub struct Subject {
        /// A [`crate::verdict::Mode`].
        pub mode: u8,
        /// A [`crate::verdict::Verdict`] for what no rule matches.
        pub default_verdict: u8,
        /// Bits of [`subject_flag`].
        pub flags: u16,
        /// The rule number that a default decision carries.
        pub default_rule: u32,
        /// Agents whose policies all have to let something pass, those that started others first;
        /// zeroes of a subject that is one agent.
        pub members: [u32; MEMBERS_MAX],
    }
}

impl Subject {
    /// Members of a subject that is one agent.
    pub const ALONE: [u32; MEMBERS_MAX] = [0; MEMBERS_MAX];

    /// Whether it is one agent.
    #[inline(always)]
    pub const fn is_alone(&self) -> bool {
        self.members[0] == 0
    }

    /// The agents that it stands for, itself if it is one; 0 is none.
    #[inline(always)]
    pub const fn members_or(&self, subject: u32) -> [u32; MEMBERS_MAX] {
        if self.is_alone() { [subject, 0, 0, 0] } else { self.members }
    }
}

/// Elements of the array that tells which cgroups are new. Ids of cgroups only grow
/// (fs/kernfs/dir.c, `__kernfs_new_node`), so one number stands for all that were made before.
pub mod newcomers {
    /// The largest id up to which user space has looked at all cgroups.
    pub const SETTLED: u32 = 0;
    /// The largest id of a cgroup in which the programs met somebody since.
    pub const MET: u32 = 1;
    /// Elements.
    pub const LEN: usize = 2;
}

/// Bytes that say whether something has been at all, which spares everybody else to look for it: 1
/// from before the first time, for good.
pub mod ever {
    /// A subject was quarantined.
    pub const QUARANTINED: u32 = 0;
    /// A socket of several paths (MPTCP) had an owner.
    pub const MULTIPATH: u32 = 1;
    /// Bytes.
    pub const LEN: usize = 2;
}

/// What an entry of the local sockets stands for.
pub mod socket_path {
    /// The whole address.
    pub const WHOLE: u32 = 1;
    /// Every address that begins so.
    pub const BEGINNING: u32 = 2;
}

/// Bits of [`Subject::flags`].
pub mod subject_flag {
    /// Loopback destinations are left alone.
    pub const LOOPBACK: u16 = 1 << 0;
    /// Decisions without a matching rule are not reported (the ordinary traffic of ordinary
    /// programs).
    pub const QUIET_DEFAULT: u16 = 1 << 1;
    /// Raw and ping sockets are left alone.
    pub const RAW_SOCKETS: u16 = 1 << 2;
    /// Some rule denies a name: what the subject may reach otherwise must not carry that name.
    pub const NAME_DENIALS: u16 = 1 << 3;
    /// Local sockets are left alone.
    pub const LOCAL_SOCKETS: u16 = 1 << 4;
    /// Connections that others open are judged as if the subject had opened them.
    pub const JUDGE_ACCEPTED: u16 = 1 << 5;
    /// Only names that a rule of the subject allows somewhere may be asked for.
    pub const DNS_RESTRICT: u16 = 1 << 6;
}

shared! {
    /// One port range of a rule block.
    pub struct RuleEntry {
        /// First port, host byte order.
        pub port_first: u16,
        /// Last port, inclusive.
        pub port_last: u16,
        /// IP protocol number, or 0 for any.
        pub protocol: u8,
        /// A [`crate::verdict::Verdict`].
        pub verdict: u8,
        /// How specific the rule is; larger wins over smaller, and deny wins over allow when equal.
        pub specificity: u16,
        /// The rule's number in the policy.
        pub rule: u32,
        /// Bits of [`entry_flag`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

/// Bits of [`RuleEntry::flags`]: what has to prove a name. Without the first two, the address has
/// to be bound to the name and the first bytes have to name it.
pub mod entry_flag {
    /// The first bytes are enough, whatever the address.
    pub const VERIFY_SNI: u8 = 1 << 0;
    /// The binding is enough, whatever the first bytes.
    pub const VERIFY_DNS: u8 = 1 << 1;
    /// The Host of a plaintext request counts on every port, not only on 80.
    pub const PLAINTEXT: u8 = 1 << 2;
    /// QUIC is allowed.
    pub const QUIC: u8 = 1 << 3;
    /// It is denied unless a grant holds.
    pub const APPROVE: u8 = 1 << 4;
    /// It is denied, and the subject quarantined.
    pub const HALT: u8 = 1 << 5;
}

shared! {
    /// How often a rule decided about a destination of a subject.
    #[derive(Default)]
    pub struct RuleHits {
        /// How often.
        pub count: u64,
        /// `CLOCK_BOOTTIME` of the last time, in nanoseconds.
        pub last_ns: u64,
    }
}

/// Set ids with a meaning of their own; those of names and networks begin at 1.
pub mod set_id {
    /// Rules on names that the first bytes alone prove: their ports, for any address.
    pub const ANY_ADDRESS: u32 = u32::MAX;
}

shared! {
    /// What a subject may do with a set, most specific entry first.
    pub struct RuleBlock {
        /// Entries in use.
        pub len: u32,
        /// The entries.
        pub entries: [RuleEntry; RULES_PER_BLOCK_MAX],
    }
}

shared! {
    /// A DNS query that waits for its answer.
    pub struct Pending {
        /// `CLOCK_BOOTTIME` at which it went out, in nanoseconds.
        pub time_ns: u64,
        /// Who learns from the answer: the subject, or [`crate::key::BindingKey::HOST`].
        pub subject: u32,
        /// Zero.
        pub reserved: u32,
    }
}

shared! {
    /// Marks of the processes of [`PIDS_PER_BLOCK`] consecutive ids: a byte is not 0 while what the
    /// map says is so of a process.
    pub struct PidBlock {
        /// The marks.
        pub marks: [u8; PIDS_PER_BLOCK],
    }
}

/// Bits of a mark of the map of processes that programs have to look up.
pub mod watch_flag {
    /// It is tracked or lost.
    pub const TRACKED: u8 = 1;
    /// It is of an agent that nobody registered: what its connections say of themselves is told,
    /// and no verdict depends on it.
    pub const NOTED: u8 = 1 << 1;
}

shared! {
    /// Who a socket belongs to, and where it is connected to.
    pub struct SocketOwner {
        /// The subject.
        pub subject: u32,
        /// tgid of the process that created, connected or last sent with it.
        pub tgid: u32,
        /// tgid of the process at which the subject began, or 0.
        pub root: u32,
        /// IP protocol number of the connection.
        pub protocol: u8,
        /// A [`crate::verdict::Verdict`] about the destination, by the generation below.
        pub verdict: u8,
        /// Destination port, host byte order.
        pub port: u16,
        /// Destination that `connect` was called with, or of the last datagram that an unconnected
        /// socket was asked to send.
        pub address: Address,
        /// Generation that the destination was last judged by; 0 if the socket is not connected.
        pub generation: u64,
        /// What the bytes of the connection have still to prove: a [`crate::decide::Proof`], or
        /// [`SocketOwner::NOTED`].
        pub stage: u8,
        /// Bits of [`socket_flag`].
        pub flags: u8,
        /// How often the socket was connected: what belongs to an earlier connection is void.
        pub connects: u16,
        /// The set whose name the first bytes proved, or that DNS gave; 0 for none.
        pub name_set: u32,
    }
}

/// Bits of [`SocketOwner::flags`].
pub mod socket_flag {
    /// A governed process queued bytes in a socket that was nobody's; what it is connected to is
    /// judged at its next packet.
    pub const QUEUED: u8 = 1;
    /// The socket came from another process than its present owner.
    pub const FOREIGN: u8 = 1 << 1;
    /// A rule allows QUIC here; its Initial packets are sampled.
    pub const QUIC: u8 = 1 << 2;
    /// The first bytes named a server, as the policy allows; the name itself is kept beside.
    pub const NAMED: u8 = 1 << 3;
    /// That name was the Host of a plaintext request.
    pub const PLAINTEXT: u8 = 1 << 4;
    /// The other side opened the connection.
    pub const ACCEPTED: u8 = 1 << 5;
    /// It lives by a grant, and is judged again with every packet.
    pub const GRANTED: u8 = 1 << 6;
    /// Its packets go to another address than it is connected to, which the policy does not allow.
    pub const TRANSLATED: u8 = 1 << 7;
    /// What belongs to one connection, and not to the next one of the socket.
    pub const OF_CONNECTION: u8 = NAMED | PLAINTEXT | GRANTED | TRANSLATED;
}

impl RuleBlock {
    /// Whether some port of some protocol is allowed. An entry of no port (first above last) says
    /// that the name may be asked for, and no more.
    #[inline(always)]
    pub fn speaks_for(&self) -> bool {
        for entry in self.entries.iter().take(self.len as usize) {
            // What may be granted has to be asked for, or nobody could ever ask for the grant.
            if entry.verdict == Verdict::Allow as u8 || entry.flags & entry_flag::APPROVE != 0 {
                return true;
            }
            if entry.protocol == 0 && entry.port_first == 0 && entry.port_last == u16::MAX {
                return false;
            }
        }
        false
    }
}

impl SocketOwner {
    /// The subject of sockets that a descendant of a tracked process used and that could not be
    /// tracked itself: nobody's to let through.
    pub const LOST: u32 = u32::MAX - 1;
    /// The subject of the daemon's own sockets that the programs have to refuse.
    pub const CANARY: u32 = u32::MAX - 2;
    /// The subject of processes of which user space has still to say who they are, where the policy
    /// denies them more than other ones that are not registered.
    pub const UNCLASSIFIED: u32 = u32::MAX - 3;
    /// The generation of a destination that no policy judged: no policy has this one.
    pub const NOT_JUDGED: u64 = u64::MAX;

    /// The stage of a connection whose bytes have nothing to prove, and are only noted.
    pub const NOTED: u8 = u8::MAX;

    /// Whether a subject is an agent, or denied like one; not who is unregistered or unclassified.
    #[inline(always)]
    pub const fn is_agent(subject: u32) -> bool {
        subject != 0 && subject != Self::UNCLASSIFIED
    }

    /// The owner of a socket that is not connected.
    pub const fn unconnected(subject: u32, tgid: u32, root: u32) -> Self {
        Self {
            subject,
            tgid,
            root,
            protocol: 0,
            verdict: 0,
            port: 0,
            address: Address::UNSPECIFIED,
            generation: 0,
            stage: 0,
            flags: 0,
            connects: 0,
            name_set: 0,
        }
    }
}

shared! {
    /// What selectors that ask for nothing but a cgroup make of a cgroup's sockets.
    pub struct CgroupSubject {
        /// Generation of the policy that said so.
        pub generation: u64,
        /// The subject, or 0.
        pub subject: u32,
        /// Zero.
        pub reserved: u32,
    }
}

/// Bytes of what `skb_hello` remembers of a connection, which is its own business: four numbers,
/// the length and data of a trie key, and the parsers.
pub const BEGINNING_BYTES: usize =
    20 + size_of::<NameKey>() + size_of::<Hello>() + size_of::<Conversation>();

shared! {
    /// What a socket sends to one address where a rule allows QUIC.
    pub struct QuicFlow {
        /// Generation by which it was allowed; another one asks again.
        pub generation: u64,
        /// Datagrams that user space has not looked at yet.
        pub waiting: u32,
        /// A state of [`quic_state`].
        pub state: u32,
        /// Connections that may go on, by the ids under which the client sends: the one that it
        /// chose, and the one that the server chose in its place.
        pub ids: [[u64; QUIC_ID_WORDS]; 2],
    }
}

/// States of a [`QuicFlow`].
pub mod quic_state {
    /// No server was named yet.
    pub const PENDING: u32 = 0;
    /// The policy allows the server that was named.
    pub const ALLOWED: u32 = 1;
    /// It does not.
    pub const REFUSED: u32 = 2;
}

/// Numbers that hold a connection id of up to 20 bytes and, in the last byte, its length.
pub const QUIC_ID_WORDS: usize = 3;

/// A connection id as those numbers.
pub fn quic_id(bytes: &[u8]) -> [u64; QUIC_ID_WORDS] {
    let mut words = [0; QUIC_ID_WORDS];
    for (word, part) in words.iter_mut().zip(bytes.chunks(size_of::<u64>())) {
        for (index, byte) in part.iter().enumerate() {
            *word |= u64::from(*byte) << (8 * index);
        }
    }
    if let Some(last) = words.last_mut() {
        *last |= (bytes.len() as u64) << 56;
    }
    words
}
