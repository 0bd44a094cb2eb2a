//! The one way from [`Error`] to Python's exceptions.
//!
//! The exceptions of our own are classes of `otp_server.errors`, born in Python.

use pyo3::exceptions::{PyKeyError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

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
            Error::Random(source) => match source.raw_os_error() {
                Some(errno) => PyOSError::new_err((errno, text)),
                None => PyOSError::new_err(text),
            },
        }
    }
}
