//! Limits and rows of them for Python: [`crate::limit::named`] and [`crate::limit::row`].

use std::borrow::Cow;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::errors::guarded;
use super::integers::Clamped;
use super::quotas::{Quotas, Text};
use crate::error::Error;
use crate::limit::{named, row};

/// One limit: exact windows for each key of a bounded table.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct Limit {
    limit: Arc<named::Limit>,
    name: String,
}

#[pymethods]
impl Limit {
    #[new]
    #[pyo3(signature = (name, windows, keys_max, *, told = true))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands over an owned list"
    )]
    fn new(
        name: String,
        windows: Vec<(Clamped, Clamped)>,
        keys_max: Clamped,
        told: bool,
    ) -> Result<Self, Error> {
        let pairs: Vec<(i64, i64)> = windows
            .iter()
            .map(|(limit, period_ms)| (limit.0, period_ms.0))
            .collect();
        let limit = Arc::new(named::Limit::new(&name, &pairs, keys_max.0, told)?);
        Ok(Self { limit, name })
    }

    fn __len__(&self) -> usize {
        self.limit.len()
    }

    fn __repr__(&self) -> String {
        format!("<Limit {:?} keys={}>", self.name, self.limit.len())
    }
}

/// Of a digest so many bytes are part of a key: 128 bits tell any two apart.
const DIGEST_BYTES: usize = 16;

/// Stands between the parts of a key. It is in no UTF-8, so other parts are another key.
const SEPARATOR: u8 = 0xff;

/// Room for the usual parts: a tenant, a number and a digest.
const PARTS_BYTES: usize = 64;

/// A text, or parts: texts, numbers, and at last perhaps a digest.
struct Key<'a>(Cow<'a, [u8]>);

impl<'a, 'py> FromPyObject<'a, 'py> for Key<'a> {
    type Error = PyErr;

    fn extract(key: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = key.cast::<PyString>() {
            let text: &'a str = text.extract()?;
            return Ok(Self(Cow::Borrowed(text.as_bytes())));
        }
        let mut bytes = Vec::with_capacity(PARTS_BYTES);
        for (i, part) in key.cast::<PyTuple>()?.iter_borrowed().enumerate() {
            if i > 0 {
                bytes.push(SEPARATOR);
            }
            if let Ok(text) = part.cast::<PyString>() {
                bytes.extend_from_slice(text.to_str()?.as_bytes());
            } else if let Ok(digest) = part.cast::<PyBytes>() {
                let digest = digest.as_bytes();
                bytes.extend_from_slice(&digest[..digest.len().min(DIGEST_BYTES)]);
            } else {
                let number: i64 = part.extract()?;
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
        Ok(Self(Cow::Owned(bytes)))
    }
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Limits that are asked and charged together.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct LimitRow {
    row: Arc<row::Row>,
    usual: Arc<Text>,
}

impl LimitRow {
    fn keys<'a>(&self, keys: &'a Bound<'_, PyTuple>) -> PyResult<Vec<Key<'a>>> {
        if keys.len() != self.row.len() {
            return Err(Error::Value("there is one key for each limit").into());
        }
        keys.iter_borrowed().map(Borrowed::extract).collect()
    }

    fn charges(&self, charges: Option<row::Charges>) -> Option<Charges> {
        charges.map(|charges| Charges {
            charges,
            usual: Arc::clone(&self.usual),
        })
    }
}

#[pymethods]
impl LimitRow {
    #[new]
    #[pyo3(signature = (limits, *, first_only = false))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands over owned values"
    )]
    fn new(limits: Vec<PyRef<'_, Limit>>, first_only: bool) -> Result<Self, Error> {
        let limits: Vec<_> = limits.iter().map(|each| Arc::clone(&each.limit)).collect();
        Ok(Self {
            row: Arc::new(row::Row::new(&limits, first_only)?),
            usual: Arc::default(),
        })
    }

    /// What is left, charging nothing; None where one has no room.
    fn foresee(&self, keys: &Bound<'_, PyTuple>, now_ms: i64) -> PyResult<Option<Quotas>> {
        let keys = self.keys(keys)?;
        let quotas = guarded(|| Ok(self.row.foresee(&keys, now_ms)))?;
        Ok(quotas.map(|quotas| Quotas::new(quotas, &self.usual)))
    }

    /// Charge all, or none.
    fn charge(&self, keys: &Bound<'_, PyTuple>, now_ms: i64) -> PyResult<Option<Charges>> {
        let keys = self.keys(keys)?;
        guarded(|| Ok(self.charges(self.row.charge(&keys, now_ms)?)))
    }

    /// The same, undecided.
    fn hold(&self, keys: &Bound<'_, PyTuple>, now_ms: i64) -> PyResult<Option<Charges>> {
        let keys = self.keys(keys)?;
        guarded(|| Ok(self.charges(self.row.hold(&keys, now_ms)?)))
    }

    /// Charge for good, and what is left then.
    fn spend(&self, keys: &Bound<'_, PyTuple>, now_ms: i64) -> PyResult<Option<Quotas>> {
        let keys = self.keys(keys)?;
        let quotas = guarded(|| {
            let charges = self.row.charge(&keys, now_ms)?;
            Ok(charges.map(|charges| charges.quotas(now_ms)))
        })?;
        Ok(quotas.map(|quotas| Quotas::new(quotas, &self.usual)))
    }

    /// The policies without room, each with its wait, and what a caller may know.
    fn refusal(
        &self,
        keys: &Bound<'_, PyTuple>,
        now_ms: i64,
    ) -> PyResult<(Vec<(String, i64)>, Quotas)> {
        let keys = self.keys(keys)?;
        let refusal = guarded(|| Ok(self.row.refusal(&keys, now_ms)))?;
        let violated = refusal.violated.iter();
        Ok((
            violated
                .map(|(policy, wait_ms)| (policy.name.to_string(), *wait_ms))
                .collect(),
            Quotas::new(refusal.quotas, &self.usual),
        ))
    }

    /// Charge without asking.
    fn record(&self, keys: &Bound<'_, PyTuple>, at_ms: i64) -> PyResult<()> {
        let keys = self.keys(keys)?;
        guarded(|| self.row.record(&keys, at_ms))
    }

    fn __repr__(&self) -> String {
        format!("<LimitRow of {}>", self.row.len())
    }
}

/// What was charged, and may be given back.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct Charges {
    charges: row::Charges,
    usual: Arc<Text>,
}

#[pymethods]
impl Charges {
    /// When it was charged.
    #[getter]
    fn at_ms(&self) -> i64 {
        self.charges.at_ms()
    }

    /// Give all back, once.
    fn refund(&self) -> PyResult<()> {
        guarded(|| {
            self.charges.refund();
            Ok(())
        })
    }

    /// End a `hold`, once.
    fn decide(&self) -> PyResult<()> {
        guarded(|| {
            self.charges.decide();
            Ok(())
        })
    }

    /// What is left of what was charged.
    fn quotas(&self, now_ms: i64) -> PyResult<Quotas> {
        let quotas = guarded(|| Ok(self.charges.quotas(now_ms)))?;
        Ok(Quotas::new(quotas, &self.usual))
    }

    fn __repr__(&self) -> String {
        format!("<Charges at {}>", self.charges.at_ms())
    }

    #[expect(clippy::unused_self, reason = "a method of Python")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("Charges cannot be pickled or copied"))
    }
}
