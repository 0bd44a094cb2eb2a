//! What can be wrong with a request's bytes, and how that is answered.
//!
//! The texts are those of `transport/http_framing.py`, which guards the other path; a test holds
//! the answers against each other.

use super::date::Date;

/// Why a request is refused. It ends the connection: nobody knows where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// A bare LF or a bare CR.
    StrayLineEnd,
    /// No method, target and version with single blanks between them.
    RequestLine,
    /// A target that is neither a path nor `*`, nor CONNECT's.
    Target,
    /// Another HTTP/x.y than 1.0 and 1.1.
    Version,
    /// A line that goes on with the field before.
    Folded,
    /// No name, or something that a name cannot hold.
    FieldName,
    /// A control character.
    FieldValue,
    /// A head or trailer of too many bytes or fields.
    TooLarge,
    /// No Host in HTTP/1.1, or more than one.
    Host,
    /// Two ways to say where the body ends.
    LengthAndCoding,
    /// The same way twice.
    Repeated,
    /// No plain number.
    Length,
    /// Another coding than chunked.
    Coding,
    /// No plain hexadecimal number, or a chunk that does not end where it said.
    ChunkSize,
    /// Anything behind a chunk's size.
    ChunkExtension,
    /// The stream ended inside a request.
    CutShort,
}

const TITLE: &str = "The request could not be read.";

impl Offence {
    /// A sentence for the client's log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::StrayLineEnd => "A line ends in a bare LF or holds a bare CR.",
            Self::RequestLine => "The request line is not a method, a target and HTTP/1.1.",
            Self::Target => "The request's target is not a path.",
            Self::Version => "This version of HTTP is not spoken here.",
            Self::Folded => "A header field is folded over lines.",
            Self::FieldName => "A header field has no name, or a blank in or after it.",
            Self::FieldValue => "A header field's value holds control characters.",
            Self::TooLarge => "The header fields are too large.",
            Self::Host => "A request has one Host field.",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding go not together.",
            Self::Repeated => "Content-Length or Transfer-Encoding is repeated.",
            Self::Length => "Content-Length is not a plain number.",
            Self::Coding => "The one Transfer-Encoding known here is chunked, in HTTP/1.1.",
            Self::ChunkSize => "A chunk has no plain hexadecimal size, or more bytes than it says.",
            Self::ChunkExtension => "Chunk extensions are not understood here.",
            Self::CutShort => "The request ended before it was whole.",
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// Appends the whole answer. 400 has a problem (RFC 9457) as its body, the others have none.
    pub(super) fn write_answer(self, out: &mut Vec<u8>, date: &Date) {
        let status = self.status();
        let (kind, body) = if status == 400 {
            let body = format!(
                "{{\"type\":\"urn:otp-server:error:malformed\",\"title\":\"{TITLE}\",\
                 \"status\":400,\"error\":\"malformed\",\"message\":\"{}\"}}",
                self.text()
            );
            ("content-type: application/problem+json\r\n", body)
        } else {
            ("", String::new())
        };
        let head = format!(
            "HTTP/1.1 {status} \r\ndate: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
             x-content-type-options: nosniff\r\nconnection: close\r\n{kind}\r\n",
            date.as_str(),
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body.as_bytes());
    }
}

const SECTION_END: &[u8] = b"\r\n\r\n";

/// What is wrong with a whole head or trailer that something is wrong with. Off the fast path.
pub(super) fn of_section(section: &[u8], is_head: bool) -> Offence {
    if has_stray_line_end(section) {
        return Offence::StrayLineEnd;
    }
    let text = section.strip_suffix(SECTION_END).unwrap_or(section);
    let mut lines = text.split(|byte| *byte == b'\n');
    if is_head {
        match version_of(trimmed(lines.next().unwrap_or_default())) {
            Some(b"1.0" | b"1.1") => {}
            Some(_) => return Offence::Version,
            None => return Offence::RequestLine,
        }
    }
    for line in lines.map(trimmed) {
        if line
            .first()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
        {
            return Offence::Folded;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.is_empty() || name.len() == line.len() || !name.iter().all(|byte| is_token(*byte)) {
            return Offence::FieldName;
        }
    }
    Offence::FieldValue
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn has_stray_line_end(section: &[u8]) -> bool {
    let mut before = 0;
    for byte in section {
        if (*byte == b'\n') != (before == b'\r') {
            return true;
        }
        before = *byte;
    }
    before == b'\r'
}

/// `x.y` of a request line that is one.
fn version_of(line: &[u8]) -> Option<&[u8]> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, protocol) = (words.next()?, words.next()?, words.next()?);
    let version = protocol.strip_prefix(b"HTTP/")?;
    let is_version =
        matches!(version, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
    let whole = words.next().is_none() && is_method(method) && is_target(target) && is_version;
    whole.then_some(version)
}

/// Whether it is a method in capitals: other programs would take small letters for them.
pub(super) fn is_method(text: &[u8]) -> bool {
    let good = |byte: &u8| is_token(*byte) && !byte.is_ascii_lowercase();
    !text.is_empty() && text.iter().all(good)
}

/// Whether it is visible ASCII.
pub(super) fn is_target(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

/// RFC 9110, section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
        )
        || matches!(byte, b'`' | b'|' | b'~')
}
