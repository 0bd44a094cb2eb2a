//! The audit trail's hashes for Python: [`crate::audit`].

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;

use super::errors::guarded;
use crate::audit::{HASH_BYTES, hash_after};

type Entry = (
    i64,
    PyBackedStr,
    PyBackedStr,
    PyBackedStr,
    PyBackedStr,
    PyBackedStr,
    PyBackedStr,
);

/// The hashes of entries that follow each other: each is a time and six words.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over an owned list"
)]
pub(super) fn hash_chain(
    py: Python<'_>,
    previous: [u8; HASH_BYTES],
    entries: Vec<Entry>,
) -> PyResult<Vec<Bound<'_, PyBytes>>> {
    guarded(|| {
        let mut last = previous;
        let hashes = entries.iter().map(|(at_ms, a, b, c, d, e, f)| {
            last = hash_after(&last, [&*at_ms.to_string(), a, b, c, d, e, f]);
            PyBytes::new(py, &last)
        });
        Ok(hashes.collect())
    })
}
