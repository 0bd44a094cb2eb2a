//! Limits that are asked and charged together: all of them, or none.
//!
//! A row is made once and then asked with a row of keys, one of each limit, in the same order. A
//! limit may be there twice, for two keys; the same key twice counts once. Everything that is alike
//! for all keys, such as the text of the policies, is made with the row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::named::{Limit, Policy};
use super::quotas::{Item, Quotas, Shape};
use crate::error::Error;

/// Limits in a fixed order.
#[derive(Debug)]
pub struct Row {
    places: Box<[Place]>,
    shape: Arc<Shape>,
    first_only: bool,
    /// Whether one limit is there twice.
    repeats: bool,
}

#[derive(Debug)]
struct Place {
    limit: Arc<Limit>,
    /// The slot of its first window in the shape.
    slot: usize,
}

/// What was charged, and may be given back.
#[derive(Debug)]
pub struct Charges {
    row: Arc<Row>,
    keys: Vec<(usize, Arc<[u8]>)>,
    at_ms: i64,
    stands: AtomicBool,
    undecided: AtomicBool,
}

/// Who refuses: each policy without room, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In the row's order.
    pub violated: Vec<(Policy, i64)>,
    /// What a caller may know.
    pub quotas: Quotas,
}

impl Row {
    /// A row of these limits.
    ///
    /// `first_only`: a refusal tells of the first limit without room and of those before it, and
    /// so hides those behind it. For limits a caller may not know of at no cost, since whoever is
    /// refused is charged nothing.
    ///
    /// # Errors
    /// [`Error::Value`] for no limit.
    pub fn new(limits: &[Arc<Limit>], first_only: bool) -> Result<Self, Error> {
        if limits.is_empty() {
            return Err(Error::Value("a row has at least one limit"));
        }
        let mut places: Vec<Place> = Vec::new();
        let (mut policies, mut usual, mut repeats) = (Vec::new(), Vec::<usize>::new(), false);
        for limit in limits {
            let held = places.iter().find(|held| Arc::ptr_eq(&held.limit, limit));
            repeats |= held.is_some();
            let slot = held.map_or(policies.len(), |held| held.slot);
            if held.is_none() {
                for policy in &limit.policies {
                    let named = |slot: &usize| {
                        let other: &Policy = &policies[*slot];
                        other.name == policy.name
                    };
                    if limit.told && !usual.iter().any(named) {
                        usual.push(policies.len());
                    }
                    policies.push(policy.clone());
                }
            }
            places.push(Place {
                limit: Arc::clone(limit),
                slot,
            });
        }
        Ok(Self {
            places: places.into(),
            shape: Arc::new(Shape::new(policies, usual, repeats)),
            first_only,
            repeats,
        })
    }

    /// How many keys it is asked with.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a row is never empty")]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// What is left, when all have room; charges nothing.
    #[must_use]
    pub fn foresee(&self, keys: &[impl AsRef<[u8]>], now_ms: i64) -> Option<Quotas> {
        let mut quotas = Quotas::new(&self.shape);
        let mut places = self.places.iter().zip(keys);
        places
            .all(|(place, key)| place.tell(key.as_ref(), now_ms, |item| quotas.put(item)))
            .then_some(quotas)
    }

    /// Charges all, when all have room.
    ///
    /// # Errors
    /// [`Error::LimiterFull`] for a new key of a full table; nothing is charged then.
    pub fn charge(
        self: &Arc<Self>,
        keys: &[impl AsRef<[u8]>],
        now_ms: i64,
    ) -> Result<Option<Charges>, Error> {
        let mut places = self.places.iter().zip(keys);
        if !places.all(|(place, key)| place.has_room(key.as_ref(), now_ms)) {
            return Ok(None);
        }
        let mut charges = Charges {
            row: Arc::clone(self),
            keys: Vec::with_capacity(self.places.len()),
            at_ms: now_ms,
            stands: AtomicBool::new(true),
            undecided: AtomicBool::new(false),
        };
        for (i, (place, key)) in self.places.iter().zip(keys).enumerate() {
            let key = key.as_ref();
            if self.repeats && charges.has(place, key) {
                continue;
            }
            let granted = place.limit.state().table.charge_granted(key, now_ms);
            match granted {
                Ok(key) => charges.keys.push((i, key)),
                Err(error) => {
                    charges.refund();
                    return Err(error);
                }
            }
        }
        Ok(Some(charges))
    }

    /// The same, and it is not decided yet whether the charges stay; follow it by
    /// [`Charges::decide`].
    ///
    /// # Errors
    /// As of [`charge`](Self::charge).
    pub fn hold(
        self: &Arc<Self>,
        keys: &[impl AsRef<[u8]>],
        now_ms: i64,
    ) -> Result<Option<Charges>, Error> {
        let charges = self.charge(keys, now_ms)?;
        if let Some(charges) = &charges {
            charges.undecided.store(true, Ordering::Relaxed);
            for (place, key) in charges.each() {
                place.limit.state().hold(Arc::clone(key));
            }
        }
        Ok(charges)
    }

    /// Which of them refuse, and what is left; nothing is violated where all have room.
    #[must_use]
    pub fn refusal(&self, keys: &[impl AsRef<[u8]>], now_ms: i64) -> Refusal {
        let (mut full, mut quotas) = (Vec::new(), Quotas::new(&self.shape));
        for (place, key) in self.places.iter().zip(keys) {
            let has_room = place.tell(key.as_ref(), now_ms, |item| {
                quotas.put(item);
                if item.remaining == 0 {
                    let policy = &place.limit.policies[item.slot - place.slot];
                    full.push((policy.clone(), item.reset_ms));
                }
            });
            if self.first_only && !has_room {
                break;
            }
        }
        Refusal {
            violated: full,
            quotas,
        }
    }

    /// Charges all without asking, as when a journal is read back in its order.
    ///
    /// # Errors
    /// [`Error::LimiterFull`] for a new key of a table full of keys in use at `at_ms`; the limits
    /// before it are charged.
    pub fn record(&self, keys: &[impl AsRef<[u8]>], at_ms: i64) -> Result<(), Error> {
        let mut places = self.places.iter().zip(keys);
        places.try_for_each(|(place, key)| place.limit.state().table.record(key, at_ms))
    }
}

impl Place {
    fn has_room(&self, key: &[u8], now_ms: i64) -> bool {
        self.limit.state().table.wait_ms(key, now_ms) == 0
    }

    /// Tells what a caller may know of a key: each window, of a hidden limit those without room.
    /// Whether all have room.
    fn tell(&self, key: &[u8], now_ms: i64, mut each: impl FnMut(Item)) -> bool {
        let (told, state) = (self.limit.told, self.limit.state());
        if !told && state.table.wait_ms(key, now_ms) == 0 {
            return true;
        }
        let mut has_room = true;
        for (slot, (remaining, reset_ms)) in (self.slot..).zip(state.room(key, now_ms)) {
            has_room &= remaining > 0;
            if told || remaining == 0 {
                each(Item {
                    slot,
                    remaining,
                    reset_ms,
                });
            }
        }
        has_room
    }
}

impl Charges {
    /// When it was.
    #[must_use]
    pub const fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// Gives all back, once.
    pub fn refund(&self) {
        if self.stands.swap(false, Ordering::Relaxed) {
            for (place, key) in self.each() {
                place.limit.state().table.refund(key, self.at_ms);
            }
        }
    }

    /// Those that were held stay, or were given back: once.
    pub fn decide(&self) {
        if self.undecided.swap(false, Ordering::Relaxed) {
            for (place, key) in self.each() {
                place.limit.state().decide(key);
            }
        }
    }

    /// What is left of what was charged, as a caller may know it.
    #[must_use]
    pub fn quotas(&self, now_ms: i64) -> Quotas {
        let mut quotas = Quotas::new(&self.row.shape);
        for (place, key) in self.each() {
            place.tell(key, now_ms, |item| quotas.put(item));
        }
        quotas
    }

    fn each(&self) -> impl Iterator<Item = (&Place, &Arc<[u8]>)> {
        let places = &self.row.places;
        self.keys.iter().map(|(place, key)| (&places[*place], key))
    }

    fn has(&self, place: &Place, key: &[u8]) -> bool {
        self.each()
            .any(|(held, other)| held.slot == place.slot && **other == *key)
    }
}
