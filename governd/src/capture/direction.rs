//! One direction of a TCP connection: where in it a ClientHello, an HTTP request or DNS messages
//! begin, and who reads them.
//!
//! A hello is also looked for in the middle of a connection, where a segment begins (STARTTLS, a
//! proxy's CONNECT, a capture that began late). Only the first hello of a direction counts.

use std::net::SocketAddr;

use governd_common::tls::TlsRefusal;

use super::{
    parsers::Told,
    tcp::{Order, Piece},
};

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
}

/// What a direction's bytes are read as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A ClientHello.
    Tls,
    /// The head of an HTTP request.
    Http,
    /// DNS messages with their length prefixes.
    Dns,
}

/// Who reads the bytes, once packets are sorted into connections and put in order.
pub trait Reader {
    /// Why bytes cannot be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What follows in a direction is the beginning of something.
    ///
    /// # Errors
    /// If the reader has a fault; that something is not what it seems is told by `feed`.
    fn begin(&mut self, flow: Flow, kind: Kind) -> Result<(), Self::Error>;

    /// Bytes that continue what was begun.
    ///
    /// # Errors
    /// As `begin`.
    fn feed(&mut self, flow: Flow, bytes: &[u8]) -> Result<Vec<Told>, Self::Error>;

    /// Nothing of what was begun is of interest any more.
    ///
    /// # Errors
    /// As `begin`.
    fn end(&mut self, flow: Flow) -> Result<(), Self::Error>;

    /// A DNS message in a UDP datagram.
    ///
    /// # Errors
    /// As `begin`.
    fn datagram(&mut self, flow: Flow, message: &[u8]) -> Result<Vec<Told>, Self::Error>;
}

/// A reader that goes on to the next capture.
impl<R: Reader> Reader for &mut R {
    type Error = R::Error;

    fn begin(&mut self, flow: Flow, kind: Kind) -> Result<(), R::Error> {
        (**self).begin(flow, kind)
    }

    fn feed(&mut self, flow: Flow, bytes: &[u8]) -> Result<Vec<Told>, R::Error> {
        (**self).feed(flow, bytes)
    }

    fn end(&mut self, flow: Flow) -> Result<(), R::Error> {
        (**self).end(flow)
    }

    fn datagram(&mut self, flow: Flow, message: &[u8]) -> Result<Vec<Told>, R::Error> {
        (**self).datagram(flow, message)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Nothing was seen yet.
    Start,
    /// A hello may begin with the next segment.
    Between,
    /// Bytes go to the reader.
    Reading(Kind),
    /// The hello was read.
    Over,
}

/// The order of one direction, and what it is read as.
#[derive(Debug)]
pub(super) struct Direction {
    flow: Flow,
    order: Order,
    stage: Stage,
    is_dns: bool,
    /// The last frame of those that brought what was read.
    frame: u64,
}

/// What was told, and the frame that completed it.
pub(super) type ToldAt = (u64, Told);

impl Direction {
    pub(super) fn new(flow: Flow, is_dns: bool) -> Self {
        Self { flow, order: Order::default(), stage: Stage::Start, is_dns, frame: 0 }
    }

    /// True as long as no byte came, or none since the latest SYN.
    pub(super) fn is_fresh(&self) -> bool {
        self.stage == Stage::Start
    }

    /// A SYN; returns true if it begins a new connection, while a repeated one changes nothing.
    pub(super) fn begin<R: Reader>(
        &mut self,
        sequence: u32,
        reader: &mut R,
    ) -> Result<bool, R::Error> {
        let is_new = self.order.begin(sequence);
        if is_new {
            self.stage = Stage::Start;
            self.frame = 0;
            reader.end(self.flow)?;
        }
        Ok(is_new)
    }

    /// A segment's payload.
    pub(super) fn add<R: Reader>(
        &mut self,
        sequence: u32,
        payload: &[u8],
        frame: u64,
        reader: &mut R,
    ) -> Result<Vec<ToldAt>, R::Error> {
        let pieces = self.order.add(sequence, payload, frame);
        self.take(pieces, reader)
    }

    /// What still waits for missing segments.
    pub(super) fn finish<R: Reader>(&mut self, reader: &mut R) -> Result<Vec<ToldAt>, R::Error> {
        let pieces = self.order.finish();
        self.take(pieces, reader)
    }

    fn take<R: Reader>(
        &mut self,
        pieces: Vec<Piece>,
        reader: &mut R,
    ) -> Result<Vec<ToldAt>, R::Error> {
        let mut all = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes, frame) => {
                    self.frame = self.frame.max(frame);
                    let told = self.read(&bytes, reader)?;
                    all.extend(told.into_iter().map(|told| (self.frame, told)));
                }
                Piece::Gap => self.gap(reader)?,
            }
        }
        Ok(all)
    }

    /// Bytes were lost: what was begun cannot be finished.
    fn gap<R: Reader>(&mut self, reader: &mut R) -> Result<(), R::Error> {
        self.frame = 0;
        self.stage = match self.stage {
            Stage::Over => Stage::Over,
            _ if self.is_dns => Stage::Start,
            _ => Stage::Between,
        };
        reader.end(self.flow)
    }

    fn read<R: Reader>(&mut self, bytes: &[u8], reader: &mut R) -> Result<Vec<Told>, R::Error> {
        let is_start = self.stage == Stage::Start;
        if is_start || self.stage == Stage::Between {
            let kind = match bytes.first() {
                _ if self.is_dns => Some(Kind::Dns),
                Some(0x16) => Some(Kind::Tls),
                Some(b'A'..=b'Z') if is_start => Some(Kind::Http),
                _ => None,
            };
            self.stage = kind.map_or(Stage::Between, Stage::Reading);
            if let Some(kind) = kind {
                reader.begin(self.flow, kind)?;
            }
        }
        let Stage::Reading(kind) = self.stage else {
            return Ok(Vec::new());
        };
        let told = reader.feed(self.flow, bytes)?;
        if let Some(told) = told.first().filter(|_| kind != Kind::Dns) {
            self.stage = match told {
                Told::Tls(_) | Told::TlsAddress(_) => Stage::Over,
                Told::NoTls(refusal) if *refusal != TlsRefusal::NotTls => Stage::Over,
                _ => Stage::Between,
            };
            reader.end(self.flow)?;
        }
        Ok(told)
    }
}
