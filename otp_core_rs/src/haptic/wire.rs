//! Protobuf's binary encoding, as much of it as our messages need.
//!
//! A message is a row of fields; a field is a tag and a value; a tag is a varint of
//! `number << 3 | wire type`. Values by wire type:
//!
//! | type | value                                  | here                            |
//! |------|----------------------------------------|---------------------------------|
//! | 0    | varint, at most 10 bytes               | read                            |
//! | 1    | 8 bytes                                | skipped                         |
//! | 2    | a length (a varint) and so many bytes  | read                            |
//! | 3, 4 | begin and end of a group               | refused: deprecated, and nests  |
//! | 5    | 4 bytes                                | skipped                         |
//! | 6, 7 | not assigned                           | refused                         |
//!
//! What is accepted and what it means is what the protobuf runtime (upb) does, groups excepted; a
//! differential test holds the two against each other. So varints need not be minimal, a tag is at
//! most 5 bytes and 32 bits, a length at most 5 bytes and 31 bits, and of a varint's tenth byte
//! only the one bit counts that 64 bits have room for. Nothing here allocates.

use std::fmt;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFault {
    /// The message ends inside a field.
    Truncated,
    /// A varint has more bytes, or a larger value, than its place allows.
    VarintTooLarge,
    /// Field numbers begin at 1.
    FieldZero,
    /// A group, of wire types 3 and 4.
    Group,
    /// Wire type 6 or 7.
    UnknownWireType,
    /// A string that is not UTF-8.
    NotUtf8,
}

impl fmt::Display for WireFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Truncated => "the message ends inside a field",
            Self::VarintTooLarge => "a varint is too large",
            Self::FieldZero => "a field has the number 0",
            Self::Group => "groups are not accepted",
            Self::UnknownWireType => "a field has an unknown wire type",
            Self::NotUtf8 => "a string is not UTF-8",
        })
    }
}

/// A field's value, borrowed from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'message> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2: a string, bytes or a message.
    Len(&'message [u8]),
    /// Wire type 1 or 5: well formed, and of no field we know.
    Fixed,
}

impl<'message> Value<'message> {
    /// The value as a string, or nothing for a value of another wire type.
    ///
    /// # Errors
    /// [`WireFault::NotUtf8`].
    pub fn text(self) -> Result<Option<&'message str>, WireFault> {
        match self {
            Self::Len(bytes) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|_| WireFault::NotUtf8),
            Self::Varint(_) | Self::Fixed => Ok(None),
        }
    }

    /// The value as a number, or nothing for a value of another wire type.
    #[must_use]
    pub const fn number(self) -> Option<u64> {
        match self {
            Self::Varint(number) => Some(number),
            Self::Len(_) | Self::Fixed => None,
        }
    }
}

/// The fields of a message, in the order of the bytes.
#[derive(Debug)]
pub struct Fields<'message> {
    rest: &'message [u8],
}

impl<'message> Fields<'message> {
    /// Reads `message` from its first byte.
    #[must_use]
    pub const fn new(message: &'message [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value, or nothing at the end of the message.
    ///
    /// # Errors
    /// [`WireFault`]; the message is then unreadable as a whole.
    pub fn next_field(&mut self) -> Result<Option<(u64, Value<'message>)>, WireFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint(5, u64::from(u32::MAX))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireFault::FieldZero);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(10, u64::MAX)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint(5, u64::from(i32::MAX.unsigned_abs()))?;
                Value::Len(self.take(length)?)
            }
            3 | 4 => return Err(WireFault::Group),
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(WireFault::UnknownWireType),
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self, bytes_max: u32, value_max: u64) -> Result<u64, WireFault> {
        let mut value = 0_u64;
        for index in 0..bytes_max {
            let (&byte, rest) = self.rest.split_first().ok_or(WireFault::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << (7 * index); // bits beyond 64 fall off
            if byte < 0x80 {
                return if value <= value_max {
                    Ok(value)
                } else {
                    Err(WireFault::VarintTooLarge)
                };
            }
        }
        Err(WireFault::VarintTooLarge)
    }

    fn take(&mut self, length: u64) -> Result<&'message [u8], WireFault> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(WireFault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Appends field `number` as a string, unless it is empty as proto3 prescribes.
pub fn put_text(message: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        message.push(number << 3 | 2);
        put_varint(message, text.len() as u64);
        message.extend_from_slice(text.as_bytes());
    }
}

/// Appends field `number` as a varint, unless it is zero as proto3 prescribes.
pub fn put_number(message: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        message.push(number << 3);
        put_varint(message, value);
    }
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            message.push(low & 0x7F);
            break;
        }
        message.push(low | 0x80);
    }
}
