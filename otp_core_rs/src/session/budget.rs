//! How many bytes a peer may send: a burst, then a rate (the generic cell rate algorithm).

const MS_PER_S: u64 = 1000;

/// One number: when the bytes taken so far would have come at the steady rate.
///
/// In units of 1 / `bytes_per_s` milliseconds, so that nothing is rounded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    due: u64,
}

impl Budget {
    /// Charges so many bytes; false when the peer has sent too many.
    pub(super) fn charge(&mut self, bytes: usize, now: u64, burst: u64, bytes_per_s: u64) -> bool {
        let now = now.saturating_mul(bytes_per_s);
        self.due = self
            .due
            .max(now)
            .saturating_add((bytes as u64).saturating_mul(MS_PER_S));
        self.due - now <= burst.saturating_mul(MS_PER_S)
    }
}
