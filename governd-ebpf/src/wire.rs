//! Packets as an interface sends them, where nobody but an agent changes them on the way.
//!
//! What carries a tunnel's packets is sent by the kernel and passes no cgroup; and a rule of the
//! packet filter or a route's program may act behind the last hook of one. But the packet is still
//! its socket's. So one that goes elsewhere than its socket is judged by where it goes, as in
//! [`crate::elsewhere`], whatever it carries. On a host that has tunnels of its own this would
//! refuse what they carry; so the program is put only where there are none when an agent comes
//! there. Elsewhere [`crate::frame`] is.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_hdr_start_off::BPF_HDR_START_NET, bpf_sock},
    helpers::{
        bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_sk_fullsock, bpf_sk_storage_get,
        generated::bpf_skb_load_bytes_relative,
    },
    programs::{SkBuffContext, TcContext},
};
use governd_common::{
    address::Address,
    decide::{Decision, Flow, Proof, Tables as _},
    key::QuicKey,
    table::{SocketOwner, socket_flag},
    verdict::Verdict,
};

use crate::{
    decision::decide_into,
    egress::{self, Target},
    elsewhere::{is_local_resolver, unproved},
    frame::{self, TCX_DROP, TCX_NEXT},
    tables::{QUIC_FLOWS, SOCKETS, View, halves},
};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOCK_RAW: u32 = 3;
const ETH_P_IP: u32 = 0x0800;
const ETH_P_IPV6: u32 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// A header of IPv6 that only fragments have (RFC 8200 section 4.5).
const FRAGMENT: u8 = 44;
const FRAGMENT_BYTES: u32 = 8;

/// A header of IPv4 (RFC 791 section 3.1) without options; it is copied at once, since every copy
/// is a call.
#[repr(C)]
struct HeaderV4 {
    first: u8,
    _service_len_id: [u8; 5],
    fragment: [u8; 2],
    _ttl: u8,
    protocol: u8,
    _checksum_source: [u8; 6],
    destination: [u8; 4],
}

/// A header of IPv6 (RFC 8200 section 3), likewise.
#[repr(C)]
struct HeaderV6 {
    _first_len: [u8; 6],
    next: u8,
    _hops_source: [u8; 17],
    destination: [u8; 16],
}

/// Such a header, and what is behind it: nearly every packet's ports, by one call.
#[repr(C)]
struct BeginningV4 {
    header: HeaderV4,
    _source_port: [u8; 2],
    port: [u8; 2],
}

const _: () = assert!(size_of::<HeaderV4>() == 20 && size_of::<HeaderV6>() == 40);
/// Bytes of a header of IPv4 without options.
const PLAIN_V4_BYTES: u32 = size_of::<HeaderV4>() as u32;

/// Decides about a packet or frame, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &TcContext) -> i32 {
    let skb: *mut __sk_buff = context.skb.skb;
    // SAFETY: the kernel fills the context.
    let socket: *mut bpf_sock = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return TCX_NEXT;
    }
    // SAFETY: every socket has a family.
    let family = unsafe { ptr::read_volatile(&raw const (*socket).family) };
    if family != AF_INET && family != AF_INET6 {
        return frame::judge(context);
    }
    let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: the map is that of socket storage, and the helper checks that the socket is a full
    // one.
    let owner: *mut SocketOwner =
        unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0) }.cast();
    if owner.is_null() {
        // This is nearly every packet of who is no agent.
        return TCX_NEXT;
    }
    // SAFETY: not null; the storage lives as long as the socket.
    let owner = unsafe { &*owner };
    if owner.subject == 0 || owner.flags & socket_flag::ACCEPTED != 0 {
        return TCX_NEXT;
    }
    let Some(target) = read(skb, owner) else {
        return TCX_NEXT;
    };
    let is_judged = owner.generation != 0 || owner.protocol == PROTOCOL_UDP;
    if !is_judged || is_same(&target, owner) {
        return TCX_NEXT;
    }
    // SAFETY: the helper checks the socket.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return TCX_NEXT;
    }
    // SAFETY: a full socket.
    let kind = unsafe { ptr::read_volatile(&raw const (*socket).type_) };
    if kind == SOCK_RAW {
        return TCX_NEXT;
    }
    judge_target(context, kind, owner, &target)
}

#[inline(always)]
fn is_same(target: &Target, owner: &SocketOwner) -> bool {
    halves(&target.address) == halves(&owner.address)
        && target.port == owner.port
        && target.protocol == owner.protocol
}

/// Where the outermost IP header says that the packet goes; `None` for what has none.
#[inline(always)]
fn read(skb: *mut __sk_buff, owner: &SocketOwner) -> Option<Target> {
    // SAFETY: the kernel fills the context.
    let kind = u32::from(u16::from_be(unsafe { (*skb).protocol } as u16));
    let mut port_behind = None;
    let (address, protocol, header, is_later) = match kind {
        ETH_P_IP => {
            let header = match load(skb, 0) {
                Some(BeginningV4 { header, port, .. }) => {
                    port_behind = Some(port);
                    header
                }
                None => load(skb, 0)?,
            };
            let is_later = u16::from_be_bytes(header.fragment) & 0x1fff != 0;
            let len = u32::from(header.first & 0xf) * 4;
            (Address::v4(header.destination), header.protocol, len, is_later)
        }
        ETH_P_IPV6 => {
            let header: HeaderV6 = load(skb, 0)?;
            let address = Address::v6(header.destination);
            match header.next {
                FRAGMENT => {
                    let offset = u16::from_be_bytes(load(skb, 42)?);
                    (address, load(skb, 40)?, 40 + FRAGMENT_BYTES, offset & 0xfff8 != 0)
                }
                protocol => (address, protocol, 40, false),
            }
        }
        _ => return None,
    };
    let port = match protocol {
        // The first fragment has the ports, and has passed.
        _ if is_later => owner.port,
        PROTOCOL_TCP | PROTOCOL_UDP => match port_behind {
            Some(port) if header == PLAIN_V4_BYTES => u16::from_be_bytes(port),
            _ => u16::from_be_bytes(load(skb, header + 2)?),
        },
        _ => 0,
    };
    Some(Target { address, port, protocol })
}

#[inline(always)]
fn load<T>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let to: *mut c_void = value.as_mut_ptr().cast();
    let (len, from) = (size_of::<T>() as u32, BPF_HDR_START_NET);
    // SAFETY: the helper writes as many bytes as the value has, or fails; every `T` read here is
    // made of integers.
    unsafe {
        let read = bpf_skb_load_bytes_relative(skb.cast(), at, to, len, from);
        if read == 0 { Some(value.assume_init()) } else { None }
    }
}

#[inline(always)]
fn judge_target(context: &TcContext, kind: u32, owner: &SocketOwner, target: &Target) -> i32 {
    let Some(view) = View::current() else {
        return TCX_DROP;
    };
    if view.subject(owner.subject).is_none() {
        // The policy no longer has the subject: its sockets are nobody's.
        return TCX_NEXT;
    }
    if is_local_resolver(&view, owner, target) {
        return TCX_NEXT;
    }
    let Target { address, port, protocol } = *target;
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let flow = Flow { subject: owner.subject, address, port, protocol, now_ns };
    let mut decision = Decision::FAULT;
    if decide_into(&view, &flow, &mut decision) == Verdict::Allow as u32 {
        if is_proved(context, target, &decision) {
            return TCX_NEXT;
        }
        unproved(&mut decision);
    }
    let packet = SkBuffContext::new(context.skb.skb);
    egress::report(&packet, &view, kind, owner, target, &decision);
    if decision.refuses() { TCX_DROP } else { TCX_NEXT }
}

/// Whether what the destination asks to be proved was looked for there. Of a connection it was not,
/// or the socket would say that it goes there.
#[inline(always)]
fn is_proved(context: &TcContext, target: &Target, decision: &Decision) -> bool {
    let Target { address, port, .. } = *target;
    match decision.proof {
        Proof::None | Proof::Denials => true,
        Proof::Name => false,
        Proof::Quic => {
            // SAFETY: the helper takes the context of this program's type.
            let cookie = unsafe { bpf_get_socket_cookie(context.skb.skb.cast()) };
            QUIC_FLOWS.get_ptr(QuicKey { cookie, address, port, reserved: [0; 3] }).is_some()
        }
    }
}
