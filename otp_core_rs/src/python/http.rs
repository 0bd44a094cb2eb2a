//! HTTP connections for Python: [`crate::reactor::http`].
//!
//! As with the devices' sockets, a poll drops the GIL and the other calls keep it.

use std::net::IpAddr;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::errors::guarded;
use super::reactor::{ReactorListener, failed};
use crate::http::{Answer, Options, Request, Routes};
use crate::reactor::{self, CrowdRules, Id};

/// Which requests are answered here, and what a connection may cost and how long it may wait.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct HttpReactorOptions {
    crowd: CrowdRules,
    options: Options,
}

#[pymethods]
impl HttpReactorOptions {
    #[new]
    #[pyo3(signature = (
        *, routes, connections_max, per_address_max, trusted, head_bytes_max, body_bytes_max,
        head_ms, request_ms, idle_ms, write_ms, close_ms
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
    fn new(
        routes: Vec<(Option<PyBackedStr>, PyBackedStr)>,
        connections_max: usize,
        per_address_max: usize,
        trusted: Vec<PyBackedStr>,
        head_bytes_max: usize,
        body_bytes_max: usize,
        head_ms: u64,
        request_ms: u64,
        idle_ms: u64,
        write_ms: u64,
        close_ms: u64,
    ) -> PyResult<Self> {
        let rules: Vec<_> = routes
            .iter()
            .map(|(method, path)| (method.as_deref(), &**path))
            .collect();
        let trusted = trusted
            .iter()
            .map(|network| network.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| PyValueError::new_err("trusted must be of networks, as 10.0.0.0/8"))?;
        let options = Options {
            routes: Routes::new(&rules)?,
            head_bytes_max,
            body_bytes_max,
            head_ms,
            request_ms,
            idle_ms,
            write_ms,
            close_ms,
        };
        Ok(Self {
            crowd: CrowdRules {
                connections_max,
                per_address_max,
                trusted,
            },
            options: options.checked()?,
        })
    }
}

/// A whole request for one of the routes.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct HttpRequest {
    id: Id,
    peer: Py<PyString>,
    request: Request,
}

#[pymethods]
impl HttpRequest {
    /// Its connection's number.
    #[getter]
    fn connection(&self) -> u64 {
        self.id.0
    }

    /// The place of its route in the list.
    #[getter]
    fn route(&self) -> u16 {
        self.request.route
    }

    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        text(py, self.request.method())
    }

    /// What the path has in the places of the route's names, in order.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.request.parameters().map(|value| text(py, value)))
    }

    /// As it came, without its question mark.
    #[getter]
    fn query<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        text(py, self.request.query())
    }

    /// By lower-case names; the values of repeated ones joined. A new dict each time.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let headers = PyDict::new(py);
        for (name, value) in self.request.headers() {
            let (name, value) = (field_name(py, name), text(py, value));
            match headers.get_item(&name)? {
                None => headers.set_item(name, value)?,
                Some(held) => headers.set_item(name, format!("{held}, {value}"))?,
            }
        }
        Ok(headers)
    }

    /// None: it is larger than may be.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let body = self.request.body.as_deref()?;
        Some(PyBytes::new(py, body))
    }

    /// The address the connection came from.
    #[getter]
    fn peer<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.peer.bind(py)
    }

    fn __repr__(&self) -> String {
        format!(
            "<HttpRequest connection={} route={}>",
            self.id.0, self.request.route
        )
    }
}

/// A header's name in lower case; one that most requests have is the same string each time.
fn field_name<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
    let known = match name {
        b"host" => intern!(py, "host"),
        b"user-agent" => intern!(py, "user-agent"),
        b"accept" => intern!(py, "accept"),
        b"accept-encoding" => intern!(py, "accept-encoding"),
        b"connection" => intern!(py, "connection"),
        b"authorization" => intern!(py, "authorization"),
        b"bsauth" => intern!(py, "bsauth"),
        b"content-type" => intern!(py, "content-type"),
        b"content-length" => intern!(py, "content-length"),
        b"idempotency-key" => intern!(py, "idempotency-key"),
        b"x-forwarded-for" => intern!(py, "x-forwarded-for"),
        _ => return text(py, name),
    };
    known.clone()
}

/// ASCII mostly, and then cheap; any other byte is its character of Latin-1, as in ASGI.
fn text<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        _ => {
            let latin: String = bytes.iter().copied().map(char::from).collect();
            PyString::new(py, &latin)
        }
    }
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| address.to_string())
}

/// What happened since the poll before.
#[pyclass(frozen, get_all, module = "otp_server.core._native")]
pub(super) struct HttpBatch {
    requests: Py<PyList>,
    refused: usize,
    panics: usize,
    starved: Option<i32>,
}

type Headers = Vec<(PyBackedStr, PyBackedStr)>;
type Answered = (Py<HttpRequest>, u16, PyBackedStr, Headers, PyBackedBytes);

/// All HTTP connections of one listener.
#[pyclass(module = "otp_server.core._native")]
pub(super) struct HttpReactor(reactor::HttpReactor);

#[pymethods]
impl HttpReactor {
    #[new]
    fn new(listener: &mut ReactorListener, options: &HttpReactorOptions) -> PyResult<Self> {
        let (crowd, options) = (options.crowd.clone(), options.options.clone());
        let reactor =
            reactor::HttpReactor::new(listener.take()?, crowd, options).map_err(failed)?;
        Ok(Self(reactor))
    }

    /// The descriptor to wait for.
    fn fileno(&self) -> i32 {
        self.0.fileno()
    }

    /// Open sockets, without those handed over.
    #[getter]
    fn connections(&self) -> usize {
        self.0.connections()
    }

    /// When to poll even if the descriptor is not readable.
    fn next_deadline(&self) -> Option<u64> {
        self.0.next_deadline()
    }

    /// Whether to poll at once.
    #[getter]
    fn has_more(&self) -> bool {
        self.0.has_more()
    }

    /// Do what can be done without waiting.
    fn poll(
        &mut self,
        py: Python<'_>,
        now_ms: u64,
        time_us: u64,
        unix_s: u64,
    ) -> PyResult<HttpBatch> {
        let time = Duration::from_micros(time_us);
        self.0.set_date(unix_s);
        let batch = guarded(|| Ok(py.detach(|| self.0.poll(now_ms, time))))?.map_err(failed)?;
        let requests = PyList::empty(py);
        let (mut last, mut peer) = (None, PyString::new(py, ""));
        for asked in batch.requests {
            if asked.peer != last {
                // behind a proxy it is the same for all
                (last, peer) = (asked.peer, PyString::new(py, &shown(asked.peer)));
            }
            let request = HttpRequest {
                id: asked.id,
                peer: peer.clone().unbind(),
                request: asked.request,
            };
            requests.append(Py::new(py, request)?)?;
        }
        Ok(HttpBatch {
            requests: requests.unbind(),
            refused: batch.refused,
            panics: batch.panics,
            starved: batch.starved,
        })
    }

    /// Answer requests.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
    fn send_many(&mut self, answers: Vec<Answered>, now_ms: u64, unix_s: u64) -> PyResult<usize> {
        self.0.set_date(unix_s);
        let named: Vec<Vec<(&str, &str)>> = answers
            .iter()
            .map(|(_, _, _, headers, _)| {
                let pairs = headers.iter();
                pairs.map(|(name, value)| (&**name, &**value)).collect()
            })
            .collect();
        let answers = answers.iter().zip(&named).map(|(answer, headers)| {
            let (request, status, content_type, _, body) = answer;
            let request = request.get();
            let answer = Answer {
                status: *status,
                content_type,
                headers,
                body,
            };
            (request.id, request.request.number, answer)
        });
        guarded(|| Ok(self.0.send_many(answers, now_ms)))
    }

    /// The connections handed over since the last call, now the caller's.
    fn take_handovers<'py>(&mut self, py: Python<'py>) -> Vec<(i32, Bound<'py, PyBytes>, String)> {
        let handovers = self.0.take_handovers().into_iter();
        handovers
            .map(|handover| {
                let data = PyBytes::new(py, &handover.data);
                (handover.socket.into_raw_fd(), data, shown(handover.peer))
            })
            .collect()
    }

    /// End every connection after the request it has begun, in steps, one a poll.
    fn drain(&mut self) {
        self.0.drain();
    }

    /// Close the listener.
    fn stop_accepting(&mut self) {
        self.0.stop_accepting();
    }

    fn __repr__(&self) -> String {
        format!("<HttpReactor connections={}>", self.0.connections())
    }
}
