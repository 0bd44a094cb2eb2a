//! The requests of a load: read from a file, written as HTTP/1.1.

use std::fs;
use std::io::Write as _;

use super::answer::{Answer, Want, is_shed};
use super::options::Options;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    method: String,
    target: String,
    want: Want,
    body: String,
}

/// What one request expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    want: Want,
    /// The time the request belongs to.
    pub at_ns: u64,
}

/// A right answer, or one that says the call was shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// What was wanted.
    pub want: Want,
    /// The time its request belongs to.
    pub at_ns: u64,
    /// Whether the call was shed.
    pub shed: bool,
}

/// All requests of a load, in their order.
#[derive(Debug)]
pub struct Requests {
    lines: Vec<Line>,
    next: usize,
    wrap: bool,
    headers: String,
    answer: Option<Vec<u8>>,
    may_shed: bool,
}

impl Requests {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// Which cannot be read, or which line is none.
    pub fn read(options: &Options) -> Result<Self, String> {
        let text = |file: &std::path::Path| {
            fs::read_to_string(file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))
        };
        let token = options.token.as_deref().map(text).transpose()?;
        let answer = options.answer.as_deref().map(text).transpose()?;
        let more = options.headers.as_deref().map(text).transpose()?;
        let more = lines_of(more.as_deref().unwrap_or(""));
        let lines: Result<Vec<Line>, String> =
            text(&options.requests)?.lines().map(line_of).collect();
        let lines = lines?;
        if lines.is_empty() {
            return Err("the file of requests is empty".to_owned());
        }
        let credentials = token
            .as_deref()
            .and_then(|token| token.split_ascii_whitespace().next())
            .map_or_else(String::new, |token| {
                format!("Authorization: Bearer {token}\r\n")
            });
        Ok(Self {
            lines,
            next: 0,
            wrap: options.wrap,
            headers: format!(
                "Host: {}\r\nUser-Agent: loadgen\r\nAccept: application/json\r\n{credentials}{more}",
                options.target
            ),
            answer: answer.map(String::into_bytes),
            may_shed: options.may_shed,
        })
    }

    /// Writes the next request, which belongs to `at_ns`, into `bytes`.
    ///
    /// # Errors
    /// There is none left.
    pub fn take(&mut self, at_ns: u64, bytes: &mut Vec<u8>) -> Result<Asked, String> {
        if self.next == self.lines.len() && self.wrap {
            self.next = 0;
        }
        let line = self
            .lines
            .get(self.next)
            .ok_or("the requests are used up: give more of them")?;
        self.next += 1;
        let Line {
            method,
            target,
            want,
            body,
        } = line;
        let headers = &self.headers;
        let length = body.len();
        let written = if body.is_empty() {
            write!(bytes, "{method} {target} HTTP/1.1\r\n{headers}\r\n")
        } else {
            write!(
                bytes,
                "{method} {target} HTTP/1.1\r\n{headers}Content-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
        };
        written.map_err(|error| error.to_string())?;
        Ok(Asked { want: *want, at_ns })
    }

    /// Whether this answers the request; where calls may be shed, that is an answer too.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, asked: Asked, answer: Answer<'_>) -> Result<Heard, String> {
        let shed = self.may_shed && is_shed(answer)?;
        match &self.answer {
            _ if shed => {}
            None => asked.want.check(answer)?,
            Some(right) if answer.status == 200 && answer.body == right => {}
            Some(_) => return Err("an answer is not the one of the file".to_owned()),
        }
        let Asked { want, at_ns } = asked;
        Ok(Heard { want, at_ns, shed })
    }
}

/// The lines of a file of headers, as they are sent.
fn lines_of(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

fn line_of(text: &str) -> Result<Line, String> {
    let mut fields = text.splitn(4, '\t');
    let (Some(method), Some(target), Some(want), Some(body)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(format!("a request has four fields, not: {text:?}"));
    };
    Ok(Line {
        method: method.to_owned(),
        target: target.to_owned(),
        want: Want::parse(want)?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(lines: &[&str], wrap: bool) -> Requests {
        Requests {
            lines: lines
                .iter()
                .map(|line| line_of(line).expect("a line"))
                .collect(),
            next: 0,
            wrap,
            headers: "Host: h\r\n".to_owned(),
            answer: None,
            may_shed: false,
        }
    }

    #[test]
    fn a_request_has_its_length_and_one_without_body_has_none() {
        let mut requests = requests(
            &["PUT\t/a\twrong\t{\"b\":\t1}", "GET\t/c\tfound 0\t"],
            false,
        );
        let mut bytes = Vec::new();
        let asked = requests.take(7, &mut bytes).expect("one");
        assert_eq!((asked.want, asked.at_ns), (Want::Attempt(false), 7));
        let text = String::from_utf8(bytes.clone()).expect("text");
        assert_eq!(
            text,
            "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
             Content-Length: 8\r\n\r\n{\"b\":\t1}"
        );
        bytes.clear();
        requests.take(8, &mut bytes).expect("two");
        assert_eq!(bytes, b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(requests.take(9, &mut bytes).is_err());
    }

    #[test]
    fn they_begin_again_where_that_is_wanted() {
        let mut requests = requests(&["GET\t/c\tfound 0\t"], true);
        for at_ns in 0..3 {
            assert!(requests.take(at_ns, &mut Vec::new()).is_ok());
        }
    }

    #[test]
    fn a_fixed_answer_is_compared_byte_by_byte() {
        let mut requests = requests(&["GET\t/c\tinit\t"], true);
        requests.answer = Some(b"{}".to_vec());
        let asked = requests.take(0, &mut Vec::new()).expect("one");
        let check = |status, body| {
            requests.check(
                asked,
                Answer {
                    status,
                    body,
                    retry_after_s: None,
                },
            )
        };
        assert!(check(200, b"{}").is_ok());
        assert!(check(500, b"{}").is_err() && check(200, b"{} ").is_err());
    }

    #[test]
    fn a_shed_call_is_an_answer_only_where_it_may_be() {
        let mut requests = requests(&["GET\t/c\tinit\t"], true);
        let asked = requests.take(3, &mut Vec::new()).expect("one");
        let answer = Answer {
            status: 503,
            body: br#"{"error":{"code":"OVERLOADED"}}"#,
            retry_after_s: Some(1),
        };
        assert_eq!(
            requests.check(asked, answer),
            Err("answered 503: OVERLOADED".to_owned())
        );
        requests.may_shed = true;
        let heard = requests.check(asked, answer).expect("shed");
        assert_eq!((heard.at_ns, heard.shed), (3, true));
    }

    #[test]
    fn headers_are_a_line_each() {
        assert_eq!(lines_of("Cookie: a=b\n\nX: 1"), "Cookie: a=b\r\nX: 1\r\n");
        assert_eq!(lines_of(""), "");
    }

    #[test]
    fn what_is_no_line_is_shown() {
        assert!(line_of("GET /x").expect_err("no tabs").contains("GET /x"));
        assert!(line_of("GET\t/x\tpancakes\t").is_err());
    }
}
