//! The intended send times of an open loop: message `k` at `start + k / rate`, whatever happens.
//!
//! Latency counts from these times and not from the moment of sending, so a stalled server (or a
//! stalled generator) cannot hide behind messages that were not sent: coordinated omission.

const NS_PER_S: f64 = 1e9;

/// A constant rate over `connections`, in turn.
#[derive(Debug, Clone)]
pub struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    connections: usize,
    next: u64,
}

impl Schedule {
    /// A schedule that begins at `start_ns`.
    ///
    /// # Errors
    /// A sentence for a rate or number of connections that is not more than 0.
    pub fn new(start_ns: u64, rate: f64, connections: usize) -> Result<Self, String> {
        if !(rate > 0.0 && rate.is_finite()) || connections == 0 {
            return Err("an open loop needs --rate above 0 and a connection".to_owned());
        }
        Ok(Self {
            start_ns,
            interval_ns: NS_PER_S / rate,
            connections,
            next: 0,
        })
    }

    /// When the next message is intended.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a run has far fewer than 2^52 messages and nanoseconds"
    )]
    pub fn intended_ns(&self) -> u64 {
        self.start_ns + (self.next as f64 * self.interval_ns) as u64
    }

    /// The next message if it is due: its intended time and its connection.
    pub fn due(&mut self, now_ns: u64) -> Option<(u64, usize)> {
        let intended_ns = self.intended_ns();
        if intended_ns > now_ns {
            return None;
        }
        let turn = self.next % self.connections as u64;
        self.next += 1;
        usize::try_from(turn).ok().map(|turn| (intended_ns, turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_their_times_and_in_turn() {
        let mut schedule = Schedule::new(100, 1e6, 3).expect("a rate");
        assert_eq!(schedule.due(99), None);
        assert_eq!(schedule.due(100), Some((100, 0)));
        assert_eq!(schedule.due(100), None);
        assert_eq!(schedule.intended_ns(), 1100);
        let late: Vec<_> = std::iter::from_fn(|| schedule.due(4100)).collect();
        assert_eq!(late, [(1100, 1), (2100, 2), (3100, 0), (4100, 1)]);
    }

    #[test]
    fn a_stall_moves_no_later_time() {
        let mut schedule = Schedule::new(0, 3.0, 1).expect("a rate");
        let all: Vec<u64> = std::iter::from_fn(|| schedule.due(10_000_000_000))
            .map(|(intended_ns, _)| intended_ns)
            .collect();
        assert_eq!(all.len(), 31);
        assert_eq!(all[30], 10_000_000_000);
        assert_eq!(all[1], 333_333_333);
    }

    #[test]
    fn no_rate_no_schedule() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Schedule::new(0, rate, 1).is_err());
        }
        assert!(Schedule::new(0, 1.0, 0).is_err());
    }
}
