//! Connections that are not let in, or not yet: bounded, and shared out by address.
//!
//! An address has a claim to so many places. Beyond its claim it takes places that nobody else
//! needs: when the entrance is full, the oldest beyond a claim goes for a new one, and where there
//! is none the oldest of all. The oldest, because a device asks within a round trip: those that
//! have waited longest are the least likely to ask at all.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::network::{Network, Person, is_one_of, person};
use super::table::Id;

/// How many may be there.
#[derive(Debug, Clone)]
pub struct EntranceRules {
    /// In all.
    pub max: usize,
    /// To so many an address has a claim. IPv6 counts by its /64.
    pub per_address: usize,
    /// Networks whose addresses have a claim to all.
    pub trusted: Vec<Network>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    person: Person,
    claimed: bool,
}

/// Who is there, oldest first.
#[derive(Debug)]
pub(super) struct Entrance {
    rules: EntranceRules,
    next: u64,
    places: HashMap<Id, Place>,
    claimed: BTreeMap<u64, Id>,
    beyond: BTreeMap<u64, Id>,
    claims: HashMap<Person, usize>,
}

impl Entrance {
    pub(super) fn new(rules: EntranceRules) -> Self {
        Self {
            rules,
            next: 0,
            places: HashMap::new(),
            claimed: BTreeMap::new(),
            beyond: BTreeMap::new(),
            claims: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Notes a connection that has come; the one that has to go for it.
    pub(super) fn enter(&mut self, id: Id, peer: Option<IpAddr>) -> Option<Id> {
        let goes = self.oldest().filter(|_| self.len() >= self.rules.max);
        if let Some(goes) = goes {
            self.leave(goes);
        }
        let person = person(peer);
        let held = self.claims.get(&person).copied().unwrap_or(0);
        let claimed = held < self.rules.per_address || is_one_of(peer, &self.rules.trusted);
        let number = self.next;
        self.next += 1;
        if claimed {
            self.claimed.insert(number, id);
            self.claims.insert(person, held + 1);
        } else {
            self.beyond.insert(number, id);
        }
        let place = Place {
            number,
            person,
            claimed,
        };
        self.places.insert(id, place);
        goes
    }

    /// Forgets a connection, if it is there.
    pub(super) fn leave(&mut self, id: Id) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        if !place.claimed {
            self.beyond.remove(&place.number);
            return;
        }
        self.claimed.remove(&place.number);
        if let Some(held) = self.claims.get_mut(&place.person) {
            *held -= 1;
            if *held == 0 {
                self.claims.remove(&place.person);
            }
        }
    }

    fn oldest(&self) -> Option<Id> {
        let first = self.beyond.first_key_value();
        let first = first.or_else(|| self.claimed.first_key_value());
        first.map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(trusted: &[&str]) -> Entrance {
        Entrance::new(EntranceRules {
            max: 4,
            per_address: 2,
            trusted: trusted.iter().map(|text| text.parse().unwrap()).collect(),
        })
    }

    fn enter(entrance: &mut Entrance, id: u64, peer: &str) -> Option<u64> {
        let goes = entrance.enter(Id(id), peer.parse().ok());
        assert_eq!(
            entrance.len(),
            entrance.claimed.len() + entrance.beyond.len()
        );
        goes.map(|id| id.0)
    }

    #[test]
    fn an_address_may_take_what_nobody_needs_and_goes_first() {
        let mut entrance = entrance(&[]);
        assert_eq!(enter(&mut entrance, 1, "10.0.0.1"), None);
        for n in 2..=4 {
            assert_eq!(enter(&mut entrance, n, "10.0.0.2"), None);
        }
        assert_eq!(enter(&mut entrance, 5, "::ffff:10.0.0.2"), Some(4));
        assert_eq!(enter(&mut entrance, 6, "10.0.0.3"), Some(5));
        assert_eq!(enter(&mut entrance, 7, "10.0.0.2"), Some(1)); // all claimed
        entrance.leave(Id(2));
        entrance.leave(Id(2));
        assert_eq!(enter(&mut entrance, 8, "10.0.0.2"), None); // the claim is free again
        assert_eq!(enter(&mut entrance, 9, "10.0.0.4"), Some(7));
    }

    #[test]
    fn the_oldest_of_all_makes_room() {
        let mut entrance = entrance(&[]);
        for n in 1..=4 {
            assert_eq!(enter(&mut entrance, n, &format!("10.0.0.{n}")), None);
        }
        entrance.leave(Id(1));
        assert_eq!(enter(&mut entrance, 5, "10.0.0.5"), None);
        assert_eq!(enter(&mut entrance, 6, "10.0.0.6"), Some(2));
        assert_eq!(entrance.len(), 4);
    }

    #[test]
    fn ipv6_counts_by_its_64_and_nobody_is_one_address() {
        for (one, same, other) in [
            ("2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"),
            ("gone", "gone", "10.0.0.1"),
        ] {
            let mut entrance = entrance(&[]);
            enter(&mut entrance, 1, other);
            enter(&mut entrance, 2, one);
            enter(&mut entrance, 3, same);
            enter(&mut entrance, 4, one);
            assert_eq!(enter(&mut entrance, 5, other), Some(4));
        }
    }

    #[test]
    fn a_trusted_network_has_a_claim_to_all() {
        let mut entrance = entrance(&["10.0.0.0/8", "fd00::/7", "1.2.3.4/32"]);
        for n in 1..=3 {
            assert_eq!(enter(&mut entrance, n, "10.0.0.1"), None);
        }
        assert_eq!(enter(&mut entrance, 4, "fd00::1"), None);
        assert_eq!(enter(&mut entrance, 5, "10.0.0.1"), Some(1));
        assert!(entrance.beyond.is_empty());
        for id in 2..=5 {
            entrance.leave(Id(id));
        }
        assert!(entrance.claimed.is_empty() && entrance.claims.is_empty());
    }
}
