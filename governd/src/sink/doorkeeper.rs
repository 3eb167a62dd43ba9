//! How many may be at the door: connections that have shown no certificate yet are few, and few
//! from one address, so that they cannot keep hosts out.

use std::{collections::HashMap, net::IpAddr};

/// Connections without a certificate at once.
const STRANGERS_MAX: usize = 512;
/// Of these, from one address.
const STRANGERS_OF_ADDRESS_MAX: usize = 64;

/// Who is at the door.
#[derive(Debug, Default)]
pub(super) struct Doorkeeper {
    by_address: HashMap<IpAddr, usize>,
    count: usize,
}

impl Doorkeeper {
    /// Whether one more from an address may come; it then counts until it has gone in or away.
    pub(super) fn admits(&mut self, address: IpAddr) -> bool {
        let of_address = self.by_address.entry(address).or_default();
        if self.count >= STRANGERS_MAX || *of_address >= STRANGERS_OF_ADDRESS_MAX {
            if *of_address == 0 {
                self.by_address.remove(&address);
            }
            return false;
        }
        *of_address += 1;
        self.count += 1;
        true
    }

    /// One from an address has gone in or away.
    pub(super) fn gone(&mut self, address: IpAddr) {
        if let Some(of_address) = self.by_address.get_mut(&address) {
            *of_address -= 1;
            self.count -= 1;
            if *of_address == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_every_place_and_all_together_do_not_take_more() {
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut door = Doorkeeper::default();
        let first = (0..1_000).filter(|_| door.admits(address(1))).count();
        assert_eq!(first, STRANGERS_OF_ADDRESS_MAX);
        assert!(door.admits(address(2)));
        let others = (0..1_000).filter(|n| door.admits(address(3 + (n % 200) as u8))).count();
        assert_eq!(first + 1 + others, STRANGERS_MAX);
        assert!(!door.admits(address(250)));
        door.gone(address(1));
        assert!(door.admits(address(250)));
        for last in 0..=255 {
            for _ in 0..STRANGERS_MAX {
                door.gone(address(last));
            }
        }
        assert_eq!((door.count, door.by_address.len()), (0, 0));
    }
}
