//! What is left of limits, for Python: [`crate::limit::quotas`].

use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString, PyTuple};

use crate::limit::named::Policy;
use crate::limit::quotas;

/// A text that is made when it is first read.
///
/// Not `PyOnceLock`, which lets other threads in while it makes its value: that costs more than the
/// text. Two threads may make it at once; then one of the two stays.
#[derive(Default)]
pub(super) struct Text(OnceLock<Py<PyString>>);

impl Text {
    fn get<'py>(&self, py: Python<'py>, make: impl FnOnce() -> String) -> Bound<'py, PyString> {
        if let Some(text) = self.0.get() {
            return text.bind(py).clone();
        }
        let text = PyString::new(py, &make());
        let _ = self.0.set(text.clone().unbind());
        text
    }
}

/// One window of one limit, as a caller may know it.
#[pyclass(frozen, eq, hash, module = "otp_server.core._native")]
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Quota(quotas::Quota);

#[pymethods]
impl Quota {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
    ) = ("policy", "limit", "window_ms", "remaining", "reset_ms");

    #[new]
    fn new(policy: &str, limit: u64, window_ms: i64, remaining: u64, reset_ms: i64) -> Self {
        Self(quotas::Quota {
            policy: Policy {
                name: policy.into(),
                limit,
                window_ms,
            },
            remaining,
            reset_ms,
        })
    }

    /// A word such as `contact-60`.
    #[getter]
    fn policy(&self) -> &str {
        &self.0.policy.name
    }

    /// How many charges the window takes.
    #[getter]
    fn limit(&self) -> u64 {
        self.0.policy.limit
    }

    /// How long it is.
    #[getter]
    fn window_ms(&self) -> i64 {
        self.0.policy.window_ms
    }

    /// How many more it takes now.
    #[getter]
    fn remaining(&self) -> u64 {
        self.0.remaining
    }

    /// Until `remaining` grows.
    #[getter]
    fn reset_ms(&self) -> i64 {
        self.0.reset_ms
    }

    fn __repr__(&self) -> String {
        format!(
            "Quota('{}', {}, {}, {}, {})",
            self.0.policy.name,
            self.0.policy.limit,
            self.0.policy.window_ms,
            self.0.remaining,
            self.0.reset_ms
        )
    }
}

/// What is left of limits: quotas in order, and their two texts.
#[pyclass(frozen, eq, hash, module = "otp_server.core._native")]
pub(super) struct Quotas {
    values: quotas::Quotas,
    /// The policies' text of all usual quotas of one row.
    usual: Arc<Text>,
    left: Text,
}

impl Quotas {
    pub(super) fn new(quotas: quotas::Quotas, usual: &Arc<Text>) -> Self {
        Self {
            values: quotas,
            usual: Arc::clone(usual),
            left: Text::default(),
        }
    }
}

impl PartialEq for Quotas {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Quotas {}

impl std::hash::Hash for Quotas {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.values.hash(state);
    }
}

#[pymethods]
impl Quotas {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands over owned values"
    )]
    fn of(quotas: Vec<PyRef<'_, Quota>>) -> Self {
        let values = quotas.iter().map(|quota| quota.0.clone());
        Self::new(values.collect(), &Arc::default())
    }

    /// The text of `RateLimit-Policy`.
    #[getter]
    fn policies<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let make = || self.values.policies();
        if self.values.is_usual() {
            self.usual.get(py, make)
        } else {
            PyString::new(py, &make())
        }
    }

    /// The text of `RateLimit`.
    #[getter]
    fn left<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.left.get(py, || self.values.left())
    }

    fn __len__(&self) -> usize {
        self.values.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let values: Vec<Quota> = self.values.iter().map(Quota).collect();
        PyTuple::new(py, values)?.try_iter()
    }

    fn __repr__(&self) -> String {
        format!("<Quotas {}>", self.values.left())
    }
}
