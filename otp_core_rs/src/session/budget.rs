//! How many bytes a peer may send: a burst, then a rate (the generic cell rate algorithm).

use super::options::SessionOptions;

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
    pub(super) fn charge(&mut self, bytes: u64, now: u64, options: &SessionOptions) -> bool {
        let now = now.saturating_mul(options.bytes_per_s);
        self.due = self
            .due
            .max(now)
            .saturating_add(bytes.saturating_mul(MS_PER_S));
        self.due - now <= options.burst_bytes.saturating_mul(MS_PER_S)
    }

    /// Charges what so many items cost beside their bytes.
    pub(super) fn charge_items(
        &mut self,
        items: usize,
        now: u64,
        options: &SessionOptions,
    ) -> bool {
        self.charge(
            (items as u64).saturating_mul(options.item_bytes),
            now,
            options,
        )
    }
}
