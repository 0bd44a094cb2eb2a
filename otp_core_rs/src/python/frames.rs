//! Frames and messages for Python: [`crate::haptic`].

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::errors::guarded;
use super::integers::Clamped;
use super::passcodes::Passcode;
use crate::error::Error;
use crate::haptic::{codec, messages};

/// One `HapticFrame`: its type byte and its protobuf payload.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct Frame {
    #[pyo3(get)]
    r#type: u8,
    #[pyo3(get)]
    payload: Py<PyBytes>,
}

impl Frame {
    pub(super) fn new(py: Python<'_>, frame: &codec::Frame) -> Self {
        Self {
            r#type: frame.frame_type,
            payload: PyBytes::new(py, &frame.payload).unbind(),
        }
    }
}

#[pymethods]
impl Frame {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str, &'static str) = ("type", "payload");

    /// The payload may hold a token or a code: only its length is shown.
    fn __repr__(&self, py: Python<'_>) -> String {
        let payload_bytes = self.payload.as_bytes(py).len();
        format!("<Frame type={} payload_bytes={payload_bytes}>", self.r#type)
    }
}

/// Why a byte stream stopped being frames.
#[pyclass(frozen, module = "otp_server.core._native")]
pub(super) struct FrameFault(codec::FrameFault);

#[pymethods]
impl FrameFault {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str, &'static str) = ("kind", "close_code");

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    #[getter]
    fn close_code(&self) -> u16 {
        self.0.close_code()
    }

    fn __repr__(&self) -> String {
        format!("<FrameFault {} {}>", self.kind(), self.close_code())
    }
}

/// An incremental decoder: bytes in, frames out, however the bytes were cut.
#[pyclass(module = "otp_server.core._native")]
pub(super) struct FrameDecoder(codec::FrameDecoder);

#[pymethods]
impl FrameDecoder {
    #[new]
    #[pyo3(signature = (frame_bytes_max = Clamped(1024)), text_signature = "(frame_bytes_max=1024)")]
    fn new(frame_bytes_max: Clamped) -> Result<Self, Error> {
        codec::FrameDecoder::new(frame_bytes_max.size()).map(Self)
    }

    /// The frames that `data` completes.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands over an owned view"
    )]
    fn receive_data(&mut self, py: Python<'_>, data: PyBackedBytes) -> PyResult<Vec<Frame>> {
        let frames = guarded(|| Ok(self.0.receive_data(&data)))?;
        Ok(frames.iter().map(|frame| Frame::new(py, frame)).collect())
    }

    /// The fault that ended the stream, or None.
    #[getter]
    fn fault(&self) -> Option<FrameFault> {
        self.0.fault().map(FrameFault)
    }

    /// Bytes of a begun frame that wait for the rest.
    #[getter]
    fn pending_bytes(&self) -> usize {
        self.0.pending_bytes()
    }

    fn __repr__(&self) -> String {
        format!("<FrameDecoder pending_bytes={}>", self.0.pending_bytes())
    }
}

/// Header and payload.
#[pyfunction]
pub(super) fn encode_frame<'py>(
    py: Python<'py>,
    frame_type: Clamped,
    payload: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let frame_type =
        u8::try_from(frame_type.0).map_err(|_| Error::Value("a frame type is 0 to 255"))?;
    let frame = guarded(|| codec::encode_frame(frame_type, payload))?;
    Ok(PyBytes::new(py, &frame))
}

/// The `reserved` field of an `OTPRequest`.
#[pyfunction]
pub(super) fn decode_otp_request(payload: &[u8]) -> PyResult<bool> {
    guarded(|| Ok(messages::decode_otp_request(payload)?))
}

/// The `jwt_token` of an `Auth`.
#[pyfunction]
pub(super) fn decode_auth(payload: &[u8]) -> PyResult<&str> {
    guarded(|| Ok(messages::decode_auth(payload)?))
}

/// The fields `otp`, `expires_at_ms` and `error` of an `OTPResponse`.
#[pyfunction]
pub(super) fn decode_otp_response(payload: &[u8]) -> PyResult<(String, u64, String)> {
    let response = guarded(|| Ok(messages::decode_otp_response(payload)?))?;
    Ok((
        response.otp.to_string(),
        response.expires_at_ms,
        response.error,
    ))
}

/// A whole `OTPResponse` frame with a code.
#[pyfunction]
pub(super) fn encode_otp_code<'py>(
    py: Python<'py>,
    passcode: &Passcode,
    expires_at_ms: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let frame = guarded(|| messages::encode_otp_response(passcode.0.reveal(), expires_at_ms, ""))?;
    Ok(PyBytes::new(py, &frame))
}

/// A whole `OTPResponse` frame with an error and nothing else.
#[pyfunction]
pub(super) fn encode_otp_error<'py>(py: Python<'py>, error: &str) -> PyResult<Bound<'py, PyBytes>> {
    if error.is_empty() {
        return Err(Error::Value("an error is not empty: empty means success").into());
    }
    let frame = guarded(|| messages::encode_otp_response("", 0, error))?;
    Ok(PyBytes::new(py, &frame))
}
