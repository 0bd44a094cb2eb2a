//! Python's integers, whose size has no limit, as ours.

use pyo3::prelude::*;
use pyo3::types::PyInt;

/// An `int` of any size; beyond 64 bits it becomes the nearest bound.
///
/// For arguments whose range the pure code checks: it sees every number and answers with its own
/// `ValueError`, where a plain conversion would raise `OverflowError`. Never for a value that is
/// used as it is, such as a time.
#[derive(Clone, Copy)]
pub(super) struct Clamped(pub(super) i64);

impl<'py> FromPyObject<'_, 'py> for Clamped {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let number = object.cast::<PyInt>()?;
        number
            .extract::<i64>()
            .or_else(|_| {
                let bound = if number.lt(0)? { i64::MIN } else { i64::MAX };
                Ok(bound)
            })
            .map(Self)
    }
}

impl Clamped {
    /// The number, where a negative one is as wrong as one that is too large.
    pub(super) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}
