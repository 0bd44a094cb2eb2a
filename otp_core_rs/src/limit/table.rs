//! A bounded table of keys with their windows.
//!
//! A key is bytes. Keys come from strangers, so the map's hash is keyed (the standard library's `SipHash`), the
//! number of keys is bounded, and a key's memory is bounded by the largest limit. A full table
//! refuses new keys rather than forget one that is in use: forgetting would lift its limit.
//!
//! **Eviction.** A key is expired when its newest stamp has left the longest window; it then acts
//! exactly like a key not held. Only a full table evicts. `by_age` orders the keys by newest stamp,
//! so expired ones are found first, without a search, also when time stepped back or a charge was
//! refunded; a plain list in order of use would then hide expired keys behind younger ones. Moving
//! a key costs O(log n), and at most [`EVICTIONS_MAX`] keys are evicted at a time, so that a table
//! that expired as a whole stalls nobody.
//!
//! **Time that steps back** could make an evicted key count again. So the table remembers the newest
//! stamp it forgot, and a key not held is treated as if that stamp had been its own.

use std::collections::BTreeSet;
use std::hash::RandomState;
use std::sync::Arc;

use hashbrown::HashMap;

use super::windows::{Stamps, Windows};
use crate::error::Error;

/// Keys evicted by one charge at most: a bounded pause, and still more than one for one.
pub const EVICTIONS_MAX: usize = 64;

/// Exact sliding windows, several per key, in a bounded table.
#[derive(Debug)]
pub struct SlidingWindows {
    windows: Windows,
    keys_max: usize,
    stamps: HashMap<Arc<[u8]>, Stamps, RandomState>,
    /// Every key of `stamps` once, with its newest stamp.
    by_age: BTreeSet<(i64, Arc<[u8]>)>,
    forgotten_ms: i64,
}

impl SlidingWindows {
    /// An empty table; `pairs` are `(limit, period_ms)`.
    ///
    /// # Errors
    /// [`Error::Value`] for no window, or for a limit, period or `keys_max` below 1.
    pub fn new(pairs: &[(i64, i64)], keys_max: i64) -> Result<Self, Error> {
        let windows = Windows::new(pairs)?;
        let keys_max = usize::try_from(keys_max)
            .ok()
            .filter(|&keys_max| keys_max >= 1)
            .ok_or(Error::Value("keys_max is at least 1"))?;
        Ok(Self {
            windows,
            keys_max,
            stamps: HashMap::default(),
            by_age: BTreeSet::new(),
            forgotten_ms: i64::MIN,
        })
    }

    /// 0: granted and charged. Otherwise refused, and the milliseconds until it would be granted.
    ///
    /// # Errors
    /// [`Error::LimiterFull`] for a new key when the table is full of keys in use.
    pub fn reserve(
        &mut self,
        key: &(impl AsRef<[u8]> + ?Sized),
        now_ms: i64,
    ) -> Result<i64, Error> {
        let wait_ms = self.wait_ms(key, now_ms);
        if wait_ms == 0 {
            self.charge_granted(key.as_ref(), now_ms)?;
        }
        Ok(wait_ms)
    }

    /// What [`reserve`](Self::reserve) would answer, charging nothing; 0 for a key not held.
    #[must_use]
    pub fn wait_ms(&self, key: &(impl AsRef<[u8]> + ?Sized), now_ms: i64) -> i64 {
        self.stamps
            .get(key.as_ref())
            .map_or(0, |stamps| self.windows.wait_ms(stamps, now_ms))
    }

    /// For each window of a key, in order: room for how many more charges, and the milliseconds
    /// until there is room for one more than now. See [`Windows::room`].
    pub fn room_of_each(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        now_ms: i64,
    ) -> impl Iterator<Item = (usize, i64)> {
        self.windows.room(self.stamps.get(key.as_ref()), now_ms)
    }

    /// The same as a list.
    #[must_use]
    pub fn room(&self, key: &(impl AsRef<[u8]> + ?Sized), now_ms: i64) -> Vec<(usize, i64)> {
        self.room_of_each(key, now_ms).collect()
    }

    /// Charges what `wait_ms` has just granted at `now_ms`, and gives the key as it is held.
    ///
    /// # Errors
    /// [`Error::LimiterFull`] for a new key when the table is full of keys in use.
    pub fn charge_granted(&mut self, key: &[u8], now_ms: i64) -> Result<Arc<[u8]>, Error> {
        self.charge(key, now_ms, Windows::judged_at_ms)
    }

    /// Charges without asking, as when a journal is read back in its order.
    ///
    /// # Errors
    /// [`Error::LimiterFull`] for a new key when the table is full of keys in use at `at_ms`.
    pub fn record(&mut self, key: &(impl AsRef<[u8]> + ?Sized), at_ms: i64) -> Result<(), Error> {
        self.charge(key.as_ref(), at_ms, |_, _, at_ms| at_ms)?;
        Ok(())
    }

    /// Gives one charge back, by the instant that was given to `reserve` or `record`; whether
    /// there was one. See [`Stamps::refund`].
    pub fn refund(&mut self, key: &(impl AsRef<[u8]> + ?Sized), at_ms: i64) -> bool {
        let Some((key, stamps)) = self.stamps.get_key_value_mut(key.as_ref()) else {
            return false;
        };
        let (key, before_ms) = (Arc::clone(key), stamps.newest_ms());
        let found = stamps.refund(at_ms);
        let after_ms = stamps.newest_ms();
        if after_ms.is_none() {
            self.forgotten_ms = self.forgotten_ms.max(stamps.forgotten_ms());
            self.stamps.remove(&key);
        }
        self.reorder(key, before_ms, after_ms);
        found
    }

    /// How many keys are held, expired ones that nobody needed to evict included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Stamps a key with what `stamp_ms` makes of the time.
    fn charge(
        &mut self,
        key: &[u8],
        now_ms: i64,
        stamp_ms: impl Fn(&Windows, &Stamps, i64) -> i64,
    ) -> Result<Arc<[u8]>, Error> {
        let (key, before_ms, after_ms) =
            if let Some((key, stamps)) = self.stamps.get_key_value_mut(key) {
                let before_ms = stamps.newest_ms();
                let at_ms = stamp_ms(&self.windows, stamps, now_ms);
                self.windows.charge(stamps, at_ms);
                (Arc::clone(key), before_ms, stamps.newest_ms())
            } else {
                self.make_room(now_ms)?;
                let mut stamps = Stamps::new(self.forgotten_ms);
                let at_ms = stamp_ms(&self.windows, &stamps, now_ms);
                self.windows.charge(&mut stamps, at_ms);
                let (key, after_ms) = (Arc::<[u8]>::from(key), stamps.newest_ms());
                self.stamps.insert(Arc::clone(&key), stamps);
                (key, None, after_ms)
            };
        self.reorder(Arc::clone(&key), before_ms, after_ms);
        Ok(key)
    }

    /// Moves a key to the place of its new newest stamp; without one it has no place.
    fn reorder(&mut self, key: Arc<[u8]>, before_ms: Option<i64>, after_ms: Option<i64>) {
        if before_ms == after_ms {
            return;
        }
        let mut place = (before_ms.unwrap_or_default(), key);
        if before_ms.is_some() {
            self.by_age.remove(&place);
        }
        if let Some(after_ms) = after_ms {
            place.0 = after_ms;
            self.by_age.insert(place);
        }
    }

    fn make_room(&mut self, now_ms: i64) -> Result<(), Error> {
        if self.stamps.len() < self.keys_max {
            return Ok(());
        }
        for _ in 0..EVICTIONS_MAX {
            let Some((newest_ms, key)) = self.by_age.pop_first() else {
                break;
            };
            if self.windows.expires_at_ms(newest_ms) > now_ms {
                self.by_age.insert((newest_ms, key));
                break;
            }
            self.stamps.remove(&key);
            self.forgotten_ms = self.forgotten_ms.max(newest_ms);
        }
        if self.stamps.len() < self.keys_max {
            Ok(())
        } else {
            Err(Error::LimiterFull)
        }
    }
}
