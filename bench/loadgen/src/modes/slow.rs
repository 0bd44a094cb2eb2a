//! `slow`: peers that send requests at a rate, with a small receive buffer, and never read.

use std::time::Duration;

use serde_json::{Value, json};

use super::{connect_all_or_fail, progress};
use crate::engine::{Engine, Notice};
use crate::machine::CpuTimes;
use crate::options::Options;
use crate::schedule::Schedule;

/// Runs it for the warm-up and the duration; a server may close them, and that is counted.
///
/// # Errors
/// Why it could not be measured.
pub fn run(options: &Options) -> Result<Value, String> {
    let mut engine = Engine::new(options, false)?;
    let arrival = connect_all_or_fail(&mut engine, options)?;
    progress("held", &arrival.json());
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let rate = options.rate * engine.len() as f64;
    let begun = CpuTimes::now(&options.watch)?;
    let start_ns = engine.now_ns();
    let span = options.warmup + options.duration;
    let end_ns = start_ns + u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let mut schedule = Schedule::new(start_ns, rate, engine.len())?;
    let (mut taken, mut blocked, mut closed) = (0_u64, 0_u64, 0_u64);
    while engine.now_ns() < end_ns {
        while let Some((_, index)) = schedule.due(engine.now_ns()) {
            if engine.push(index) {
                taken += 1;
            } else if engine.is_held(index) {
                blocked += 1;
            }
        }
        let notices = engine.turn(Duration::from_millis(1))?;
        closed += notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Lost { .. }))
            .count() as u64;
        engine.reuse(notices);
    }
    Ok(json!({
        "mode": "slow",
        "connections": options.connections,
        "window_s": span.as_secs_f64(),
        "requests_taken": taken,
        "requests_blocked": blocked,
        "closed_by_server": closed,
        "still_open": engine.open(),
        "faults": engine.faults,
        "cpu": CpuTimes::now(&options.watch)?.since(begun).json(),
        "connecting": arrival.json(),
    }))
}
