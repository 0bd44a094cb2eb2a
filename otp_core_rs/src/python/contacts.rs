//! The sealing and the keyed index of contacts for Python: [`crate::contact`].

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::errors::guarded;
use crate::contact;
use crate::error::Error;

/// What contacts are found and counted by, under one key. Its memory is wiped.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct ContactIndex(contact::ContactIndex);

#[pymethods]
impl ContactIndex {
    #[new]
    fn new(key: &[u8]) -> Result<Self, Error> {
        contact::ContactIndex::new(key).map(Self)
    }

    /// The 32 bytes of a contact.
    fn of<'py>(
        &self,
        py: Python<'py>,
        tenant: &str,
        channel: &str,
        contact: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let index = guarded(|| Ok(self.0.of(tenant, channel, contact)))?;
        Ok(PyBytes::new(py, &index))
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __repr__(&self) -> &'static str {
        "<ContactIndex>"
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a ContactIndex cannot be pickled or copied",
        ))
    }
}

/// What seals contacts, under one key. Its memory is wiped.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct ContactCipher(contact::ContactCipher);

#[pymethods]
impl ContactCipher {
    #[new]
    fn new(key: &[u8], key_id: &str) -> Result<Self, Error> {
        contact::ContactCipher::new(key, key_id).map(Self)
    }

    /// The stored form of a contact.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        nonce: &[u8],
        tenant: &str,
        channel: &str,
        contact: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = guarded(|| self.0.seal(nonce, tenant, channel, contact))?;
        Ok(PyBytes::new(py, &sealed))
    }

    /// The contact, if it was sealed so.
    fn open<'py>(
        &self,
        py: Python<'py>,
        tenant: &str,
        channel: &str,
        sealed: &[u8],
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let contact = guarded(|| Ok(self.0.open(tenant, channel, sealed)))?;
        Ok(contact.map(|contact| PyString::new(py, &contact)))
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __repr__(&self) -> &'static str {
        "<ContactCipher>"
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a ContactCipher cannot be pickled or copied",
        ))
    }
}
