//! `closed` and `open`: requests and their answers.
//!
//! Only answers that come within the measured window count. Afterwards what is still owed is
//! waited for, so that silence is seen; nothing after the window is measured.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Arrival, connect_all_or_fail, progress, rate};
use crate::engine::{Engine, Notice};
use crate::figures::Latencies;
use crate::machine::CpuTimes;
use crate::options::Options;
use crate::schedule::Schedule;

/// How long owed answers are waited for: longer than the server's own promise of 10 s.
const OWED: Duration = Duration::from_secs(11);
/// Closer than this to the next message the thread spins: epoll sleeps in whole milliseconds.
const SPIN_NS: u64 = 1_500_000;

/// What was counted.
pub(crate) struct Tally {
    /// The nanoseconds in which answers count.
    pub(crate) window: (u64, u64),
    pub(crate) asked: u64,
    pub(crate) answers: u64,
    lost: u64,
    silent: u64,
    pub(crate) latencies: Latencies,
    pub(crate) late: Latencies,
}

impl Tally {
    pub(crate) fn new(now_ns: u64, warmup: Duration, duration: Duration) -> Result<Self, String> {
        let begins = now_ns + nanoseconds(warmup);
        Ok(Self {
            window: (begins, begins + nanoseconds(duration)),
            asked: 0,
            answers: 0,
            lost: 0,
            silent: 0,
            latencies: Latencies::new()?,
            late: Latencies::new()?,
        })
    }

    pub(crate) fn answered(&mut self, asked_ns: u64, now_ns: u64) {
        if (self.window.0..self.window.1).contains(&now_ns) {
            self.answers += 1;
            self.latencies.record(now_ns.saturating_sub(asked_ns));
        }
    }

    fn lost(&mut self, unanswered: usize) {
        self.lost += 1;
        self.silent += unanswered as u64;
    }
}

pub(crate) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU times at both ends of the window.
pub(crate) struct Meter {
    begun: Option<CpuTimes>,
    pub(crate) used: Option<CpuTimes>,
}

impl Meter {
    pub(crate) const fn new() -> Self {
        Self {
            begun: None,
            used: None,
        }
    }

    pub(crate) fn look(
        &mut self,
        now_ns: u64,
        window: (u64, u64),
        watched: &[u32],
    ) -> Result<(), String> {
        match self.begun {
            None if now_ns >= window.0 => {
                self.begun = Some(CpuTimes::now(watched)?);
                progress("measuring", &json!({}));
            }
            Some(begun) if self.used.is_none() && now_ns >= window.1 => {
                self.used = Some(CpuTimes::now(watched)?.since(begun));
                progress("measured", &json!({}));
            }
            _ => {}
        }
        Ok(())
    }
}

/// One request outstanding on every connection.
///
/// # Errors
/// Why it could not be measured.
pub fn closed(options: &Options) -> Result<Value, String> {
    let mut engine = Engine::new(options, true)?;
    let arrival = connect_all_or_fail(&mut engine, options)?;
    let mut tally = Tally::new(engine.now_ns(), options.warmup, options.duration)?;
    let mut meter = Meter::new();
    for index in 0..engine.len() {
        let now_ns = engine.now_ns();
        tally.asked += u64::from(engine.ask(index, now_ns));
    }
    let last_ns = tally.window.1 + nanoseconds(OWED);
    loop {
        let notices = engine.turn(Duration::from_millis(10))?;
        for notice in &notices {
            match *notice {
                Notice::Answer {
                    index,
                    asked_ns,
                    now_ns,
                } => {
                    tally.answered(asked_ns, now_ns);
                    if now_ns < tally.window.1 {
                        let at_ns = engine.now_ns();
                        tally.asked += u64::from(engine.ask(index, at_ns));
                    }
                }
                Notice::Lost { unanswered, .. } => tally.lost(unanswered),
                Notice::Opened { .. } => {}
            }
        }
        engine.reuse(notices);
        let now_ns = engine.now_ns();
        meter.look(now_ns, tally.window, &options.watch)?;
        if now_ns >= tally.window.1 && (now_ns >= last_ns || engine.unanswered() == 0) {
            break;
        }
    }
    report("closed", options, &engine, &arrival, &tally, &meter)
}

/// A constant rate, whatever the server does.
///
/// # Errors
/// Why it could not be measured.
pub fn open(options: &Options) -> Result<Value, String> {
    let mut engine = Engine::new(options, true)?;
    let arrival = connect_all_or_fail(&mut engine, options)?;
    let mut tally = Tally::new(engine.now_ns(), options.warmup, options.duration)?;
    let mut meter = Meter::new();
    let mut schedule = Schedule::new(engine.now_ns(), options.rate, engine.len())?;
    let last_ns = tally.window.1 + nanoseconds(OWED);
    loop {
        let mut now_ns = engine.now_ns();
        while now_ns < tally.window.1
            && let Some((intended_ns, index)) = schedule.due(now_ns)
        {
            let sent = engine.ask(index, intended_ns);
            tally.asked += u64::from(sent);
            tally.silent += u64::from(!sent);
            if intended_ns >= tally.window.0 {
                tally.late.record(now_ns - intended_ns);
            }
            now_ns = engine.now_ns();
        }
        meter.look(now_ns, tally.window, &options.watch)?;
        if now_ns >= tally.window.1 && (now_ns >= last_ns || engine.unanswered() == 0) {
            break;
        }
        let gap_ns = schedule.intended_ns().saturating_sub(now_ns);
        let wait = if now_ns >= tally.window.1 || gap_ns > SPIN_NS {
            Duration::from_millis(1)
        } else {
            Duration::ZERO
        };
        let notices = engine.turn(wait)?;
        for notice in &notices {
            match *notice {
                Notice::Answer {
                    asked_ns, now_ns, ..
                } => tally.answered(asked_ns, now_ns),
                Notice::Lost { unanswered, .. } => tally.lost(unanswered),
                Notice::Opened { .. } => {}
            }
        }
        engine.reuse(notices);
    }
    report("open", options, &engine, &arrival, &tally, &meter)
}

fn report(
    mode: &str,
    options: &Options,
    engine: &Engine,
    arrival: &Arrival,
    tally: &Tally,
    meter: &Meter,
) -> Result<Value, String> {
    let used = meter.used.ok_or("the window was never measured")?;
    let answers = usize::try_from(tally.answers).unwrap_or(usize::MAX);
    let silent = tally.silent + engine.unanswered() as u64;
    Ok(json!({
        "mode": mode,
        "connections": options.connections,
        "window_s": options.duration.as_secs_f64(),
        "intended_per_s": if mode == "open" { json!(options.rate) } else { Value::Null },
        "asked": tally.asked,
        "answers": tally.answers,
        "unanswered": silent,
        "connections_lost": tally.lost,
        "faults": engine.faults,
        "msg_per_s": rate(answers, options.duration.as_secs_f64()),
        "latency_us": tally.latencies.summary(),
        "histogram": tally.latencies.histogram(),
        "generator_late_us": tally.late.summary(),
        "cpu": used.json(),
        "connecting": arrival.json(),
    }))
}
