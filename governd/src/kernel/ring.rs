//! Events out of the ring.
//!
//! A wake costs the programs more than the rest of a hook. So while events come, the reader looks
//! by itself: every 2 ms while they are of governed processes, every 10 ms while others execute
//! files; only denials and a ring that fills wake it meanwhile. When it has found none for a while
//! it sleeps, and the next event wakes it, whatever it is. Each look takes time that the processes
//! feel that are reported, so nobody looks more often than it is of use. What the daemon's own
//! trials leave is read when they are done, and nothing is expected behind it.

use std::{
    fmt, io,
    mem::offset_of,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use aya::maps::{Map, MapError};
use governd_common::{
    event::{
        DnsEvent, EventHeader, EventKind, ExecEvent, ExitEvent, FlowEvent, ForkEvent,
        InfluenceEvent, InitialEvent, NameEvent, PathEvent, TrafficEvent,
    },
    limits::{
        ALPN_BYTES_MAX, DNS_ADDRESSES_MAX, EXEC_ARGS_BYTES_MAX, EXEC_PATH_BYTES_MAX,
        INITIAL_BYTES_MAX, NAME_BYTES_MAX, SOCKET_PATH_BYTES_MAX,
    },
    names::map,
    table::SocketOwner,
};
use tokio::{io::unix::AsyncFd, time};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{KernelError, collection::Collection, meter::Meter, records::Records, ticks};

/// When the reader looks again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// Behind events of governed processes; each that finds none doubles the next.
    pub(super) first: Duration,
    /// Behind events of nobody's subject, of which nothing follows that could not wait.
    pub(super) ordinary: Duration,
    /// When a longer pause than this would come, it sleeps.
    pub(super) longest: Duration,
}

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(2),
    ordinary: Duration::from_millis(10),
    longest: Duration::from_millis(16),
};
/// Events that one call reads at most, so that a flood does not keep its caller from other work.
const BATCH_MAX: usize = 512;

/// An event as the kernel wrote it, with its lengths checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RawEvent {
    /// A decision.
    Flow(FlowEvent),
    /// A tracked process has a child.
    Fork(ForkEvent),
    /// A process executes a file.
    Exec(Box<ExecEvent>),
    /// A tracked process ended.
    Exit(ExitEvent),
    /// A DNS answer.
    Dns(Box<DnsEvent>),
    /// The name in a connection's first bytes.
    Name(Box<NameEvent>),
    /// The beginning of a QUIC connection.
    Initial(Box<InitialEvent>),
    /// A decision about something local.
    Path(PathEvent),
    /// A connection ended.
    Traffic(TrafficEvent),
    /// A tracked process writes another's memory.
    Influence(InfluenceEvent),
}

impl RawEvent {
    /// The part that all events have.
    pub fn header(&self) -> &EventHeader {
        match self {
            Self::Flow(event) => &event.header,
            Self::Fork(event) => &event.header,
            Self::Exec(event) => &event.header,
            Self::Exit(event) => &event.header,
            Self::Dns(event) => &event.header,
            Self::Name(event) => &event.header,
            Self::Initial(event) => &event.header,
            Self::Path(event) => &event.header,
            Self::Traffic(event) => &event.header,
            Self::Influence(event) => &event.header,
        }
    }

    /// Whether another governed process begins or ends with it than the one that it is about.
    pub fn tells_of_others(&self) -> bool {
        matches!(self, Self::Fork(_) | Self::Exit(_) | Self::Influence(_))
    }

    /// Whether what follows it may be read later: it is an exec of who is no agent's.
    fn waits(&self) -> bool {
        matches!(self, Self::Exec(event) if event.header.subject == 0)
    }

    /// Whether it is of a trial of the daemon's own.
    fn is_trial(&self) -> bool {
        matches!(self, Self::Flow(event) if event.header.subject == SocketOwner::CANARY)
    }

    /// Reads an event; `None` if it is not one, or says of itself what cannot be.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, _) = u16::read_from_prefix(bytes).ok()?;
        if kind == EventKind::Flow as u16 {
            FlowEvent::read_from_bytes(bytes).ok().map(Self::Flow)
        } else if kind == EventKind::Fork as u16 {
            ForkEvent::read_from_bytes(bytes).ok().map(Self::Fork)
        } else if kind == EventKind::Exit as u16 {
            ExitEvent::read_from_bytes(bytes).ok().map(Self::Exit)
        } else if kind == EventKind::Exec as u16 {
            let event: ExecEvent = read_cut(bytes)?;
            let used = offset_of!(ExecEvent, args) + event.args_len as usize;
            let fits = event.path_len as usize <= EXEC_PATH_BYTES_MAX
                && event.args_len as usize <= EXEC_ARGS_BYTES_MAX;
            (fits && bytes.len() >= used).then(|| Self::Exec(Box::new(event)))
        } else if kind == EventKind::Dns as u16 {
            let event: DnsEvent = read_cut(bytes)?;
            let fits = usize::from(event.name_len) <= NAME_BYTES_MAX
                && event.addresses_len as usize <= DNS_ADDRESSES_MAX;
            fits.then(|| Self::Dns(Box::new(event)))
        } else if kind == EventKind::Initial as u16 {
            let event: InitialEvent = read_cut(bytes)?;
            let used = offset_of!(InitialEvent, bytes) + event.len as usize;
            let fits = event.len as usize <= INITIAL_BYTES_MAX && bytes.len() >= used;
            fits.then(|| Self::Initial(Box::new(event)))
        } else if kind == EventKind::Name as u16 {
            let event = NameEvent::read_from_bytes(bytes).ok()?;
            let fits = usize::from(event.name_len) <= NAME_BYTES_MAX
                && usize::from(event.alpn_len) <= ALPN_BYTES_MAX;
            fits.then(|| Self::Name(Box::new(event)))
        } else if kind == EventKind::Path as u16 {
            let event = PathEvent::read_from_bytes(bytes).ok()?;
            (event.path_len as usize <= SOCKET_PATH_BYTES_MAX).then_some(Self::Path(event))
        } else if kind == EventKind::Traffic as u16 {
            TrafficEvent::read_from_bytes(bytes).ok().map(Self::Traffic)
        } else if kind == EventKind::Influence as u16 {
            InfluenceEvent::read_from_bytes(bytes).ok().map(Self::Influence)
        } else {
            None
        }
    }
}

/// Reads an event that the kernel cut after the part in use.
fn read_cut<T: FromZeros + FromBytes + IntoBytes>(bytes: &[u8]) -> Option<T> {
    let mut event = T::new_zeroed();
    event.as_mut_bytes().get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(event)
}

/// The stream of events.
pub struct Events {
    ring: Records,
    /// Where wakes are waited for; made when it is first needed, inside the runtime.
    wakes: Option<AsyncFd<OwnedFd>>,
    pauses: Pauses,
    pause: Duration,
    malformed: u64,
    meter: Meter,
}

impl Events {
    pub(super) fn take(collection: &mut Collection, meter: Meter) -> Result<Self, KernelError> {
        let Some(Map::RingBuf(ring)) = collection.take_map(map::EVENTS) else {
            return Err(KernelError::Missing(map::EVENTS));
        };
        let failed = KernelError::map("open", map::EVENTS);
        let bytes = ring.info().map_err(&failed)?.max_entries() as usize;
        let ring = Records::open(ring.fd().as_fd(), bytes);
        let ring = ring.map_err(|error| failed(MapError::IoError(error)))?;
        let (pauses, pause) = (PAUSES, PAUSES.first);
        Ok(Self { ring, wakes: None, pauses, pause, malformed: 0, meter })
    }

    /// Reads what is there now, without waiting, and returns how many events that was.
    ///
    /// # Errors
    /// The ring is not laid out as it should be.
    pub fn drain(&mut self, mut each: impl FnMut(RawEvent)) -> Result<usize, KernelError> {
        let (mut count, mut pause) = (0, None);
        while count < BATCH_MAX
            && let Some(bytes) = self.ring.next().map_err(KernelError::Ring)?
        {
            let parsed = RawEvent::parse(bytes);
            if count == 0 {
                self.meter.begin(BATCH_MAX as u64);
            }
            count += 1;
            match parsed {
                Some(event) => {
                    let Pauses { first, ordinary, .. } = self.pauses;
                    let next = if event.waits() { ordinary } else { first };
                    if !event.is_trial() {
                        pause = Some(pause.map_or(next, |pause: Duration| pause.min(next)));
                    }
                    each(event);
                }
                None => self.malformed += 1,
            }
            self.ring.done().map_err(KernelError::Ring)?;
        }
        if count > 0 {
            self.meter.end(count as u64);
        }
        self.pause = pause.unwrap_or(self.pause);
        Ok(count)
    }

    /// Events that were read, by earlier daemons, too, where the programs outlive them.
    pub fn read(&self) -> u64 {
        self.meter.read()
    }

    /// Events that were read and may not be on record.
    pub fn unsettled(&self) -> u64 {
        self.meter.unsettled()
    }

    /// The first so many that were read are on record, or need none.
    pub fn settle(&mut self, read: u64) {
        self.meter.settle(read);
    }

    /// Waits until there are events, then reads them. Dropping the future loses none.
    ///
    /// # Errors
    /// If the ring cannot be waited on.
    pub async fn batch(&mut self, mut each: impl FnMut(RawEvent)) -> Result<usize, KernelError> {
        loop {
            let count = self.drain(&mut each)?;
            if count > 0 {
                return Ok(count);
            }
            self.wait().await.map_err(KernelError::Ring)?;
        }
    }

    async fn wait(&mut self) -> io::Result<()> {
        if self.wakes.is_none() {
            self.wakes = Some(ticks::watched(self.ring.fd().try_clone_to_owned()?)?);
        }
        let Some(wakes) = &self.wakes else {
            return Ok(());
        };
        if self.pause <= self.pauses.longest {
            let pause = self.pause;
            self.pause *= 2;
            if let Ok(ready) = time::timeout(pause, wakes.readable()).await {
                ready?.clear_ready();
            }
        } else if self.ring.rest()? {
            wakes.readable().await?.clear_ready();
        }
        Ok(())
    }

    /// Makes it look again at other times, from the next wait on.
    #[cfg(test)]
    pub(super) fn set_pauses(&mut self, pauses: Pauses) {
        (self.pauses, self.pause) = (pauses, pauses.first);
    }

    /// What it reads.
    #[cfg(test)]
    pub(super) fn records(&mut self) -> &mut Records {
        &mut self.ring
    }

    /// Events that could not be understood: a fault of governd.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").field("malformed", &self.malformed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(path: &[u8], args: &[u8]) -> ExecEvent {
        let mut event = ExecEvent::new_zeroed();
        event.header.kind = EventKind::Exec as u16;
        event.path_len = path.len() as u32;
        event.path[..path.len()].copy_from_slice(path);
        event.args_len = args.len() as u32;
        event.args[..args.len()].copy_from_slice(args);
        event
    }

    #[test]
    fn an_exec_event_is_read_although_it_is_cut() {
        let event = exec(b"/bin/sh", b"sh\0-c\0true\0");
        let used = offset_of!(ExecEvent, args) + 11;
        let parsed = RawEvent::parse(&event.as_bytes()[..used]).unwrap();
        assert_eq!(parsed, RawEvent::Exec(Box::new(event)));
    }

    #[test]
    fn events_that_lie_about_their_lengths_are_refused() {
        let mut event = exec(b"/bin/sh", b"");
        event.path_len = EXEC_PATH_BYTES_MAX as u32 + 1;
        assert_eq!(RawEvent::parse(event.as_bytes()), None);
        let event = exec(b"/bin/sh", b"sh\0");
        let cut = offset_of!(ExecEvent, args) + 2;
        assert_eq!(RawEvent::parse(&event.as_bytes()[..cut]), None);
        let mut event = DnsEvent::new_zeroed();
        event.header.kind = EventKind::Dns as u16;
        event.addresses_len = DNS_ADDRESSES_MAX as u32 + 1;
        assert_eq!(RawEvent::parse(event.as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            kind in 0_u16..10,
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2_000),
        ) {
            let bytes = [kind.as_bytes(), &rest].concat();
            if let Some(event) = RawEvent::parse(&bytes) {
                proptest::prop_assert_eq!(event.header().kind, kind);
            }
        }
    }
}
