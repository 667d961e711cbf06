//! How many connections each client has open. Asked once for each connection, and only where a listener bounds them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of the table, so that workers seldom meet.
const SHARDS: usize = 64;
/// A part that holds fewer than this share of what it has room for gives the room back.
const SPARSE: usize = 8;
/// Of an IPv6 address, what one client is given: whoever has one address of these has all.
const PREFIX: u32 = 64;

/// The clients of one listener that have a connection.
#[derive(Debug)]
pub(super) struct Addresses {
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    /// Which part an address is in must not be for clients to choose.
    hasher: RandomState,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Addresses {
    /// One more connection of this client, unless it has `most` already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Guest> {
        let client = client(address);
        let mut shard = self.shard(client);
        let open = shard.entry(client).or_insert(0);
        if *open >= most {
            return None;
        }
        *open += 1;
        Some(Guest { addresses: Arc::clone(self), client })
    }

    fn leave(&self, client: IpAddr) {
        let mut shard = self.shard(client);
        if let Some(open) = shard.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                shard.remove(&client);
            }
        }
        if shard.len() < shard.capacity() / SPARSE {
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let shard = self.hasher.hash_one(client) as usize % SHARDS;
        // Each change is complete in itself.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of a client, given back when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    addresses: Arc<Addresses>,
    client: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.addresses.leave(self.client);
    }
}

/// The part of an address that one client has to itself.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> (u128::BITS - PREFIX) << (u128::BITS - PREFIX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn held(addresses: &Addresses) -> usize {
        addresses.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn each_client_has_its_own_count_and_gives_it_back() {
        let addresses = Arc::new(Addresses::default());
        let first = addresses.enter(ip("10.0.0.1"), 2).unwrap();
        let _second = addresses.enter(ip("10.0.0.1"), 2).unwrap();
        assert!(addresses.enter(ip("10.0.0.1"), 2).is_none());
        assert!(addresses.enter(ip("10.0.0.2"), 2).is_some());
        drop(first);
        assert!(addresses.enter(ip("10.0.0.1"), 2).is_some());
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_ipv4_one_its_address() {
        let addresses = Arc::new(Addresses::default());
        let _one = addresses.enter(ip("2001:db8:0:1::1"), 1).unwrap();
        assert!(addresses.enter(ip("2001:db8:0:1:ffff::2"), 1).is_none());
        assert!(addresses.enter(ip("2001:db8:0:2::1"), 1).is_some());
        let _mapped = addresses.enter(ip("::ffff:10.0.0.1"), 1).unwrap();
        assert!(addresses.enter(ip("10.0.0.1"), 1).is_none());
    }

    #[test]
    fn who_has_left_takes_no_room() {
        let addresses = Arc::new(Addresses::default());
        let guests: Vec<Guest> =
            (0..10_000_u32).map(|n| addresses.enter(IpAddr::from(n.to_be_bytes()), 1).unwrap()).collect();
        assert_eq!(held(&addresses), 10_000);
        drop(guests);
        assert_eq!(held(&addresses), 0);
        assert!(addresses.shards.iter().all(|shard| shard.lock().unwrap().capacity() < 16));
    }
}
