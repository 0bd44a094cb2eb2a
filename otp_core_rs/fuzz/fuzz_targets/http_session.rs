// Invariant: requests, bytes out and handover depend on the bytes in and not on how they were cut;
// a request is given up only while no other is unanswered, and what is handed over is the rest of
// the stream, from a head's first byte on, when nothing is owed; a head that was understood has
// CRLF lines alone, one Host at most and one way to say where its body ends, which is not larger
// than may be; what is held is bounded, and a deadline is known until the connection is over.
//
// The input's first byte is the size of the pieces, the second sets the bounds, the rest is the
// stream of a client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_core_rs::http::{Answer, Context, Event, Options, Request, Routes, Session};

#[derive(Debug, Default, PartialEq)]
struct Heard {
    requests: Vec<Request>,
    out: Vec<u8>,
    elsewhere: Option<usize>,
}

fn options(bounds: u8) -> Options {
    let rules = [
        (Some("GET"), "/"),
        (Some("POST"), "/"),
        (Some("PUT"), "/{a}/b"),
        (None, "/a/b"),
    ];
    Options {
        head_bytes_max: 64 + usize::from(bounds),
        body_bytes_max: usize::from(bounds & 15),
        ..Options::new(Routes::new(&rules).expect("they are routes"))
    }
}

fn check(request: &Request, options: &Options) {
    let count = |wanted: &[u8]| {
        request
            .headers()
            .filter(|(name, _)| *name == wanted)
            .count()
    };
    assert!(count(b"host") <= 1);
    assert!(count(b"content-length") + count(b"transfer-encoding") <= 1);
    assert_eq!(count(b"upgrade"), 0);
    let body = request.body.as_ref().map_or(0, Vec::len);
    assert!(body <= options.body_bytes_max);
    for (name, value) in request.headers() {
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        assert!(
            !value
                .iter()
                .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        );
    }
    assert!(
        request
            .parameters()
            .all(|value| !value.is_empty() && !value.contains(&b'/'))
    );
    assert_eq!(request.parameters().len(), usize::from(request.route == 2));
    assert!(request.query().iter().all(u8::is_ascii_graphic));
}

fn run(stream: &[u8], size: usize, options: &Options) -> Heard {
    let mut context = Context::new(options.clone());
    let mut session = Session::new(0, options);
    let mut heard = Heard::default();
    let answer = Answer {
        status: 200,
        content_type: "",
        headers: &[],
        body: b"ok",
    };
    let mut fed = 0;
    for piece in stream.chunks(size) {
        session.receive_data(piece, 0, &mut context);
        fed += piece.len();
        loop {
            let data = session.data_to_send().to_vec();
            session.sent(data.len(), 0, &mut context);
            heard.out.extend(data);
            assert!(context.events.len() <= 1);
            match context.events.pop() {
                None => break,
                Some(Event::Request(request)) => {
                    assert!(!session.wants_data() && session.data_to_send().is_empty());
                    check(&request, options);
                    assert!(session.answer(request.number, &answer, 0, &context));
                    heard.requests.push(request);
                }
                Some(Event::Handover(bytes)) => {
                    assert!(session.is_handed_over() && session.data_to_send().is_empty());
                    assert!(stream[..fed].ends_with(&bytes));
                    heard.elsewhere = Some(fed - bytes.len());
                }
            }
        }
        let ended = session.is_over() || session.is_handed_over();
        assert_eq!(session.next_deadline().is_none(), ended);
        assert!(session.held_bytes() <= 8 * (stream.len() + 1024));
        if heard.elsewhere.is_some() {
            return heard;
        }
    }
    session.receive_eof(0, &mut context);
    heard.out.extend(session.data_to_send());
    assert!(context.events.is_empty());
    heard
}

fuzz_target!(|input: &[u8]| {
    let [piece_bytes, bounds, stream @ ..] = input else {
        return;
    };
    let options = options(*bounds);
    let whole = run(stream, stream.len().max(1), &options);
    let cut = run(stream, usize::from(*piece_bytes).max(1), &options);
    assert_eq!(whole, cut);
    for (at, byte) in stream.iter().enumerate() {
        // No bare LF before the end of a first request without a body.
        if *byte == b'\n' && (at == 0 || stream[at - 1] != b'\r') {
            let head = &stream[..at];
            let whole_head = head.windows(4).any(|window| window == b"\r\n\r\n");
            assert!(whole_head || (whole.requests.is_empty() && whole.elsewhere.is_none()));
            break;
        }
    }
});
