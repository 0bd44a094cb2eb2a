//! What a client may send after the upgrade: messages in fragments, control frames between them.
//!
//! The receiving half is in one of these states; sending has none.
//!
//! | state   | holds                       | left when                                          |
//! |---------|-----------------------------|----------------------------------------------------|
//! | header  | up to 13 bytes of a header  | the header is whole: every bound is checked        |
//! | data    | how much payload is missing | the payload is over; pieces go out as they come    |
//! | control | up to 125 bytes of payload  | the payload is whole: ping, pong or close          |
//!
//! Beside it stands the message that is under way: its bytes and fragments so far, and for text
//! the unfinished character. So an idle connection owns no memory but this struct, and there are
//! very many of them: what only one state needs is in that state.

#![expect(clippy::mut_mut, reason = "the caller's slice is cut from its front")]

use super::frame::{self, CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, MASK_BYTES, Opcode};
use super::utf8::Utf8;
use super::{Fault, mask};

/// What one message may be.
#[derive(Debug, Clone, Copy)]
pub struct MessageRules {
    /// Whether it may be text.
    pub text: bool,
    /// Payload bytes of all fragments.
    pub bytes_max: u32,
    /// Frames, empty ones too: they cost no bytes.
    pub fragments_max: u32,
}

/// The payload of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload {
    bytes: [u8; CONTROL_BYTES_MAX],
    size: u8,
}

impl ControlPayload {
    const fn new() -> Self {
        Self {
            bytes: [0; CONTROL_BYTES_MAX],
            size: 0,
        }
    }

    /// The bytes, unmasked.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }

    fn push(&mut self, data: &[u8]) {
        for byte in data {
            self.bytes[usize::from(self.size)] = *byte;
            self.size += 1;
        }
    }
}

/// Something a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'data> {
    /// Payload of a message, unmasked in place; text is UTF-8 as far as it can be known.
    Data {
        /// Text, or else binary.
        text: bool,
        /// Perhaps none: a message may end without more bytes.
        payload: &'data [u8],
        /// Whether the WebSocket frame is whole with it.
        over: bool,
        /// Whether the message is whole with it.
        end: bool,
    },
    /// To be answered with a pong of the same payload.
    Ping(ControlPayload),
    /// An answer to a ping, or not.
    Pong(ControlPayload),
    /// The peer closes; its payload is valid, and goes back as it is. Nothing may follow.
    Close(ControlPayload),
}

/// The payload under way: how much is missing, and what unmasks it.
#[derive(Debug, Clone, Copy)]
struct Payload {
    missing: u32,
    mask: [u8; MASK_BYTES],
    /// The masking key's place.
    offset: u8,
}

impl Payload {
    /// Takes what is there of it from the front of `data`, unmasked.
    fn take<'data>(&mut self, data: &mut &'data mut [u8]) -> &'data mut [u8] {
        let taken = take(data, self.missing as usize);
        mask::apply(taken, self.mask, usize::from(self.offset));
        self.offset = turned(self.offset, taken.len());
        // No more than was missing.
        self.missing -= u32::try_from(taken.len()).unwrap_or(self.missing);
        taken
    }
}

#[derive(Debug)]
enum Receiving {
    Header {
        held: [u8; HEADER_BYTES_MAX],
        bytes: u8,
    },
    Data {
        payload: Payload,
        fin: bool,
    },
    Control(Box<Control>),
}

const HEADER: Receiving = Receiving::Header {
    held: [0; HEADER_BYTES_MAX],
    bytes: 0,
};

#[derive(Debug)]
struct Control {
    opcode: Opcode,
    payload: Payload,
    taken: ControlPayload,
}

/// The receiving half of one connection.
#[derive(Debug)]
pub struct Connection {
    receiving: Receiving,
    text: Option<bool>,
    utf8: Utf8,
    message_bytes: u32,
    fragments: u32,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            receiving: HEADER,
            text: None,
            utf8: Utf8::default(),
            message_bytes: 0,
            fragments: 0,
        }
    }
}

impl Connection {
    /// Takes bytes from the front of `data` and gives the next piece, or nothing when `data` is
    /// used up. To be called until it gives nothing.
    ///
    /// # Errors
    /// [`Fault`]: the stream has no meaning any more; nothing further may be asked.
    pub fn next_piece<'data>(
        &mut self,
        data: &mut &'data mut [u8],
        rules: &MessageRules,
    ) -> Result<Option<Piece<'data>>, Fault> {
        loop {
            match &mut self.receiving {
                Receiving::Header { held, bytes } => {
                    let Some(header) = take_header(held, bytes, data)? else {
                        return Ok(None);
                    };
                    self.begin(&header, rules)?;
                }
                Receiving::Data { payload, fin } => {
                    if data.is_empty() && payload.missing > 0 {
                        return Ok(None);
                    }
                    let taken = payload.take(data);
                    let over = payload.missing == 0;
                    let end = over && *fin;
                    return self.data_piece(taken, over, end).map(Some);
                }
                Receiving::Control(control) => {
                    control.taken.push(control.payload.take(data));
                    if control.payload.missing > 0 {
                        return Ok(None);
                    }
                    let (opcode, taken) = (control.opcode, control.taken);
                    self.receiving = HEADER;
                    return control_piece(opcode, taken).map(Some);
                }
            }
        }
    }

    /// Whether a message or a frame has begun and is not over.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        self.text.is_some() || !matches!(self.receiving, Receiving::Header { bytes: 0, .. })
    }

    /// Checks a header against the message under way and the limits, before any payload.
    fn begin(&mut self, header: &Header, rules: &MessageRules) -> Result<(), Fault> {
        // Beyond 32 bits it is beyond every rule too, and never waited for.
        let payload = Payload {
            missing: u32::try_from(header.payload_bytes).unwrap_or(u32::MAX),
            mask: header.mask,
            offset: 0,
        };
        if header.opcode.is_control() {
            self.receiving = Receiving::Control(Box::new(Control {
                opcode: header.opcode,
                payload,
                taken: ControlPayload::new(),
            }));
            return Ok(());
        }
        match (header.opcode, self.text) {
            (Opcode::Text, _) if !rules.text => return Err(Fault::Text),
            (Opcode::Continuation, None) => {
                return Err(Fault::Protocol("a continuation of nothing"));
            }
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(Fault::Protocol("a message inside a message")),
            (opcode, None) => self.text = Some(opcode == Opcode::Text),
        }
        let message_bytes = u64::from(self.message_bytes).saturating_add(header.payload_bytes);
        self.fragments += 1;
        if message_bytes > u64::from(rules.bytes_max) {
            return Err(Fault::MessageTooLarge);
        }
        self.message_bytes = u32::try_from(message_bytes).unwrap_or(u32::MAX);
        if self.fragments > rules.fragments_max {
            return Err(Fault::TooManyFragments);
        }
        let fin = header.fin;
        self.receiving = Receiving::Data { payload, fin };
        Ok(())
    }

    fn data_piece<'data>(
        &mut self,
        payload: &'data [u8],
        over: bool,
        end: bool,
    ) -> Result<Piece<'data>, Fault> {
        let text = self.text == Some(true);
        if text && !(self.utf8.receive_data(payload) && (!end || self.utf8.is_complete())) {
            return Err(Fault::NotUtf8);
        }
        if over {
            self.receiving = HEADER;
        }
        if end {
            self.text = None;
            self.message_bytes = 0;
            self.fragments = 0;
        }
        Ok(Piece::Data {
            text,
            payload,
            over,
            end,
        })
    }
}

/// Reads a header that may be cut anywhere; what is cut off is kept.
fn take_header(
    held: &mut [u8; HEADER_BYTES_MAX],
    bytes: &mut u8,
    data: &mut &mut [u8],
) -> Result<Option<Header>, Fault> {
    if *bytes == 0
        && let Some((header, size)) = frame::parse_header(data)?
    {
        take(data, size);
        return Ok(Some(header));
    }
    while !data.is_empty() {
        let byte = take(data, 1);
        held[usize::from(*bytes)] = byte[0];
        *bytes += 1;
        if let Some((header, _)) = frame::parse_header(&held[..usize::from(*bytes)])? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// Cuts at most `wanted` bytes from the front.
fn take<'data>(data: &mut &'data mut [u8], wanted: usize) -> &'data mut [u8] {
    let size = wanted.min(data.len());
    let (front, rest) = std::mem::take(data).split_at_mut(size);
    *data = rest;
    front
}

/// The masking key's place after so many more bytes.
#[expect(clippy::cast_possible_truncation, reason = "0 to 3")]
const fn turned(offset: u8, bytes: usize) -> u8 {
    ((offset as usize + bytes) % 4) as u8
}

fn control_piece<'data>(opcode: Opcode, payload: ControlPayload) -> Result<Piece<'data>, Fault> {
    match opcode {
        Opcode::Ping => Ok(Piece::Ping(payload)),
        Opcode::Pong => Ok(Piece::Pong(payload)),
        _ => {
            check_close(payload.as_bytes())?;
            Ok(Piece::Close(payload))
        }
    }
}

/// Section 7.4: which codes a peer may send. 3000-4999 are free; of the rest those registered.
fn check_close(payload: &[u8]) -> Result<(), Fault> {
    let [high, low, reason @ ..] = payload else {
        return match payload {
            [] => Ok(()),
            _ => Err(Fault::Protocol("a close code of one byte")),
        };
    };
    match u16::from_be_bytes([*high, *low]) {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(Fault::Protocol("a close code that must not be sent")),
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::NotUtf8),
    }
}
