//! `storm`: every connection dropped at once and back at once, several times.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{connect_all, connect_all_or_fail, progress, rate};
use crate::engine::Engine;
use crate::figures::Latencies;
use crate::machine::CpuTimes;
use crate::options::Options;

/// Between drop and return the server may notice; a real storm has a network in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs it.
///
/// # Errors
/// Why it could not be measured.
pub fn run(options: &Options) -> Result<Value, String> {
    let mut engine = Engine::new(options, true)?;
    let first = connect_all_or_fail(&mut engine, options)?;
    progress("held", &first.json());
    let mut latencies = Latencies::new()?;
    let mut cycles = Vec::new();
    let (mut up, mut refused, mut seconds) = (0, 0, 0.0);
    let mut used = CpuTimes::default();
    let (began, mut cycle) = (Instant::now(), 0);
    while cycle < options.cycles || began.elapsed() < options.duration {
        cycle += 1;
        for index in 0..engine.len() {
            engine.drop_now(index);
        }
        let pause = Instant::now();
        while pause.elapsed() < PAUSE {
            let stale = engine.turn(Duration::from_millis(1))?;
            engine.reuse(stale);
        }
        let cpu_before = CpuTimes::now(&options.watch)?;
        let arrival = connect_all(&mut engine, options, cycle)?;
        used = used.plus(CpuTimes::now(&options.watch)?.since(cpu_before));
        latencies.merge(&arrival.latencies)?;
        up += arrival.up;
        refused += arrival.refused;
        seconds += arrival.seconds;
        cycles.push(arrival.json());
        progress("cycle", &arrival.json());
    }
    Ok(json!({
        "mode": "storm",
        "connections": options.connections,
        "cycles": cycles,
        "answers": up,
        "refused": refused,
        "faults": engine.faults,
        "window_s": seconds,
        "handshakes_per_s": rate(up, seconds),
        "latency_us": latencies.summary(),
        "histogram": latencies.histogram(),
        "cpu": used.json(),
        "connecting": first.json(),
    }))
}
