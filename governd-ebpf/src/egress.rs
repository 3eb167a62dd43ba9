//! Packets that go out: the backstop behind the hooks that see a destination first.
//!
//! A packet may come from a socket that those hooks did not settle: one that was made under another
//! policy, a raw one that was refused only later, one whose header an application wrote by hand.
//! The socket says whose it is: its owner, as an earlier hook stored it or `owner` finds it.
//!
//! What is checked for governed subjects:
//! - only TCP and UDP of sockets made for them may go out, without IP options, routing headers or
//!   other extension headers: the rest passes no other hook, or could reach another destination
//!   than the one that was judged;
//! - a connected socket is judged again, by the destination it was connected to, at its first
//!   packet under a new policy, at its first in quarantine, and at each while it lives by a grant;
//! - what goes elsewhere than the hook before saw is left to `elsewhere`.

use core::ptr;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_skb_cgroup_id},
    programs::SkBuffContext,
};
use governd_common::{
    address::Address,
    decide::{Decision, Proof, Tables as _},
    event::{EventHeader, EventKind, FlowEvent, Hook},
    limits::COMM_BYTES,
    names::tail,
    table::{SocketOwner, settings_flag, socket_flag, subject_flag},
    verdict::{Mode, Reason, Verdict},
};

use crate::{
    again,
    emit::{self, Wake},
    hits, limit, multipath,
    outcome::Outcome,
    owner,
    skb::{InPlace, PLAIN_V4, Part},
    state, subject,
    tables::{View, halves, is_quarantined},
    tails,
};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PORT_DNS: u16 = 53;
const SOCK_RAW: u32 = 3;
/// Bytes of an IPv4 header without options, and of the ports behind it.
const HEADERS_V4_BYTES: usize = 24;
const ETH_P_IPV6: u32 = 0x86dd;

/// What a packet's first bytes say.
pub(crate) struct Packet {
    protocol: u8,
    /// No options, no extension headers.
    is_plain: bool,
    destination: Address,
    /// Ports of TCP and UDP, host byte order; 0 where they cannot be told.
    source_port: u16,
    port: u16,
}

/// Decides about a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    let view = View::current();
    let mut owner = state::stored_of_packet(context);
    if owner.is_null() && is_nobodys(context, view.as_ref()) {
        // This is nearly every packet of who is no agent.
        return Outcome::Pass as i32;
    }
    let socket = state::socket(context);
    if socket.is_null() {
        return Outcome::Pass as i32;
    }
    // SAFETY: a full socket, as the helper has just said.
    let kind = unsafe { ptr::read_volatile(&raw const (*socket).type_) };
    if !state::is_replay()
        && let Some(view) = &view
        && view.has(settings_flag::HAS_AGENTS)
    {
        let settled = owner::settle(view, context, socket, kind, &mut owner);
        if settled == Outcome::Refuse {
            return Outcome::Refuse as i32;
        }
    }
    if owner.is_null() {
        return Outcome::Pass as i32;
    }
    // SAFETY: the storage lives as long as the socket.
    let owner = unsafe { &mut *owner };
    // Without a policy, the hooks that see destinations refuse what is governed.
    if owner.subject != 0
        && let Some(view) = &view
        && judge_owned(context, view, kind, owner) == Outcome::Refuse
    {
        return Outcome::Refuse as i32;
    }
    leave(context, kind, owner) as i32
}

/// Whether a packet can be of nobody's interest, if nothing is stored of its socket.
#[inline(always)]
fn is_nobodys(context: &SkBuffContext, view: Option<&View>) -> bool {
    match view {
        Some(view) if view.has(settings_flag::HAS_AGENTS) && !state::is_replay() => {
            !view.has(settings_flag::HAS_CGROUPS)
                && !subject::is_watched(subject::doer())
                && multipath::owner_above(state::any_socket(context)).is_null()
        }
        _ => true,
    }
}

/// Leaves what other programs look at to them.
#[inline(always)]
fn leave(context: &SkBuffContext, kind: u32, owner: &SocketOwner) -> Outcome {
    // Those of governed subjects are judged by now.
    if owner.subject == 0 && owner.generation != 0 && owner.verdict == Verdict::Deny as u8 {
        return Outcome::Refuse;
    }
    // Read again rather than kept: that takes less than the stack that Linux 6.1 has.
    let packet = Packet::read(context).unwrap_or(Packet::UNREADABLE);
    if !state::is_replay() && packet.is_elsewhere(kind, owner) {
        return tails::leave_to(context, tail::ELSEWHERE, kind, owner, &packet.target());
    }
    go_on(context, kind, owner, &packet)
}

/// Leaves what the packet says to the program that reads it.
#[inline(always)]
pub(crate) fn go_on(
    context: &SkBuffContext,
    kind: u32,
    owner: &SocketOwner,
    packet: &Packet,
) -> Outcome {
    let is_quic = owner.flags & socket_flag::QUIC != 0 && packet.protocol == PROTOCOL_UDP;
    let index = match owner.stage {
        // First: a rule for QUIC elsewhere says nothing about what a resolver is asked.
        0 if packet.is_dns(owner) => tail::QUERY,
        0 if is_quic => tail::QUIC,
        0 => return Outcome::Pass,
        SocketOwner::NOTED => tail::NOTE,
        _ => tail::HELLO,
    };
    tails::leave_to(context, index, kind, owner, &packet.target())
}

#[inline(always)]
fn judge_owned(
    context: &SkBuffContext,
    view: &View,
    kind: u32,
    owner: &mut SocketOwner,
) -> Outcome {
    if owner.subject == SocketOwner::LOST {
        let enforces = view.has(settings_flag::ENFORCES);
        return if enforces { Outcome::Refuse } else { Outcome::Pass };
    }
    let packet = Packet::read(context).unwrap_or(Packet::UNREADABLE);
    if !packet.is_ordinary(kind) {
        return refuse_raw(context, view, kind, owner, &packet);
    }
    let is_quarantined = is_quarantined(owner.subject);
    let is_allowed = owner.verdict == Verdict::Allow as u8;
    let is_news = owner.generation != view.generation
        || owner.flags & socket_flag::GRANTED != 0
        || (is_quarantined && is_allowed);
    if owner.generation != 0 && is_news {
        again::judge(context, view, kind, owner);
    }
    let is_refused = owner.generation != 0 && owner.verdict == Verdict::Deny as u8;
    if is_refused || is_quarantined {
        return Outcome::Refuse;
    }
    limit::count_packet(context, view, kind, owner)
}

/// A packet of a kind that passes no other hook.
#[inline(always)]
fn refuse_raw(
    context: &SkBuffContext,
    view: &View,
    kind: u32,
    owner: &SocketOwner,
    packet: &Packet,
) -> Outcome {
    let Some(settings) = view.subject(owner.subject) else {
        // The policy no longer has the subject: its sockets are nobody's.
        return Outcome::Pass;
    };
    let is_quarantined = is_quarantined(owner.subject);
    let may_be_raw = settings.flags & subject_flag::RAW_SOCKETS != 0 && !is_quarantined;
    if may_be_raw {
        return Outcome::Pass;
    }
    let mode = if is_quarantined { Mode::Enforce } else { Mode::from_byte(settings.mode) };
    let decision = Decision {
        verdict: Verdict::Deny,
        reason: Reason::RawSocket,
        mode,
        rule: settings.default_rule,
        set: 0,
        proof: Proof::None,
        quiet: false,
    };
    let target = Target { address: packet.destination, port: 0, protocol: packet.protocol };
    report(context, view, kind, owner, &target, &decision);
    Outcome::of(&decision)
}

/// Where a packet goes, for its event.
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
}

#[inline(always)]
pub(crate) fn report(
    context: &SkBuffContext,
    view: &View,
    kind: u32,
    owner: &SocketOwner,
    target: &Target,
    decision: &Decision,
) {
    let header = header(context, view, owner, EventKind::Flow);
    hits::count(view.generation, owner.subject, decision, header.time_ns);
    let event = FlowEvent {
        header,
        address: target.address,
        port: target.port,
        protocol: target.protocol,
        verdict: decision.verdict as u8,
        reason: decision.reason as u8,
        mode: decision.mode as u8,
        family: if target.address.is_v4() { 2 } else { 10 },
        socket_type: kind,
        rule: decision.rule,
        set: decision.set,
        reserved: 0,
        cookie: cookie(context),
    };
    emit::event(event, Wake::Now);
}

/// The part that every event begins with, for the socket's owner.
#[inline(always)]
pub(crate) fn header(
    context: &SkBuffContext,
    view: &View,
    owner: &SocketOwner,
    kind: EventKind,
) -> EventHeader {
    EventHeader {
        kind: kind as u16,
        hook: Hook::Egress as u16,
        tgid: owner.tgid,
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        generation: view.generation,
        // SAFETY: the helper reads the packet's socket.
        cgroup: unsafe { bpf_skb_cgroup_id(context.skb.skb) },
        uid: EventHeader::NO_ID,
        gid: EventHeader::NO_ID,
        subject: owner.subject,
        root: owner.root,
        comm: [0; COMM_BYTES],
    }
}

#[inline(always)]
pub(crate) fn cookie(context: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the context of this program's type.
    unsafe { bpf_get_socket_cookie(context.skb.skb.cast()) }
}

/// Whether a packet of a socket that asks a resolver goes to that one, on whichever port.
#[inline(always)]
pub(crate) fn is_to_own_resolver(owner: &SocketOwner, destination: &Address) -> bool {
    owner.port == PORT_DNS && halves(destination) == halves(&owner.address)
}

impl Packet {
    pub(crate) const UNREADABLE: Self = Self {
        protocol: 0,
        is_plain: false,
        destination: Address::UNSPECIFIED,
        source_port: 0,
        port: 0,
    };

    #[inline(always)]
    pub(crate) fn read(context: &SkBuffContext) -> Option<Self> {
        let skb: *mut __sk_buff = context.skb.skb;
        // SAFETY: the kernel fills the context.
        let is_v6 = unsafe { (*skb).protocol } == ETH_P_IPV6.to_be() >> 16;
        let place = InPlace::of(context);
        if !is_v6 && place.holds(HEADERS_V4_BYTES) {
            Self::of_v4(&place)
        } else if is_v6 {
            Self::of_v6(context)
        } else {
            Self::of_v4(context)
        }
    }

    #[inline(always)]
    fn of_v4(parts: &impl Part) -> Option<Self> {
        let first: u8 = parts.part(0)?;
        Some(Self {
            protocol: parts.part(9)?,
            is_plain: first == PLAIN_V4,
            destination: Address::v4(parts.part(16)?),
            source_port: u16::from_be_bytes(parts.part(20).unwrap_or_default()),
            port: u16::from_be_bytes(parts.part(22).unwrap_or_default()),
        })
    }

    #[inline(always)]
    fn of_v6(parts: &impl Part) -> Option<Self> {
        let first: u8 = parts.part(0)?;
        let protocol: u8 = parts.part(6)?;
        Some(Self {
            protocol,
            is_plain: first >> 4 == 6,
            destination: Address::v6(parts.part(24)?),
            source_port: u16::from_be_bytes(parts.part(40).unwrap_or_default()),
            port: u16::from_be_bytes(parts.part(42).unwrap_or_default()),
        })
    }

    #[inline(always)]
    pub(crate) fn target(&self) -> Target {
        Target { address: self.destination, port: self.port, protocol: self.protocol }
    }

    /// Whether a governed subject's packet has another destination than the one that was judged
    /// before it was made. Of a socket that is not connected, such as one that listens, that one is
    /// known for datagrams only; and what answers the other side goes where that is.
    #[inline(always)]
    fn is_elsewhere(&self, kind: u32, owner: &SocketOwner) -> bool {
        // One number, and the first one: the verifier follows each condition both ways, and so each
        // that is behind it twice.
        let (high, low) = halves(&self.destination);
        let (own_high, own_low) = halves(&owner.address);
        if (high ^ own_high) | (low ^ own_low) | u64::from(self.port ^ owner.port) == 0 {
            return false;
        }
        let is_settled = owner.flags & (socket_flag::ACCEPTED | socket_flag::TRANSLATED) != 0;
        if owner.subject == 0 || is_settled || !self.is_ordinary(kind) {
            return false;
        }
        owner.generation != 0 || self.protocol == PROTOCOL_UDP
    }

    /// TCP or UDP with a plain header, from a socket that is not raw.
    #[inline(always)]
    fn is_ordinary(&self, kind: u32) -> bool {
        self.is_plain
            && kind != SOCK_RAW
            && (self.protocol == PROTOCOL_TCP || self.protocol == PROTOCOL_UDP)
    }

    /// To a resolver, or from one; also where a resolver's port is translated on its own host, as
    /// that of a container engine is.
    #[inline(always)]
    fn is_dns(&self, owner: &SocketOwner) -> bool {
        let has_ports = self.protocol == PROTOCOL_TCP || self.protocol == PROTOCOL_UDP;
        let is_dns = self.port == PORT_DNS || self.source_port == PORT_DNS;
        self.is_plain && has_ports && (is_dns || is_to_own_resolver(owner, &self.destination))
    }
}
