//! Whose socket a packet comes from, where no earlier hook said so or somebody else uses it now.
//!
//! A connected socket can change hands without passing a hook: by `SCM_RIGHTS`, by inheritance, by
//! `pidfd_getfd`, by io_uring; or it was connected before the programs were there. So:
//! - Bytes that a governed process queues make the socket its subject's ([`crate::sending`]).
//! - A packet that a governed process itself sends makes the socket its subject's, whoever's it was
//!   before. The mark is in the socket's storage, because the retransmission of a refused packet
//!   runs in anybody's context.
//! - A socket that is still nobody's is that of its cgroup, if selectors ask for nothing else.
//! - What a server accepted is its own. The policy says whether it is judged; it is reported.
//!
//! The current task is the sender only in some contexts: a packet may as well be sent by a softirq
//! that interrupted it. A TCP socket is "owned" while a process works with it, and everything else
//! waits until that is over. UDP and raw sockets send in nobody else's context, except those of
//! the kernel and the ends of its tunnels.

use core::ptr;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_ANY, BPF_F_CURRENT_NETNS, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock,
        bpf_sock_tuple,
    },
    helpers::{
        bpf_sk_lookup_tcp, bpf_sk_release, bpf_sk_storage_get, bpf_skb_ancestor_cgroup_id,
        bpf_skb_cgroup_id,
    },
    programs::SkBuffContext,
};
use governd_common::{
    address::Address,
    decide::Tables as _,
    key::CgroupKey,
    limits::CGROUP_DEPTH_MAX,
    table::{CgroupSubject, SocketOwner, settings_flag, socket_flag},
    verdict::{Loss, Mode},
};

use crate::{
    emit::count,
    multipath,
    outcome::Outcome,
    subject::{self, selector_subject, started_by},
    tables::{CGROUP_SUBJECTS, CGROUPS, SETTINGS, SOCKETS, View},
    task::SocketPointer,
};

const AF_INET6: u32 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const PROTOCOL_TCP: u32 = 6;
const PROTOCOL_UDP: u32 = 17;
/// `TCP_CLOSE`, the state of a socket that is not connected, UDP as well
/// (include/net/tcp_states.h).
const STATE_CLOSE: u32 = 7;
const STATE_LISTEN: u32 = 10;
const TUPLE_V4_BYTES: u32 = 12;
const TUPLE_V6_BYTES: u32 = 36;

/// A member of a `struct bpf_sock`; the verifier wants each read by itself.
macro_rules! field {
    ($socket:expr, $field:ident) => {{
        let socket: *mut bpf_sock = $socket;
        // SAFETY: a full socket, of which the kernel shows this member.
        unsafe { ptr::read_volatile(&raw const (*socket).$field) }
    }};
}

/// A socket's owner in the map of socket storage, or null.
#[inline(always)]
pub(crate) fn of_socket(socket: *mut bpf_sock) -> *mut SocketOwner {
    let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: the map is that of socket storage.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0) }.cast()
}

/// Finds whose the socket is, given what is stored of it, and stores it if that is new. Refuses the
/// packet of an enforced subject where it cannot be stored.
#[inline(always)]
pub(crate) fn settle(
    view: &View,
    context: &SkBuffContext,
    socket: *mut bpf_sock,
    kind: u32,
    owner: &mut *mut SocketOwner,
) -> Outcome {
    let skb: *mut __sk_buff = context.skb.skb;
    let stored = *owner;
    // SAFETY: not null; the storage lives as long as the socket.
    let owned_by = if stored.is_null() { 0 } else { unsafe { (*stored).subject } };
    // 0 where a CPU that had nothing to do sends for a timer or for a packet that came in.
    let tgid = subject::doer();
    let mut claim = Claim { tgid, ..Claim::NONE };
    if let Some(task) = subject::tracked(tgid) {
        if task.subject != owned_by && view.subject(task.subject).is_some() {
            (claim.subject, claim.root) = (task.subject, task.root);
        }
    } else if subject::is_lost(tgid) && owned_by != SocketOwner::LOST {
        claim.subject = SocketOwner::LOST;
    }
    if claim.subject != 0 && is_sent_by_current(skb, socket, kind) {
        claim.flags = socket_flag::FOREIGN;
        return take(view, skb, socket, &claim, owner);
    }
    let above = multipath::owner_above(socket);
    if !above.is_null() {
        // SAFETY: not null; the storage lives as long as the connection, and that as this path.
        let above = unsafe { &*above };
        if above.subject != 0 && above.subject != owned_by {
            claim = Claim { flags: socket_flag::FOREIGN, ..Claim::of(above) };
            return take(view, skb, socket, &claim, owner);
        }
    }
    if owned_by != 0 {
        // SAFETY: not null, as it says whose it is.
        let stored = unsafe { &mut *stored };
        if stored.flags & socket_flag::QUEUED != 0 {
            claim = Claim::of(stored);
            return take(view, skb, socket, &claim, owner);
        }
        note_accepted(skb, socket, kind, stored);
        return Outcome::Pass;
    }
    if !view.has(settings_flag::HAS_CGROUPS) {
        return Outcome::Pass;
    }
    claim = Claim { subject: subject_of_cgroups(view, skb), ..Claim::NONE };
    // Of UDP that is a protocol of the kernel's which a process of the cgroup speaks (AF_RXRPC).
    let is_datagram = kind == SOCK_DGRAM && field!(socket, protocol) == PROTOCOL_UDP;
    if claim.subject == 0 || (!is_datagram && is_made_by_kernel(skb, socket, kind)) {
        return Outcome::Pass;
    }
    take(view, skb, socket, &claim, owner)
}

/// Stores where a connection goes that the other side opened, to be judged or reported next. This
/// host's own clients are left alone.
#[inline(always)]
fn note_accepted(skb: *mut __sk_buff, socket: *mut bpf_sock, kind: u32, owner: &mut SocketOwner) {
    if owner.generation != 0 || kind != SOCK_STREAM || field!(socket, protocol) != PROTOCOL_TCP {
        return;
    }
    let state = field!(socket, state);
    if state == STATE_CLOSE || state == STATE_LISTEN {
        return;
    }
    let peer = peer_address(skb, socket);
    if peer.is_loopback() {
        return;
    }
    owner.protocol = PROTOCOL_TCP as u8;
    owner.port = u16::from_be(field!(socket, dst_port));
    owner.address = peer;
    owner.flags |= socket_flag::ACCEPTED;
    owner.generation = SocketOwner::NOT_JUDGED;
}

/// Who a socket is to belong to.
struct Claim {
    subject: u32,
    tgid: u32,
    root: u32,
    /// Bits of [`socket_flag`] to add.
    flags: u8,
}

impl Claim {
    const NONE: Self = Self { subject: 0, tgid: 0, root: 0, flags: 0 };

    /// Of who owns already.
    #[inline(always)]
    fn of(owner: &SocketOwner) -> Self {
        Self { subject: owner.subject, tgid: owner.tgid, root: owner.root, flags: 0 }
    }
}

/// Whether the current task is the one that sends.
#[inline(always)]
fn is_sent_by_current(skb: *mut __sk_buff, socket: *mut bpf_sock, kind: u32) -> bool {
    if field!(socket, state) == STATE_LISTEN || is_made_by_kernel(skb, socket, kind) {
        // A listening socket answers connection requests in anybody's context.
        return false;
    }
    let Some(pointer) = SocketPointer::of_packet(skb.cast_const().cast()) else {
        count(Loss::Read);
        return false;
    };
    let is_sender = match (kind, field!(socket, protocol)) {
        (SOCK_RAW, _) => Some(true),
        (SOCK_DGRAM, PROTOCOL_UDP) => pointer.is_tunnel().map(|is_tunnel| !is_tunnel),
        (SOCK_DGRAM, _) => Some(true),
        _ => pointer.is_owned(),
    };
    is_sender.unwrap_or_else(|| {
        count(Loss::Read);
        false
    })
}

/// True for what the kernel sends by itself, such as a network file system. The paths of a
/// multipath connection are made by the kernel, too, for the process that has the connection.
#[inline(always)]
fn is_made_by_kernel(skb: *mut __sk_buff, socket: *mut bpf_sock, kind: u32) -> bool {
    let Some(pointer) = SocketPointer::of_packet(skb.cast_const().cast()) else {
        count(Loss::Read);
        return false;
    };
    let is_path = || {
        let is_tcp = kind != SOCK_RAW && field!(socket, protocol) == PROTOCOL_TCP;
        is_tcp && pointer.is_multipath().unwrap_or(false)
    };
    pointer.is_kernels().unwrap_or(false) && !is_path()
}

/// Makes the socket the claimant's. Its destination, if it is connected, is judged next.
#[inline(always)]
fn take(
    view: &View,
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    claim: &Claim,
    owner: &mut *mut SocketOwner,
) -> Outcome {
    let stored = store(socket, claim);
    if stored != 0 {
        *owner = of_socket(socket);
        if stored == IS_NEW && !owner.is_null() {
            // SAFETY: just checked; the storage lives as long as the socket.
            note_destination(skb, socket, unsafe { &mut **owner });
        }
        return Outcome::Pass;
    }
    count(Loss::Sockets);
    let enforces = match view.subject(claim.subject) {
        Some(settings) => Mode::from_byte(settings.mode) == Mode::Enforce,
        None => view.has(settings_flag::ENFORCES),
    };
    if enforces { Outcome::Refuse } else { Outcome::Pass }
}

/// What [`store`] gives where the socket was nobody's, and no earlier hook saw where it is
/// connected to.
const IS_NEW: u32 = 2;

/// In a stack frame of its own; returns 0 if there was no memory, as a number for the verifier.
#[inline(never)]
fn store(socket: *mut bpf_sock, claim: &Claim) -> u32 {
    let mut owner = SocketOwner::unconnected(claim.subject, claim.tgid, claim.root);
    // SAFETY: the map is that of socket storage, and holds a `SocketOwner`.
    let stored = unsafe {
        bpf_sk_storage_get(
            ptr::from_ref(&SOCKETS).cast_mut().cast(),
            socket.cast(),
            ptr::from_mut(&mut owner).cast(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    }
    .cast::<SocketOwner>();
    if stored.is_null() {
        return 0;
    }
    // SAFETY: just checked; the storage lives as long as the socket.
    let stored = unsafe { &mut *stored };
    let is_queued = stored.flags & socket_flag::QUEUED != 0;
    let was_owned = stored.subject != 0 && stored.subject != claim.subject && !is_queued;
    (stored.subject, stored.tgid, stored.root) = (claim.subject, claim.tgid, claim.root);
    stored.flags = stored.flags & !socket_flag::QUEUED | claim.flags;
    if stored.generation != 0 {
        // An earlier hook saw where it was connected to.
        stored.generation = SocketOwner::NOT_JUDGED;
        return 1;
    }
    if was_owned { 1 } else { IS_NEW }
}

/// Stores where a socket is connected to, if it is, to be judged next. In a stack frame of its own;
/// gives a number for the verifier.
#[inline(never)]
fn note_destination(skb: *mut __sk_buff, socket: *mut bpf_sock, owner: &mut SocketOwner) -> u32 {
    let state = field!(socket, state);
    // What a governed process listened on gave its owner to what it accepted.
    if state == STATE_CLOSE || state == STATE_LISTEN {
        return 0;
    }
    let is_accepted = is_accepted(skb, socket, owner.subject) != 0;
    owner.protocol = field!(socket, protocol) as u8;
    owner.port = u16::from_be(field!(socket, dst_port));
    owner.address = peer_address(skb, socket);
    if is_accepted {
        // Somebody else listened for it, and gave it or the listening socket away.
        if owner.address.is_loopback() {
            return 0;
        }
        owner.flags |= socket_flag::ACCEPTED;
    }
    owner.generation = SocketOwner::NOT_JUDGED;
    0
}

/// Whether a connection came in from outside: somebody else than the claimant listens at its own
/// address. What the claimant itself accepts under the programs has its owner from the beginning.
/// A number for the verifier: 1 if so, else 0.
#[inline(never)]
fn is_accepted(skb: *mut __sk_buff, socket: *mut bpf_sock, subject: u32) -> u32 {
    if field!(socket, protocol) != PROTOCOL_TCP {
        return 0;
    }
    let own = own_address(skb, socket);
    let port = u32::from((field!(socket, src_port) as u16).to_be()) << 16;
    // A `struct bpf_sock_tuple`: addresses of the peer, which a listening socket has none of, and
    // of this side, and then both ports.
    let [a, b, c, d] = words(&own);
    let (mut tuple, len) = if own.is_v4() {
        ([0, d, port, 0, 0, 0, 0, 0, 0], TUPLE_V4_BYTES)
    } else {
        ([0, 0, 0, 0, a, b, c, d, port], TUPLE_V6_BYTES)
    };
    let tuple = (&raw mut tuple).cast::<bpf_sock_tuple>();
    // SAFETY: the helper takes the context of this program's type and a tuple of that length.
    let listener =
        unsafe { bpf_sk_lookup_tcp(skb.cast(), tuple, len, BPF_F_CURRENT_NETNS as u64, 0) };
    if listener.is_null() {
        return 0;
    }
    let owner = of_socket(listener);
    // SAFETY: not null; the storage lives as long as the socket, which is held.
    let is_own = !owner.is_null() && unsafe { (*owner).subject } == subject;
    let is_listening = field!(listener, state) == STATE_LISTEN;
    // SAFETY: the socket that the lookup gave, once.
    unsafe { bpf_sk_release(listener.cast()) };
    u32::from(is_listening && !is_own)
}

#[inline(always)]
fn own_address(skb: *mut __sk_buff, socket: *mut bpf_sock) -> Address {
    if field!(socket, family) == AF_INET6 {
        let pointer = SocketPointer::of_packet(skb.cast_const().cast());
        return pointer.and_then(SocketPointer::own_v6).unwrap_or(Address::UNSPECIFIED);
    }
    Address::v4(field!(socket, src_ip4).to_ne_bytes())
}

#[inline(always)]
fn peer_address(skb: *mut __sk_buff, socket: *mut bpf_sock) -> Address {
    if field!(socket, family) == AF_INET6 {
        let pointer = SocketPointer::of_packet(skb.cast_const().cast());
        return pointer.and_then(SocketPointer::peer_v6).unwrap_or(Address::UNSPECIFIED);
    }
    Address::v4(field!(socket, dst_ip4).to_ne_bytes())
}

#[inline(always)]
fn words(address: &Address) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.bytes.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

/// The subject of selectors that ask for nothing but a cgroup, by the socket's own cgroup and those
/// above it; looked up once for each cgroup and policy.
#[inline(always)]
fn subject_of_cgroups(view: &View, skb: *mut __sk_buff) -> u32 {
    // SAFETY: the helper reads the packet's socket.
    let cgroup = unsafe { bpf_skb_cgroup_id(skb) };
    // SAFETY: copied at once; an entry that is reused meanwhile belongs to another generation or
    // cgroup, which is as rare as harmless: the next packet asks again.
    if let Some(known) = unsafe { CGROUP_SUBJECTS.get(cgroup) }
        && known.generation == view.generation
    {
        return known.subject;
    }
    let subject = search_cgroups(skb, view.slot, cgroup);
    let known = CgroupSubject { generation: view.generation, subject, reserved: 0 };
    // Full or not, the answer is the same; it is only slower to find.
    CGROUP_SUBJECTS.insert(cgroup, known, u64::from(BPF_ANY)).ok();
    subject
}

/// The first selector wins.
#[inline(never)]
fn search_cgroups(skb: *mut __sk_buff, slot: u32, own: u64) -> u32 {
    let mut subject = subject_of_cgroup(slot, own);
    for level in 0..CGROUP_DEPTH_MAX {
        // SAFETY: as above; it gives 0 below the socket's cgroup.
        let ancestor = unsafe { bpf_skb_ancestor_cgroup_id(skb, level as i32) };
        if subject != 0 || ancestor == 0 || ancestor == own {
            break;
        }
        subject = subject_of_cgroup(slot, ancestor);
    }
    subject
}

/// Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn subject_of_cgroup(slot: u32, cgroup: u64) -> u32 {
    let Some(settings) = SETTINGS.get(slot) else {
        return 0;
    };
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let Some(found) = (unsafe { CGROUPS.get(CgroupKey { slot: u64::from(slot), cgroup }) }) else {
        return 0;
    };
    let any = settings.any_exe.words.iter().zip(&settings.any_uid.words);
    let has_parents = settings.flags & settings_flag::HAS_PARENTS != 0;
    let parents = if has_parents { started_by(slot, 0) } else { None };
    for (word, (bits, (exe, user))) in found.words.iter().zip(any).enumerate() {
        if word as u32 >= settings.selector_words {
            break;
        }
        let mut bits = bits & exe & user;
        if let Some(parents) = parents {
            bits &= parents.words.get(word).copied().unwrap_or(0);
        }
        if bits != 0 {
            // What a cgroup's sockets are that are older than the programs, user space knew in
            // time.
            return match selector_subject(slot, word as u32 * 64 + bits.trailing_zeros()) {
                SocketOwner::UNCLASSIFIED => 0,
                subject => subject,
            };
        }
    }
    0
}
