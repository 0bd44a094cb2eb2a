//! UTF-8 in pieces, RFC 6455 section 8.1: the first wrong byte is found as soon as it is there.

/// The longest beginning of a character that waits for more bytes.
const CARRY_MAX: usize = 3;

/// A validator that keeps at most an unfinished character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8 {
    carry: [u8; CARRY_MAX],
    carried: u8,
}

impl Utf8 {
    /// Whether the text so far can still be UTF-8. After `false` nothing more may be asked.
    pub fn receive_data(&mut self, mut data: &[u8]) -> bool {
        while self.carried > 0 {
            let [first, rest @ ..] = data else {
                return true;
            };
            let held = usize::from(self.carried);
            let mut character = [0; CARRY_MAX + 1];
            character[..held].copy_from_slice(&self.carry[..held]);
            character[held] = *first;
            data = rest;
            match beginning(&character[..=held]) {
                Some(&[]) => self.carried = 0,
                Some(unfinished) => self.keep(unfinished),
                None => return false,
            }
        }
        match beginning(data) {
            Some(unfinished) => {
                self.keep(unfinished);
                true
            }
            None => false,
        }
    }

    /// Whether the text may end here.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.carried == 0
    }

    fn keep(&mut self, unfinished: &[u8]) {
        self.carried = 0;
        for (place, byte) in self.carry.iter_mut().zip(unfinished) {
            *place = *byte;
            self.carried += 1;
        }
    }
}

/// The unfinished character at the end of `data`, or nothing where `data` is not UTF-8.
fn beginning(data: &[u8]) -> Option<&[u8]> {
    match std::str::from_utf8(data) {
        Ok(_) => Some(&[]),
        Err(error) if error.error_len().is_none() => Some(&data[error.valid_up_to()..]),
        Err(_) => None,
    }
}
