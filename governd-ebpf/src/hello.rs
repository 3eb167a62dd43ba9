//! The first bytes of a connection, where they have to name an allowed server.
//!
//! The bytes are read in the order of the stream, from the SYN on: what was read before is passed
//! over, and what leaves a gap goes no further, so that both ends see the same bytes. Pieces of a
//! name that is not whole yet pass. The one that completes a forbidden name is dropped, and all
//! that comes after it. A TLS hello is read, and another one if the server may ask for it;
//! plaintext HTTP for as long as the connection lives, since every request names a host of its own.
//!
//! One run takes one chunk; if the packet holds more, the program calls itself.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::lpm_trie::Key,
    helpers::{bpf_ktime_get_boot_ns, bpf_sk_storage_get},
    programs::SkBuffContext,
};
use governd_common::{
    conversation::Conversation,
    decide::{Decision, Flow, Named, Proof, Tables as _},
    event::{EventKind, InitialEvent, NameEvent, NameSource},
    http::HttpRefusal,
    key::NameKey,
    name::Name,
    names::tail,
    stream::Chunk,
    table::{SocketOwner, socket_flag},
    tls::{Hello, TlsRefusal},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    decision::decide_named_into,
    egress::{self, Target},
    emit::{self, Wake, count},
    loops::Helper,
    outcome::Outcome,
    reading::{Reading, read_http, read_tls},
    segment::Segment,
    skb::{copy, load_chunk, may_change},
    state::{self, End, Sender},
    subject,
    tables::{HELLO_FLOWS, HELLO_SCRATCH, HELLOS, NAMES, TAILS, View},
};

pub(crate) const RECORD_HANDSHAKE: u8 = 22;

/// What is known of a connection's beginning.
#[repr(C)]
pub(crate) struct Beginning {
    /// The connection of the socket that it belongs to, see `SocketOwner::connects`.
    pub(crate) connects: u32,
    /// A [`NameSource`]; 0 before the first byte.
    pub(crate) source: u32,
    /// Sequence number of the first byte that was not read.
    pub(crate) next: u32,
    /// 1 once a SYN was seen.
    pub(crate) has_syn: u32,
    /// The name that was read, as the trie is asked for it.
    key: Key<NameKey>,
    pub(crate) hello: Hello,
    talk: Conversation,
}

/// Memory for one run; too large for the stack.
#[repr(C)]
pub(crate) struct HelloScratch {
    /// 1 while in use: a packet of another socket may interrupt this one.
    busy: u32,
    reserved: u32,
    pub(crate) event: NameEvent,
    pub(crate) chunk: Chunk,
    #[cfg(feature = "calls")]
    pub(crate) hello: Hello,
    #[cfg(feature = "calls")]
    pub(crate) talk: Conversation,
    pub(crate) initial: InitialEvent,
}

impl HelloScratch {
    /// This CPU's memory, for one packet; `None` while another one has it.
    #[inline(always)]
    pub(crate) fn take() -> Option<&'static mut Self> {
        let scratch = HELLO_SCRATCH.get_ptr_mut(0)?;
        // SAFETY: this CPU's memory, which the flag keeps for one packet.
        let scratch = unsafe { &mut *scratch };
        if scratch.busy != 0 {
            return None;
        }
        scratch.busy = 1;
        Some(scratch)
    }

    #[inline(always)]
    pub(crate) fn give_back(&mut self) {
        self.busy = 0;
    }
}

/// Decides about a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    let Some(sender) = Sender::of(context) else {
        return Outcome::Pass as i32;
    };
    judge_owned(context, sender) as i32
}

#[inline(always)]
fn judge_owned(context: &SkBuffContext, sender: Sender) -> Outcome {
    let kind = sender.kind();
    let Sender { socket, owner } = sender;
    let Some(view) = View::current() else {
        return Outcome::Refuse;
    };
    let Some(segment) = Segment::read(context) else {
        return Outcome::Refuse;
    };
    let is_syn = segment.is_syn();
    if segment.len == 0 && !is_syn {
        return Outcome::Pass;
    }
    let beginning = beginning(context, socket, is_syn);
    let run = Run { context, view: &view, kind };
    if beginning.is_null() {
        return run.refuse_unread(owner);
    }
    // SAFETY: as the owner's.
    let beginning = unsafe { &mut *beginning };
    let sequence = segment.first();
    if is_syn {
        begin(beginning, owner, sequence);
        if segment.len == 0 {
            return Outcome::Pass;
        }
    }
    let is_this = beginning.has_syn != 0 && beginning.connects == u32::from(owner.connects);
    if !is_this || segment.is_urgent() {
        // Nobody saw where the stream begins, or the two ends may differ in a byte of it.
        return run.refuse_unread(owner);
    }
    let read = beginning.next.wrapping_sub(sequence);
    if read > i32::MAX as u32 {
        // A gap: what comes before will be sent again.
        return Outcome::Refuse;
    }
    if read >= segment.len {
        return Outcome::Pass;
    }
    run.read(owner, beginning, segment.at.wrapping_add(read), segment.len.wrapping_sub(read))
}

/// Forgets what belongs to an earlier connection of the socket.
#[inline(always)]
pub(crate) fn begin(beginning: &mut Beginning, owner: &SocketOwner, next: u32) {
    let connects = u32::from(owner.connects);
    if beginning.has_syn != 0 && beginning.connects == connects && beginning.source != 0 {
        // The same SYN again; data that it carried was read.
        return;
    }
    beginning.connects = connects;
    beginning.has_syn = 1;
    beginning.source = 0;
    beginning.next = next;
    beginning.hello.begin_again();
    beginning.talk.begin_again();
}

/// The state of the connection's beginning; with the SYN, it is made.
#[inline(always)]
pub(crate) fn beginning(
    context: &SkBuffContext,
    socket: *mut bpf_sock,
    is_new: bool,
) -> *mut Beginning {
    if !is_new || state::is_replay() {
        return state::stored(context, socket, End::Sender, &HELLOS, &HELLO_FLOWS);
    }
    let map = ptr::from_ref(&HELLOS).cast_mut().cast();
    let flags = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: the map is that of socket storage, and the socket a full one.
    let stored = unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), flags) };
    if stored.is_null() {
        count(Loss::Sockets);
    }
    stored.cast()
}

/// The set of the name that was read, under the present policy.
#[inline(always)]
pub(crate) fn set_now(context: &SkBuffContext, view: &View) -> u32 {
    let socket = state::socket(context);
    if socket.is_null() {
        return 0;
    }
    let stored = state::stored(context, socket, End::Sender, &HELLOS, &HELLO_FLOWS);
    if stored.is_null() {
        return 0;
    }
    // SAFETY: the storage lives as long as the socket.
    set_of(unsafe { &mut (*stored).key }, view)
}

#[inline(always)]
fn set_of(key: &mut Key<NameKey>, view: &View) -> u32 {
    key.data.bytes[0] = view.slot as u8;
    NAMES.get(&*key).copied().unwrap_or(0)
}

/// What a run knows beside the connection.
pub(crate) struct Run<'a> {
    pub(crate) context: &'a SkBuffContext,
    pub(crate) view: &'a View,
    pub(crate) kind: u32,
}

impl Run<'_> {
    /// Takes the next chunk of the bytes that are new.
    #[inline(always)]
    fn read(
        &self,
        owner: &mut SocketOwner,
        beginning: &mut Beginning,
        mut at: u32,
        mut len: u32,
    ) -> Outcome {
        let passed = match beginning.source {
            SOURCE_TLS => beginning.hello.pass(len),
            SOURCE_HTTP => beginning.talk.pass(len),
            _ => 0,
        };
        beginning.next = beginning.next.wrapping_add(passed);
        at = at.wrapping_add(passed);
        len = len.wrapping_sub(passed);
        if len == 0 {
            return Outcome::Pass;
        }
        let Some(scratch) = HelloScratch::take() else {
            // The packet will be sent again.
            return Outcome::Refuse;
        };
        let outcome = self.read_chunk(owner, beginning, scratch, at, len);
        scratch.give_back();
        let is_more = outcome == Outcome::Pass && scratch.chunk.at < len && owner.stage != 0;
        if is_more {
            // SAFETY: nothing here waits to be dropped.
            unsafe { TAILS.tail_call(self.context, tail::HELLO) };
            return Outcome::Refuse;
        }
        outcome
    }

    #[inline(always)]
    fn read_chunk(
        &self,
        owner: &mut SocketOwner,
        beginning: &mut Beginning,
        scratch: &mut HelloScratch,
        at: u32,
        len: u32,
    ) -> Outcome {
        let chunk = &mut scratch.chunk;
        if !load_chunk(self.context, at, len, chunk) {
            return Outcome::Refuse;
        }
        if beginning.source == 0 {
            let is_tls = chunk.bytes[0] == RECORD_HANDSHAKE;
            beginning.source = if is_tls { SOURCE_TLS } else { SOURCE_HTTP };
        }
        let reading = if beginning.source == SOURCE_TLS {
            read_tls(&mut beginning.hello, scratch)
        } else {
            read_http(&mut beginning.talk, scratch)
        };
        beginning.next = beginning.next.wrapping_add(scratch.chunk.at);
        if is_naming(beginning, reading) && may_change(self.context) {
            return self.refuse_unread(owner);
        }
        match reading {
            Reading::More => {
                if beginning.source == SOURCE_HTTP && beginning.talk.is_stream() {
                    owner.stage = 0;
                }
                Outcome::Pass
            }
            Reading::Named => self.judge_name(owner, beginning, &mut scratch.event),
            Reading::Over => {
                owner.stage = 0;
                Outcome::Pass
            }
            Reading::Refused(_, true) if owner.stage == Proof::Denials as u8 => {
                owner.stage = 0;
                Outcome::Pass
            }
            Reading::Refused(code, _) => {
                self.refuse_bytes(owner, beginning, &mut scratch.event, code)
            }
        }
    }

    /// A name is whole.
    #[inline(always)]
    fn judge_name(
        &self,
        owner: &mut SocketOwner,
        beginning: &mut Beginning,
        event: &mut NameEvent,
    ) -> Outcome {
        let is_plaintext = beginning.source == SOURCE_HTTP;
        let name = if is_plaintext { &beginning.talk.request.name } else { &beginning.hello.name };
        let slot = self.view.slot;
        beginning.key.prefix_len = name.write_key::<Helper>(slot, &mut beginning.key.data);
        let set = set_of(&mut beginning.key, self.view);
        let SocketOwner { subject, address, port, protocol, .. } = *owner;
        // SAFETY: the helper only reads the clock.
        let now_ns = unsafe { bpf_ktime_get_boot_ns() };
        let flow = Flow { subject, address, port, protocol, now_ns };
        let mut decision = Decision::FAULT;
        let named = Named::by_bytes(set, is_plaintext);
        let verdict = decide_named_into(self.view, &flow, named, &mut decision);
        if !self.view.is_whole() {
            count(Loss::Tables);
            decision = Decision::FAULT;
        }
        if verdict == Verdict::Deny as u32 || decision.verdict == Verdict::Deny {
            return self.refuse(owner, beginning, event, &decision, 0);
        }
        owner.name_set = set;
        owner.flags |= socket_flag::NAMED;
        if decision.reason == Reason::Granted {
            owner.flags |= socket_flag::GRANTED;
        }
        if SocketOwner::is_agent(subject) || subject::is_noted(owner.tgid) {
            self.report(owner, beginning, event, &decision, 0);
        }
        if is_plaintext {
            owner.flags |= socket_flag::PLAINTEXT;
            beginning.talk.go_on();
        } else {
            beginning.hello.look_for_another();
        }
        Outcome::Pass
    }

    /// The bytes name nobody, and should.
    #[inline(always)]
    fn refuse_bytes(
        &self,
        owner: &mut SocketOwner,
        beginning: &mut Beginning,
        event: &mut NameEvent,
        code: u8,
    ) -> Outcome {
        let Some(decision) = self.unnamed(owner) else {
            return Outcome::Pass;
        };
        self.refuse(owner, beginning, event, &decision, code)
    }

    /// The bytes were not read from the beginning.
    #[inline(always)]
    fn refuse_unread(&self, owner: &mut SocketOwner) -> Outcome {
        let Some(decision) = self.unnamed(owner) else {
            return Outcome::Pass;
        };
        self.close(owner, &decision)
    }

    #[inline(always)]
    fn unnamed(&self, owner: &SocketOwner) -> Option<Decision> {
        let settings = self.view.subject(owner.subject)?;
        Some(Decision {
            verdict: Verdict::Deny,
            reason: Reason::NoServerName,
            mode: Mode::from_byte(settings.mode),
            rule: settings.default_rule,
            set: 0,
            quiet: false,
            proof: Proof::None,
        })
    }

    #[inline(always)]
    fn refuse(
        &self,
        owner: &mut SocketOwner,
        beginning: &Beginning,
        event: &mut NameEvent,
        decision: &Decision,
        code: u8,
    ) -> Outcome {
        self.report(owner, beginning, event, decision, code);
        self.close(owner, decision)
    }

    /// Marks the socket as refused; in monitor mode it is left alone from here on.
    #[inline(always)]
    fn close(&self, owner: &mut SocketOwner, decision: &Decision) -> Outcome {
        let SocketOwner { address, port, protocol, .. } = *owner;
        let target = Target { address, port, protocol };
        egress::report(self.context, self.view, self.kind, owner, &target, decision);
        owner.stage = 0;
        let outcome = Outcome::of(decision);
        if outcome == Outcome::Refuse {
            owner.verdict = Verdict::Deny as u8;
        }
        outcome
    }

    #[inline(always)]
    pub(crate) fn report(
        &self,
        owner: &SocketOwner,
        beginning: &Beginning,
        event: &mut NameEvent,
        decision: &Decision,
        code: u8,
    ) {
        let Hello { alpn_len, has_ech, .. } = beginning.hello;
        let is_plaintext = beginning.source == SOURCE_HTTP;
        event.header = egress::header(self.context, self.view, owner, EventKind::Name);
        event.address = owner.address;
        event.port = owner.port;
        event.protocol = owner.protocol;
        event.verdict = decision.verdict as u8;
        event.reason = decision.reason as u8;
        event.mode = decision.mode as u8;
        event.source = beginning.source as u8;
        event.refusal = code;
        event.rule = decision.rule;
        event.set = decision.set;
        event.cookie = egress::cookie(self.context);
        event.has_ech = has_ech as u8;
        event.alpn_len = alpn_len as u8;
        event.reserved = 0;
        copy(&mut event.alpn, &beginning.hello.alpn);
        let name = if is_plaintext { &beginning.talk.request.name } else { &beginning.hello.name };
        let Name { len, bytes, .. } = name;
        // An address in the place of a name is well formed, and worth telling.
        let is_address = code == if is_plaintext { HTTP_ADDRESS } else { TLS_ADDRESS };
        event.name_len = if code == 0 || is_address { *len } else { 0 };
        copy(&mut event.name, bytes);
        let wake = if decision.verdict == Verdict::Deny { Wake::Now } else { Wake::OnTimer };
        emit::bytes(ptr::from_ref(event).cast(), size_of::<NameEvent>() as u64, wake);
    }
}

const TLS_ADDRESS: u8 = TlsRefusal::Address as u8;
const HTTP_ADDRESS: u8 = HttpRefusal::Address as u8;
pub(crate) const SOURCE_TLS: u32 = NameSource::Tls as u32;
const SOURCE_HTTP: u32 = NameSource::Http as u32;

/// Whether bytes were read that are or hold a name, and not a request's body.
#[inline(always)]
fn is_naming(beginning: &Beginning, reading: Reading) -> bool {
    let is_tls = beginning.source == SOURCE_TLS;
    match reading {
        Reading::More => is_tls || beginning.talk.is_in_head(),
        Reading::Named | Reading::Over => true,
        Reading::Refused(..) => false,
    }
}
