//! Frame headers, RFC 6455 section 5.2.
//!
//! ```text
//!  FIN RSV1-3 opcode | MASK length7 | length16 or length64 | masking key | payload ...
//! ```

use super::Fault;

/// Two fixed bytes, an eight-byte length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;
/// The largest payload of a control frame, section 5.5.
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
/// A masking key, section 5.3.
pub const MASK_BYTES: usize = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message that was begun.
    Continuation,
    /// A message of UTF-8.
    Text,
    /// A message of bytes.
    Binary,
    /// Section 5.5.1.
    Close,
    /// Section 5.5.2.
    Ping,
    /// Section 5.5.3.
    Pong,
}

impl Opcode {
    /// Whether frames of this opcode may stand between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The size of the payload.
    pub payload_bytes: u64,
    /// The masking key.
    pub mask: [u8; MASK_BYTES],
}

/// Reads the header that begins here: it and its size, or nothing while bytes are missing.
///
/// Every fault is found with the first byte that shows it.
///
/// # Errors
/// [`Fault::Protocol`].
pub fn parse_header(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let [first, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = Opcode::of(first & OPCODE).ok_or(Fault::Protocol("a reserved opcode"))?;
    let fin = first & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(Fault::Protocol("a control frame in fragments"));
    }
    if first & RESERVED != 0 {
        return Err(Fault::Protocol("a reserved bit"));
    }
    let [second, rest @ ..] = rest else {
        return Ok(None);
    };
    if second & MASKED == 0 {
        return Err(Fault::Protocol("a frame without a mask"));
    }
    let length = second & LENGTH;
    if opcode.is_control() && usize::from(length) > CONTROL_BYTES_MAX {
        return Err(Fault::Protocol("a control frame above 125 bytes"));
    }
    let Some((payload_bytes, rest)) = payload_bytes(length, rest)? else {
        return Ok(None);
    };
    let Some((mask, payload)) = rest.split_first_chunk::<MASK_BYTES>() else {
        return Ok(None);
    };
    let header = Header {
        fin,
        opcode,
        payload_bytes,
        mask: *mask,
    };
    Ok(Some((header, bytes.len() - payload.len())))
}

/// The payload's length, in the fewest bytes that can say it, and what follows.
fn payload_bytes(length: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    match length {
        LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from(u16::from_be_bytes(*bytes));
            if length < u64::from(LENGTH_16) {
                return Err(Fault::Protocol("a length longer than needed"));
            }
            Ok(Some((length, rest)))
        }
        LENGTH_64 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*bytes);
            if length >> 63 != 0 {
                return Err(Fault::Protocol("a length with its highest bit set"));
            }
            if u16::try_from(length).is_ok() {
                return Err(Fault::Protocol("a length longer than needed"));
            }
            Ok(Some((length, rest)))
        }
        _ => Ok(Some((u64::from(length), rest))),
    }
}

/// Appends a whole frame of the server: FIN set, not masked, the length in its shortest form.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(payload.len() + HEADER_BYTES_MAX - MASK_BYTES);
    out.push(FIN | opcode.number());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < LENGTH_16 => out.push(length),
        (_, Ok(length)) => {
            out.push(LENGTH_16);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(LENGTH_64);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends a close frame; a reason beyond 123 bytes is cut at a character.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let [high, low] = code.to_be_bytes();
    let end = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
    let mut payload = Vec::with_capacity(CONTROL_BYTES_MAX);
    payload.extend_from_slice(&[high, low]);
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    write_frame(out, Opcode::Close, &payload);
}
