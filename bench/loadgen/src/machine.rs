//! CPU time from `/proc`, read at both ends of a measurement in the same thread that measures.

use std::fs;

use serde_json::{Value, json};

/// `USER_HZ`: the kernel's unit in `/proc` on every Linux we build for.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds at one instant: of the watched processes, of this one, and of the whole machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTimes {
    /// Of the watched processes, user and system.
    pub watched_s: f64,
    /// Of this process.
    pub own_s: f64,
    /// Of everybody on all processors, interrupts apart.
    pub busy_s: f64,
    /// Taken by other machines on the same host.
    pub steal_s: f64,
}

impl CpuTimes {
    /// Reads them now.
    ///
    /// # Errors
    /// Which watched process is gone.
    pub fn now(watched: &[u32]) -> Result<Self, String> {
        let mut times = Self::default();
        for pid in watched {
            times.watched_s += one_process(*pid)?;
        }
        times.own_s = one_process(std::process::id())?;
        let all = fs::read_to_string("/proc/stat").map_err(|error| error.to_string())?;
        (times.busy_s, times.steal_s) = machine_seconds(&all).ok_or("cannot read /proc/stat")?;
        Ok(times)
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            watched_s: self.watched_s - earlier.watched_s,
            own_s: self.own_s - earlier.own_s,
            busy_s: self.busy_s - earlier.busy_s,
            steal_s: self.steal_s - earlier.steal_s,
        }
    }

    /// The sum of two spans.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            watched_s: self.watched_s + other.watched_s,
            own_s: self.own_s + other.own_s,
            busy_s: self.busy_s + other.busy_s,
            steal_s: self.steal_s + other.steal_s,
        }
    }

    /// As the report shows it; `other_s` is everybody's but the watched and this process.
    #[must_use]
    pub fn json(self) -> Value {
        json!({
            "watched_s": self.watched_s,
            "generator_s": self.own_s,
            "steal_s": self.steal_s,
            "other_s": (self.busy_s - self.watched_s - self.own_s).max(0.0),
        })
    }
}

/// Exact seconds of a process's threads where the kernel keeps them, else its 10 ms ticks.
fn one_process(pid: u32) -> Result<f64, String> {
    let gone = |error: std::io::Error| format!("the watched process {pid} is gone: {error}");
    let mut exact_s = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)? {
        let file = thread.map_err(gone)?.path().join("schedstat");
        // No file: the thread ended, or this kernel keeps none.
        if let Ok(text) = fs::read_to_string(file) {
            exact_s += thread_seconds(&text).unwrap_or(0.0);
        }
    }
    if exact_s > 0.0 {
        return Ok(exact_s);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(gone)?;
    process_seconds(&stat).ok_or_else(|| "cannot read /proc/PID/stat".to_owned())
}

/// The first field of `/proc/PID/task/TID/schedstat`: nanoseconds on a processor.
fn thread_seconds(schedstat: &str) -> Option<f64> {
    let ns: f64 = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    Some(ns / 1e9)
}

/// User and system seconds of a line of `/proc/PID/stat`; the name may hold spaces and brackets.
fn process_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_S)
}

/// Busy and stolen seconds of the first line of `/proc/stat`.
fn machine_seconds(stat: &str) -> Option<(f64, f64)> {
    let fields: Vec<f64> = stat
        .lines()
        .next()?
        .split_ascii_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // Interrupts are nobody's: on loopback they are the traffic that is being measured.
    let &[
        user,
        nice,
        system,
        _idle,
        _iowait,
        _irq,
        _softirq,
        steal,
        ..,
    ] = fields.as_slice()
    else {
        return None;
    };
    let busy = user + nice + system;
    Some((busy / TICKS_PER_S, steal / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_skipped() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(process_seconds(stat), Some(2.0));
        assert_eq!(process_seconds("7 (a) S 1"), None);
    }

    #[test]
    fn threads_are_counted_in_nanoseconds() {
        assert_eq!(thread_seconds("2500000000 7 9\n"), Some(2.5));
        assert_eq!(thread_seconds(""), None);
    }

    #[test]
    fn idle_waiting_and_interrupts_are_not_busy() {
        let stat = "cpu  100 10 50 9000 700 20 20 5 0 0\ncpu0 1 2 3 4\n";
        assert_eq!(machine_seconds(stat), Some((1.6, 0.05)));
    }

    #[test]
    fn this_process_can_be_read() {
        let times = CpuTimes::now(&[std::process::id()]).expect("proc");
        assert!(times.busy_s > 0.0);
        assert!(CpuTimes::now(&[u32::MAX]).is_err());
    }
}
