//! The devices' sockets for Python: [`crate::reactor`].
//!
//! A poll works on many sockets and makes system calls, so it drops the GIL. The other calls keep
//! it: they are short, and to win it back from a busy thread can take five milliseconds.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::errors::{guarded, os_error};
use super::frames::Frame;
use crate::reactor::{self, EntranceRules, Id};
use crate::session::{SessionKind, SessionOptions};
use crate::ws::connection::MessageRules;

/// A listening TCP socket for a reactor.
#[pyclass(module = "otp_server.core._native")]
pub(super) struct ReactorListener(Option<reactor::Listener>);

#[pymethods]
impl ReactorListener {
    #[new]
    #[pyo3(signature = (host, port, *, backlog = 4096, reuse_port = false, send_buffer_bytes = None))]
    fn new(
        host: &str,
        port: u16,
        backlog: i32,
        reuse_port: bool,
        send_buffer_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let host: IpAddr = host
            .parse()
            .map_err(|_| PyValueError::new_err("host must be a numeric address"))?;
        let listener = reactor::Listener::bind(host, port, backlog, reuse_port, send_buffer_bytes)
            .map_err(failed)?;
        Ok(Self(Some(listener)))
    }

    /// Address and port.
    fn getsockname(&self) -> PyResult<(String, u16)> {
        let address = self.0.as_ref().ok_or_else(gone)?.address();
        Ok((address.ip().to_string(), address.port()))
    }

    /// Close it, unless a reactor has taken it over. Idempotent.
    fn close(&mut self) {
        self.0 = None;
    }

    fn __repr__(&self) -> String {
        match &self.0 {
            Some(listener) => format!("<ReactorListener {}>", listener.address()),
            None => "<ReactorListener closed>".to_owned(),
        }
    }
}

impl ReactorListener {
    /// For the reactor that takes it over.
    pub(super) fn take(&mut self) -> PyResult<reactor::Listener> {
        self.0.take().ok_or_else(gone)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: io::Error) -> PyErr {
    os_error(error.raw_os_error(), error.to_string())
}

fn gone() -> PyErr {
    PyRuntimeError::new_err("the listener is closed or taken over")
}

/// What a connection may cost and how long it may wait.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct ReactorOptions {
    connections_max: usize,
    entrance: EntranceRules,
    session: SessionOptions,
}

#[pymethods]
impl ReactorOptions {
    #[new]
    #[pyo3(signature = (
        *, connections_max, entrance_max, entrance_per_address, trusted, frame_bytes_max,
        message_bytes_max, fragments_max, burst_bytes, bytes_per_s, item_bytes, outbox_bytes_max, upgrade_ms, frame_ms, ping_interval_ms, ping_misses,
        close_ms, write_ms, echo = false
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        connections_max: usize,
        entrance_max: usize,
        entrance_per_address: usize,
        trusted: Vec<String>,
        frame_bytes_max: usize,
        message_bytes_max: u32,
        fragments_max: u32,
        burst_bytes: u64,
        bytes_per_s: u64,
        item_bytes: u64,
        outbox_bytes_max: usize,
        upgrade_ms: u64,
        frame_ms: u64,
        ping_interval_ms: u64,
        ping_misses: u8,
        close_ms: u64,
        write_ms: u64,
        echo: bool,
    ) -> PyResult<Self> {
        crate::haptic::codec::FrameDecoder::new(frame_bytes_max)?;
        let trusted = trusted
            .into_iter()
            .map(|network| network.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| PyValueError::new_err("trusted must be of networks, as 10.0.0.0/8"))?;
        let kind = if echo {
            SessionKind::Echo
        } else {
            SessionKind::Device
        };
        let session = SessionOptions {
            kind,
            frame_bytes_max,
            message: MessageRules {
                text: echo,
                bytes_max: message_bytes_max,
                fragments_max,
            },
            burst_bytes,
            bytes_per_s,
            item_bytes,
            outbox_bytes_max,
            upgrade_ms,
            frame_ms,
            ping_interval_ms,
            ping_misses,
            close_ms,
            write_ms,
        };
        Ok(Self {
            connections_max,
            entrance: EntranceRules {
                max: entrance_max,
                per_address: entrance_per_address,
                trusted,
            },
            session,
        })
    }
}

/// What happened since the poll before.
#[pyclass(frozen, get_all, module = "otp_server.core._native")]
pub(super) struct ReactorBatch {
    upgrades: Py<PyList>,
    frames: Py<PyList>,
    closed: Py<PyList>,
    dropped: usize,
    panics: usize,
    starved: Option<i32>,
    more: bool,
}

/// All connections of one listener.
#[pyclass(module = "otp_server.core._native")]
pub(super) struct Reactor(reactor::Reactor);

#[pymethods]
impl Reactor {
    #[new]
    fn new(listener: &mut ReactorListener, options: &ReactorOptions) -> PyResult<Self> {
        let listener = listener.take()?;
        let entrance = options.entrance.clone();
        let reactor =
            reactor::Reactor::new(listener, options.connections_max, entrance, options.session)
                .map_err(failed)?;
        Ok(Self(reactor))
    }

    /// The descriptor to wait for.
    fn fileno(&self) -> i32 {
        self.0.fileno()
    }

    /// Open sockets.
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
    fn poll(&mut self, py: Python<'_>, now_ms: u64, time_us: u64) -> PyResult<ReactorBatch> {
        let time = Duration::from_micros(time_us);
        let batch = guarded(|| Ok(py.detach(|| self.0.poll(now_ms, time))))?.map_err(failed)?;
        to_python(py, batch)
    }

    /// None lets a connection in; bytes are the HTTP response that refuses it.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
    fn decide_many(
        &mut self,
        verdicts: Vec<(u64, Option<PyBackedBytes>)>,
        now_ms: u64,
    ) -> PyResult<()> {
        let verdicts = verdicts
            .iter()
            .map(|(id, refusal)| (Id(*id), refusal.as_deref()));
        guarded(|| {
            self.0.decide_many(verdicts, now_ms);
            Ok(())
        })
    }

    /// Send messages.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
    fn send_many(&mut self, messages: Vec<(u64, PyBackedBytes)>, now_ms: u64) -> PyResult<()> {
        let messages = messages.iter().map(|(id, message)| (Id(*id), &**message));
        guarded(|| {
            self.0.send_many(messages, now_ms);
            Ok(())
        })
    }

    /// Close connections.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over owned views")]
    fn close_many(
        &mut self,
        closes: Vec<(u64, u16, PyBackedStr, u64)>,
        now_ms: u64,
    ) -> PyResult<()> {
        let closes = closes
            .iter()
            .map(|(id, code, reason, within_ms)| (Id(*id), *code, &**reason, *within_ms));
        guarded(|| {
            self.0.close_many(closes, now_ms);
            Ok(())
        })
    }

    /// Close all connections, in steps, one a poll.
    fn close_all(&mut self, code: u16, reason: &str) {
        self.0.close_all(code, reason);
    }

    /// Drop every connection without a word; those the caller knew.
    fn abandon(&mut self) -> Vec<u64> {
        self.0.abandon().into_iter().map(|id| id.0).collect()
    }

    /// Close the listener.
    fn stop_accepting(&mut self) {
        self.0.stop_accepting();
    }

    fn __repr__(&self) -> String {
        format!("<Reactor connections={}>", self.0.connections())
    }
}

fn to_python(py: Python<'_>, batch: reactor::Batch) -> PyResult<ReactorBatch> {
    let upgrades = PyList::empty(py);
    for upgrade in batch.upgrades {
        let headers = PyList::empty(py);
        for (name, value) in &upgrade.request.headers {
            headers.append((PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value)))?;
        }
        let target = &upgrade.request.target;
        let row = (
            upgrade.id.0,
            upgrade.peer,
            target,
            headers,
            upgrade.over_limit,
        );
        upgrades.append(row)?;
    }
    let frames = PyList::empty(py);
    for (id, frame) in batch.frames {
        let row: Bound<'_, PyTuple> = (id.0, Frame::new(py, &frame)).into_pyobject(py)?;
        frames.append(row)?;
    }
    let closed = batch.closed.into_iter().map(|(id, why)| (id.0, why));
    Ok(ReactorBatch {
        upgrades: upgrades.unbind(),
        frames: frames.unbind(),
        closed: PyList::new(py, closed.collect::<Vec<_>>())?.unbind(),
        dropped: batch.dropped,
        panics: batch.panics,
        starved: batch.starved,
        more: batch.more,
    })
}
