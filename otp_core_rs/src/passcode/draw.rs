//! Unbiased symbols from random bytes.
//!
//! Rejection sampling, never a remainder: of each byte the lowest bits are taken, as few as can
//! number all symbols, and the byte is dropped when they number none. Every symbol is then
//! selected by equally many bytes, so uniform bytes give uniform passcodes. More than half of all
//! bytes are accepted, so a passcode of 6 asks for about 11 bytes and one of 32 for less than 60.
//!
//! The source of bytes is an argument: the operating system when drawing, HMAC when deriving, and
//! planned bytes in tests.

use zeroize::Zeroizing;

use super::{Alphabet, Passcode, check_length};
use crate::error::Error;

/// Bytes asked of the source at once: one block of HMAC-SHA-256.
pub const BLOCK_BYTES: usize = 32;

/// Makes passcodes out of the bytes of `fill`, which overwrites the whole block it is given.
///
/// Bytes left over by one passcode serve the next.
pub struct Sampler<Fill> {
    fill: Fill,
    block: Zeroizing<[u8; BLOCK_BYTES]>,
    used: usize,
}

impl<Fill> Sampler<Fill>
where
    Fill: FnMut(&mut [u8; BLOCK_BYTES]) -> Result<(), Error>,
{
    /// A sampler that has asked for nothing yet.
    pub fn new(fill: Fill) -> Self {
        Self {
            fill,
            block: Zeroizing::new([0; BLOCK_BYTES]),
            used: BLOCK_BYTES,
        }
    }

    /// The next passcode.
    ///
    /// # Errors
    /// [`Error::Value`] for a length outside 1..=32, or what the source says.
    pub fn passcode(&mut self, alphabet: Alphabet, length: usize) -> Result<Passcode, Error> {
        check_length(length)?;
        let symbols = alphabet.symbols();
        let mask = symbols.len().next_power_of_two() - 1;
        let mut characters = Zeroizing::new(Vec::with_capacity(length));
        while characters.len() < length {
            let byte = self.next_byte()?;
            if let Some(&symbol) = symbols.get(usize::from(byte) & mask) {
                characters.push(symbol);
            }
        }
        Ok(Passcode {
            characters,
            alphabet,
        })
    }

    fn next_byte(&mut self) -> Result<u8, Error> {
        if self.used == BLOCK_BYTES {
            (self.fill)(&mut self.block)?;
            self.used = 0;
        }
        let byte = self.block[self.used];
        self.used += 1;
        Ok(byte)
    }
}

/// The operating system's CSPRNG, for [`Sampler::new`].
///
/// # Errors
/// [`Error::Random`] when it fails; there is no second source to fall back on.
pub fn os_random(block: &mut [u8; BLOCK_BYTES]) -> Result<(), Error> {
    Ok(getrandom::fill(block)?)
}
