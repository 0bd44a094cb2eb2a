//! Plain JSON for Python: [`crate::json`].

use pyo3::prelude::*;

use super::errors::guarded;
use crate::json;

/// Whether a text is JSON that every reader reads alike.
#[pyfunction]
pub(super) fn is_plain_json(text: &[u8], depth_max: usize) -> PyResult<bool> {
    guarded(|| Ok(json::is_plain(text, depth_max)))
}
