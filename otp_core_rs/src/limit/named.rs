//! A limit: a table of keys with a name, and the charges of which it is not decided whether they
//! stay.
//!
//! Each of its windows is a policy, named by the limit and the window's seconds, such as
//! `contact-60`. A policy's name is a word of a bounded set and holds nothing of a key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::table::SlidingWindows;
use crate::error::Error;

/// When to ask again where charges that may yet be given back fill a window.
pub const UNDECIDED_MS: i64 = 1000;

/// Windows as policies. See the module.
#[derive(Debug)]
pub struct Limit {
    pub(super) policies: Box<[Policy]>,
    pub(super) told: bool,
    state: Mutex<State>,
}

/// One window of a limit, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Such as `contact-60`.
    pub name: Arc<str>,
    /// How many charges the window takes.
    pub limit: u64,
    /// How long it is.
    pub window_ms: i64,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) table: SlidingWindows,
    /// Above 0.
    undecided: HashMap<Arc<[u8]>, u32>,
}

impl Limit {
    /// A limit of these `(limit, period_ms)` windows, without keys.
    ///
    /// `told`: whether a caller may know what is left of it; else only of windows that refuse.
    ///
    /// # Errors
    /// [`Error::Value`] as of [`SlidingWindows::new`].
    pub fn new(name: &str, pairs: &[(i64, i64)], keys_max: i64, told: bool) -> Result<Self, Error> {
        let table = SlidingWindows::new(pairs, keys_max)?;
        let policies = pairs.iter().map(|&(limit, window_ms)| Policy {
            name: format!("{name}-{}", window_ms / 1000).into(),
            limit: limit.unsigned_abs(), // at least 1, as the table knows
            window_ms,
        });
        Ok(Self {
            policies: policies.collect(),
            told,
            state: Mutex::new(State {
                table,
                undecided: HashMap::new(),
            }),
        })
    }

    /// How many keys are held, expired ones that nobody needed to evict included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().table.len()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One charge of this key is not decided yet; follow it by `decide`.
    pub(super) fn hold(&mut self, key: Arc<[u8]>) {
        let count = self.undecided.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// It stays, or was given back.
    pub(super) fn decide(&mut self, key: &[u8]) {
        if let Some(count) = self.undecided.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.undecided.remove(key);
            }
        }
    }

    /// For each window, in order: room for how many more charges, and until when.
    ///
    /// Where a window without room has charges that are not decided, its wait is
    /// [`UNDECIDED_MS`] at most, since they may all be given back.
    pub(super) fn room(&self, key: &[u8], now_ms: i64) -> impl Iterator<Item = (u64, i64)> {
        let held = self.table.room_of_each(key, now_ms);
        held.map(|(room, reset_ms)| {
            if room == 0 && self.undecided.contains_key(key) {
                (0, reset_ms.min(UNDECIDED_MS))
            } else {
                (room as u64, reset_ms)
            }
        })
    }
}
