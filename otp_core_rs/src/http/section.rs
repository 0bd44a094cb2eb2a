//! Where a head or a trailer ends.

use super::offence::Offence;

/// A search for the empty line that goes on where it stopped, so that each byte is looked at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Section {
    seen: usize,
    line: usize,
}

impl Section {
    /// The size of the section that `data` begins with, its empty line included, once that has
    /// come. Each time, `data` begins where it did before.
    ///
    /// # Errors
    /// A line that ends in LF alone, at once, and more than `bytes_max` bytes.
    pub(super) fn end(&mut self, data: &[u8], bytes_max: usize) -> Result<Option<usize>, Offence> {
        let data = &data[..data.len().min(bytes_max)];
        while let Some(ahead) = data[self.seen..].iter().position(|byte| *byte == b'\n') {
            let at = self.seen + ahead;
            if at == 0 || data[at - 1] != b'\r' {
                return Err(Offence::StrayLineEnd);
            }
            self.seen = at + 1;
            if at == self.line + 1 {
                return Ok(Some(self.seen));
            }
            self.line = self.seen;
        }
        self.seen = data.len();
        if data.len() == bytes_max {
            return Err(Offence::TooLarge);
        }
        Ok(None)
    }

    /// Whether nothing was looked at.
    pub(super) const fn is_new(&self) -> bool {
        self.seen == 0
    }
}
