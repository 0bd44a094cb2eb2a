//! A chunked body (RFC 9112, section 7.1): no extensions, a bounded size line, a bounded trailer.

use super::head;
use super::offence::Offence;
use super::section::Section;

/// Hexadecimal digits of a size.
const DIGITS_MAX: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, size: u32 },
    SizeEnd { size: u32 },
    Data { left: usize },
    DataEnd { cr: bool },
    Trailer(Section),
}

/// What has come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Whole,
    /// More bytes than may be are announced.
    TooLarge,
}

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) body_bytes_max: usize,
    pub(super) trailer_bytes_max: usize,
}

/// Where in a chunked body the reader is.
#[derive(Debug)]
pub(super) struct Chunks(State);

impl Chunks {
    pub(super) const fn new() -> Self {
        Self(State::Size { digits: 0, size: 0 })
    }

    /// Reads on: appends to `body`, and says how many bytes of `data` are done with.
    ///
    /// What is not, a trailer's beginning, comes again with what follows it.
    pub(super) fn read(
        &mut self,
        data: &[u8],
        body: &mut Vec<u8>,
        bounds: Bounds,
    ) -> Result<(usize, Progress), Offence> {
        let mut at = 0;
        while at < data.len() {
            let byte = data[at];
            match &mut self.0 {
                State::Size { digits, size } => {
                    self.0 = size_byte(byte, *digits, *size)?;
                    at += 1;
                }
                State::SizeEnd { size } => {
                    let size = usize::try_from(*size).unwrap_or(usize::MAX);
                    expect(byte == b'\n', Offence::StrayLineEnd)?;
                    at += 1;
                    if size > bounds.body_bytes_max.saturating_sub(body.len()) {
                        return Ok((at, Progress::TooLarge));
                    }
                    self.0 = match size {
                        0 => State::Trailer(Section::default()),
                        left => State::Data { left },
                    };
                }
                State::Data { left } => {
                    let take = (*left).min(data.len() - at);
                    body.extend_from_slice(&data[at..at + take]);
                    at += take;
                    *left -= take;
                    if *left == 0 {
                        self.0 = State::DataEnd { cr: false };
                    }
                }
                State::DataEnd { cr } => {
                    let wanted = if *cr { b'\n' } else { b'\r' };
                    expect(byte == wanted, Offence::ChunkSize)?;
                    at += 1;
                    self.0 = if *cr {
                        Self::new().0
                    } else {
                        State::DataEnd { cr: true }
                    };
                }
                State::Trailer(section) => {
                    let rest = &data[at..];
                    return match section.end(rest, bounds.trailer_bytes_max)? {
                        None => Ok((at, Progress::More)),
                        Some(size) => {
                            head::check_trailer(&rest[..size])?;
                            Ok((at + size, Progress::Whole))
                        }
                    };
                }
            }
        }
        Ok((at, Progress::More))
    }
}

fn expect(holds: bool, offence: Offence) -> Result<(), Offence> {
    if holds { Ok(()) } else { Err(offence) }
}

fn size_byte(byte: u8, digits: u8, size: u32) -> Result<State, Offence> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeEnd { size }),
        b'\n' => return Err(Offence::StrayLineEnd),
        b';' => return Err(Offence::ChunkExtension),
        _ => return Err(Offence::ChunkSize),
    };
    expect(digits < DIGITS_MAX, Offence::ChunkSize)?;
    Ok(State::Size {
        digits: digits + 1,
        size: size << 4 | u32::from(digit),
    })
}
