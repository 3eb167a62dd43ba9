//! Names of maps, programs and load-time constants: the only place where they are literals.
//!
//! The eBPF crate's statics and functions carry the same names, and a test loads the object and
//! compares both lists.

/// Map names.
pub mod map {
    /// Array of one `u64`: the generation in force; its lowest bit is the slot.
    pub const ACTIVE: &str = "ACTIVE";
    /// Array of two [`crate::table::Settings`], one per slot.
    pub const SETTINGS: &str = "SETTINGS";
    /// Hash of tgid to [`crate::table::Task`].
    pub const TASKS: &str = "TASKS";
    /// Array of [`crate::table::PidBlock`], indexed by tgid / `PIDS_PER_BLOCK`: descendants of
    /// tracked processes that found `TASKS` full.
    pub const UNTRACKED: &str = "UNTRACKED";
    /// Array of [`crate::table::PidBlock`], by tgid as well: processes that are in `TASKS` or
    /// `UNTRACKED`, and some that were. User space writes it in place.
    pub const WATCHED: &str = "WATCHED";
    /// Hash of [`crate::key::ExeKey`] to [`crate::table::SelectorSet`].
    pub const EXES: &str = "EXES";
    /// Hash of [`crate::key::UidKey`] to [`crate::table::SelectorSet`].
    pub const UIDS: &str = "UIDS";
    /// Hash of [`crate::key::CgroupKey`] to [`crate::table::SelectorSet`].
    pub const CGROUPS: &str = "CGROUPS";
    /// Array of `u32`, two slots of `SELECTORS_MAX`: selector number to subject.
    pub const SELECTORS: &str = "SELECTORS";
    /// Hash of [`crate::key::SubjectKey`] to [`crate::table::Subject`].
    pub const SUBJECTS: &str = "SUBJECTS";
    /// A subject and the agent that it starts, to the subject of what was started.
    pub const DELEGATIONS: &str = "DELEGATIONS";
    /// A subject to the selectors that are for what it starts, and those that are for anybody.
    pub const PARENTS: &str = "PARENTS";
    /// LPM trie of [`crate::key::NameKey`] to a set id.
    pub const NAMES: &str = "NAMES";
    /// LPM trie of [`crate::key::CidrKey`] to a set id.
    pub const CIDRS: &str = "CIDRS";
    /// Hash of [`crate::key::DecisionKey`] to [`crate::table::RuleBlock`].
    pub const DECISIONS: &str = "DECISIONS";
    /// LRU hash of [`crate::key::BindingKey`] to [`crate::table::Binding`].
    pub const BINDINGS: &str = "BINDINGS";
    /// Array of bytes by [`crate::address::Address::mark`]: 1 where an address is in `BINDINGS`.
    pub const BOUND: &str = "BOUND";
    /// Array of the bytes of [`crate::table::ever`].
    pub const EVER: &str = "EVER";
    /// LRU hash of [`crate::key::QueryKey`] to [`crate::table::Pending`].
    pub const PENDING: &str = "PENDING";
    /// Hash of [`crate::key::ResolverKey`] to `u32` flags.
    pub const RESOLVERS: &str = "RESOLVERS";
    /// Hash of [`crate::key::ExeKey`] to `u32` flags: executables that resolve names for the host.
    pub const RESOLVER_EXES: &str = "RESOLVER_EXES";
    /// Socket storage: [`crate::table::SocketOwner`].
    pub const SOCKETS: &str = "SOCKETS";
    /// Hash of [`crate::key::FlowKey`] to [`crate::table::SocketOwner`]: in the place of
    /// `SOCKETS` where captures are replayed.
    pub const FLOWS: &str = "FLOWS";
    /// Per-CPU array of one [`crate::key::FlowKey`].
    pub const FLOW_KEY: &str = "FLOW_KEY";
    /// Per-CPU array of `u64`, indexed by [`crate::verdict::Loss`].
    pub const LOST: &str = "LOST";
    /// Ring buffer of events.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU scratch of `process_exec`.
    pub const EXEC_SCRATCH: &str = "EXEC_SCRATCH";
    /// Per-CPU scratch of the programs that read DNS.
    pub const DNS_SCRATCH: &str = "DNS_SCRATCH";
    /// LPM trie of [`crate::key::SocketPathKey`] to a [`crate::table::socket_path`].
    pub const SOCKET_PATHS: &str = "SOCKET_PATHS";
    /// Array of two `u64`, see [`crate::table::newcomers`].
    pub const NEWCOMERS: &str = "NEWCOMERS";
    /// LRU hash of a cgroup id to [`crate::table::CgroupSubject`].
    pub const CGROUP_SUBJECTS: &str = "CGROUP_SUBJECTS";
    /// Socket storage: the place of `skb_hello` in a connection's bytes, and the name it read.
    pub const HELLOS: &str = "HELLOS";
    /// The same by flow, where captures are replayed.
    pub const HELLO_FLOWS: &str = "HELLO_FLOWS";
    /// LRU hash of a [`crate::key::QuicKey`] to a [`crate::table::QuicFlow`].
    pub const QUIC_FLOWS: &str = "QUIC_FLOWS";
    /// Per-CPU scratch of `skb_hello`.
    pub const HELLO_SCRATCH: &str = "HELLO_SCRATCH";
    /// Socket storage: how far the queries of DNS over TCP were read.
    pub const DNS_QUERIES: &str = "DNS_QUERIES";
    /// The same of the answers.
    pub const DNS_ANSWERS: &str = "DNS_ANSWERS";
    /// Hash of a socket cookie to `u32`: sockets of which a CPU reads answers over TCP.
    pub const DNS_READERS: &str = "DNS_READERS";
    /// Hash of [`crate::key::GrantKey`] to the `CLOCK_BOOTTIME` until which it holds, in
    /// nanoseconds.
    pub const GRANTS: &str = "GRANTS";
    /// Hash of a subject to the `CLOCK_BOOTTIME` of its quarantine, in nanoseconds.
    pub const QUARANTINED: &str = "QUARANTINED";
    /// Hash of [`crate::key::SubjectKey`] to [`crate::limit::Limits`].
    pub const LIMITS: &str = "LIMITS";
    /// Hash of a subject to [`crate::limit::Usage`].
    pub const USAGES: &str = "USAGES";
    /// LRU hash of [`crate::key::BindingKey`] to the `CLOCK_BOOTTIME` at which the subject last
    /// reached the address, in nanoseconds.
    pub const DESTINATIONS: &str = "DESTINATIONS";
    /// LRU hash of a [`crate::key::RuleKey`] to [`crate::table::RuleHits`].
    pub const RULE_HITS: &str = "RULE_HITS";
    /// Array of the programs that egress calls, indexed by [`super::tail`].
    pub const TAILS: &str = "TAILS";
    /// Array of the programs that ingress calls, indexed by [`super::tail`].
    pub const INGRESS_TAILS: &str = "INGRESS_TAILS";

    /// Hash of a subject's or set's text to its number. Of the daemon alone.
    pub const IDS: &str = "IDS";
    /// Hash of a [`crate::verdict::Loss`] to how many are recorded, and since when. Of the daemon
    /// alone.
    pub const RECORDED: &str = "RECORDED";
    /// Hash of how many events were read out of the ring (0), and how many of those are on record
    /// (1). Of the daemon alone.
    pub const READ: &str = "READ";

    /// All that programs use.
    pub const ALL: [&str; 46] = [
        ACTIVE,
        RULE_HITS,
        GRANTS,
        QUARANTINED,
        LIMITS,
        USAGES,
        DESTINATIONS,
        SETTINGS,
        TASKS,
        UNTRACKED,
        WATCHED,
        EXES,
        UIDS,
        CGROUPS,
        SELECTORS,
        SUBJECTS,
        DELEGATIONS,
        PARENTS,
        NAMES,
        CIDRS,
        DECISIONS,
        BINDINGS,
        BOUND,
        EVER,
        PENDING,
        RESOLVERS,
        RESOLVER_EXES,
        SOCKETS,
        FLOWS,
        FLOW_KEY,
        LOST,
        EVENTS,
        EXEC_SCRATCH,
        DNS_SCRATCH,
        SOCKET_PATHS,
        CGROUP_SUBJECTS,
        NEWCOMERS,
        HELLOS,
        HELLO_FLOWS,
        QUIC_FLOWS,
        HELLO_SCRATCH,
        DNS_QUERIES,
        DNS_ANSWERS,
        DNS_READERS,
        TAILS,
        INGRESS_TAILS,
    ];
}

/// Program names.
pub mod program {
    /// `cgroup/connect4`.
    pub const CONNECT4: &str = "connect4";
    /// `cgroup/connect6`.
    pub const CONNECT6: &str = "connect6";
    /// `cgroup/sendmsg4`.
    pub const SENDMSG4: &str = "sendmsg4";
    /// `cgroup/sendmsg6`.
    pub const SENDMSG6: &str = "sendmsg6";
    /// `cgroup/sock_create`.
    pub const SOCK_CREATE: &str = "sock_create";
    /// `cgroup/sock_release`.
    pub const SOCK_RELEASE: &str = "sock_release";
    /// `cgroup_skb/ingress`.
    pub const SKB_INGRESS: &str = "skb_ingress";
    /// `cgroup_skb/egress`.
    pub const SKB_EGRESS: &str = "skb_egress";
    /// `cgroup_skb/egress`, called by `skb_egress`: DNS queries.
    pub const SKB_QUERY: &str = "skb_query";
    /// `cgroup_skb/egress`, called by `skb_query`: DNS queries over TCP.
    pub const SKB_QUERY_TCP: &str = "skb_query_tcp";
    /// `cgroup_skb/ingress`, called by `skb_ingress`: DNS answers over TCP.
    pub const SKB_ANSWER_TCP: &str = "skb_answer_tcp";
    /// `cgroup_skb/egress`, called by `skb_egress`: the names in a connection's first bytes.
    pub const SKB_HELLO: &str = "skb_hello";
    /// `cgroup_skb/egress`, called by `skb_egress`: hellos of agents that nobody registered.
    pub const SKB_NOTE: &str = "skb_note";
    /// `cgroup_skb/egress`, called by `skb_egress`: what sockets send where a rule allows QUIC.
    pub const SKB_QUIC: &str = "skb_quic";
    /// `cgroup_skb/egress`, called by `skb_egress`: packets to where their socket is not connected.
    pub const SKB_ELSEWHERE: &str = "skb_elsewhere";
    /// `cgroup/connect_unix`.
    pub const CONNECT_UNIX: &str = "connect_unix";
    /// `cgroup/sendmsg_unix`.
    pub const SENDMSG_UNIX: &str = "sendmsg_unix";
    /// `cgroup/dev`.
    pub const DEVICE: &str = "device";
    /// `cgroup/setsockopt`.
    pub const SETSOCKOPT: &str = "setsockopt";
    /// `cgroup/sysctl`.
    pub const SYSCTL: &str = "sysctl";
    /// `lsm/bpf`.
    pub const LSM_BPF: &str = "lsm_bpf";
    /// `lsm/task_kill`.
    pub const LSM_KILL: &str = "lsm_kill";
    /// `lsm/ptrace_access_check`.
    pub const LSM_PTRACE: &str = "lsm_ptrace";
    /// tcx egress.
    pub const FRAME: &str = "frame";
    /// tcx egress, where nobody but an agent makes tunnels.
    pub const WIRE: &str = "wire";
    /// `raw_tp/sched_process_fork`.
    pub const PROCESS_FORK: &str = "process_fork";
    /// `raw_tp/sched_process_exec`.
    pub const PROCESS_EXEC: &str = "process_exec";
    /// `raw_tp/sched_process_exit`.
    pub const PROCESS_EXIT: &str = "process_exit";

    /// `raw_tp/mmap_lock_start_locking`.
    pub const MEMORY_LOCK: &str = "memory_lock";
    /// `tp_btf/tcp_sendmsg_locked`, or `tp_btf/sock_send_length`.
    pub const TCP_SEND: &str = "tcp_send";
    /// `tp_btf/sock_send_length`, where that is not [`TCP_SEND`]'s.
    pub const ANY_SEND: &str = "any_send";
    /// `tp_btf/mptcp_subflow_get_send`.
    pub const PATH_SEND: &str = "path_send";

    /// All of them.
    pub const ALL: [&str; 32] = [
        CONNECT4,
        CONNECT6,
        SENDMSG4,
        SENDMSG6,
        SOCK_CREATE,
        SOCK_RELEASE,
        SKB_INGRESS,
        SKB_EGRESS,
        SKB_QUERY,
        SKB_QUERY_TCP,
        SKB_ANSWER_TCP,
        SKB_HELLO,
        SKB_NOTE,
        SKB_QUIC,
        SKB_ELSEWHERE,
        CONNECT_UNIX,
        SENDMSG_UNIX,
        DEVICE,
        SETSOCKOPT,
        SYSCTL,
        LSM_BPF,
        LSM_KILL,
        LSM_PTRACE,
        FRAME,
        WIRE,
        PROCESS_FORK,
        PROCESS_EXEC,
        PROCESS_EXIT,
        MEMORY_LOCK,
        TCP_SEND,
        ANY_SEND,
        PATH_SEND,
    ];
}

/// Places in the arrays of programs that others call: one array for each direction.
pub mod tail {
    use super::{map, program};

    /// At egress, [`program::SKB_QUERY`].
    pub const QUERY: u32 = 0;
    /// At egress, [`program::SKB_HELLO`].
    pub const HELLO: u32 = 1;
    /// At egress, [`program::SKB_QUERY_TCP`].
    pub const QUERY_TCP: u32 = 2;
    /// At egress, [`program::SKB_QUIC`].
    pub const QUIC: u32 = 3;
    /// At egress, [`program::SKB_ELSEWHERE`].
    pub const ELSEWHERE: u32 = 4;
    /// At egress, [`program::SKB_NOTE`].
    pub const NOTE: u32 = 5;
    /// At ingress, [`program::SKB_ANSWER_TCP`].
    pub const ANSWER_TCP: u32 = 0;

    /// Places of the egress array.
    pub const EGRESS_LEN: usize = 6;
    /// Places of the ingress array.
    pub const INGRESS_LEN: usize = 1;

    /// All of them: the array, the place, and what belongs there.
    pub const ALL: [(&str, u32, &str); EGRESS_LEN + INGRESS_LEN] = [
        (map::TAILS, QUERY, program::SKB_QUERY),
        (map::TAILS, HELLO, program::SKB_HELLO),
        (map::TAILS, QUERY_TCP, program::SKB_QUERY_TCP),
        (map::TAILS, QUIC, program::SKB_QUIC),
        (map::TAILS, ELSEWHERE, program::SKB_ELSEWHERE),
        (map::TAILS, NOTE, program::SKB_NOTE),
        (map::INGRESS_TAILS, ANSWER_TCP, program::SKB_ANSWER_TCP),
    ];
}

/// Load-time constants: offsets read from the running kernel's BTF, and what the kernel offers.
pub mod global {
    /// A [`crate::table::KernelLayout`].
    pub const LAYOUT: &str = "LAYOUT";
    /// A `u32`: the process id (`tgid`) of the daemon.
    pub const DAEMON: &str = "DAEMON";
    /// A `u32`, 1 where the programs are fed from captures: packets come without the sockets that
    /// they belonged to.
    pub const REPLAY: &str = "REPLAY";
}
