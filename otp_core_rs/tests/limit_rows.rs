//! `limit`: rows are all or none, and beside them the same limits one by one.

use std::sync::Arc;

use otp_core_rs::error::Error;
use otp_core_rs::limit::named::{Limit, Policy, UNDECIDED_MS};
use otp_core_rs::limit::quotas::{Quota, Quotas};
use otp_core_rs::limit::row::Row;
use otp_core_rs::limit::table::SlidingWindows;
use proptest::prelude::*;

const MINUTE_MS: i64 = 60_000;

fn limit(name: &str, pairs: &[(i64, i64)], keys_max: i64) -> Arc<Limit> {
    Arc::new(Limit::new(name, pairs, keys_max, true).expect("valid limits"))
}

fn hidden(name: &str, pairs: &[(i64, i64)]) -> Arc<Limit> {
    Arc::new(Limit::new(name, pairs, 9, false).expect("valid limits"))
}

fn row(limits: &[Arc<Limit>]) -> Arc<Row> {
    Arc::new(Row::new(limits, false).expect("limits"))
}

fn quota(name: &str, limit: u64, window_ms: i64, remaining: u64, reset_ms: i64) -> Quota {
    Quota {
        policy: Policy {
            name: name.into(),
            limit,
            window_ms,
        },
        remaining,
        reset_ms,
    }
}

fn violated(row: &Row, keys: &[&str], now_ms: i64) -> Vec<(String, i64)> {
    let refusal = row.refusal(keys, now_ms);
    let named = |(policy, wait_ms): (Policy, i64)| (policy.name.to_string(), wait_ms);
    refusal.violated.into_iter().map(named).collect()
}

proptest! {
    /// Grants, waits and memory are those of the tables asked one after the other.
    #[test]
    fn a_row_charges_as_its_tables_would(
        pairs in prop::collection::vec((1..4_i64, 1..200_i64), 2..4),
        acts in prop::collection::vec((0..3_usize, 0..3_usize, -40..90_i64, any::<bool>()), 1..60),
    ) {
        let keys_max = 2;
        let names = ["x", "y", "z"];
        let limits: Vec<_> = pairs.iter().map(|&pair| limit("one", &[pair], keys_max)).collect();
        let mut tables: Vec<_> = pairs
            .iter()
            .map(|&pair| SlidingWindows::new(&[pair], keys_max).unwrap())
            .collect();
        let row = row(&limits);
        let mut now_ms = 1000;
        for (one, other, step_ms, refunds) in acts {
            now_ms += step_ms;
            let keys: Vec<_> = (0..pairs.len()).map(|i| names[(one + i * other) % 3]).collect();
            let mut asked = tables.iter().zip(&keys);
            let free = asked.all(|(table, key)| table.wait_ms(*key, now_ms) == 0);
            prop_assert_eq!(row.foresee(&keys, now_ms).is_some(), free);
            match row.charge(&keys, now_ms) {
                Ok(Some(charges)) => {
                    prop_assert!(free);
                    for (table, key) in tables.iter_mut().zip(&keys) {
                        prop_assert_eq!(table.reserve(*key, now_ms), Ok(0));
                    }
                    if refunds {
                        charges.refund();
                        charges.refund();
                        for (table, key) in tables.iter_mut().zip(&keys) {
                            table.refund(*key, now_ms);
                        }
                    }
                }
                Ok(None) => prop_assert!(!free),
                Err(error) => {
                    prop_assert_eq!(error, Error::LimiterFull);
                    prop_assert!(free);
                    let mut asked = tables.iter_mut().zip(&keys);
                    let full = asked.any(|(table, key)| {
                        let answer = table.reserve(*key, now_ms);
                        table.refund(*key, now_ms);
                        answer == Err(Error::LimiterFull)
                    });
                    prop_assert!(full);
                }
            }
            for (limit, table) in limits.iter().zip(&tables) {
                prop_assert_eq!(limit.len(), table.len());
            }
        }
    }
}

#[test]
fn the_texts_are_those_of_the_draft() {
    let contact = limit("contact", &[(6, MINUTE_MS), (18, 3_600_000)], 9);
    let row = row(&[contact, hidden("everybody", &[(2, 1000)])]);
    let free = row.foresee(&["a", ""], 0).unwrap();
    let policies = r#""contact-60";q=6;w=60, "contact-3600";q=18;w=3600"#;
    assert!(free.is_usual());
    assert_eq!(free.policies(), policies);
    assert_eq!(
        free.left(),
        r#""contact-60";r=6;t=0, "contact-3600";r=18;t=0"#
    );
    for _ in 0..2 {
        row.charge(&["a", ""], 0).unwrap().unwrap();
    }
    assert!(row.foresee(&["a", ""], 1).is_none());
    let refused = row.refusal(&["a", ""], 1).quotas;
    assert!(!refused.is_usual(), "what refuses is told");
    assert_eq!(
        refused.policies(),
        format!(r#"{policies}, "everybody-1";q=2;w=1"#)
    );
    assert_eq!(
        refused.left(),
        r#""contact-60";r=4;t=60, "contact-3600";r=16;t=3600, "everybody-1";r=0;t=1"#
    );
}

#[test]
fn numbers_are_written_whole() {
    let quotas: Quotas = [
        quota("a", u64::MAX, i64::MAX, u64::MAX, i64::MAX),
        quota("b", 0, 999, 0, 1),
        quota("c", 10, 1000, 10, -1001),
    ]
    .into_iter()
    .collect();
    assert_eq!(
        quotas.left(),
        r#""a";r=18446744073709551615;t=9223372036854776, "b";r=0;t=1, "c";r=10;t=-1"#
    );
    assert_eq!(
        quotas.policies(),
        r#""a";q=18446744073709551615;w=9223372036854775, "b";q=0;w=0, "c";q=10;w=1"#
    );
}

#[test]
fn of_a_policy_the_tightest_key_is_told() {
    let contact = limit("contact", &[(6, MINUTE_MS)], 9);
    let (single, double) = (
        row(&[Arc::clone(&contact)]),
        row(&[Arc::clone(&contact), contact]),
    );
    single.charge(&["b"], 0).unwrap().unwrap();
    for keys in [["a", "b"], ["b", "a"], ["b", "b"]] {
        let told: Vec<_> = double.foresee(&keys, 0).unwrap().iter().collect();
        assert_eq!(told, [quota("contact-60", 6, MINUTE_MS, 5, MINUTE_MS)]);
    }
    double.charge(&["c", "c"], 0).unwrap().unwrap();
    let told: Vec<_> = single.foresee(&["c"], 0).unwrap().iter().collect();
    assert_eq!(
        told,
        [quota("contact-60", 6, MINUTE_MS, 5, MINUTE_MS)],
        "charged once"
    );
}

#[test]
fn the_first_that_refuses_hides_those_behind_it() {
    let limits = [
        limit("a", &[(9, 1000)], 9),
        limit("b", &[(1, 2000)], 9),
        limit("c", &[(1, 3000)], 9),
    ];
    let (all, first) = (row(&limits), Row::new(&limits, true).unwrap());
    all.charge(&["x", "x", "x"], 0).unwrap().unwrap();
    let keys = ["x", "x", "x"];
    assert_eq!(
        violated(&all, &keys, 0),
        [("b-2".into(), 2000), ("c-3".into(), 3000)]
    );
    assert_eq!(violated(&first, &keys, 0), [("b-2".into(), 2000)]);
    assert_eq!(first.refusal(&keys, 0).quotas.len(), 2);
}

#[test]
fn who_may_be_given_back_makes_nobody_wait_long() {
    let row = row(&[limit("wrong", &[(1, MINUTE_MS), (2, 500)], 9)]);
    let held = row.hold(&["a"], 0).unwrap().unwrap();
    assert_eq!(
        violated(&row, &["a"], 0),
        [("wrong-60".into(), UNDECIDED_MS)]
    );
    held.decide();
    assert_eq!(violated(&row, &["a"], 0), [("wrong-60".into(), MINUTE_MS)]);
    held.refund();
    assert_eq!(violated(&row, &["a"], 0), []);
}

#[test]
fn a_full_table_charges_nothing() {
    let limits = [limit("a", &[(9, 1000)], 9), limit("b", &[(9, 1000)], 1)];
    let row = row(&limits);
    row.charge(&["x", "x"], 0).unwrap().unwrap();
    assert_eq!(row.charge(&["y", "y"], 0).err(), Some(Error::LimiterFull));
    assert_eq!(row.hold(&["y", "y"], 0).err(), Some(Error::LimiterFull));
    assert_eq!(limits[0].len(), 1);
}
