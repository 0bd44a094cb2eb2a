//! What is done with the connections. Each mode gives one JSON object.
//!
//! | module    | mode                                    |
//! |-----------|-----------------------------------------|
//! | [`ask`]   | `closed` and `open`: requests, answers  |
//! | [`storm`] | `storm`: drop all, connect all          |
//! | [`hold`]  | `idle`: connect and hold                |
//! | [`slow`]  | `slow`: send and never read             |

pub mod ask;
pub mod hold;
pub mod slow;
pub mod storm;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::{Engine, Notice};
use crate::figures::Latencies;
use crate::options::{Mode, Options};

const TURN: Duration = Duration::from_millis(100);

/// Runs what the options say.
///
/// # Errors
/// A sentence: why it could not be run or measured.
pub fn run(options: &Options) -> Result<Value, String> {
    match options.mode {
        Mode::Closed => ask::closed(options),
        Mode::Open => ask::open(options),
        Mode::Storm => storm::run(options),
        Mode::Idle => hold::run(options),
        Mode::Slow => slow::run(options),
    }
}

/// How connecting went.
struct Arrival {
    up: usize,
    refused: usize,
    seconds: f64,
    latencies: Latencies,
}

impl Arrival {
    fn json(&self) -> Value {
        json!({
            "up": self.up,
            "refused": self.refused,
            "seconds": self.seconds,
            "per_s": rate(self.up, self.seconds),
            "latency_us": self.latencies.summary(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// Connects all, `connecting` at a time; ends when each came up or was refused.
fn connect_all(
    engine: &mut Engine,
    options: &Options,
    generation: usize,
) -> Result<Arrival, String> {
    let began = Instant::now();
    let mut arrival = Arrival {
        up: 0,
        refused: 0,
        seconds: 0.0,
        latencies: Latencies::new()?,
    };
    let mut next = 0;
    while arrival.up + arrival.refused < engine.len() {
        while next < engine.len() && next - arrival.up - arrival.refused < options.connecting {
            engine.connect(next, generation);
            next += 1;
        }
        let notices = engine.turn(TURN)?;
        for notice in &notices {
            match notice {
                Notice::Opened {
                    begun_ns, now_ns, ..
                } => {
                    arrival.up += 1;
                    arrival.latencies.record(now_ns - begun_ns);
                }
                Notice::Lost {
                    was_open: false, ..
                } => arrival.refused += 1,
                Notice::Lost { was_open: true, .. } | Notice::Answer { .. } => {}
            }
        }
        engine.reuse(notices);
        if began.elapsed() > options.connect_timeout {
            return Err(format!(
                "{} of {} connections were up after {:?}{}",
                arrival.up,
                engine.len(),
                options.connect_timeout,
                first_fault(engine)
            ));
        }
    }
    arrival.seconds = began.elapsed().as_secs_f64();
    Ok(arrival)
}

/// Connects all, or says why not all came up.
fn connect_all_or_fail(engine: &mut Engine, options: &Options) -> Result<Arrival, String> {
    let arrival = connect_all(engine, options, 0)?;
    let open = engine.open();
    if open < engine.len() {
        return Err(format!(
            "only {open} of {} connections are up{}",
            engine.len(),
            first_fault(engine)
        ));
    }
    Ok(arrival)
}

fn first_fault(engine: &Engine) -> String {
    engine
        .faults
        .iter()
        .max_by_key(|(_, count)| **count)
        .map_or_else(String::new, |(why, count)| {
            format!("; {count} times: {why}")
        })
}

/// A line of progress for whoever drives this process.
fn progress(event: &str, detail: &Value) {
    eprintln!("{}", json!({"event": event, "detail": detail}));
}
