//! Destinations: `connect` and `sendmsg`, before a route is looked up or a packet is made.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock_addr},
    helpers::{bpf_get_socket_cookie, bpf_sk_storage_get},
    programs::SockAddrContext,
};
use governd_common::{
    address::Address,
    decide::{Decision, Flow, Proof, Tables as _},
    event::{EventKind, FlowEvent, Hook},
    table::{SocketOwner, ever, settings_flag, socket_flag},
    verdict::{Loss, Reason, Verdict},
};

use crate::{
    decision::decide_into,
    emit::{self, Wake, count},
    hits, limit,
    outcome::{Fault, Outcome},
    subject::{self, Who},
    tables::{SOCKETS, View, halves, may_be_bound, whole, will_have_been},
    task::PROTOCOL_MPTCP,
};

const PORT_DNS: u16 = 53;
const PORT_HTTP: u16 = 80;
const PORT_HTTPS: u16 = 443;
const PROTOCOL_TCP: u8 = 6;

/// The destination of an IPv4 hook.
#[inline(always)]
pub(crate) fn destination_v4(context: &SockAddrContext) -> Address {
    let sock_addr: *const bpf_sock_addr = context.sock_addr;
    // SAFETY: the kernel fills the context; the field is one that these hooks may read.
    let word = unsafe { ptr::read_volatile(&raw const (*sock_addr).user_ip4) };
    Address::v4(word.to_ne_bytes())
}

/// The destination of an IPv6 hook; a mapped IPv4 address is that address.
#[inline(always)]
pub(crate) fn destination_v6(context: &SockAddrContext) -> Address {
    let sock_addr: *const bpf_sock_addr = context.sock_addr;
    let mut bytes = [0; 16];
    for (index, place) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // SAFETY: as above; the verifier wants each word read by itself.
        let word = unsafe {
            ptr::read_volatile((&raw const (*sock_addr).user_ip6).cast::<u32>().add(index))
        };
        *place = word.to_ne_bytes();
    }
    Address::v6(bytes)
}

/// Decides about a destination, reports it, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SockAddrContext, hook: Hook, address: Address) -> i32 {
    let socket = Socket::new(context, hook);
    // The kernel takes the unspecified address as loopback (net/ipv4/route.c, net/ipv6/tcp_ipv6.c).
    let address = address.unspecified_to_loopback();
    let Some(view) = View::current() else {
        return without_policy(&socket, &address).answer();
    };
    let who = user(&view, &socket);
    // This is nearly everything that ordinary programs do.
    if who.subject == 0 && !who.is_lost && is_left_alone(&view, &address, socket.port) {
        return Outcome::Pass.answer();
    }
    let mut decision = Decision::FAULT;
    if who.is_lost {
        decision = Fault::LostTask(view).decision();
    } else {
        judge_known(&view, &who, &socket, &address, &mut decision);
    }
    let generation = view.generation;
    let now_ns = if !decision.quiet || decision.refuses() {
        socket.report(&address, generation, &who, &decision)
    } else {
        0
    };
    hits::count(generation, who.subject, &decision, now_ns);
    Outcome::of(&decision).answer()
}

/// Who uses the socket: the current process, or for one that is nobody the socket's owner. A
/// governed process that lends its socket to another does not get it connected that way.
#[inline(always)]
fn user(view: &View, socket: &Socket) -> Who {
    let who = subject::current(view);
    if who.subject != 0 || who.is_lost {
        return who;
    }
    match socket.owner() {
        Some(owner)
            if SocketOwner::is_agent(owner.subject) && view.subject(owner.subject).is_some() =>
        {
            Who { subject: owner.subject, root: owner.root, ..who }
        }
        _ => who,
    }
}

/// Whether the policy cannot but allow it to who is not registered, unrecorded: what it says of
/// them is about names, which neither the address nor, at this port, the first bytes can have, and
/// about this host's own services.
#[inline(always)]
fn is_left_alone(view: &View, address: &Address, port: u16) -> bool {
    let is_free = view.has(settings_flag::ORDINARY_FREE)
        && !matches!(port, PORT_DNS | PORT_HTTP | PORT_HTTPS)
        && embedded_in(address).is_none()
        && !address.is_loopback();
    is_free && !may_be_bound(address) && view.is_whole()
}

/// [`Address::embedded_v4`]; one of IPv4 has none.
#[inline(always)]
fn embedded_in(address: &Address) -> Option<Address> {
    if address.is_v4() {
        return None;
    }
    let (high, low) = halves(address);
    match embedded_of(high, low) {
        0 => None,
        found => Some(Address::v4((found as u32).to_ne_bytes())),
    }
}

/// In the lower half, with a bit above it, or 0 for none. Global, for the verifier to check it
/// once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn embedded_of(high: u64, low: u64) -> u64 {
    whole(high, low).embedded_v4().map_or(0, |Address { bytes: [.., a, b, c, d] }| {
        1 << u32::BITS | u64::from(u32::from_ne_bytes([a, b, c, d]))
    })
}

/// The decision about a known process.
#[inline(always)]
fn judge_known(
    view: &View,
    who: &Who,
    socket: &Socket,
    address: &Address,
    decision: &mut Decision,
) {
    let Socket { port, protocol, .. } = *socket;
    let mut flow = Flow { subject: who.subject, address: *address, port, protocol, now_ns: 0 };
    if decide_into(view, &flow, decision) == Verdict::Allow as u32 {
        // What a translator or a tunnel would reach is reached: a rule that denies it counts.
        if let Some(embedded) = embedded_in(address) {
            flow.address = embedded;
            let mut inner = Decision::FAULT;
            let verdict = decide_into(view, &flow, &mut inner);
            if verdict == Verdict::Deny as u32 && inner.reason == Reason::Rule {
                *decision = inner;
            }
        }
        if !view.is_whole() {
            count(Loss::Tables);
            *decision = Fault::TornView.decision();
            return;
        }
    }
    // Nobody else's sockets need an owner, except those whose answers teach names or whose first
    // bytes count.
    let wants_owner = who.subject != 0
        || port == PORT_DNS
        || decision.proof != Proof::None
        || socket.is_noted(who);
    if wants_owner && socket.own(who, address, view.generation, decision) == 0 && who.subject != 0 {
        *decision = Fault::SocketStorage(*decision).decision();
    }
    limit::count_destination(view, who.subject, socket.is_connect, address, decision);
}

/// Before the first policy nobody is governed; later this means that the tables broke.
#[inline(always)]
fn without_policy(socket: &Socket, address: &Address) -> Outcome {
    let tgid = subject::current_tgid();
    let (subject, root) = match subject::tracked(tgid) {
        Some(task) => (task.subject, task.root),
        None if subject::is_lost(tgid) => (0, 0),
        None => return Outcome::Pass,
    };
    count(Loss::Tables);
    let who = Who { tgid, subject, root, is_lost: false };
    let decision = Fault::NoPolicy.decision();
    socket.report(address, 0, &who, &decision);
    Outcome::of(&decision)
}

/// The socket of a hook, and where it wants to send.
struct Socket {
    context: *mut bpf_sock_addr,
    is_connect: bool,
    port: u16,
    protocol: u8,
    family: u16,
    socket_type: u32,
}

impl Socket {
    #[inline(always)]
    fn new(context: &SockAddrContext, hook: Hook) -> Self {
        let sock_addr = context.sock_addr;
        // SAFETY: the kernel fills the context; these hooks may read the fields.
        unsafe {
            Self {
                context: sock_addr,
                is_connect: hook == Hook::Connect,
                port: u16::from_be(ptr::read_volatile(&raw const (*sock_addr).user_port) as u16),
                protocol: ptr::read_volatile(&raw const (*sock_addr).protocol) as u8,
                family: ptr::read_volatile(&raw const (*sock_addr).family) as u16,
                socket_type: ptr::read_volatile(&raw const (*sock_addr).type_),
            }
        }
    }

    /// Whether a hello may follow of an agent that nobody registered.
    #[inline(always)]
    fn is_noted(&self, who: &Who) -> bool {
        self.port == PORT_HTTPS
            && self.is_connect
            && self.protocol == PROTOCOL_TCP
            && subject::is_noted(who.tgid)
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        let context = SockAddrContext::new(self.context);
        // SAFETY: the helper takes the context of this program's type.
        unsafe { bpf_get_socket_cookie(context.as_ptr()) }
    }

    /// The owner that an earlier hook stored.
    #[inline(always)]
    fn owner(&self) -> Option<SocketOwner> {
        // SAFETY: the kernel gives the socket in the context; the storage holds a `SocketOwner`.
        let stored = unsafe {
            let socket = (*self.context).__bindgen_anon_1.sk;
            let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
            bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0)
        };
        let stored = stored.cast::<SocketOwner>();
        // SAFETY: the storage lives as long as the socket.
        if stored.is_null() { None } else { Some(unsafe { *stored }) }
    }

    /// Sends the event, in a stack frame of its own, and gives its time.
    #[inline(never)]
    fn report(&self, address: &Address, generation: u64, who: &Who, decision: &Decision) -> u64 {
        let wake = if decision.verdict == Verdict::Deny { Wake::Now } else { Wake::OnTimer };
        let hook = if self.is_connect { Hook::Connect } else { Hook::Sendmsg };
        let header = emit::header(EventKind::Flow, hook as u16, generation, who);
        let now_ns = header.time_ns;
        let event = FlowEvent {
            header,
            address: *address,
            port: self.port,
            protocol: self.protocol,
            verdict: decision.verdict as u8,
            reason: decision.reason as u8,
            mode: decision.mode as u8,
            family: self.family,
            socket_type: self.socket_type,
            rule: decision.rule,
            set: decision.set,
            reserved: 0,
            cookie: self.cookie(),
        };
        emit::event(event, wake);
        now_ns
    }

    /// Writes the socket's owner, and its destination: where it is connected to, or else where its
    /// datagram may go. 0 if there was no memory for it. In a stack frame of its own, which the
    /// decision's does not add to: Linux 6.1 allows 512 bytes for all of them.
    #[inline(never)]
    fn own(&self, who: &Who, address: &Address, generation: u64, decision: &Decision) -> u32 {
        // SAFETY: the kernel fills the context; these hooks may read the field.
        let protocol = unsafe { ptr::read_volatile(&raw const (*self.context).protocol) };
        if protocol == u32::from(PROTOCOL_MPTCP) {
            will_have_been(ever::MULTIPATH);
        }
        let mut owner = SocketOwner::unconnected(who.subject, who.tgid, who.root);
        // SAFETY: the kernel gives the socket in the context; the storage holds a `SocketOwner`.
        let stored = unsafe {
            let socket = (*self.context).__bindgen_anon_1.sk;
            bpf_sk_storage_get(
                ptr::from_ref(&SOCKETS).cast_mut().cast(),
                socket.cast(),
                ptr::from_mut(&mut owner).cast(),
                u64::from(BPF_SK_STORAGE_GET_F_CREATE),
            )
        }
        .cast::<SocketOwner>();
        if stored.is_null() {
            count(Loss::Sockets);
            return 0;
        }
        // SAFETY: just checked; the storage lives as long as the socket.
        let stored = unsafe { &mut *stored };
        (stored.subject, stored.tgid, stored.root) = (who.subject, who.tgid, who.root);
        if decision.refuses() {
            // What it is connected to, if it is, stays so, and so does what is known of that.
            return 1;
        }
        if self.is_connect || stored.generation == 0 {
            stored.protocol = self.protocol;
            stored.port = self.port;
            stored.address = *address;
        }
        if self.is_connect {
            stored.verdict = Verdict::Allow as u8;
            stored.generation = generation;
            let is_tcp = self.protocol == PROTOCOL_TCP;
            if is_tcp && stored.connects == u16::MAX {
                // The next number would be that of an earlier connection, whose bytes were read.
                return 0;
            }
            stored.stage = if is_tcp { decision.proof as u8 } else { 0 };
            if is_tcp && stored.stage == 0 && who.subject == 0 && self.port == PORT_HTTPS {
                // Nothing else makes anybody an owner here who is nobody.
                stored.stage = SocketOwner::NOTED;
            }
            stored.connects = stored.connects.wrapping_add(1);
            stored.name_set = if decision.proof == Proof::None { decision.set } else { 0 };
            // Not QUIC's: another thread may send while this one connects.
            stored.flags &= !socket_flag::OF_CONNECTION;
            if decision.reason == Reason::Granted {
                stored.flags |= socket_flag::GRANTED;
            }
        }
        if decision.proof == Proof::Quic {
            stored.flags |= socket_flag::QUIC;
        }
        1
    }
}
