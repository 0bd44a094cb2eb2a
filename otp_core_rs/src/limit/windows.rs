//! Exact sliding windows over the stamps of one key.
//!
//! A window of limit L and period P allows at most L stamps in every trailing interval
//! `(now - P, now]`. A key keeps the instants of its charges in order. Counting is not needed: the
//! window is full exactly when the L-th newest stamp is still inside it, and it has room again
//! when that stamp is P old. So at most as many stamps are kept as the largest limit, and no
//! window is ever approximated.
//!
//! **Time that steps back.** A key is never judged before its newest stamp: the instant used is
//! `max(now, newest stamp)`, and a charge is stamped with it. So stamps stay in order and the
//! windows exact, and a step back grants nothing that the later time would not have granted.
//!
//! **Forgetting.** A charge that pushes out the oldest stamp finds it outside every window (else
//! the charge would have been refused). Only a step back together with a refund could bring it
//! inside again; so a key remembers the newest stamp it forgot, and is never judged while that one
//! would count.

use std::collections::VecDeque;

use crate::error::Error;

/// One limit over one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    limit: usize,
    period_ms: i64,
}

/// Several windows, all enforced at once.
#[derive(Debug, Clone)]
pub struct Windows {
    each: Box<[Window]>,
    limit_max: usize,
    period_ms_max: i64,
}

/// The charges of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    /// The oldest first.
    at_ms: VecDeque<i64>,
    forgotten_ms: i64,
}

impl Windows {
    /// Windows of these `(limit, period_ms)` pairs.
    ///
    /// # Errors
    /// [`Error::Value`] for no window, or a limit or period below 1.
    pub fn new(pairs: &[(i64, i64)]) -> Result<Self, Error> {
        let each = pairs
            .iter()
            .map(|&(limit, period_ms)| {
                if period_ms < 1 {
                    return Err(Error::Value("a window's period is at least 1 ms"));
                }
                usize::try_from(limit)
                    .ok()
                    .filter(|&limit| limit >= 1)
                    .map(|limit| Window { limit, period_ms })
                    .ok_or(Error::Value("a window's limit is at least 1"))
            })
            .collect::<Result<Box<[Window]>, Error>>()?;
        let limit_max = each.iter().map(|window| window.limit).max();
        let period_ms_max = each.iter().map(|window| window.period_ms).max();
        let (Some(limit_max), Some(period_ms_max)) = (limit_max, period_ms_max) else {
            return Err(Error::Value("there is at least one window"));
        };
        Ok(Self {
            each,
            limit_max,
            period_ms_max,
        })
    }

    /// When a stamp is in no window any more.
    #[must_use]
    pub const fn expires_at_ms(&self, stamp_ms: i64) -> i64 {
        stamp_ms.saturating_add(self.period_ms_max)
    }

    /// The instant at which a charge is judged and with which it is stamped: `now_ms`, unless
    /// time has stepped back.
    #[must_use]
    pub fn judged_at_ms(&self, stamps: &Stamps, now_ms: i64) -> i64 {
        now_ms
            .max(self.expires_at_ms(stamps.forgotten_ms))
            .max(stamps.newest_ms().unwrap_or(now_ms))
    }

    /// 0 when one more charge fits into all windows; otherwise milliseconds until it does.
    #[must_use]
    pub fn wait_ms(&self, stamps: &Stamps, now_ms: i64) -> i64 {
        let judged_ms = self.judged_at_ms(stamps, now_ms);
        self.each
            .iter()
            .filter_map(|window| {
                let decisive_ms = stamps.newest_nth(window.limit)?;
                let room_at_ms = decisive_ms.saturating_add(window.period_ms);
                (room_at_ms > judged_ms).then(|| room_at_ms.saturating_sub(now_ms))
            })
            .max()
            .unwrap_or(0)
    }

    /// For each window, in order: how many more charges it has room for, and the milliseconds until
    /// it has room for one more than now (0 when it holds none). Without stamps all are free.
    ///
    /// A window without room has 0 and then waits as [`wait_ms`](Self::wait_ms) does.
    pub fn room(&self, stamps: Option<&Stamps>, now_ms: i64) -> impl Iterator<Item = (usize, i64)> {
        let judged_ms = stamps.map_or(now_ms, |stamps| self.judged_at_ms(stamps, now_ms));
        self.each.iter().map(move |window| {
            let Some(stamps) = stamps else {
                return (window.limit, 0);
            };
            let since_ms = judged_ms.saturating_sub(window.period_ms);
            let counted = stamps.newer_than(since_ms).min(window.limit);
            let reset_ms = stamps.newest_nth(counted).map_or(0, |first_to_leave_ms| {
                first_to_leave_ms
                    .saturating_add(window.period_ms)
                    .saturating_sub(now_ms)
            });
            (window.limit - counted, reset_ms)
        })
    }

    /// Adds a stamp in its place and forgets the oldest beyond the largest limit.
    pub fn charge(&self, stamps: &mut Stamps, at_ms: i64) {
        if stamps
            .newest_ms()
            .is_none_or(|newest_ms| newest_ms <= at_ms)
        {
            stamps.at_ms.push_back(at_ms);
        } else {
            let place = stamps.at_ms.partition_point(|&stamp| stamp <= at_ms);
            stamps.at_ms.insert(place, at_ms);
        }
        if stamps.at_ms.len() > self.limit_max
            && let Some(oldest_ms) = stamps.at_ms.pop_front()
            && self.expires_at_ms(oldest_ms) <= at_ms
        {
            stamps.forgotten_ms = stamps.forgotten_ms.max(oldest_ms);
        }
    }
}

impl Stamps {
    /// No charges, of a key whose stamps up to `forgotten_ms` may have been forgotten.
    #[must_use]
    pub const fn new(forgotten_ms: i64) -> Self {
        Self {
            at_ms: VecDeque::new(),
            forgotten_ms,
        }
    }

    /// The newest stamp.
    #[must_use]
    pub fn newest_ms(&self) -> Option<i64> {
        self.at_ms.back().copied()
    }

    /// The newest stamp that was forgotten; `i64::MIN` for none.
    #[must_use]
    pub const fn forgotten_ms(&self) -> i64 {
        self.forgotten_ms
    }

    /// Removes one stamp of `at_ms`, or else the earliest after it; whether there was one.
    ///
    /// The caller names the time it gave with the charge. If time had stepped back, the stamp is a
    /// later one, and the earliest after `at_ms` is not later than that: nothing is freed too
    /// early. Where the charge may be forgotten already, no other is given back in its stead.
    pub fn refund(&mut self, at_ms: i64) -> bool {
        let place = self.at_ms.partition_point(|&stamp| stamp < at_ms);
        let exact = self.at_ms.get(place) == Some(&at_ms);
        (exact || at_ms > self.forgotten_ms) && self.at_ms.remove(place).is_some()
    }

    fn newer_than(&self, since_ms: i64) -> usize {
        self.at_ms.len() - self.at_ms.partition_point(|&stamp| stamp <= since_ms)
    }

    /// 0 counts none.
    fn newest_nth(&self, count: usize) -> Option<i64> {
        let place = self.at_ms.len().checked_sub(count)?;
        self.at_ms.get(place).copied()
    }
}
