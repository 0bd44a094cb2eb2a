//! What was answered, by class of request: in the window, and after the load has fallen.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::requests::Heard;
use crate::figures::Latencies;

/// An answer that took longer than this is no sign of rest.
const PROMPT_NS: u64 = 100_000_000;
/// Every request of so long is answered promptly and well: the server has recovered.
const CALM_NS: u64 = 250_000_000;

/// The answers to one class of requests.
#[derive(Debug)]
struct Class {
    good: Latencies,
    shed: Latencies,
}

/// The answers that came within a window.
#[derive(Debug)]
pub struct Classes {
    window: (u64, u64),
    classes: BTreeMap<&'static str, Class>,
}

impl Classes {
    /// None yet.
    #[must_use]
    pub const fn new(window: (u64, u64)) -> Self {
        Self {
            window,
            classes: BTreeMap::new(),
        }
    }

    /// Takes an answer; one outside the window is passed over.
    ///
    /// # Errors
    /// Never: a histogram has the right bounds.
    pub fn take(&mut self, heard: Heard, now_ns: u64) -> Result<(), String> {
        if !(self.window.0..self.window.1).contains(&now_ns) {
            return Ok(());
        }
        let class = heard.want.class();
        if !self.classes.contains_key(class) {
            let (good, shed) = (Latencies::new()?, Latencies::new()?);
            self.classes.insert(class, Class { good, shed });
        }
        if let Some(found) = self.classes.get_mut(class) {
            let latencies = if heard.shed {
                &mut found.shed
            } else {
                &mut found.good
            };
            latencies.record(now_ns.saturating_sub(heard.at_ns));
        }
        Ok(())
    }

    /// How many were shed.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.classes.values().map(|class| class.shed.len()).sum()
    }

    /// By class: good answers and refusals, each with their latencies.
    #[must_use]
    pub fn json(&self) -> Value {
        self.classes
            .iter()
            .map(|(name, class)| {
                let figures = json!({
                    "answers": class.good.len(),
                    "latency_us": class.good.summary(),
                    "shed": class.shed.len(),
                    "shed_latency_us": class.shed.summary(),
                });
                ((*name).to_owned(), figures)
            })
            .collect::<serde_json::Map<String, Value>>()
            .into()
    }
}

/// After the load has fallen: how long until all is well again. Only requests of the time after it
/// count.
#[derive(Debug)]
pub struct Recovery {
    fell_ns: u64,
    last_trouble_ns: u64,
    recovered: bool,
    answers: u64,
    shed: u64,
    latencies: Latencies,
}

impl Recovery {
    /// The load falls at `fell_ns`.
    ///
    /// # Errors
    /// Never: a histogram has the right bounds.
    pub fn new(fell_ns: u64) -> Result<Self, String> {
        Ok(Self {
            fell_ns,
            last_trouble_ns: fell_ns,
            recovered: false,
            answers: 0,
            shed: 0,
            latencies: Latencies::new()?,
        })
    }

    /// Takes an answer.
    pub fn take(&mut self, heard: Heard, now_ns: u64) {
        if heard.at_ns < self.fell_ns {
            return;
        }
        let took_ns = now_ns.saturating_sub(heard.at_ns);
        if heard.shed {
            self.shed += 1;
        } else {
            self.answers += 1;
            self.latencies.record(took_ns);
        }
        if self.recovered {
            return;
        }
        if heard.shed || took_ns > PROMPT_NS {
            self.last_trouble_ns = now_ns;
        } else {
            self.recovered = heard.at_ns >= self.last_trouble_ns + CALM_NS;
        }
    }

    /// Seconds from the fall to the last trouble; null when it never ended.
    #[must_use]
    pub fn json(&self, rate: f64) -> Value {
        let after_ns = self.last_trouble_ns.saturating_sub(self.fell_ns);
        let recovered_s = std::time::Duration::from_nanos(after_ns).as_secs_f64();
        json!({
            "rate": rate,
            "answers": self.answers,
            "shed": self.shed,
            "latency_us": self.latencies.summary(),
            "recovered_s": if self.recovered { json!(recovered_s) } else { Value::Null },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::Want;

    const MS: u64 = 1_000_000;

    fn heard(at_ns: u64, shed: bool) -> Heard {
        Heard {
            want: Want::Init,
            at_ns,
            shed,
        }
    }

    #[test]
    fn refusals_are_apart_and_what_is_outside_is_not_there() {
        let mut classes = Classes::new((100, 200));
        for (at_ns, shed, now_ns) in [
            (0, false, 99),
            (0, false, 100),
            (90, true, 199),
            (0, true, 200),
        ] {
            classes.take(heard(at_ns, shed), now_ns).expect("bounds");
        }
        let json = classes.json();
        assert_eq!(
            (json["init"]["answers"].as_u64(), classes.shed()),
            (Some(1), 1)
        );
        assert_eq!(json["init"]["shed"], 1);
        assert_eq!(json["attempt"], Value::Null);
    }

    #[test]
    fn recovered_is_when_the_last_trouble_before_a_calm_ended() {
        let mut recovery = Recovery::new(1_000 * MS).expect("bounds");
        recovery.take(heard(900 * MS, true), 1_900 * MS); // of before
        recovery.take(heard(1_010 * MS, true), 1_011 * MS);
        recovery.take(heard(1_260 * MS, false), 1_261 * MS); // calm for a millisecond less
        assert_eq!(recovery.json(1.0)["recovered_s"], Value::Null);
        recovery.take(heard(1_120 * MS, false), 1_300 * MS); // good, and late
        recovery.take(heard(1_549 * MS, false), 1_550 * MS);
        assert_eq!(recovery.json(1.0)["recovered_s"], Value::Null);
        recovery.take(heard(1_550 * MS, false), 1_551 * MS);
        recovery.take(heard(1_600 * MS, true), 1_601 * MS);
        let json = recovery.json(1.0);
        assert_eq!(json["recovered_s"], 0.3);
        assert_eq!(
            (json["answers"].as_u64(), json["shed"].as_u64()),
            (Some(4), Some(2))
        );
    }

    #[test]
    fn a_fall_without_trouble_is_recovered_at_once() {
        let mut recovery = Recovery::new(0).expect("bounds");
        recovery.take(heard(CALM_NS, false), CALM_NS + MS);
        assert_eq!(recovery.json(1.0)["recovered_s"], 0.0);
    }
}
