//! `slow`: peers that ping and never read, with small buffers.
//!
//! Each sends pings, several at once, at a rate, either without an end (then it is the amount
//! that a server has to bound) or so many and no more (then it is the time). What the server did
//! with them is counted: whom it cut, and when.

use std::time::Duration;

use serde_json::{Value, json};

use super::{connect_all_or_fail, progress};
use crate::engine::{Engine, Notice};
use crate::machine::CpuTimes;
use crate::options::Options;
use crate::schedule::Schedule;

const NS_PER_S: f64 = 1e9;

/// Runs it until the server has cut them all, at most for the warm-up and the duration.
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
    let mut left = vec![options.messages.unwrap_or(u64::MAX); engine.len()];
    let (mut taken, mut blocked) = (0_u64, 0_u64);
    let mut cuts_ns = Vec::new();
    while engine.now_ns() < end_ns && cuts_ns.len() < engine.len() {
        while let Some((_, index)) = schedule.due(engine.now_ns()) {
            if left[index] == 0 {
                continue;
            }
            if engine.push(index) {
                taken += 1;
                left[index] -= 1;
            } else if engine.is_held(index) {
                blocked += 1;
            }
        }
        let notices = engine.turn(Duration::from_millis(1))?;
        let lost = |notice: &&Notice| matches!(notice, Notice::Lost { .. });
        let cut = notices.iter().filter(lost).count();
        cuts_ns.resize(cuts_ns.len() + cut, engine.now_ns() - start_ns);
        engine.reuse(notices);
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let seconds = |ns: Option<&u64>| ns.map(|ns| *ns as f64 / NS_PER_S);
    Ok(json!({
        "mode": "slow",
        "connections": options.connections,
        "window_s": span.as_secs_f64(),
        "messages_taken": taken,
        "messages_blocked": blocked,
        "closed_by_server": cuts_ns.len(),
        "first_closed_s": seconds(cuts_ns.first()),
        "last_closed_s": seconds(cuts_ns.last()),
        "still_open": engine.open(),
        "faults": engine.faults,
        "cpu": CpuTimes::now(&options.watch)?.since(begun).json(),
        "connecting": arrival.json(),
    }))
}
