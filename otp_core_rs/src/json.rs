//! JSON that is beyond doubt, told in one pass.
//!
//! Who reads a body twice, once strictly and once into its shape, need not read a plain one
//! strictly: whatever a strict reader may refuse in JSON is not in it.

/// Members that an object may have here: their names are compared with each other.
const MEMBERS_MAX: usize = 16;
/// Digits that an integer may have here: fewer than a 64-bit one.
const DIGITS_MAX: usize = 18;

/// Whether a text is JSON in UTF-8 without anything that readers judge differently.
///
/// It then has no name twice in one object and no escapes in names, is nested `depth_max` deep at
/// most, and its numbers are integers of at most 18 digits. False says nothing: it may be JSON.
#[must_use]
pub fn is_plain(text: &[u8], depth_max: usize) -> bool {
    if str::from_utf8(text).is_err() {
        return false;
    }
    let mut reading = Reading {
        text,
        at: 0,
        names: Vec::with_capacity(MEMBERS_MAX),
    };
    reading.value(depth_max).is_some() && reading.is_over()
}

/// How far a text was read. Each step gives nothing for what is not plain.
struct Reading<'text> {
    text: &'text [u8],
    at: usize,
    /// Of all objects that are open, the outermost first.
    names: Vec<&'text [u8]>,
}

impl<'text> Reading<'text> {
    /// A value with the blanks around it, and how much deeper it may be.
    fn value(&mut self, depth_left: usize) -> Option<()> {
        self.blanks();
        match self.peek()? {
            b'"' => self.string().map(|_| ())?,
            b'{' => self.object(depth_left.checked_sub(1)?)?,
            b'[' => self.array(depth_left.checked_sub(1)?)?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.integer()?,
        }
        self.blanks();
        Some(())
    }

    fn object(&mut self, depth_left: usize) -> Option<()> {
        self.word(b"{")?;
        self.blanks();
        if self.word(b"}").is_some() {
            return Some(());
        }
        let outer = self.names.len();
        loop {
            self.blanks();
            let name = self.string()?;
            let known = self.names.get(outer..)?;
            if known.len() == MEMBERS_MAX || name.contains(&b'\\') || known.contains(&name) {
                return None;
            }
            self.names.push(name);
            self.blanks();
            self.word(b":")?;
            self.value(depth_left)?;
            if self.word(b",").is_none() {
                break;
            }
        }
        self.names.truncate(outer);
        self.word(b"}")
    }

    fn array(&mut self, depth_left: usize) -> Option<()> {
        self.word(b"[")?;
        self.blanks();
        if self.word(b"]").is_some() {
            return Some(());
        }
        loop {
            self.value(depth_left)?;
            if self.word(b",").is_none() {
                break;
            }
        }
        self.word(b"]")
    }

    /// What is between the quotes, as it is written.
    fn string(&mut self) -> Option<&'text [u8]> {
        self.word(b"\"")?;
        let from = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        let inside = self.text.get(from..self.at)?;
        self.at += 1;
        Some(inside)
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        let escaped = self.peek()?;
        self.at += 1;
        match escaped {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    /// A fraction or an exponent behind it is nothing that may stand there.
    fn integer(&mut self) -> Option<()> {
        let _ = self.word(b"-");
        let rest = self.text.get(self.at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_whole = match rest {
            [b'0', ..] => digits == 1,
            _ => (1..=DIGITS_MAX).contains(&digits),
        };
        self.at += digits;
        is_whole.then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found.then_some(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn is_over(&self) -> bool {
        self.at == self.text.len()
    }
}
