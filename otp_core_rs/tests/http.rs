//! An HTTP session: answers, ends, deadlines, bounds.

mod http_peer;

use http_peer::{CHUNKED, COLD, GET, Peer, START, heard, options};
use otp_core_rs::http::{Answer, Event, Request};

const PLAIN: Answer<'static> = Answer {
    status: 200,
    content_type: "text/plain",
    headers: &[],
    body: b"hello",
};

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Receives bytes that hold one request, and leaves it to the test to answer it.
fn ask(peer: &mut Peer, data: &[u8]) -> Request {
    peer.session.receive_data(data, peer.now, &mut peer.context);
    match peer.context.events.pop() {
        Some(Event::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn answered(data: &[u8], answer: &Answer<'_>) -> (String, bool) {
    let mut peer = Peer::new();
    let request = ask(&mut peer, data);
    let is_http = peer
        .session
        .answer(request.number, answer, 0, &peer.context);
    peer.send();
    (String::from_utf8(peer.heard.out).expect("ASCII"), is_http)
}

#[test]
fn a_request_says_what_was_sent() {
    let mut peer = Peer::new();
    let head = b"PUT /otp/u-1/attempt?a=%20&b HTTP/1.1\r\nHost: x\r\nX-A:  1\t\r\nx-a: 2\r\n\
        CONTENT-LENGTH: 3\r\n\r\n{1}";
    let request = ask(&mut peer, head);
    assert_eq!((request.number, request.route), (1, 2));
    assert_eq!(request.method(), b"PUT");
    assert_eq!(request.query(), b"a=%20&b");
    assert_eq!(request.parameters().collect::<Vec<_>>(), [b"u-1"]);
    let headers: Vec<_> = request.headers().collect();
    let wanted: [(&[u8], &[u8]); 4] = [
        (b"host", b"x"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"content-length", b"3"),
    ];
    assert_eq!(headers, wanted);
    assert_eq!(request.body.as_deref(), Some(&b"{1}"[..]));
    assert!(!format!("{request:?}").contains("u-1"));
}

#[test]
fn an_answer_says_what_all_say() {
    let mut peer = Peer::new();
    peer.context.date.set(784_111_777);
    let request = ask(&mut peer, GET);
    let answer = Answer {
        headers: &[("X-A", "1"), ("Cache-Control", "public"), ("DATE", "never")],
        ..PLAIN
    };
    assert!(
        peer.session
            .answer(request.number, &answer, 0, &peer.context)
    );
    let wanted = "HTTP/1.1 200 \r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 5\r\n\
        cache-control: no-store\r\nx-content-type-options: nosniff\r\n\
        content-type: text/plain\r\nX-A: 1\r\n\r\nhello";
    assert_eq!(peer.session.data_to_send(), wanted.as_bytes());
}

#[test]
fn head_is_told_the_length_and_no_more() {
    let (out, _) = answered(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n", &PLAIN);
    assert!(
        out.contains("content-length: 5\r\n") && out.ends_with("\r\n\r\n"),
        "{out}"
    );
}

#[test]
fn no_content_has_no_length() {
    let (out, is_http) = answered(
        GET,
        &Answer {
            status: 204,
            content_type: "",
            body: b"",
            ..PLAIN
        },
    );
    assert!(is_http && !out.contains("content-length"), "{out}");
}

#[test]
fn what_cannot_be_said_is_a_500_and_the_end() {
    let headers: [&[(&str, &str)]; 6] = [
        &[("x", "a\r\nset-cookie: b")],
        &[("x\n", "a")],
        &[("", "a")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "keep-alive")],
        &[("x", "\0")],
    ];
    let bad = headers.map(|headers| Answer { headers, ..PLAIN });
    let others = [
        Answer {
            status: 204,
            ..PLAIN
        },
        Answer {
            status: 101,
            ..PLAIN
        },
        Answer {
            status: 600,
            ..PLAIN
        },
        Answer {
            content_type: "a\nb",
            ..PLAIN
        },
    ];
    for answer in bad.iter().chain(&others) {
        let (out, is_http) = answered(&bytes(&[GET, GET]), answer);
        assert!(!is_http);
        assert!(out.starts_with("HTTP/1.1 500 ") && out.contains("connection: close\r\n"));
        assert!(
            !out.contains("hello") && !out.contains("cookie"),
            "{answer:?} {out}"
        );
    }
}

#[test]
fn the_last_request_ends_the_connection_after_its_answer() {
    let close = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n";
    let old = b"GET /nothing HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    for data in [&close[..], old] {
        let mut peer = Peer::new();
        peer.feed(&bytes(&[data, GET]));
        assert_eq!(peer.heard.statuses(), [200]);
        assert!(String::from_utf8_lossy(&peer.heard.out).contains("connection: close\r\n"));
        assert!(peer.session.wants_shutdown() && !peer.session.wants_shutdown());
        peer.feed(GET);
        assert_eq!(peer.session.next_deadline(), Some(2_000));
        assert_eq!(peer.heard.requests.len(), 1);
        peer.end();
        assert!(peer.session.is_over() && !peer.session.was_cut());
    }
    let (out, _) = answered(
        GET,
        &Answer {
            headers: &[("Connection", "close")],
            ..PLAIN
        },
    );
    assert_eq!(out.matches("close").count(), 1);
}

#[test]
fn a_body_that_waits_hears_continue() {
    let expecting = |framing: &str| format!("Expect: 100-Continue\r\n{framing}\r\n\r\n");
    for (framing, body, statuses) in [
        ("Content-Length: 2", "{}", &[100, 200][..]),
        (
            "Transfer-Encoding: chunked",
            "2\r\n{}\r\n0\r\n\r\n",
            &[100, 200],
        ),
        ("Content-Length: 0", "", &[200]),
        ("Content-Length: 65537", "", &[413]),
        ("Content-Length: x", "", &[400]),
    ] {
        let mut peer = Peer::new();
        peer.feed(&bytes(&[START, expecting(framing).as_bytes()]));
        assert_eq!(peer.heard.statuses(), statuses[..1]);
        peer.feed(body.as_bytes());
        assert_eq!(peer.heard.statuses(), statuses, "{framing}");
    }
    let cold =
        b"POST /cold HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(heard([&cold[..]]).out, b"");
}

#[test]
fn a_body_may_be_as_large_as_its_bound() {
    let most = "x".repeat(65_536);
    for (framing, whole) in [
        (format!("Content-Length: 65536\r\n\r\n{most}"), true),
        (format!("Content-Length: 65537\r\n\r\n{most}x"), false),
        (
            format!("Content-Length: 999999999999999999\r\n\r\n{most}"),
            false,
        ),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n10000\r\n{most}\r\n0\r\n\r\n"),
            true,
        ),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n10000\r\n{most}\r\n1\r\nx\r\n0\r\n\r\n"),
            false,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n".to_owned(),
            false,
        ),
    ] {
        let mut peer = Peer::new();
        for piece in bytes(&[START, framing.as_bytes()]).chunks(1_000) {
            peer.feed(piece);
        }
        let body = peer.heard.requests[0].body.as_deref();
        assert_eq!(body, whole.then_some(most.as_bytes()));
        assert_eq!(peer.heard.statuses(), [if whole { 200 } else { 413 }]);
        let out = String::from_utf8_lossy(&peer.heard.out);
        assert_eq!(out.contains("connection: close\r\n"), !whole);
    }
}

#[test]
fn requests_wait_for_the_answer_before() {
    let mut peer = Peer::new();
    let first = ask(&mut peer, &bytes(&[GET, GET, COLD]));
    assert!(peer.context.events.is_empty() && !peer.session.wants_data());
    assert!(peer.session.answer(first.number, &PLAIN, 0, &peer.context));
    assert!(
        peer.context.events.is_empty(),
        "not before the answer is gone"
    );
    let size = peer.session.data_to_send().len();
    peer.session.sent(size - 1, 0, &mut peer.context);
    assert!(peer.context.events.is_empty() && !peer.session.wants_data());
    peer.session.sent(1, 0, &mut peer.context);
    let second = ask(&mut peer, b"");
    // A second answer to the first is none to the second.
    assert!(peer.session.answer(first.number, &PLAIN, 0, &peer.context));
    assert_eq!(peer.session.data_to_send(), b"");
    assert!(peer.session.answer(second.number, &PLAIN, 0, &peer.context));
    peer.send();
    assert_eq!(peer.context.events, [Event::Handover(COLD.to_vec())]);
    assert!(peer.session.is_handed_over() && peer.session.next_deadline().is_none());
    peer.session.lost();
    assert!(peer.session.is_handed_over());
}

#[test]
fn the_end_of_the_stream() {
    let half = bytes(&[START, b"Content-Length: 3\r\n\r\n{}"]);
    for (data, statuses) in [
        (&b""[..], &[][..]),
        (GET, &[200]),
        (&GET[..20], &[400]),
        (&half, &[400]),
        (&bytes(&[CHUNKED, b"2\r\n{}\r\n"]), &[400]),
        (&bytes(&[GET, b"G"]), &[200, 400]),
    ] {
        let mut peer = Peer::new();
        peer.feed(data);
        peer.end();
        assert_eq!(peer.heard.statuses(), statuses);
        assert!(peer.session.is_over());
    }
    // It may come while the answer is owed: those who shut their side still read.
    let mut peer = Peer::new();
    let request = ask(&mut peer, &bytes(&[GET, b"GE"]));
    peer.end();
    assert!(!peer.session.is_over());
    assert!(
        peer.session
            .answer(request.number, &PLAIN, 0, &peer.context)
    );
    peer.send();
    assert_eq!(peer.heard.statuses(), [200, 400]);
    assert!(peer.session.is_over());
}

fn timed_out(peer: &mut Peer, at: u64) {
    assert_eq!(peer.session.next_deadline(), Some(at));
    peer.session.handle_timeout(at - 1);
    assert!(!peer.session.is_over());
    peer.session.handle_timeout(at);
    assert!(peer.session.is_over());
    assert_eq!(peer.session.next_deadline(), None);
}

#[test]
fn deadlines() {
    let mut silent = Peer::new();
    timed_out(&mut silent, 8_000);

    let mut slow = Peer::new();
    for at in 1..=7 {
        slow.now = at * 1_000;
        slow.feed(&GET[..1]); // one more byte gains nothing
    }
    timed_out(&mut slow, 8_000);

    let mut idle = Peer::new();
    idle.now = 1_000;
    idle.feed(GET);
    assert_eq!(idle.session.next_deadline(), Some(76_000));
    idle.now = 70_000;
    idle.feed(&GET[..9]);
    timed_out(&mut idle, 76_000);

    let mut second = Peer::new();
    second.feed(GET);
    second.now = 10_000;
    second.feed(&GET[..9]);
    timed_out(&mut second, 18_000);

    let mut body = Peer::new();
    body.now = 5_000;
    body.feed(&bytes(&[START, b"Content-Length: 3\r\n\r\n{"]));
    body.now = 34_000;
    body.feed(b"}");
    timed_out(&mut body, 35_000);

    let mut unanswered = Peer::new();
    ask(&mut unanswered, GET);
    timed_out(&mut unanswered, 30_000);

    let mut reader = Peer::new();
    let request = ask(&mut reader, &bytes(&[GET, GET]));
    assert!(
        reader
            .session
            .answer(request.number, &PLAIN, 0, &reader.context)
    );
    reader.session.sent(3, 4_000, &mut reader.context);
    reader.session.sent(3, 13_000, &mut reader.context);
    timed_out(&mut reader, 14_000);
    assert!(reader.session.was_cut());

    let mut refused = Peer::new();
    refused.session.receive_data(b"\0", 0, &mut refused.context);
    timed_out(&mut refused, 12_000); // to write and to close
}

#[test]
fn draining_ends_what_is_idle_and_answers_what_has_begun() {
    let mut idle = Peer::new();
    idle.feed(GET);
    idle.session.drain(0, &idle.context);
    assert!(idle.session.is_over() && !idle.session.was_cut());
    idle.feed(GET);
    assert_eq!(idle.heard.requests.len(), 1);

    let mut begun = Peer::new();
    begun.feed(&GET[..9]);
    begun.session.drain(0, &begun.context);
    begun.feed(&bytes(&[&GET[9..], GET]));
    assert_eq!(begun.heard.statuses(), [200]);
    assert!(begun.session.wants_shutdown());

    let mut asked = Peer::new();
    let request = ask(&mut asked, GET);
    asked.session.drain(0, &asked.context);
    assert!(
        asked
            .session
            .answer(request.number, &PLAIN, 0, &asked.context)
    );
    asked.send();
    assert!(String::from_utf8_lossy(&asked.heard.out).contains("connection: close"));

    let mut sending = Peer::new();
    let request = ask(&mut sending, GET);
    assert!(
        sending
            .session
            .answer(request.number, &PLAIN, 0, &sending.context)
    );
    sending.session.drain(0, &sending.context);
    assert!(!sending.session.wants_shutdown());
    sending.send();
    assert!(sending.session.wants_shutdown());
}

#[test]
fn an_idle_connection_holds_nothing_and_others_little() {
    let mut peer = Peer::new();
    for data in [GET, &bytes(&[START, b"Content-Length: 2\r\n\r\n{}"])] {
        for piece in data.chunks(1) {
            peer.feed(piece);
        }
        assert_eq!(peer.session.held_bytes(), 0);
    }
    let mut chunked = Peer::new();
    chunked.feed(CHUNKED);
    let chunk = b"1\r\nx\r\n";
    for _ in 0..65_536 {
        chunked.feed(chunk);
        assert!(chunked.session.held_bytes() <= 2 * 65_536 + 2_048);
    }
    assert!(chunked.heard.requests.is_empty());
    chunked.feed(chunk);
    assert_eq!(chunked.heard.requests[0].body, None);
    assert_eq!(chunked.session.held_bytes(), 0);
}

#[test]
fn a_head_has_room_in_sixteen_bits() {
    let mut options = options();
    options.head_bytes_max = 65_536;
    assert!(options.clone().checked().is_err());
    options.head_bytes_max = 65_535;
    let mut peer = Peer::with(options.checked().expect("fits"));
    let rest = 65_535 - GET.len() - b"X: \r\n".len();
    let head = GET.strip_suffix(b"\r\n").expect("it has it");
    peer.feed(&bytes(&[head, b"X: ", &vec![b'x'; rest], b"\r\n\r\n"]));
    let (name, value) = peer.heard.requests[0].headers().last().expect("there");
    assert_eq!((name, value.len()), (&b"x"[..], rest));
}
