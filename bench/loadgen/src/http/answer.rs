//! An HTTP/1.1 answer, read without mercy, and what a right one is.

use serde_json::Value;

const HEAD_BYTES_MAX: usize = 16_384;

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'data> {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: &'data [u8],
    /// Its Retry-After, in seconds.
    pub retry_after_s: Option<u32>,
}

/// The answer at the beginning of `data` and how many bytes it has; `None` while it is not whole.
///
/// # Errors
/// What is wrong with it: no HTTP/1.1, no JSON, no length, or a connection that will not stay.
pub fn parse(data: &[u8]) -> Result<Option<(Answer<'_>, usize)>, String> {
    let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") else {
        if data.len() > HEAD_BYTES_MAX {
            return Err("an answer's head has no end".to_owned());
        }
        return Ok(None);
    };
    let head = std::str::from_utf8(&data[..end]).map_err(|_| "an answer's head is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or("an answer is no HTTP/1.1")?;
    let (mut length, mut is_json, mut retry_after_s) = (None, false, None);
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or("an answer's header has no colon")?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let parsed: usize = value.parse().map_err(|_| "an answer's length is none")?;
                if length.replace(parsed).is_some() {
                    return Err("an answer has two lengths".to_owned());
                }
            }
            "content-type" => is_json = is_json_type(value),
            "retry-after" => {
                retry_after_s = Some(value.parse().map_err(|_| "a Retry-After is no number")?);
            }
            "transfer-encoding" => return Err("an answer came in chunks".to_owned()),
            "connection" if value.eq_ignore_ascii_case("close") => {
                return Err(format!("an answer ({status}) ends its connection"));
            }
            _ => {}
        }
    }
    let length = length.ok_or("an answer has no length")?;
    if !is_json {
        return Err(format!("an answer ({status}) is not JSON"));
    }
    let whole = end + 4 + length;
    let answer = |body| Answer {
        status,
        body,
        retry_after_s,
    };
    Ok(data.get(end + 4..whole).map(|body| (answer(body), whole)))
}

fn is_json_type(value: &str) -> bool {
    let media_type = value.split(';').next().unwrap_or(value).trim_end();
    matches!(media_type, "application/json" | "application/problem+json")
}

/// What a request wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// What a process would be.
    Handshake,
    /// A new process.
    Init,
    /// The code was right, or it was not.
    Attempt(bool),
    /// So many processes.
    Found(usize),
    /// A device's code was right: a token.
    Confirmed,
    /// An account's code is right.
    Verified,
}

impl Want {
    /// Reads the word of a request's line.
    ///
    /// # Errors
    /// A sentence that names it.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "handshake" => Ok(Self::Handshake),
            "init" => Ok(Self::Init),
            "accepted" => Ok(Self::Attempt(true)),
            "wrong" => Ok(Self::Attempt(false)),
            "confirmed" => Ok(Self::Confirmed),
            "verified" => Ok(Self::Verified),
            other => other
                .strip_prefix("found ")
                .and_then(|count| count.parse().ok())
                .map(Self::Found)
                .ok_or_else(|| format!("nothing is wanted by the word {other:?}")),
        }
    }

    /// What kind of request it is of.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Init => "init",
            Self::Attempt(_) => "attempt",
            Self::Found(_) => "search",
            Self::Confirmed => "confirm",
            Self::Verified => "verify",
        }
    }

    /// The frame of the answers of its face.
    fn is_in_envelope(self, said: &Value) -> bool {
        match self {
            Self::Confirmed => true, // a bare object
            Self::Verified => said["__ack__"] == "otp.verify" && said["__timestamp__"].is_u64(),
            _ => said["status"] == "ok" && said["timestamp"].is_u64(),
        }
    }

    /// Whether this is what was wanted.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(self, answer: Answer<'_>) -> Result<(), String> {
        let said: Value =
            serde_json::from_slice(answer.body).map_err(|_| "an answer's body is not JSON")?;
        if answer.status != 200 {
            return Err(format!("answered {}: {}", answer.status, error_of(&said)));
        }
        if !self.is_in_envelope(&said) {
            return Err("an answer is in no envelope".to_owned());
        }
        let data = &said["data"];
        let right = match self {
            Self::Handshake => {
                data["type"].is_string() && is_channel(data) && data["availableIn"].is_u64()
            }
            Self::Init => is_process(data) && is_channel(data),
            Self::Attempt(accepted) => data["accepted"] == accepted,
            Self::Found(count) => data
                .as_array()
                .is_some_and(|found| found.len() == count && found.iter().all(is_process)),
            // A token of ours is a JWT: three words of base64 for URLs.
            Self::Confirmed => said["token"]
                .as_str()
                .is_some_and(|token| token.split('.').filter(|word| !word.is_empty()).count() == 3),
            Self::Verified => ["uid", "secret", "code"]
                .iter()
                .all(|&name| data[name].as_str().is_some_and(|value| !value.is_empty())),
        };
        if right {
            Ok(())
        } else {
            Err(format!("an answer is not what was wanted: {self:?}"))
        }
    }
}

/// Whether this is a call that was shed, as it has to be told: 503, when to ask again, and why.
///
/// # Errors
/// What a 503 lacks.
pub fn is_shed(answer: Answer<'_>) -> Result<bool, String> {
    if answer.status != 503 {
        return Ok(false);
    }
    let said: Value =
        serde_json::from_slice(answer.body).map_err(|_| "a refusal's body is not JSON")?;
    let word = error_of(&said);
    if !word.eq_ignore_ascii_case("overloaded") {
        return Err(format!("answered 503: {word}"));
    }
    match answer.retry_after_s {
        Some(1..) => Ok(true),
        _ => Err("a refusal does not say when to ask again".to_owned()),
    }
}

/// The word for what went wrong, in the style of any face.
fn error_of(said: &Value) -> &str {
    [&said["error"]["code"], &said["error"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or("no error code")
}

fn is_channel(data: &Value) -> bool {
    matches!(data["channel"].as_str(), Some("email" | "sms"))
}

/// Whether its `uuid` is one: 8-4-4-4-12 lower hexadecimal digits.
fn is_process(data: &Value) -> bool {
    let Some(uuid) = data["uuid"].as_str() else {
        return false;
    };
    uuid.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && uuid
            .bytes()
            .all(|byte| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 \r\nContent-Type: application/json\r\n";

    fn whole(body: &str) -> Vec<u8> {
        format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn said(want: &str, status: u16, body: &str) -> Result<(), String> {
        let answer = Answer {
            status,
            body: body.as_bytes(),
            retry_after_s: None,
        };
        Want::parse(want).expect("a word").check(answer)
    }

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let mut data = whole("{}");
        for cut in 0..data.len() {
            assert_eq!(parse(&data[..cut]), Ok(None), "cut {cut}");
        }
        let length = data.len();
        data.extend_from_slice(b"HTTP");
        let right = Answer {
            status: 200,
            body: b"{}",
            retry_after_s: None,
        };
        assert_eq!(parse(&data), Ok(Some((right, length))));
    }

    #[test]
    fn other_kinds_of_json_and_when_to_ask_again_are_read() {
        for kind in [
            "application/json; charset=utf-8",
            "application/problem+json",
        ] {
            let head = format!("HTTP/1.1 503 x\r\ncontent-type: {kind}\r\nretry-after: 7\r\n");
            let data = format!("{head}content-length: 0\r\n\r\n");
            let (answer, _) = parse(data.as_bytes()).expect("fine").expect("whole");
            assert_eq!((answer.status, answer.retry_after_s), (503, Some(7)));
        }
        let data = "HTTP/1.1 503 x\r\nretry-after: soon\r\n\r\n";
        assert!(
            parse(data.as_bytes())
                .expect_err("no number")
                .contains("Retry-After")
        );
    }

    #[test]
    fn a_refusal_counts_as_shed_only_when_it_says_why_and_until_when() {
        let shed = |status, body: &str, retry_after_s| {
            is_shed(Answer {
                status,
                body: body.as_bytes(),
                retry_after_s,
            })
        };
        let rest = r#"{"status":"error","error":{"code":"OVERLOADED"}}"#;
        let problem = r#"{"status":503,"error":"overloaded"}"#;
        assert_eq!(shed(503, rest, Some(1)), Ok(true));
        assert_eq!(shed(503, problem, Some(1)), Ok(true));
        assert_eq!(shed(429, rest, Some(1)), Ok(false));
        assert!(shed(503, rest, None).is_err() && shed(503, rest, Some(0)).is_err());
        let other = r#"{"status":"error","error":{"code":"UNAVAILABLE"}}"#;
        assert_eq!(
            shed(503, other, Some(1)),
            Err("answered 503: UNAVAILABLE".to_owned())
        );
        assert!(shed(503, "<html>", Some(1)).is_err());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (head, word) in [
            ("HTTP/1.0 200 OK\r\n\r\n".to_owned(), "HTTP/1.1"),
            (format!("{HEAD}\r\n"), "no length"),
            (format!("{HEAD}content-length: -1\r\n\r\n"), "length"),
            (
                format!("{HEAD}content-length: 0\r\ncontent-length: 0\r\n\r\n"),
                "two lengths",
            ),
            (
                format!("{HEAD}transfer-encoding: chunked\r\n\r\n"),
                "chunks",
            ),
            (
                format!("{HEAD}connection: close\r\ncontent-length: 0\r\n\r\n"),
                "ends its connection",
            ),
            (
                "HTTP/1.1 502 x\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n".to_owned(),
                "not JSON",
            ),
            ("x".repeat(HEAD_BYTES_MAX + 1), "no end"),
        ] {
            let error = parse(head.as_bytes()).expect_err(&head);
            assert!(error.contains(word), "{head}: {error}");
        }
    }

    #[test]
    fn right_answers_are_right() {
        let uuid = "98df8e4e-7240-4291-9322-282a8d97542a";
        for (want, data) in [
            (
                "handshake",
                r#"{"type":"t","channel":"sms","availableIn":600}"#.to_owned(),
            ),
            ("init", format!(r#"{{"uuid":"{uuid}","channel":"email"}}"#)),
            ("accepted", r#"{"accepted":true}"#.to_owned()),
            ("wrong", r#"{"accepted":false}"#.to_owned()),
            ("found 0", "[]".to_owned()),
            ("found 1", format!(r#"[{{"uuid":"{uuid}"}}]"#)),
        ] {
            let body = format!(r#"{{"status":"ok","timestamp":1,"data":{data}}}"#);
            assert_eq!(said(want, 200, &body), Ok(()), "{want}");
            let other = if want == "wrong" { "init" } else { "wrong" };
            assert!(said(other, 200, &body).is_err(), "{want} for {other}");
            assert!(said(want, 200, &body.replace("ok", "error")).is_err());
            assert!(said(want, 200, &body.replace(":1,", ":\"1\",")).is_err());
        }
    }

    #[test]
    fn the_answers_of_the_other_faces_are_checked() {
        let verified = r#"{"__ack__":"otp.verify","__status__":"offline","__timestamp__":1,"data":{"uid":"u","secret":"s","code":"1"}}"#;
        assert_eq!(said("verified", 200, verified), Ok(()));
        assert!(said("verified", 200, &verified.replace("uid", "status")).is_err());
        assert!(said("verified", 200, &verified.replace("verify", "send")).is_err());
        assert_eq!(said("confirmed", 200, r#"{"token":"a.b.c"}"#), Ok(()));
        assert!(said("confirmed", 200, r#"{"token":"a.b"}"#).is_err());
        assert!(said("confirmed", 200, r#"{"token":".."}"#).is_err());
        let problem = r#"{"status":400,"error":"invalid_code"}"#;
        assert_eq!(
            said("confirmed", 400, problem),
            Err("answered 400: invalid_code".to_owned())
        );
    }

    #[test]
    fn wrong_answers_are_told() {
        let uuid = r#"{"status":"ok","timestamp":1,"data":{"channel":"sms","uuid":"98DF8E4E-7240-4291-9322-282a8d97542a"}}"#;
        assert!(said("init", 200, uuid).is_err());
        let limited = r#"{"status":"error","error":{"code":"RATE_LIMITED"}}"#;
        assert_eq!(
            said("init", 429, limited),
            Err("answered 429: RATE_LIMITED".to_owned())
        );
        assert!(said("init", 200, "nonsense").is_err());
        assert!(said("found 2", 200, r#"{"status":"ok","timestamp":1,"data":[]}"#).is_err());
        assert!(Want::parse("found x").is_err() && Want::parse("").is_err());
    }
}
