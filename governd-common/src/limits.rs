//! Every maximum, with the relations between them checked at compile time.

/// Longest host name in presentation form, without the final dot (RFC 1035 section 2.3.4: 255
/// octets on the wire are 253 characters).
pub const NAME_BYTES_MAX: usize = 253;
/// Data bytes of a name-trie key: the slot, the reversed name and its terminator.
pub const NAME_KEY_BYTES: usize = 256;
/// The kernel's bound on the data of one LPM key (`LPM_DATA_SIZE_MAX`, kernel/bpf/lpm_trie.c).
pub const LPM_DATA_BYTES_MAX: usize = 256;
/// Selectors (match entries of all agents of a host) that one policy may have.
pub const SELECTORS_MAX: usize = 1_024;
/// 64-bit words of a selector bitmap.
pub const SELECTOR_WORDS: usize = SELECTORS_MAX / 64;
/// Depth of the cgroup tree at which the search for a governed ancestor starts.
pub const CGROUP_DEPTH_MAX: usize = 16;
/// Agents that one subject stands for at most: one, and those that started it.
pub const MEMBERS_MAX: usize = 4;
/// Entries of the delegation table, both slots together.
pub const DELEGATIONS_MAX: u32 = 65_536;
/// Port entries of one rule block.
pub const RULES_PER_BLOCK_MAX: usize = 8;
/// Name sets that one address can be bound to for one subject at a time.
pub const BINDING_SETS_MAX: usize = 8;
/// Shortest life of a binding, in seconds, whatever the answer's TTL.
pub const BINDING_TTL_MIN_S: u32 = 30;
/// Longest life of a binding, in seconds; larger TTLs are cut (RFC 8767 section 4 suggests a week).
pub const BINDING_TTL_MAX_S: u32 = 604_800;
/// Longest DNS message that is parsed, in bytes: the common EDNS maximum.
pub const DNS_MESSAGE_BYTES_MAX: usize = 4_096;
/// Resource records of one DNS answer that are looked at.
pub const DNS_RECORDS_MAX: usize = 64;
/// Addresses of one DNS answer that are bound and reported.
pub const DNS_ADDRESSES_MAX: usize = 64;
/// EDNS options of one query that are looked at; one with more is not a client's.
pub const DNS_OPTIONS_MAX: usize = 16;
/// Longest time after a query in which its answer is believed, in seconds.
pub const PENDING_MAX_S: u32 = 30;
/// Compression pointers followed in one name; each must point backwards.
pub const DNS_POINTERS_MAX: usize = 16;
/// Bytes of a connection's beginning, record headers included, in which a ClientHello or the head
/// of an HTTP request must be complete.
pub const HELLO_BYTES_MAX: usize = 16_384;
/// Early data, in bytes, behind which another ClientHello is still looked for. What servers that
/// ask for one pass over is less: 16,384 bytes where nobody configured it.
pub const EARLY_DATA_BYTES_MAX: u32 = 65_536;
/// Bytes of a connection that a streaming parser takes at a time.
pub const CHUNK_BYTES_MAX: usize = 4_096;
/// Bytes of a ClientHello's protocol list (ALPN) that are kept.
pub const ALPN_BYTES_MAX: usize = 32;
/// Bytes of a QUIC client's datagrams that are looked at together: three of a first flight.
pub const INITIAL_BYTES_MAX: usize = 4_096;
/// Datagrams of a socket that may wait for user space to read the names in them.
pub const INITIALS_MAX: u32 = 64;
/// Datagrams that the kernel sends together (`UDP_MAX_SEGMENTS`, include/linux/udp.h).
pub const DATAGRAMS_MAX: u32 = 128;
/// Sockets with QUIC that are kept, for each address; the least recently used goes first.
pub const QUIC_FLOWS_MAX: u32 = 16_384;
/// Bytes of a program's file name that an exec event carries.
pub const EXEC_PATH_BYTES_MAX: usize = 256;
/// Bytes of a local socket's address (`sun_path`, unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 108;
/// Bytes of argv that an exec event carries.
pub const EXEC_ARGS_BYTES_MAX: usize = 1_024;
/// Bytes of a task's `comm` (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_BYTES: usize = 16;

/// Entries of the map of tracked processes.
pub const TASKS_MAX: u32 = 65_536;
/// Highest process id there can be, plus one (`PID_MAX_LIMIT`, include/linux/threads.h).
pub const PIDS_MAX: u32 = 4 * 1_024 * 1_024;
/// Process ids whose marks share one element of the map of lost processes.
pub const PIDS_PER_BLOCK: usize = 4_096;
/// Entries of the executables map, both slots together.
pub const EXES_MAX: u32 = 65_536;
/// Entries of the user-id map, both slots together.
pub const UIDS_MAX: u32 = 16_384;
/// Entries of the cgroup map, both slots together.
pub const CGROUPS_MAX: u32 = 65_536;
/// Local sockets that agents may reach, both slots together.
pub const SOCKET_PATHS_MAX: u32 = 32_768;
/// Cgroups whose subject is kept at hand; the least recently used goes first.
pub const CGROUP_SUBJECTS_MAX: u32 = 4_096;
/// Entries of the name trie, both slots together.
pub const NAMES_MAX: u32 = 262_144;
/// Entries of the address trie, both slots together.
pub const CIDRS_MAX: u32 = 131_072;
/// Entries of the decision table, both slots together.
pub const DECISIONS_MAX: u32 = 524_288;
/// Agents, name patterns and networks that have a number.
pub const IDS_MAX: u32 = 524_288;
/// Longest text of one, in bytes.
pub const ID_TEXT_BYTES_MAX: usize = 255;
/// Subjects of one policy, both slots together.
pub const SUBJECTS_MAX: u32 = 8_192;
/// Trusted resolvers, both slots together.
pub const RESOLVERS_MAX: u32 = 1_024;
/// Executables of resolver processes, in both slots.
pub const RESOLVER_EXES_MAX: u32 = 256;
/// Grants that hold at a time.
pub const GRANTS_MAX: u32 = 4_096;
/// Quarantined subjects, both slots together: as many as there can be.
pub const QUARANTINED_MAX: u32 = SUBJECTS_MAX;
/// Subjects whose limits are counted: as many as there can be.
pub const USAGES_MAX: u32 = SUBJECTS_MAX;
/// Destinations of subjects with limits that are known; the least recently used goes first.
pub const DESTINATIONS_MAX: u32 = 32_768;
/// How long a destination is known after it was last reached, in seconds.
pub const DESTINATION_KNOWN_S: u32 = 86_400;
/// Rules whose decisions are counted; the least recently used goes first.
pub const RULE_HITS_MAX: u32 = 32_768;
/// Entries of the bindings table; the least recently used goes first.
pub const BINDINGS_MAX: u32 = 131_072;
/// Marks of addresses that are bound; a power of two. Addresses share marks, which costs those that
/// are not bound a lookup.
pub const BOUND_MARKS: usize = 131_072;
/// DNS queries that wait for their answer; the least recently used goes first.
pub const PENDING_MAX: u32 = 16_384;
/// Sockets whose DNS answers over TCP are read at the same time: one on each CPU.
pub const DNS_READERS_MAX: u32 = 8_192;
/// Bytes of the event ring; a power of two and a multiple of the page size. Whoever reads it has it
/// mapped twice in a row (kernel/bpf/ringbuf.c), and so it counts double as its resident memory.
pub const RING_BYTES: u32 = 8 * 1_024 * 1_024;

const _: () = {
    assert!(NAME_KEY_BYTES <= LPM_DATA_BYTES_MAX);
    assert!(1 + NAME_BYTES_MAX < NAME_KEY_BYTES);
    assert!(SELECTOR_WORDS * 64 == SELECTORS_MAX);
    assert!(PIDS_PER_BLOCK.is_power_of_two());
    assert!((PIDS_MAX as usize).is_multiple_of(PIDS_PER_BLOCK));
    assert!(BINDING_TTL_MIN_S < BINDING_TTL_MAX_S);
    assert!(BOUND_MARKS.is_power_of_two());
    assert!(RING_BYTES.is_power_of_two() && RING_BYTES.is_multiple_of(4_096));
    assert!(DNS_MESSAGE_BYTES_MAX.is_power_of_two() && DNS_ADDRESSES_MAX.is_power_of_two());
    assert!(CHUNK_BYTES_MAX.is_power_of_two() && ALPN_BYTES_MAX.is_power_of_two());
};
