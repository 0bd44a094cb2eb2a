//! The one way from [`Error`] to Python's exceptions.
//!
//! The exceptions of our own are classes of `otp_server.errors`, born in Python. A panic becomes
//! one of them too: `PyO3` would raise its own exception, which is no `Exception` in Python and
//! would pass every last-resort handler and end the server (requirement 91).

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyKeyError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

pyo3::import_exception!(otp_server.errors, CoreBug);
pyo3::import_exception!(otp_server.errors, LimiterFull);
pyo3::import_exception!(otp_server.errors, WireError);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Value(_) => PyValueError::new_err(text),
            Error::Wire(_) => WireError::new_err(text),
            Error::LimiterFull => LimiterFull::new_err(text),
            Error::UnknownKey(_) => PyKeyError::new_err(text),
            Error::Random(source) => os_error(source.raw_os_error(), text),
        }
    }
}

/// An `OSError` with its number, which `PyO3` would leave out.
pub(super) fn os_error(errno: Option<i32>, text: String) -> PyErr {
    match errno {
        Some(errno) => PyOSError::new_err((errno, text)),
        None => PyOSError::new_err(text),
    }
}

/// Run a call of the core; its error or its panic becomes a Python exception.
///
/// After a panic the object it was called on may be half changed: its owner drops it.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(_) => Err(CoreBug::new_err(
            "a bug in the Rust core; standard error has its place",
        )),
    }
}

/// Panic, so that a test can see it arrive as `CoreBug`.
#[pyfunction]
pub(super) fn panic_on_purpose() -> PyResult<()> {
    guarded(|| panic!("on purpose, by a test"))
}
