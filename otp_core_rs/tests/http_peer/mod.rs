//! A peer of an HTTP session whose requests are answered at once with what was understood.

#![allow(dead_code, reason = "each test file uses its part")]

use otp_core_rs::http::{Answer, Context, Event, Options, Request, Routes, Session};

pub(crate) const GET: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
pub(crate) const START: &[u8] = b"POST /nothing HTTP/1.1\r\nHost: x\r\n";
pub(crate) const CHUNKED: &[u8] =
    b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(crate) const COLD: &[u8] = b"GET /cold HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What came of a stream, however it was cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) requests: Vec<Request>,
    pub(crate) out: Vec<u8>,
    /// What the other listener got: the bytes handed over and all after them.
    pub(crate) elsewhere: Option<Vec<u8>>,
}

impl Heard {
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.out);
        let starts = text
            .match_indices("HTTP/1.1 ")
            .map(|(at, word)| &text[at + word.len()..]);
        starts
            .map(|rest| rest[..3].parse().expect("a status"))
            .collect()
    }
}

pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) context: Context,
    pub(crate) heard: Heard,
    pub(crate) now: u64,
}

pub(crate) fn options() -> Options {
    let rules = [
        (Some("GET"), "/nothing"),
        (Some("POST"), "/nothing"),
        (Some("PUT"), "/otp/{uuid}/attempt"),
    ];
    Options::new(Routes::new(&rules).expect("routes"))
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self {
            session: Session::new(0, &options),
            context: Context::new(options),
            heard: Heard::default(),
            now: 0,
        }
    }

    /// Receives bytes, answers what they ask, and sends all there is.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        if let Some(elsewhere) = &mut self.heard.elsewhere {
            elsewhere.extend_from_slice(data);
            return;
        }
        self.session.receive_data(data, self.now, &mut self.context);
        self.settle();
    }

    pub(crate) fn end(&mut self) {
        self.session.receive_eof(self.now, &mut self.context);
        self.settle();
    }

    fn settle(&mut self) {
        self.send();
        while let Some(event) = self.context.events.pop() {
            assert!(self.context.events.is_empty(), "one at a time");
            match event {
                Event::Request(request) => {
                    assert!(!self.session.wants_data());
                    let body = understood(&request);
                    let answer = Answer {
                        status: if request.body.is_some() { 200 } else { 413 },
                        content_type: "text/plain",
                        headers: &[],
                        body: body.as_bytes(),
                    };
                    let number = request.number;
                    self.heard.requests.push(request);
                    assert!(
                        self.session
                            .answer(number, &answer, self.now, &self.context)
                    );
                }
                Event::Handover(bytes) => {
                    assert!(self.session.is_handed_over());
                    assert!(self.session.data_to_send().is_empty(), "nothing is owed");
                    self.heard.elsewhere = Some(bytes);
                }
            }
            self.send();
        }
    }

    pub(crate) fn send(&mut self) {
        while !self.session.data_to_send().is_empty() {
            let data = self.session.data_to_send().to_vec();
            self.heard.out.extend_from_slice(&data);
            self.session.sent(data.len(), self.now, &mut self.context);
        }
    }
}

/// All that a request says, as a text without line ends.
fn understood(request: &Request) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = request
        .headers()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    format!(
        "{} {} {:?} {} {headers:?} {:?}",
        request.route,
        text(request.method()),
        request.parameters().map(text).collect::<Vec<_>>(),
        text(request.query()),
        request.body.as_deref().map(text),
    )
}

pub(crate) fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Heard {
    let mut peer = Peer::new();
    for piece in pieces {
        peer.feed(piece);
    }
    peer.heard
}
