//! Packets that come in: DNS answers teach what an address stands for.
//!
//! Only an answer of a trusted resolver is looked at, and only its addresses on the CNAME chain of
//! the question count, as the set of the *question's* name and for the socket's owner alone. This
//! runs before the packet is queued to the socket, so the binding is there before the application
//! has the address.

use core::{ffi::c_void, mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY},
    btf_maps::lpm_trie::Key,
    helpers::{
        bpf_ktime_get_boot_ns, bpf_loop,
        generated::{bpf_probe_read_kernel, bpf_skb_load_bytes},
    },
    programs::SkBuffContext,
};
use governd_common::{
    address::Address,
    decide::Tables as _,
    dns::{Dns, DnsRefusal},
    event::{DnsAddress, DnsEvent, EventHeader, EventKind},
    key::{BindingKey, NameKey},
    limits::{
        BINDING_SETS_MAX, BINDING_TTL_MAX_S, BINDING_TTL_MIN_S, COMM_BYTES, DNS_ADDRESSES_MAX,
        DNS_MESSAGE_BYTES_MAX,
    },
    repeat::{Repeat, Step, Work},
    table::{Binding, BoundSet, SocketOwner},
    verdict::Loss,
};

use crate::{
    emit::{self, Wake, count},
    state::{self, End, is_replay},
    tables::{BINDINGS, DNS_SCRATCH, FLOWS, NAMES, SOCKETS, View},
};

const PROTOCOL_UDP: u8 = 17;
const PORT_DNS: u16 = 53;
const UDP_HEADER_BYTES: u32 = 8;
const NS_PER_S: u64 = 1_000_000_000;

/// Memory for one answer; too large for the stack.
#[repr(C)]
pub(crate) struct DnsScratch {
    /// 1 while in use: where softirqs can be preempted (PREEMPT_RT), another packet might come.
    busy: u32,
    reserved: u32,
    dns: Dns,
    key: Key<NameKey>,
    event: DnsEvent,
    round: Round,
}

/// What the loop over the addresses needs.
#[repr(C)]
struct Round {
    now_ns: u64,
    subject: u32,
    set: u32,
}

/// Loops of the programs: the helper, since Linux 5.17.
pub(crate) struct Helper;

impl Repeat for Helper {
    #[inline(always)]
    fn repeat<S, W: Work<S>>(max: u32, state: &mut S) {
        let mut context = ptr::from_mut(state);
        let body = round::<S, W> as *const c_void as *mut c_void;
        // SAFETY: the helper calls `round` with the context it gets, on this stack.
        unsafe { bpf_loop(max, body, (&raw mut context).cast(), 0) };
    }
}

extern "C" fn round<S, W: Work<S>>(index: u32, context: *mut c_void) -> i64 {
    // SAFETY: `Helper::repeat` passes the address of a pointer to its exclusive reference.
    let state = unsafe { &mut **context.cast::<*mut S>() };
    i64::from(W::step(index, state) == Step::Stop)
}

/// Looks at a packet.
#[inline(always)]
pub(crate) fn learn(context: &SkBuffContext) {
    let Some((source, message_at)) = udp_from_dns_port(context) else {
        return;
    };
    let Some(view) = View::current() else {
        return;
    };
    // In a capture nothing tells which resolver a host trusts.
    if !is_replay() && !view.is_resolver(&source) {
        return;
    }
    let Some(scratch) = DNS_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's memory, which the flag keeps for this packet.
    let scratch = unsafe { &mut *scratch };
    if scratch.busy != 0 {
        count(Loss::Dns);
        return;
    }
    scratch.busy = 1;
    learn_answer(context, &view, source, message_at, scratch);
    scratch.busy = 0;
}

#[inline(always)]
fn learn_answer(
    context: &SkBuffContext,
    view: &View,
    source: Address,
    message_at: u32,
    scratch: &mut DnsScratch,
) {
    let dns = &mut scratch.dns;
    if !load_message(context, message_at, dns) {
        count(Loss::Dns);
        return;
    }
    match dns.answer::<Helper>() {
        Ok(()) => {}
        // Answers about names that no rule can speak of, and errors, teach nothing.
        Err(DnsRefusal::Direction | DnsRefusal::Name | DnsRefusal::Rcode | DnsRefusal::Class) => {
            return;
        }
        Err(
            DnsRefusal::Length | DnsRefusal::Opcode | DnsRefusal::Questions | DnsRefusal::Malformed,
        ) => {
            count(Loss::Dns);
            return;
        }
    }
    if scratch.dns.addresses_len == 0 {
        return;
    }
    let owner = owner(context);
    scratch.key.prefix_len = scratch.dns.name.write_key::<Helper>(view.slot, &mut scratch.key.data);
    let set = NAMES.get(&scratch.key).copied().unwrap_or(0);
    if set == 0 && owner.subject == 0 {
        // What ordinary programs ask about ordinary names is nobody's business.
        return;
    }
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    scratch.round = Round { now_ns, subject: owner.subject, set };
    if set != 0 {
        Helper::repeat::<_, BindAddress>(scratch.dns.addresses_len, scratch);
    }
    report(view, &owner, source, scratch);
}

/// Source and offset of the payload of a UDP packet from port 53; `None` for everything else, which
/// is nearly everything, so this must be quick.
#[inline(always)]
fn udp_from_dns_port(context: &SkBuffContext) -> Option<(Address, u32)> {
    let version: u8 = load(context, 0)?;
    let (protocol, header) = if version >> 4 == 4 {
        (load::<u8>(context, 9)?, u32::from(version & 0xf) * 4)
    } else {
        // An answer behind extension headers is not learned; resolvers send none.
        (load::<u8>(context, 6)?, 40)
    };
    if protocol != PROTOCOL_UDP {
        return None;
    }
    let port: [u8; 2] = load(context, header)?;
    if u16::from_be_bytes(port) != PORT_DNS {
        return None;
    }
    let source = if version >> 4 == 4 {
        // A fragment has no port of its own.
        let fragment: [u8; 2] = load(context, 6)?;
        if u16::from_be_bytes(fragment) & 0x3fff != 0 {
            return None;
        }
        Address::v4(load(context, 12)?)
    } else {
        Address::v6(load(context, 8)?)
    };
    Some((source, header + UDP_HEADER_BYTES))
}

#[inline(always)]
pub(crate) fn load<T>(context: &SkBuffContext, offset: u32) -> Option<T> {
    context.load(offset as usize).ok()
}

/// Copies the message; false if it is empty, too long or cannot be read.
#[inline(always)]
fn load_message(context: &SkBuffContext, at: u32, dns: &mut Dns) -> bool {
    let len = context.len().wrapping_sub(at);
    if len == 0 || len > DNS_MESSAGE_BYTES_MAX as u32 {
        return false;
    }
    dns.len = len;
    let skb: *mut __sk_buff = context.skb.skb;
    // SAFETY: reads a field back, so that the compiler does not know its range and keeps the mask,
    // by which the verifier knows it: 1 to the maximum.
    let len = unsafe { ptr::read_volatile(&raw const dns.len) };
    let len = (len.wrapping_sub(1) & (DNS_MESSAGE_BYTES_MAX as u32 - 1)) + 1;
    // SAFETY: the length is at most that of the buffer, and the helper checks the packet's.
    unsafe { bpf_skb_load_bytes(skb.cast(), at, dns.bytes.as_mut_ptr().cast(), len) == 0 }
}

/// The owner of the socket that the packet is for; nobody where it has none.
#[inline(always)]
fn owner(context: &SkBuffContext) -> SocketOwner {
    let nobody = SocketOwner::unconnected(0, 0, 0);
    let socket = state::socket(context);
    if socket.is_null() {
        return nobody;
    }
    let stored = state::stored(context, socket, End::Receiver, &SOCKETS, &FLOWS);
    // SAFETY: the storage lives as long as the socket.
    if stored.is_null() { nobody } else { unsafe { *stored } }
}

struct BindAddress;

impl Work<DnsScratch> for BindAddress {
    #[inline(always)]
    fn step(index: u32, scratch: &mut DnsScratch) -> Step {
        let at = index as usize & (DNS_ADDRESSES_MAX - 1);
        let Some(DnsAddress { address, ttl_s }) = scratch.dns.addresses.get(at).copied() else {
            return Step::Stop;
        };
        let ttl_s = ttl_s.clamp(BINDING_TTL_MIN_S, BINDING_TTL_MAX_S);
        let Round { now_ns, subject, set } = scratch.round;
        let expires_ns = now_ns + u64::from(ttl_s) * NS_PER_S;
        let bound = BoundSet { expires_ns, set, reserved: 0 };
        bind(BindingKey { subject, address }, bound, now_ns);
        Step::Again
    }
}

/// Adds a set to what an address stands for, in the place of the same set, else of the one that
/// expires first.
#[inline(always)]
fn bind(key: BindingKey, bound: BoundSet, now_ns: u64) {
    let Some(binding) = BINDINGS.get_ptr_mut(key) else {
        let mut binding = Binding { sets: [BoundSet::UNUSED; BINDING_SETS_MAX] };
        if let Some(first) = binding.sets.first_mut() {
            *first = bound;
        }
        if BINDINGS.insert(key, binding, u64::from(BPF_ANY)).is_err() {
            count(Loss::Bindings);
        }
        return;
    };
    // SAFETY: a value of the map; two CPUs that write at once may cost one of the two sets.
    let sets = unsafe { &mut (*binding).sets };
    let mut oldest = 0;
    let mut oldest_ns = u64::MAX;
    for (index, place) in sets.iter().enumerate() {
        if place.set == bound.set {
            oldest = index;
            break;
        }
        let expires_ns = if place.expires_ns > now_ns { place.expires_ns } else { 0 };
        if expires_ns < oldest_ns {
            oldest = index;
            oldest_ns = expires_ns;
        }
    }
    if let Some(place) = sets.get_mut(oldest & (BINDING_SETS_MAX - 1)) {
        // A program that reads meanwhile must not see the new set with the old one's time.
        place.expires_ns = 0;
        place.set = bound.set;
        place.expires_ns = bound.expires_ns;
    }
}

#[inline(always)]
fn report(view: &View, owner: &SocketOwner, source: Address, scratch: &mut DnsScratch) {
    let DnsScratch { dns, event, round, .. } = scratch;
    // The current task is whoever the packet interrupted.
    event.header = EventHeader {
        kind: EventKind::Dns as u16,
        hook: 0,
        tgid: owner.tgid,
        time_ns: round.now_ns,
        generation: view.generation,
        cgroup: 0,
        uid: 0,
        gid: 0,
        subject: owner.subject,
        root: 0,
        comm: [0; COMM_BYTES],
    };
    event.resolver = source;
    event.set = round.set;
    event.question_type = dns.question_type;
    event.name_len = dns.name.len;
    copy(&mut event.name, &dns.name.bytes);
    copy(&mut event.addresses, &dns.addresses);
    event.addresses_len = dns.addresses_len;
    event.reserved = 0;
    let used = dns.addresses_len as usize & (2 * DNS_ADDRESSES_MAX - 1);
    let used = if used > DNS_ADDRESSES_MAX { 0 } else { used };
    let len = offset_of!(DnsEvent, addresses) + used * size_of::<DnsAddress>();
    emit::bytes(ptr::from_ref(event).cast(), len as u64, Wake::OnTimer);
}

/// Copies by a helper: the verifier would follow a loop byte by byte.
#[inline(always)]
pub(crate) fn copy<T>(to: &mut T, from: &T) {
    // SAFETY: both are of the helper's size.
    let copied = unsafe {
        bpf_probe_read_kernel(
            ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
            ptr::from_ref(from).cast(),
        )
    };
    if copied != 0 {
        count(Loss::Read);
    }
}
