//! `HapticFrame`s: an incremental decoder and the encoder.
//!
//! A frame is
//!
//! | offset | size       | content                                                     |
//! |--------|------------|-------------------------------------------------------------|
//! | 0      | 1          | the frame type                                              |
//! | 1      | 2          | the total length, little-endian, these 3 header bytes included |
//! | 3      | length - 3 | the payload, a protobuf message                             |
//!
//! The decoder is a function of the bytes and not of how they were cut. It is in one of four
//! states:
//!
//! | state    | `pending`               | left when                                         |
//! |----------|-------------------------|---------------------------------------------------|
//! | boundary | empty, no allocation    | a byte comes                                      |
//! | header   | 1 or 2 bytes            | the third byte comes: the length is checked       |
//! | payload  | 3 to length - 1 bytes   | the last byte comes: a frame, back to boundary    |
//! | fault    | empty, no allocation    | never: further data is discarded                  |
//!
//! The length is checked before one byte of payload is kept, and the buffer grows with the bytes
//! received, never with the length a peer merely announced.

use crate::error::Error;

/// The size of type and length, which the length counts too.
pub const HEADER_BYTES: usize = 3;

/// The largest frame that a 16-bit length can announce.
pub const FRAME_BYTES_LIMIT: usize = u16::MAX as usize;

/// The error kinds of `proto/errors.toml` that this crate names; a house test compares them.
pub const ERROR_KINDS: [&str; 2] = [FrameFault::TooShort.kind(), FrameFault::TooLarge.kind()];

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The type byte, known or not.
    pub frame_type: u8,
    /// The protobuf bytes, unread.
    pub payload: Vec<u8>,
}

/// Why a byte stream stopped being frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// A length that does not even count the header.
    TooShort,
    /// A length beyond the decoder's limit.
    TooLarge,
}

impl FrameFault {
    /// The token of `proto/errors.toml`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::TooShort => "frame_too_short",
            Self::TooLarge => "frame_too_large",
        }
    }

    /// The close code of RFC 6455 section 7.4.1 that ends the connection.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooShort => 1002,
            Self::TooLarge => 1009,
        }
    }
}

/// An incremental decoder: bytes in, frames out, however the bytes were cut.
#[derive(Debug)]
pub struct FrameDecoder {
    frame_bytes_max: usize,
    pending: Vec<u8>,
    fault: Option<FrameFault>,
}

impl FrameDecoder {
    /// A decoder at a frame boundary; `frame_bytes_max` counts the header.
    ///
    /// # Errors
    /// [`Error::Value`] for a limit outside 3..=65535.
    pub fn new(frame_bytes_max: usize) -> Result<Self, Error> {
        if !(HEADER_BYTES..=FRAME_BYTES_LIMIT).contains(&frame_bytes_max) {
            return Err(Error::Value("frame_bytes_max must be 3 to 65535"));
        }
        Ok(Self {
            frame_bytes_max,
            pending: Vec::new(),
            fault: None,
        })
    }

    /// Takes bytes and gives the frames they complete, also those before a fault in `data`.
    ///
    /// Look at [`fault`](Self::fault) afterwards. After a fault nothing more comes.
    pub fn receive_data(&mut self, data: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.fault.is_none()
            && let Err(fault) = self.decode(data, &mut frames)
        {
            self.fault = Some(fault);
            self.pending = Vec::new();
        }
        frames
    }

    /// The fault that ended the stream, for good.
    #[must_use]
    pub const fn fault(&self) -> Option<FrameFault> {
        self.fault
    }

    /// Bytes of a begun frame that wait for the rest; 0 at a frame boundary.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    fn decode(&mut self, data: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameFault> {
        let mut rest = self.finish_pending(data, frames)?;
        while !rest.is_empty() {
            match self.frame_bytes(rest)? {
                Some(length) if length <= rest.len() => {
                    let (bytes, after) = rest.split_at(length);
                    frames.push(frame_of(bytes));
                    rest = after;
                }
                _ => {
                    self.pending.extend_from_slice(rest);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Completes the begun frame, if there is one, and gives what follows it.
    fn finish_pending<'data>(
        &mut self,
        data: &'data [u8],
        frames: &mut Vec<Frame>,
    ) -> Result<&'data [u8], FrameFault> {
        if self.pending.is_empty() {
            return Ok(data);
        }
        let rest = self.fill_pending(HEADER_BYTES, data);
        let Some(length) = self.frame_bytes(&self.pending)? else {
            return Ok(rest);
        };
        let rest = self.fill_pending(length, rest);
        if self.pending.len() == length {
            frames.push(frame_of(&self.pending));
            self.pending = Vec::new(); // not `clear`: an idle connection holds no buffer
        }
        Ok(rest)
    }

    /// Moves bytes until `pending` holds `goal` of them or none are left.
    fn fill_pending<'data>(&mut self, goal: usize, data: &'data [u8]) -> &'data [u8] {
        let wanted = goal.saturating_sub(self.pending.len()).min(data.len());
        let (taken, rest) = data.split_at(wanted);
        self.pending.extend_from_slice(taken);
        rest
    }

    /// The checked total length of the frame that begins here, once its header is complete.
    fn frame_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, FrameFault> {
        let [_, low, high, ..] = *bytes else {
            return Ok(None);
        };
        match usize::from(u16::from_le_bytes([low, high])) {
            length if length < HEADER_BYTES => Err(FrameFault::TooShort),
            length if length > self.frame_bytes_max => Err(FrameFault::TooLarge),
            length => Ok(Some(length)),
        }
    }
}

/// A frame of exactly these bytes, whose length has been checked.
fn frame_of(bytes: &[u8]) -> Frame {
    Frame {
        frame_type: bytes[0],
        payload: bytes[HEADER_BYTES..].to_vec(),
    }
}

/// Header and payload.
///
/// # Errors
/// [`Error::Value`] when the frame would pass 65535 bytes.
pub fn encode_frame(frame_type: u8, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&header(frame_type, payload.len())?);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// The header of a frame with so much payload.
///
/// # Errors
/// [`Error::Value`] when the frame would pass 65535 bytes.
pub fn header(frame_type: u8, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], Error> {
    let length = payload_bytes
        .checked_add(HEADER_BYTES)
        .and_then(|length| u16::try_from(length).ok())
        .ok_or(Error::Value("a frame has at most 65535 bytes"))?;
    let [low, high] = length.to_le_bytes();
    Ok([frame_type, low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_memory_is_held_at_a_boundary_or_after_a_fault() {
        let mut decoder = FrameDecoder::new(FRAME_BYTES_LIMIT).unwrap();
        decoder.receive_data(&[19, 5, 0, 8]);
        assert_eq!(decoder.receive_data(&[1]).len(), 1);
        assert_eq!(decoder.pending.capacity(), 0);
        decoder.receive_data(&[19, 2]);
        decoder.receive_data(&[0]);
        assert_eq!(decoder.fault(), Some(FrameFault::TooShort));
        assert_eq!(decoder.pending.capacity(), 0);
    }

    #[test]
    fn memory_grows_with_the_bytes_received_and_not_with_the_length_announced() {
        let mut decoder = FrameDecoder::new(FRAME_BYTES_LIMIT).unwrap();
        for byte in [1, 0xFF, 0xFF, 0, 0] {
            decoder.receive_data(&[byte]);
        }
        assert_eq!(decoder.pending_bytes(), 5);
        assert!(decoder.pending.capacity() <= 16);
    }
}
