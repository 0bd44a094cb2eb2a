//! Sliding windows for Python: [`crate::limit`].

use pyo3::prelude::*;

use super::errors::guarded;
use super::integers::Clamped;
use crate::error::Error;
use crate::limit::table;

/// Exact sliding windows, several per key, in a bounded table.
#[pyclass(module = "otp_server.core._native")]
pub(super) struct SlidingWindows(table::SlidingWindows);

#[pymethods]
impl SlidingWindows {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands over an owned list"
    )]
    fn new(windows: Vec<(Clamped, Clamped)>, keys_max: Clamped) -> Result<Self, Error> {
        let pairs: Vec<(i64, i64)> = windows
            .iter()
            .map(|(limit, period_ms)| (limit.0, period_ms.0))
            .collect();
        table::SlidingWindows::new(&pairs, keys_max.0).map(Self)
    }

    /// 0: granted and charged; otherwise milliseconds until it would be granted.
    fn reserve(&mut self, key: &str, now_ms: i64) -> PyResult<i64> {
        guarded(|| self.0.reserve(key, now_ms))
    }

    /// What `reserve` would answer, charging nothing.
    fn wait_ms(&self, key: &str, now_ms: i64) -> PyResult<i64> {
        guarded(|| Ok(self.0.wait_ms(key, now_ms)))
    }

    /// For each window: room for how many more, and milliseconds until there is more room.
    fn room(&self, key: &str, now_ms: i64) -> PyResult<Vec<(usize, i64)>> {
        guarded(|| Ok(self.0.room(key, now_ms)))
    }

    /// Charge without asking.
    fn record(&mut self, key: &str, at_ms: i64) -> PyResult<()> {
        guarded(|| self.0.record(key, at_ms))
    }

    /// Give one charge back; whether there was one.
    fn refund(&mut self, key: &str, at_ms: i64) -> PyResult<bool> {
        guarded(|| Ok(self.0.refund(key, at_ms)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<SlidingWindows keys={}>", self.0.len())
    }
}
