//! The three messages of `proto/device.proto`, read and written by hand.
//!
//! | message       | field 1            | field 2                | field 3        |
//! |---------------|--------------------|------------------------|----------------|
//! | `OTPRequest`  | bool `reserved`    |                        |                |
//! | `OTPResponse` | string `otp`       | uint64 `expires_at_ms` | string `error` |
//! | `Auth`        | string `jwt_token` |                        |                |
//!
//! Reading follows protobuf: the last value of a field wins, an absent field has its default, and
//! unknown fields are skipped, as is a known field of another wire type. Writing gives what
//! protobuf's deterministic serialisation gives: fields in order, defaults left out.

use zeroize::Zeroizing;

use super::codec::{self, HEADER_BYTES};
use super::wire::{Fields, WireFault, put_number, put_text};
use crate::error::Error;

/// The frame type of `OTPResponse`.
pub const OTP_RESPONSE: u8 = 20;

/// More than the tags, lengths and the number of an `OTPResponse` ever take.
const RESPONSE_OVERHEAD_BYTES: usize = 32;

/// The answer to a device; a non-empty `error` means that there is no code.
///
/// Its text is a secret: there is no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtpResponse {
    /// The code.
    pub otp: Zeroizing<String>,
    /// When the code ends, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// A token of `proto/errors.toml`.
    pub error: String,
}

/// Reads an `OTPRequest`: its `reserved` field.
///
/// # Errors
/// [`WireFault`] for bytes that are not a message.
pub fn decode_otp_request(payload: &[u8]) -> Result<bool, WireFault> {
    let mut reserved = false;
    let mut fields = Fields::new(payload);
    while let Some((number, value)) = fields.next_field()? {
        if let (1, Some(flag)) = (number, value.number()) {
            reserved = flag != 0;
        }
    }
    Ok(reserved)
}

/// Reads an `Auth`: its `jwt_token`, borrowed from the payload.
///
/// # Errors
/// [`WireFault`] for bytes that are not a message.
pub fn decode_auth(payload: &[u8]) -> Result<&str, WireFault> {
    let mut jwt_token = "";
    let mut fields = Fields::new(payload);
    while let Some((number, value)) = fields.next_field()? {
        if number == 1 {
            jwt_token = value.text()?.unwrap_or(jwt_token);
        }
    }
    Ok(jwt_token)
}

/// Reads an `OTPResponse`, as a device does.
///
/// # Errors
/// [`WireFault`] for bytes that are not a message.
pub fn decode_otp_response(payload: &[u8]) -> Result<OtpResponse, WireFault> {
    let (mut otp, mut expires_at_ms, mut error) = ("", 0, "");
    let mut fields = Fields::new(payload);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => otp = value.text()?.unwrap_or(otp),
            2 => expires_at_ms = value.number().unwrap_or(expires_at_ms),
            3 => error = value.text()?.unwrap_or(error),
            _ => {}
        }
    }
    Ok(OtpResponse {
        otp: Zeroizing::new(otp.to_owned()),
        expires_at_ms,
        error: error.to_owned(),
    })
}

/// A whole `OTPResponse` frame; the buffer is wiped when it is dropped.
///
/// # Errors
/// [`Error::Value`] when the frame would pass 65535 bytes.
pub fn encode_otp_response(
    otp: &str,
    expires_at_ms: u64,
    error: &str,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    // Room for everything at once: a vector that grows leaves unwiped copies behind.
    let room = HEADER_BYTES + RESPONSE_OVERHEAD_BYTES + otp.len() + error.len();
    let mut frame = Zeroizing::new(Vec::with_capacity(room));
    frame.extend_from_slice(&[0; HEADER_BYTES]);
    put_text(&mut frame, 1, otp);
    put_number(&mut frame, 2, expires_at_ms);
    put_text(&mut frame, 3, error);
    let header = codec::header(OTP_RESPONSE, frame.len() - HEADER_BYTES)?;
    frame[..HEADER_BYTES].copy_from_slice(&header);
    Ok(frame)
}
