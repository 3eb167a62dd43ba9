//! Who may be at the door: connections that have shown no certificate yet are few, and few from one
//! address. Who comes when there is no place takes that of who has been there longest, of the same
//! address or of the one with the most: whoever says nothing cannot keep hosts out, for whom the
//! door is a matter of milliseconds.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use tokio::sync::oneshot;

/// Connections without a certificate at once.
const STRANGERS_MAX: usize = 512;
/// Of these, from one address.
const STRANGERS_OF_ADDRESS_MAX: usize = 64;

/// Who is at the door.
#[derive(Debug, Default)]
pub(super) struct Doorkeeper {
    by_address: HashMap<IpAddr, VecDeque<Stranger>>,
    count: usize,
    came: u64,
}

#[derive(Debug)]
struct Stranger {
    place: u64,
    /// Dropped, it sends the connection away.
    _stay: oneshot::Sender<()>,
}

/// A place at the door, until it is given back.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    number: u64,
}

/// Completes when somebody else has the place.
pub(super) type SentAway = oneshot::Receiver<()>;

impl Doorkeeper {
    /// One from an address has come.
    pub(super) fn admit(&mut self, address: IpAddr) -> (Place, SentAway) {
        let count = |address| self.by_address.get(address).map_or(0, VecDeque::len);
        if count(&address) >= STRANGERS_OF_ADDRESS_MAX {
            self.send_away(address);
        } else if self.count >= STRANGERS_MAX {
            let most = self.by_address.iter().max_by_key(|(_, strangers)| strangers.len());
            if let Some(address) = most.map(|(address, _)| *address) {
                self.send_away(address);
            }
        }
        self.came += 1;
        self.count += 1;
        let (stay, sent_away) = oneshot::channel();
        let stranger = Stranger { place: self.came, _stay: stay };
        self.by_address.entry(address).or_default().push_back(stranger);
        (Place { address, number: self.came }, sent_away)
    }

    /// Who had a place has gone in or away.
    pub(super) fn gone(&mut self, place: &Place) {
        self.take(place.address, |strangers| {
            let at = strangers.iter().position(|stranger| stranger.place == place.number)?;
            strangers.remove(at)
        });
    }

    fn send_away(&mut self, address: IpAddr) {
        self.take(address, VecDeque::pop_front);
    }

    fn take(
        &mut self,
        address: IpAddr,
        take: impl FnOnce(&mut VecDeque<Stranger>) -> Option<Stranger>,
    ) {
        let Some(strangers) = self.by_address.get_mut(&address) else { return };
        self.count -= usize::from(take(strangers).is_some());
        if strangers.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn stays((_, sent_away): &mut (Place, SentAway)) -> bool {
        sent_away.try_recv() == Err(TryRecvError::Empty)
    }

    #[test]
    fn who_comes_takes_the_place_of_who_has_been_there_longest() {
        let mut door = Doorkeeper::default();
        let mut first: Vec<_> = (0..100).map(|_| door.admit(address(1))).collect();
        let staying: Vec<bool> = first.iter_mut().map(stays).collect();
        assert_eq!(staying, [[false; 36].as_slice(), &[true; 64]].concat());
        // Another address is none of theirs, until there is no place at all.
        let mut host = door.admit(address(2));
        let mut others: Vec<_> =
            (0..1_000).map(|n| door.admit(address(3 + (n % 200) as u8))).collect();
        assert_eq!(door.count, STRANGERS_MAX);
        assert!(stays(&mut host), "its address has one, and others have more");
        let mut host_again = door.admit(address(2));
        assert!(stays(&mut host) && stays(&mut host_again));
        let all = first.iter_mut().chain(&mut others);
        assert_eq!(all.filter_map(|it| stays(it).then_some(())).count(), STRANGERS_MAX - 2);
    }

    #[test]
    fn a_place_is_given_back_once() {
        let mut door = Doorkeeper::default();
        let all: Vec<_> = (0..2 * STRANGERS_MAX).map(|n| door.admit(address(n as u8))).collect();
        for (place, _) in all.iter().chain(&all) {
            door.gone(place);
        }
        assert_eq!((door.count, door.by_address.len()), (0, 0));
    }
}
