//! How many connections there may be, in all and of one address.

use std::collections::HashMap;
use std::net::IpAddr;

use super::network::{Network, Person, is_one_of, person};

/// The bounds.
#[derive(Debug, Clone)]
pub struct CrowdRules {
    /// In all.
    pub connections_max: usize,
    /// Of one address; IPv6 counts by its /64.
    pub per_address_max: usize,
    /// Networks whose addresses may have all: proxies.
    pub trusted: Vec<Network>,
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Crowd {
    rules: CrowdRules,
    open: usize,
    of: HashMap<Person, usize>,
}

impl Crowd {
    pub(super) fn new(rules: CrowdRules) -> Self {
        Self {
            rules,
            open: 0,
            of: HashMap::new(),
        }
    }

    /// Counts a connection in, if there may be one more.
    pub(super) fn enter(&mut self, peer: Option<IpAddr>) -> bool {
        if self.open >= self.rules.connections_max {
            return false;
        }
        let person = person(peer);
        let held = self.of.get(&person).copied().unwrap_or(0);
        if held >= self.rules.per_address_max && !is_one_of(peer, &self.rules.trusted) {
            return false;
        }
        self.open += 1;
        self.of.insert(person, held + 1);
        true
    }

    /// Counts one out that was counted in.
    pub(super) fn leave(&mut self, peer: Option<IpAddr>) {
        let person = person(peer);
        self.open = self.open.saturating_sub(1);
        if let Some(held) = self.of.get_mut(&person) {
            *held -= 1;
            if *held == 0 {
                self.of.remove(&person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(trusted: &[&str]) -> Crowd {
        Crowd::new(CrowdRules {
            connections_max: 4,
            per_address_max: 2,
            trusted: trusted.iter().map(|text| text.parse().unwrap()).collect(),
        })
    }

    #[test]
    fn an_address_has_so_many_and_all_have_so_many() {
        let mut crowd = crowd(&[]);
        let mut enter = |peer: &str| crowd.enter(peer.parse().ok());
        assert!(enter("10.0.0.1") && enter("::ffff:10.0.0.1") && !enter("10.0.0.1"));
        assert!(enter("2001:db8::1") && enter("2001:db8::2:0:0:2"));
        assert!(!enter("2001:db8:1::1"), "all are there");
        crowd.leave("10.0.0.1".parse().ok());
        assert!(!crowd.enter("2001:db8::9".parse().ok()));
        assert!(crowd.enter("10.0.0.1".parse().ok()));
    }

    #[test]
    fn a_proxy_may_have_all_and_nothing_is_left_behind() {
        let mut crowd = crowd(&["10.0.0.0/8"]);
        let peer = "10.0.0.1".parse().ok();
        assert!((0..4).all(|_| crowd.enter(peer)) && !crowd.enter(peer));
        for _ in 0..4 {
            crowd.leave(peer);
        }
        assert!(crowd.of.is_empty() && crowd.open == 0);
    }
}
