//! Where the state of a packet's socket is.
//!
//! It is in the socket's storage. Where captures are replayed, each packet comes with a socket of
//! its own that nobody made, so there it is in a map, by the addresses and ports of the packet.
//! Which of the two is a load-time constant: the verifier knows it and follows one way only, and
//! the programs that govern a host hold nothing of the other.

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{__sk_buff, bpf_sock},
    btf_maps::{HashMap, SkStorage},
    helpers::{bpf_sk_fullsock, bpf_sk_storage_get, generated::bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use governd_common::{address::Address, key::FlowKey, table::SocketOwner};

use crate::{
    skb::load,
    tables::{FLOW_KEY, FLOWS, ON_DEMAND, SOCKETS, SocketStorage},
};

/// What is stored by flow, where captures are replayed; the daemon's map has no use for a second
/// entry.
pub(crate) type Flows<V> = HashMap<FlowKey, V, 1, ON_DEMAND>;

/// 1 where captures are replayed.
#[unsafe(no_mangle)]
static REPLAY: Global<u32> = Global::new(0);

/// True where captures are replayed.
#[inline(always)]
pub(crate) fn is_replay() -> bool {
    // SAFETY: `Global` is transparent over the number.
    unsafe { ptr::read_volatile(ptr::from_ref(&REPLAY).cast::<u32>()) == 1 }
}

/// Who sends a packet: its full socket, and whose that is.
pub(crate) struct Sender {
    pub(crate) socket: *mut bpf_sock,
    pub(crate) owner: &'static mut SocketOwner,
}

impl Sender {
    /// `None` for what nobody has to answer for.
    #[inline(always)]
    pub(crate) fn of(context: &SkBuffContext) -> Option<Self> {
        let socket = socket(context);
        if socket.is_null() {
            return None;
        }
        let owner = stored(context, socket, End::Sender, &SOCKETS, &FLOWS);
        if owner.is_null() {
            return None;
        }
        // SAFETY: the storage lives as long as the socket, which outlives the program's run. Of TCP
        // the socket's lock keeps other packets away.
        Some(Self { socket, owner: unsafe { &mut *owner } })
    }

    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_RAW`.
    #[inline(always)]
    pub(crate) fn kind(&self) -> u32 {
        // SAFETY: a full socket.
        unsafe { ptr::read_volatile(&raw const (*self.socket).type_) }
    }
}

/// Which end of the packet the socket is.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum End {
    Sender,
    Receiver,
}

/// A map of socket storage whose values are of this type.
pub(crate) trait Storage<V> {}

impl<V> Storage<V> for SkStorage<V> {}
impl<V> Storage<V> for SocketStorage<V> {}

/// The full socket that the packet belongs to, or null.
#[inline(always)]
pub(crate) fn socket(context: &SkBuffContext) -> *mut bpf_sock {
    let socket = any_socket(context);
    // SAFETY: the helper checks the socket.
    if socket.is_null() { socket } else { unsafe { bpf_sk_fullsock(socket) } }
}

/// What is stored for the socket that sends the packet, or null. The helper checks by itself that
/// it is a full one.
#[inline(always)]
pub(crate) fn stored_of_packet(context: &SkBuffContext) -> *mut SocketOwner {
    if is_replay() {
        return stored_by_flow(context, End::Sender, &FLOWS);
    }
    let socket = any_socket(context);
    if socket.is_null() {
        return ptr::null_mut();
    }
    let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: the map is that of socket storage.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0) }.cast()
}

/// The socket that the packet belongs to, or null; only helpers that check that by themselves take
/// it as a full one.
#[inline(always)]
pub(crate) fn any_socket(context: &SkBuffContext) -> *mut bpf_sock {
    let skb: *mut __sk_buff = context.skb.skb;
    // SAFETY: the kernel fills the context.
    unsafe { (*skb).__bindgen_anon_2.sk }
}

/// What is stored for the packet's full socket, or null. It lives as long as the socket.
#[inline(always)]
pub(crate) fn stored<V>(
    context: &SkBuffContext,
    socket: *mut bpf_sock,
    end: End,
    sockets: &impl Storage<V>,
    flows: &Flows<V>,
) -> *mut V {
    if is_replay() {
        return stored_by_flow(context, end, flows);
    }
    let map = ptr::from_ref(sockets).cast_mut().cast();
    // SAFETY: the map is that of socket storage, and the socket a full one.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0) }.cast()
}

#[inline(always)]
fn stored_by_flow<V>(context: &SkBuffContext, end: End, flows: &Flows<V>) -> *mut V {
    let stored = flow_key(context, end).and_then(|key| flows.get_ptr_mut(key));
    stored.unwrap_or(ptr::null_mut())
}

/// The packet's flow. It is put together in a map, field by field: the stack is full.
#[inline(always)]
fn flow_key(context: &SkBuffContext, end: End) -> Option<&'static FlowKey> {
    let key = FLOW_KEY.get_ptr_mut(0)?;
    // SAFETY: this CPU's memory; packets are fed one after the other.
    let key = unsafe { &mut *key };
    *key = FlowKey::NONE;
    let version: u8 = load(context, 0)?;
    let is_v4 = version >> 4 == 4;
    let protocol: u8 = load(context, if is_v4 { 9 } else { 6 })?;
    key.protocol = u32::from(protocol);
    let header = if is_v4 { u32::from(version & 0xf) * 4 } else { 40 };
    let (local, remote) = if end == End::Sender { (0, 1) } else { (1, 0) };
    key.local_port = u16::from_be_bytes(load(context, header + 2 * local)?);
    key.remote_port = u16::from_be_bytes(load(context, header + 2 * remote)?);
    let is_read = if is_v4 {
        load_v4(context, 12 + 4 * local, &mut key.local)
            && load_v4(context, 12 + 4 * remote, &mut key.remote)
    } else {
        load_bytes(context, 8 + 16 * local, key.local.bytes.as_mut_ptr(), 16)
            && load_bytes(context, 8 + 16 * remote, key.remote.bytes.as_mut_ptr(), 16)
    };
    is_read.then_some(key)
}

#[inline(always)]
fn load_v4(context: &SkBuffContext, offset: u32, address: &mut Address) -> bool {
    address.bytes[10] = 0xff;
    address.bytes[11] = 0xff;
    load_bytes(context, offset, (&raw mut address.bytes[12]), 4)
}

#[inline(always)]
fn load_bytes(context: &SkBuffContext, offset: u32, to: *mut u8, len: u32) -> bool {
    // SAFETY: the verifier checks that `to` points to at least `len` bytes.
    unsafe { bpf_skb_load_bytes(context.skb.skb.cast(), offset, to.cast(), len) == 0 }
}
