//! `idle`: connect all and hold them, answering pings, until somebody says so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::{TURN, connect_all_or_fail, progress};
use crate::engine::{Engine, Notice};
use crate::options::Options;

/// Runs it.
///
/// # Errors
/// Why they could not be held.
pub fn run(options: &Options) -> Result<Value, String> {
    let mut engine = Engine::new(options, true)?;
    let arrival = connect_all_or_fail(&mut engine, options)?;
    progress("held", &arrival.json());
    let told = Arc::new(AtomicBool::new(false));
    let teller = Arc::clone(&told);
    thread::spawn(move || {
        let _ = io::stdin().read_line(&mut String::new());
        teller.store(true, Ordering::Relaxed);
    });
    let began = Instant::now();
    let mut lost = 0_u64;
    while !told.load(Ordering::Relaxed) && began.elapsed() < options.hold_max {
        let notices = engine.turn(TURN)?;
        lost += notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Lost { .. }))
            .count() as u64;
        engine.reuse(notices);
    }
    Ok(json!({
        "mode": "idle",
        "connections": options.connections,
        "held": engine.open(),
        "connections_lost": lost,
        "faults": engine.faults,
        "window_s": began.elapsed().as_secs_f64(),
        "connecting": arrival.json(),
    }))
}
