//! An answer's bytes.

use super::date::Date;
use super::offence::is_token;

/// What is said to a request. The session adds what all answers say: Date, Content-Length,
/// `Cache-Control: no-store`, `X-Content-Type-Options: nosniff`, and `Connection: close` where
/// it is the last.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// 200 to 599; 204 and 304 have no body.
    pub status: u16,
    /// The media type; empty: none is said.
    pub content_type: &'a str,
    /// Others. `Connection: close` makes it the last; what the session says itself is left out.
    pub headers: &'a [(&'a str, &'a str)],
    /// Left out for HEAD, though its length is said.
    pub body: &'a [u8],
}

/// How an answer goes out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) date: &'a Date,
    pub(super) last: bool,
    pub(super) to_head: bool,
}

const OURS: [&str; 4] = [
    "date",
    "content-length",
    "cache-control",
    "x-content-type-options",
];
const HOP_BY_HOP: [&str; 3] = ["transfer-encoding", "upgrade", "trailer"];

impl Answer<'_> {
    /// Whether it asks for the connection's end.
    pub(super) fn closes(&self) -> bool {
        let mut headers = self.headers.iter();
        headers.any(|(name, _)| name.eq_ignore_ascii_case("connection"))
    }

    /// Whether it can be written without saying anything but itself.
    pub(super) fn is_http(&self) -> bool {
        let bodiless = matches!(self.status, 204 | 304);
        (200..=599).contains(&self.status)
            && (self.body.is_empty() || !bodiless)
            && is_value(self.content_type)
            && self
                .headers
                .iter()
                .all(|(name, value)| is_field(name, value))
    }

    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>, form: Form<'_>) {
        out.reserve(256 + self.body.len());
        push_all(
            out,
            &[
                "HTTP/1.1 ",
                &self.status.to_string(),
                " \r\ndate: ",
                form.date.as_str(),
            ],
        );
        if !matches!(self.status, 204 | 304) {
            push_all(out, &["\r\ncontent-length: ", &self.body.len().to_string()]);
        }
        push_all(
            out,
            &["\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"],
        );
        if !self.content_type.is_empty() {
            push_all(out, &["content-type: ", self.content_type, "\r\n"]);
        }
        for (name, value) in self.headers {
            if !name.eq_ignore_ascii_case("connection") && !is_one_of(name, &OURS) {
                push_all(out, &[name, ": ", value, "\r\n"]);
            }
        }
        if form.last {
            push_all(out, &["connection: close\r\n"]);
        }
        push_all(out, &["\r\n"]);
        if !form.to_head {
            out.extend_from_slice(self.body);
        }
    }
}

fn push_all(out: &mut Vec<u8>, words: &[&str]) {
    for word in words {
        out.extend_from_slice(word.as_bytes());
    }
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_field(name: &str, value: &str) -> bool {
    let named = !name.is_empty() && name.bytes().all(is_token) && !is_one_of(name, &HOP_BY_HOP);
    let closes = !name.eq_ignore_ascii_case("connection") || value.eq_ignore_ascii_case("close");
    named && closes && is_value(value)
}

fn is_value(value: &str) -> bool {
    !value
        .bytes()
        .any(|byte| byte.is_ascii_control() && byte != b'\t')
}
