//! `limit`: against an oracle that keeps every stamp, under clocks that stand and step back.

use std::collections::HashMap;

use otp_core_rs::error::Error;
use otp_core_rs::limit::table::{EVICTIONS_MAX, SlidingWindows};
use proptest::prelude::*;

/// The definition, in so many words: every stamp is kept and every window is counted.
struct Oracle {
    windows: Vec<(i64, i64)>,
    stamps: HashMap<&'static str, Vec<i64>>,
}

impl Oracle {
    fn judged_at_ms(&self, key: &str, now_ms: i64) -> i64 {
        let stamps = self.stamps.get(key).into_iter().flatten();
        stamps.copied().fold(now_ms, i64::max)
    }

    fn grants(&self, key: &str, now_ms: i64) -> bool {
        let judged_ms = self.judged_at_ms(key, now_ms);
        self.windows.iter().all(|&(limit, period_ms)| {
            let stamps = self.stamps.get(key).into_iter().flatten();
            let inside =
                stamps.filter(|&&at_ms| at_ms > judged_ms - period_ms && at_ms <= judged_ms);
            i64::try_from(inside.count()).is_ok_and(|count| count < limit)
        })
    }

    /// A window frees only when a stamp leaves it, so no other instants need to be tried.
    fn wait_ms(&self, key: &str, now_ms: i64) -> i64 {
        let stamps = self.stamps.get(key).into_iter().flatten();
        let leaving =
            stamps.flat_map(|at_ms| self.windows.iter().map(move |(_, period)| at_ms + period));
        std::iter::once(now_ms)
            .chain(leaving)
            .filter(|&instant| instant >= now_ms && self.grants(key, instant))
            .min()
            .map_or(i64::MAX, |instant| instant - now_ms)
    }

    fn counted(&self, key: &str, period_ms: i64, now_ms: i64) -> i64 {
        let judged_ms = self.judged_at_ms(key, now_ms);
        let stamps = self.stamps.get(key).into_iter().flatten();
        let inside = stamps.filter(|&&at_ms| at_ms > judged_ms - period_ms && at_ms <= judged_ms);
        i64::try_from(inside.count()).expect("few stamps")
    }

    fn room(&self, key: &str, now_ms: i64) -> Vec<(usize, i64)> {
        let of_window = |&(limit, period_ms): &(i64, i64)| {
            let counted = self.counted(key, period_ms, now_ms).min(limit);
            let leaving = self.stamps.get(key).into_iter().flatten();
            let more_at_ms = leaving
                .map(|at_ms| at_ms + period_ms)
                .filter(|&instant| self.counted(key, period_ms, instant) < counted)
                .min();
            let room = usize::try_from(limit - counted).expect("at most the limit");
            (room, more_at_ms.map_or(0, |instant| instant - now_ms))
        };
        self.windows.iter().map(of_window).collect()
    }

    fn charge(&mut self, key: &'static str, at_ms: i64) {
        self.stamps.entry(key).or_default().push(at_ms);
    }

    fn refund(&mut self, key: &str, at_ms: i64) -> bool {
        let Some(stamps) = self.stamps.get_mut(key) else {
            return false;
        };
        let found = stamps.iter().position(|&stamp| stamp == at_ms);
        found.map(|place| stamps.swap_remove(place)).is_some()
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Reserve,
    Wait,
    Record,
    /// Refunds the granted charge of this index.
    Refund(usize),
}

/// Steps of the clock: standing, small, large, and back.
fn step_ms() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0_i64), 6 => 1..30_i64, 2 => 30..400_i64, 2 => -150..0_i64]
}

fn windows() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((1..6_i64, 1..120_i64), 1..4)
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

/// Plays the same acts to both and compares every answer.
fn play(
    pairs: &[(i64, i64)],
    acts: &[(&'static str, i64, Act)],
    monotone: bool,
) -> Result<(), TestCaseError> {
    let mut table = SlidingWindows::new(pairs, 3).expect("valid limits");
    let mut oracle = Oracle {
        windows: pairs.to_vec(),
        stamps: HashMap::new(),
    };
    let mut granted: Vec<(&'static str, i64)> = Vec::new();
    let mut now_ms = 1_000_000;
    for &(key, step_ms, act) in acts {
        now_ms += if monotone { step_ms.abs() } else { step_ms };
        let expected_ms = oracle.wait_ms(key, now_ms);
        prop_assert_eq!(table.wait_ms(key, now_ms), expected_ms);
        prop_assert_eq!(table.room(key, now_ms), oracle.room(key, now_ms));
        match act {
            Act::Reserve => {
                prop_assert_eq!(table.reserve(key, now_ms), Ok(expected_ms));
                if expected_ms == 0 {
                    let at_ms = oracle.judged_at_ms(key, now_ms);
                    oracle.charge(key, at_ms);
                    granted.push((key, at_ms));
                }
            }
            Act::Record => {
                prop_assert_eq!(table.record(key, now_ms), Ok(()));
                oracle.charge(key, now_ms);
            }
            Act::Refund(index) if !granted.is_empty() => {
                let recent = granted.len().min(4);
                let index = granted.len() - 1 - index % recent;
                let (key, at_ms) = granted.remove(index);
                // A charge that was forgotten counts nowhere: the answers go on agreeing.
                if table.refund(key, at_ms) {
                    prop_assert!(oracle.refund(key, at_ms));
                }
            }
            Act::Wait | Act::Refund(_) => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Time goes forward here; stepping back after a refund has its own test below.
    #[test]
    fn reserving_and_refunding_agree_with_the_definition(
        pairs in windows(),
        acts in prop::collection::vec(
            (key(), step_ms(), prop_oneof![
                6 => Just(Act::Reserve), 1 => Just(Act::Wait), 2 => (0..8_usize).prop_map(Act::Refund)
            ]),
            1..80,
        ),
    ) {
        play(&pairs, &acts, true)?;
    }

    #[test]
    fn recording_agrees_with_the_definition(
        pairs in windows(),
        acts in prop::collection::vec(
            (key(), step_ms(), prop_oneof![
                4 => Just(Act::Reserve), 1 => Just(Act::Wait), 4 => Just(Act::Record)
            ]),
            1..80,
        ),
        monotone: bool,
    ) {
        play(&pairs, &acts, monotone)?;
    }

    /// The promise itself, from outside: the instants of the grants, judged without stepping back.
    #[test]
    fn no_trailing_window_ever_holds_more_than_its_limit(
        pairs in windows(),
        steps in prop::collection::vec(step_ms(), 1..200),
    ) {
        let mut table = SlidingWindows::new(&pairs, 1).unwrap();
        let (mut now_ms, mut latest_ms, mut grants) = (0_i64, i64::MIN, Vec::new());
        for step_ms in steps {
            now_ms += step_ms;
            if table.reserve("key", now_ms) == Ok(0) {
                latest_ms = latest_ms.max(now_ms);
                grants.push(latest_ms);
            }
        }
        for &(limit, period_ms) in &pairs {
            for &end_ms in &grants {
                let inside = grants.iter().filter(|&&at| at > end_ms - period_ms && at <= end_ms);
                prop_assert!(i64::try_from(inside.count()).unwrap() <= limit);
            }
        }
    }

    /// A small table that evicts answers like one that never has to, while time goes forward.
    #[test]
    fn eviction_changes_no_answer(
        pairs in windows(),
        acts in prop::collection::vec((0..40_usize, 0..60_i64), 1..200),
    ) {
        let names: Vec<String> = (0..40).map(|name| format!("key {name}")).collect();
        let mut small = SlidingWindows::new(&pairs, 4).unwrap();
        let mut large = SlidingWindows::new(&pairs, 40).unwrap();
        let mut newest: HashMap<usize, i64> = HashMap::new();
        let period_ms_max = pairs.iter().map(|&(_, period_ms)| period_ms).max().unwrap();
        let mut now_ms = 0;
        for (name, step_ms) in acts {
            now_ms += step_ms;
            match small.reserve(&names[name], now_ms) {
                Ok(wait_ms) => {
                    prop_assert_eq!(large.reserve(&names[name], now_ms), Ok(wait_ms));
                    if wait_ms == 0 {
                        newest.insert(name, now_ms);
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error, Error::LimiterFull);
                    let in_use = newest.values().filter(|&&at_ms| at_ms > now_ms - period_ms_max);
                    prop_assert_eq!(in_use.count(), 4);
                }
            }
            prop_assert!(small.len() <= 4);
        }
    }
}

#[test]
fn a_refusal_says_when_and_charges_nothing() {
    let mut table = SlidingWindows::new(&[(2, 1000), (3, 5000)], 10).unwrap();
    assert_eq!(table.reserve("key", 0), Ok(0));
    assert_eq!(table.reserve("key", 100), Ok(0));
    for now_ms in [100, 500, 999] {
        assert_eq!(table.reserve("key", now_ms), Ok(1000 - now_ms));
    }
    assert_eq!(
        table.reserve("key", 1000),
        Ok(0),
        "the oldest is exactly a period old"
    );
    assert_eq!(
        table.reserve("key", 2000),
        Ok(3000),
        "the longer window is full"
    );
    assert_eq!(table.reserve("key", 5000), Ok(0));
}

#[test]
fn the_contracts_three_windows_hold_over_a_day() {
    let pairs = [(6, 60_000), (18, 3_600_000), (24, 86_400_000)];
    let mut table = SlidingWindows::new(&pairs, 10).unwrap();
    let granted = (0..86_400)
        .filter(|second| table.reserve("contact", second * 1000) == Ok(0))
        .count();
    assert_eq!(granted, 24);
    assert_eq!(table.wait_ms("contact", 86_400_000), 0);
}

#[test]
fn time_that_steps_back_grants_nothing_extra() {
    let mut table = SlidingWindows::new(&[(2, 1000)], 10).unwrap();
    assert_eq!(table.reserve("key", 5000), Ok(0));
    assert_eq!(table.reserve("key", 100), Ok(0), "stamped at 5000");
    assert_eq!(table.reserve("key", 100), Ok(5900));
    assert_eq!(table.reserve("key", 5999), Ok(1));
    assert_eq!(table.reserve("key", 6000), Ok(0));
}

#[test]
fn a_charge_made_after_a_step_back_can_be_given_back() {
    let mut table = SlidingWindows::new(&[(2, 1000)], 10).unwrap();
    table.reserve("key", 5000).unwrap();
    table.reserve("key", 4000).unwrap();
    assert!(table.refund("key", 4000));
    assert_eq!(table.wait_ms("key", 5000), 0);
    assert!(table.refund("key", 5000));
    assert!(!table.refund("key", 5000));
    assert!(table.is_empty());
}

#[test]
fn a_forgotten_charge_is_not_given_back_at_anothers_cost() {
    let mut table = SlidingWindows::new(&[(1, 1000)], 1).unwrap();
    table.reserve("key", 0).unwrap();
    table.reserve("key", 1000).unwrap();
    assert!(!table.refund("key", 0), "pushed out by the second");
    table.reserve("other", 2000).unwrap();
    table.reserve("key", 3000).unwrap();
    assert!(!table.refund("key", 1000), "evicted with its key");
    assert_eq!(table.wait_ms("key", 3000), 1000);
}

#[test]
fn a_refund_without_a_charge_does_nothing() {
    let mut table = SlidingWindows::new(&[(1, 1000)], 10).unwrap();
    assert!(!table.refund("key", 0));
    table.reserve("key", 100).unwrap();
    assert!(!table.refund("key", 101));
    assert_eq!(table.reserve("key", 100), Ok(1000));
}

#[test]
fn records_come_in_any_order_and_only_the_newest_stay() {
    let mut table = SlidingWindows::new(&[(2, 1000)], 10).unwrap();
    for at_ms in [300, 100, 200] {
        table.record("key", at_ms).unwrap();
    }
    assert_eq!(table.wait_ms("key", 300), 900);
    assert!(!table.refund("key", 400));
    assert_eq!(
        [300, 200, 100].map(|at_ms| table.refund("key", at_ms)),
        [true, true, false]
    );
}

#[test]
fn a_full_table_refuses_new_keys_until_one_expires() {
    let mut table = SlidingWindows::new(&[(5, 1000)], 2).unwrap();
    table.reserve("a", 0).unwrap();
    table.reserve("b", 500).unwrap();
    assert_eq!(table.reserve("c", 999), Err(Error::LimiterFull));
    assert_eq!(table.record("c", 999), Err(Error::LimiterFull));
    assert_eq!(table.wait_ms("c", 999), 0);
    assert_eq!(table.reserve("a", 999), Ok(0), "a held key needs no room");
    assert_eq!(table.reserve("c", 1499), Err(Error::LimiterFull));
    assert_eq!(
        table.reserve("c", 1500),
        Ok(0),
        "b is expired, though a is older in the table"
    );
    assert_eq!(table.len(), 2);
}

#[test]
fn a_refund_makes_room() {
    let mut table = SlidingWindows::new(&[(5, 1000)], 1).unwrap();
    table.reserve("a", 0).unwrap();
    assert!(table.refund("a", 0));
    assert_eq!(table.reserve("b", 0), Ok(0));
}

#[test]
fn a_refund_brings_the_keys_expiry_forward() {
    let mut table = SlidingWindows::new(&[(5, 1000)], 2).unwrap();
    table.reserve("a", 0).unwrap();
    table.reserve("b", 500).unwrap();
    table.reserve("a", 900).unwrap();
    assert!(table.refund("a", 900));
    assert_eq!(table.reserve("c", 999), Err(Error::LimiterFull));
    assert_eq!(table.reserve("c", 1000), Ok(0), "a is expired again");
    assert_eq!(table.wait_ms("b", 1000), 0);
    assert_eq!(table.len(), 2);
}

#[test]
fn evicted_keys_do_not_come_back_when_time_steps_back() {
    let mut table = SlidingWindows::new(&[(1, 1000)], 1).unwrap();
    table.reserve("a", 0).unwrap();
    table.reserve("b", 5000).unwrap();
    assert!(table.refund("b", 5000));
    assert_eq!(table.reserve("a", 500), Ok(0), "judged and stamped at 1000");
    assert_eq!(table.wait_ms("a", 500), 1500);
}

#[test]
fn a_refund_does_not_bring_back_what_was_forgotten() {
    let mut table = SlidingWindows::new(&[(2, 1000)], 10).unwrap();
    for now_ms in [0, 500, 1000] {
        assert_eq!(table.reserve("key", now_ms), Ok(0));
    }
    assert!(
        table.refund("key", 1000),
        "which had pushed out the charge of 0"
    );
    assert_eq!(
        table.reserve("key", 600),
        Ok(0),
        "judged and stamped at 1000"
    );
    assert_eq!(table.wait_ms("key", 1000), 500);
    assert_eq!(table.reserve("key", 1500), Ok(0));
    assert_eq!(table.wait_ms("key", 1500), 500);
}

#[test]
fn a_table_that_expired_as_a_whole_is_cleared_in_small_steps() {
    let keys_max = 10 * i64::try_from(EVICTIONS_MAX).unwrap();
    let mut table = SlidingWindows::new(&[(1, 1000)], keys_max).unwrap();
    for key in 0..keys_max {
        table.reserve(&key.to_string(), 0).unwrap();
    }
    let full = table.len();
    table.reserve("one more", 5000).unwrap();
    assert_eq!(table.len(), full - EVICTIONS_MAX + 1);
}

#[test]
fn a_million_keys_are_held_and_no_more() {
    let mut table = SlidingWindows::new(&[(6, 60_000)], 1_000_000).unwrap();
    for key in 0..1_000_000 {
        table.reserve(&key.to_string(), 0).unwrap();
    }
    assert_eq!(table.reserve("one more", 59_999), Err(Error::LimiterFull));
    assert_eq!(table.reserve("one more", 60_000), Ok(0));
}

#[test]
fn senseless_limits_are_refused() {
    let table: [(&[(i64, i64)], i64); 6] = [
        (&[], 1),
        (&[(0, 1)], 1),
        (&[(1, 0)], 1),
        (&[(1, 1), (-1, 1)], 1),
        (&[(1, 1)], 0),
        (&[(1, 1)], -1),
    ];
    for (pairs, keys_max) in table {
        let refused = SlidingWindows::new(pairs, keys_max).err();
        assert!(
            matches!(refused, Some(Error::Value(_))),
            "{pairs:?} {keys_max}"
        );
    }
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for now_ms in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
        let mut table = SlidingWindows::new(&[(1, i64::MAX)], 1).unwrap();
        assert_eq!(table.reserve("key", now_ms), Ok(0));
        assert!(table.wait_ms("key", i64::MIN) >= 0);
        assert!(table.wait_ms("key", i64::MAX) >= 0);
        let _ = table.reserve("other", i64::MAX); // granted or full, as the case may be
        table.refund("key", i64::MIN);
    }
}
