//! Passcodes and keys for Python: [`crate::passcode`].
//!
//! A passcode crosses the line as a handle. Its characters become a Python string in `reveal`
//! and nowhere else: no repr, no pickle, no equality, no text in an error.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyString};

use super::errors::guarded;
use super::integers::Clamped;
use crate::error::Error;
use crate::passcode::digest::{self, Scope};
use crate::passcode::keyring::{self, Digests};
use crate::passcode::{self, Alphabet};

/// The digests of one passcode, as Python has them.
type PyDigests<'py> = Vec<Bound<'py, PyBytes>>;

/// A code. Its repr and str show nothing, it cannot be pickled, its memory is wiped.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct Passcode(pub(super) passcode::Passcode);

#[pymethods]
impl Passcode {
    /// The passcode that a person typed.
    #[staticmethod]
    fn from_text(text: &Bound<'_, PyString>, alphabet: &str) -> PyResult<Self> {
        // A lone surrogate would raise UnicodeEncodeError, which carries the whole text.
        let text = text
            .to_str()
            .map_err(|_| Error::Value("a passcode has a character outside its alphabet"))?;
        guarded(|| passcode::Passcode::from_text(text, Alphabet::from_name(alphabet)?).map(Self))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// The characters.
    fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Whether both are the same code.
    fn matches(&self, other: &Self) -> bool {
        self.0.matches(&other.0)
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __repr__(&self) -> &'static str {
        "<Passcode>"
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Passcode cannot be pickled or copied",
        ))
    }
}

/// Keys by id; the first is current.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct Keyring(keyring::Keyring);

#[pymethods]
impl Keyring {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
    fn new(keys: Vec<(PyBackedStr, PyBackedBytes)>) -> Result<Self, Error> {
        keyring::Keyring::new(keys.iter().map(|(key_id, key)| (&**key_id, &**key))).map(Self)
    }

    /// The ids, the current one first.
    #[getter]
    fn key_ids(&self) -> Vec<&str> {
        self.0.key_ids().collect()
    }

    /// Fresh passcodes, each with its digests.
    fn draw<'py>(
        &self,
        py: Python<'py>,
        domain: &str,
        tenant: &str,
        alphabet: &str,
        length: Clamped,
        count: usize,
    ) -> PyResult<Vec<(Passcode, PyDigests<'py>)>> {
        let scope = Scope {
            domain,
            tenant,
            challenge: b"",
        };
        let drawn = guarded(|| {
            let alphabet = Alphabet::from_name(alphabet)?;
            self.0.draw(scope, alphabet, length.size(), count)
        })?;
        Ok(drawn
            .into_iter()
            .map(|(passcode, digests)| (Passcode(passcode), as_bytes(py, &digests)))
            .collect())
    }

    /// The digest under every key, current first.
    fn digests<'py>(
        &self,
        py: Python<'py>,
        domain: &str,
        tenant: &str,
        challenge: &[u8],
        passcode: &Passcode,
    ) -> PyResult<PyDigests<'py>> {
        let scope = Scope {
            domain,
            tenant,
            challenge,
        };
        let digests = guarded(|| Ok(self.0.digests(scope, &passcode.0)))?;
        Ok(as_bytes(py, &digests))
    }

    /// The delivered code of a challenge.
    #[pyo3(signature = (key_id, *, domain, tenant, challenge, generation, alphabet, length))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn derive(
        &self,
        key_id: &str,
        domain: &str,
        tenant: &str,
        challenge: &[u8],
        generation: u64,
        alphabet: &str,
        length: Clamped,
    ) -> PyResult<Passcode> {
        let scope = Scope {
            domain,
            tenant,
            challenge,
        };
        guarded(|| {
            let alphabet = Alphabet::from_name(alphabet)?;
            self.0
                .derive(key_id, scope, generation, alphabet, length.size())
                .map(Passcode)
        })
    }

    fn __repr__(&self) -> String {
        format!("<{:?}>", self.0)
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Keyring cannot be pickled or copied",
        ))
    }
}

/// Whether `stored` is one of `candidates`, in constant time.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
pub(super) fn verify_digest(stored: &[u8], candidates: Vec<PyBackedBytes>) -> bool {
    digest::verify_digest(stored, candidates.iter().map(|candidate| &**candidate))
}

fn as_bytes<'py>(py: Python<'py>, digests: &Digests) -> PyDigests<'py> {
    digests
        .iter()
        .map(|digest| PyBytes::new(py, digest))
        .collect()
}
