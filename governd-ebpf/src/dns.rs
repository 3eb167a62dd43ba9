//! What the programs for queries and for answers share: memory for a message, the question as a
//! key, and the event.

use core::{mem::offset_of, ptr};

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::bpf_get_socket_cookie, programs::SkBuffContext};
use governd_common::{
    address::Address,
    dns::Dns,
    event::{DnsAddress, DnsEvent, EventHeader, EventKind},
    key::{NameKey, QueryKey},
    limits::{COMM_BYTES, DNS_ADDRESSES_MAX},
    table::SocketOwner,
    verdict::{Mode, Verdict},
};

use crate::{
    dns_stream::Joint,
    emit::{self, Wake},
    loops::Helper,
    skb::copy,
    tables::{DNS_SCRATCH, NAMES, View},
};

/// Messages that one CPU can be at: one interrupts another, and some kernels preempt programs.
pub(crate) const SCRATCHES: usize = 4;

/// Memory for one message; too large for the stack.
#[repr(C)]
pub(crate) struct DnsScratch {
    /// 1 while in use.
    busy: u32,
    /// The set of the question's name, or 0.
    pub(crate) set: u32,
    pub(crate) dns: Dns,
    key: Key<NameKey>,
    pub(crate) query: QueryKey,
    event: DnsEvent,
    pub(crate) round: Round,
    pub(crate) joint: Joint,
}

/// What the loop over the addresses needs.
#[repr(C)]
pub(crate) struct Round {
    pub(crate) now_ns: u64,
    pub(crate) subject: u32,
    pub(crate) reserved: u32,
    /// The best rank so far among the sets of an address.
    pub(crate) best: u64,
}

impl Round {
    /// Reads it back: the verifier is to follow no number from one set to the next, or it would go
    /// each way to each.
    #[inline(always)]
    pub(crate) fn best(&self) -> u64 {
        // SAFETY: a field.
        unsafe { ptr::read_volatile(&raw const self.best) }
    }
}

/// Memory that nobody uses, until [`DnsScratch::release`].
#[inline(always)]
pub(crate) fn take_scratch() -> Option<&'static mut DnsScratch> {
    for index in 0..SCRATCHES as u32 {
        let scratch = DNS_SCRATCH.get_ptr_mut(index)?;
        // SAFETY: this CPU's memory. What interrupts this program has ended when it goes on.
        let busy = unsafe { &raw mut (*scratch).busy };
        // SAFETY: as above.
        if unsafe { ptr::read_volatile(busy) } == 0 {
            // SAFETY: as above; from here the flag keeps it for this message.
            unsafe { ptr::write_volatile(busy, 1) };
            // SAFETY: as above.
            let scratch = unsafe { &mut *scratch };
            scratch.dns.place = index;
            return Some(scratch);
        }
    }
    None
}

impl DnsScratch {
    #[inline(always)]
    pub(crate) fn release(&mut self) {
        // SAFETY: a field of this very memory.
        unsafe { ptr::write_volatile(&raw mut self.busy, 0) };
    }

    /// Finds the set of the question's name.
    #[inline(always)]
    pub(crate) fn find_set(&mut self, view: &View) {
        self.key.prefix_len = self.dns.name.write_key::<Helper>(view.slot, &mut self.key.data);
        self.set = NAMES.get(&self.key).copied().unwrap_or(0);
    }

    /// Writes the question as the key of what waits for an answer.
    #[inline(always)]
    pub(crate) fn write_query(&mut self, context: &SkBuffContext, resolver: Address, protocol: u8) {
        let Self { dns, query, .. } = self;
        query.cookie = cookie(context);
        query.resolver = resolver;
        query.id = dns.id;
        query.question_type = dns.question_type;
        query.protocol = u32::from(protocol);
        copy(&mut query.name, &dns.name.bytes);
    }
}

/// What an event says besides the message.
pub(crate) struct Report {
    pub(crate) time_ns: u64,
    pub(crate) subject: u32,
    pub(crate) resolver: Address,
    pub(crate) protocol: u8,
    /// A reason of a refusal, or 0 for an answer.
    pub(crate) reason: u8,
    pub(crate) mode: Mode,
    pub(crate) rule: u32,
}

impl Report {
    #[inline(always)]
    pub(crate) fn send(
        &self,
        context: &SkBuffContext,
        view: &View,
        owner: &SocketOwner,
        scratch: &mut DnsScratch,
    ) {
        let is_refusal = self.reason != 0;
        let DnsScratch { dns, event, set, .. } = scratch;
        // The current task is whoever the packet interrupted.
        event.header = EventHeader {
            kind: EventKind::Dns as u16,
            hook: 0,
            tgid: owner.tgid,
            time_ns: self.time_ns,
            generation: view.generation,
            cgroup: 0,
            uid: EventHeader::NO_ID,
            gid: EventHeader::NO_ID,
            subject: self.subject,
            root: owner.root,
            comm: [0; COMM_BYTES],
        };
        event.resolver = self.resolver;
        event.set = *set;
        event.question_type = dns.question_type;
        event.name_len = dns.name.len;
        copy(&mut event.name, &dns.name.bytes);
        copy(&mut event.addresses, &dns.addresses);
        event.addresses_len = if is_refusal { 0 } else { dns.addresses_len };
        event.rule = self.rule;
        event.cookie = cookie(context);
        event.verdict = if is_refusal { Verdict::Deny } else { Verdict::Allow } as u8;
        event.reason = self.reason;
        event.mode = self.mode as u8;
        event.protocol = self.protocol;
        event.reserved = 0;
        let used = event.addresses_len as usize & (2 * DNS_ADDRESSES_MAX - 1);
        let used = if used > DNS_ADDRESSES_MAX { 0 } else { used };
        let len = offset_of!(DnsEvent, addresses) + used * size_of::<DnsAddress>();
        let wake = if is_refusal { Wake::Now } else { Wake::OnTimer };
        emit::bytes(ptr::from_ref(event).cast(), len as u64, wake);
    }
}

#[inline(always)]
fn cookie(context: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the context of these programs' type.
    unsafe { bpf_get_socket_cookie(context.skb.skb.cast()) }
}
