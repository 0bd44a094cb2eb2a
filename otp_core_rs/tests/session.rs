//! `session`: three feedings, deadlines, bounds; an idle connection holds nothing.

use otp_core_rs::haptic::codec::Frame;
use otp_core_rs::session::{Ending, Event, Kind, Session, SessionKind, SessionOptions};
use proptest::prelude::*;

const HEAD: &[u8] = b"GET /ws/device HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Version: 13\r\n\r\n";
const OTP_REQUEST: &[u8] = &[19, 3, 0];
const CLOSED_1000: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// A frame whose masking key is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![
        first,
        0x80 | u8::try_from(payload.len()).expect("short"),
        0,
        0,
        0,
        0,
    ];
    frame.extend(payload);
    frame
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    let mut frame = vec![0x88, u8::try_from(payload.len()).expect("short")];
    frame.extend(payload);
    frame
}

struct Peer {
    session: Session,
    options: SessionOptions,
    events: Vec<Event>,
    out: Vec<u8>,
}

impl Peer {
    fn new(options: SessionOptions) -> Self {
        let session = Session::new(0, &options);
        let (events, out) = (Vec::new(), Vec::new());
        Self {
            session,
            options,
            events,
            out,
        }
    }

    /// One that was let in; the answer to its upgrade is passed over.
    fn open() -> Self {
        let mut peer = Self::new(SessionOptions::default());
        peer.feed(HEAD, usize::MAX, 0);
        assert!(peer.out.starts_with(b"HTTP/1.1 101 "));
        (peer.events, peer.out) = (Vec::new(), Vec::new());
        peer
    }

    /// Feeds in pieces, lets everybody in at the upgrade event, and takes what is to be sent.
    fn feed(&mut self, stream: &[u8], size: usize, now: u64) {
        for piece in stream.chunks(size) {
            let mut piece = piece.to_vec();
            self.session
                .receive_data(&mut piece, now, &self.options, &mut self.events);
            if let Some(Event::Upgrade(_)) = self.events.last() {
                self.session.accept(now, &self.options, &mut self.events);
            }
            self.flush(now);
        }
    }

    fn timeout(&mut self, now: u64) {
        self.session
            .handle_timeout(now, &self.options, &mut self.events);
        self.flush(now);
    }

    fn flush(&mut self, now: u64) {
        let data = self.session.data_to_send().to_vec();
        self.session.sent(data.len(), now, &self.options);
        self.out.extend(data);
    }

    fn take(&mut self) -> (Vec<Event>, Vec<u8>) {
        (
            std::mem::take(&mut self.events),
            std::mem::take(&mut self.out),
        )
    }
}

fn otp_request() -> Event {
    Event::Frame(Frame {
        frame_type: 19,
        payload: Vec::new(),
    })
}

fn feed(stream: &[u8], size: usize) -> (Vec<Event>, Vec<u8>) {
    let mut peer = Peer::new(SessionOptions {
        burst_bytes: 1 << 40,
        ..SessionOptions::default()
    });
    peer.feed(stream, size, 0);
    peer.take()
}

#[test]
fn a_device_comes_in_asks_and_leaves() {
    let stream = [
        HEAD,
        &frame(0x82, OTP_REQUEST),
        &frame(0x89, b"?"),
        CLOSED_1000,
    ]
    .concat();
    let (events, out) = feed(&stream, usize::MAX);
    assert_eq!(events.len(), 3);
    assert_eq!(events[1..], [otp_request(), Event::Closed(Ending::Peer)]);
    assert!(out.ends_with(b"\r\n\r\n\x8a\x01?\x88\x02\x03\xe8"));
    for size in 1..stream.len() {
        let pieces = feed(&stream, size);
        assert_eq!((&events, &out), (&pieces.0, &pieces.1), "by {size}");
    }
    assert_eq!(
        feed(&[&stream[..], b"trailing"].concat(), usize::MAX),
        (events, out)
    );
}

#[test]
fn what_is_closed_with_what() {
    let mut masked = frame(0x82, OTP_REQUEST);
    masked[1] &= 0x7f;
    let rows = [
        (frame(0x81, b"hello"), Kind::TextMessage),
        (frame(0x82, &[1, 2, 0]), Kind::FrameTooShort),
        (frame(0x82, &[1, 1, 4]), Kind::FrameTooLarge),
        (
            vec![0x82, 0xfe, 0x40, 0x01, 0, 0, 0, 0],
            Kind::FrameTooLarge,
        ),
        (
            [frame(0x02, b""), frame(0x00, b"").repeat(64)].concat(),
            Kind::Flooded,
        ),
        (masked, Kind::ProtocolError),
    ];
    for (stream, kind) in rows {
        for size in [1, 7, usize::MAX] {
            let mut peer = Peer::open();
            peer.feed(&[&stream[..], CLOSED_1000].concat(), size, 0);
            assert_eq!(peer.out, close(kind.close_code(), kind.token()), "{kind:?}");
            assert_eq!(peer.events, [Event::Closed(Ending::Core(kind))], "{kind:?}");
            assert!(peer.session.wants_shutdown() && !peer.session.wants_shutdown());
            peer.session.receive_eof(&mut peer.events);
            assert!(peer.session.is_over());
        }
    }
}

#[test]
fn an_idle_connection_holds_nothing() {
    let mut peer = Peer::open();
    assert_eq!(peer.session.statistics().held_bytes, 0);
    peer.feed(&frame(0x82, &[1, 9, 0, 1]), 1, 0);
    assert!(peer.session.statistics().held_bytes > 0);
    peer.feed(&frame(0x82, &[2, 3, 4, 5, 6]), 1, 0);
    peer.session
        .send(b"answer", 0, &peer.options, &mut peer.events);
    peer.flush(0);
    assert_eq!(peer.session.statistics().held_bytes, 0);
    assert!(
        size_of::<Session>() <= 80,
        "a budget: {}",
        size_of::<Session>()
    );
}

#[test]
fn an_upgrade_that_does_not_come_is_dropped() {
    let mut peer = Peer::new(SessionOptions::default());
    peer.feed(&HEAD[..40], usize::MAX, 4_000);
    assert_eq!(peer.session.next_deadline(), Some(5_000));
    peer.timeout(4_999);
    assert!(!peer.session.is_over());
    peer.timeout(5_000);
    assert!(peer.session.is_over());
    assert_eq!(peer.take(), (vec![Event::Unopened], Vec::new()));
}

#[test]
fn bad_requests_are_answered_and_end() {
    for head in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![b'x'; 8193]] {
        let mut peer = Peer::new(SessionOptions::default());
        peer.feed(&head, 1000, 0);
        assert!(peer.out.starts_with(b"HTTP/1.1 4"));
        assert_eq!(peer.events, [Event::Unopened]);
        peer.timeout(2_000);
        assert!(peer.session.is_over());
    }
}

#[test]
fn a_refusal_is_the_callers() {
    let mut peer = Peer::new(SessionOptions::default());
    let mut head = HEAD.to_vec();
    peer.session
        .receive_data(&mut head, 0, &peer.options, &mut peer.events);
    peer.session
        .refuse(b"HTTP/1.1 401 \r\n\r\n", 0, &peer.options);
    peer.session.accept(0, &peer.options, &mut peer.events);
    peer.flush(0);
    assert_eq!(peer.out, b"HTTP/1.1 401 \r\n\r\n");
    assert_eq!(peer.events.len(), 1);
}

#[test]
fn a_close_while_it_is_decided_comes_after_the_upgrade() {
    let mut peer = Peer::new(SessionOptions::default());
    let mut head = HEAD.to_vec();
    peer.session
        .receive_data(&mut head, 0, &peer.options, &mut peer.events);
    peer.session.close(4002, "unauthorized", 500, 0);
    peer.session.close(1011, "internal", 2_000, 0);
    peer.session.accept(0, &peer.options, &mut peer.events);
    peer.flush(0);
    assert!(peer.out.ends_with(&close(4002, "unauthorized")));
}

#[test]
fn a_begun_frame_must_be_finished_in_time() {
    let mut peer = Peer::open();
    peer.feed(&frame(0x82, &[1]), usize::MAX, 1_000);
    peer.feed(&frame(0x82, &[9]), usize::MAX, 9_000);
    assert_eq!(peer.session.next_deadline(), Some(11_000));
    peer.timeout(11_000);
    assert_eq!(peer.out, close(1002, "frame_stalled"));
    assert_eq!(
        peer.events,
        [Event::Closed(Ending::Core(Kind::FrameStalled))]
    );
}

#[test]
fn a_finished_frame_moves_the_deadline_of_the_next() {
    let mut peer = Peer::open();
    peer.feed(&frame(0x82, &[1]), usize::MAX, 0);
    peer.feed(&frame(0x82, &[3, 0, 1]), usize::MAX, 9_000);
    assert_eq!(peer.session.next_deadline(), Some(19_000));
    peer.feed(&frame(0x82, &[3, 0]), usize::MAX, 9_500);
    assert_eq!(peer.session.next_deadline(), Some(20_000));
}

#[test]
fn pings_go_out_and_two_misses_close() {
    let mut peer = Peer::open();
    for now in [20_000, 40_000] {
        peer.timeout(now);
        assert_eq!(peer.take(), (vec![], vec![0x89, 0]));
    }
    peer.feed(&frame(0x8a, b"any pong"), usize::MAX, 41_000);
    for now in [60_000, 80_000] {
        peer.timeout(now);
        assert_eq!(peer.take(), (vec![], vec![0x89, 0]));
    }
    peer.timeout(100_000);
    assert_eq!(peer.take(), (vec![], close(1011, "ping_timeout")));
    peer.timeout(102_000);
    let ending = Ending::Core(Kind::PingTimeout);
    assert_eq!(peer.take().0, [Event::Closed(ending)]);
}

#[test]
fn a_flood_is_closed_and_a_steady_stream_is_not() {
    let filler = frame(0x82, &[&[7, 103, 0][..], &[0; 100]].concat());
    let cost = filler.len() + 3 * 32; // read, WebSocket frame and frame
    let mut peer = Peer::open();
    for second in 0..100 {
        for _ in 0..8192 / cost {
            peer.feed(&filler, usize::MAX, second * 1_000);
        }
    }
    assert!(peer.out.is_empty());
    peer.take();
    while peer.out.is_empty() {
        peer.feed(&filler, usize::MAX, 100_000);
    }
    assert_eq!(peer.out, close(1008, "flooded"));
    assert!(peer.events.len() <= 1 + 65_536 / cost);
}

#[test]
fn small_things_cost_more_than_their_bytes() {
    let rows = [
        (frame(0x82, OTP_REQUEST), 3), // read, WebSocket frame, frame
        (frame(0x82, &OTP_REQUEST.repeat(20)), 22),
        (frame(0x8a, b""), 2),
        (frame(0x02, b""), 2),
    ];
    for (message, items) in rows {
        let mut peer = Peer::open();
        peer.options.message.fragments_max = u32::MAX;
        let begin = message[0] & 0x0f;
        let continued = frame(0, b"");
        let cost = message.len() + items * 32;
        let head = HEAD.len() + 32;
        let affordable = (65_536 - head) / cost;
        for n in 0..affordable {
            let fragment = n > 0 && message == frame(0x02, b"");
            peer.feed(if fragment { &continued } else { &message }, usize::MAX, 0);
            assert!(peer.out.is_empty(), "{begin}: {n} of {affordable}");
        }
        peer.feed(
            if begin == 2 && items == 2 {
                &continued
            } else {
                &message
            },
            usize::MAX,
            0,
        );
        assert_eq!(peer.out, close(1008, "flooded"), "{begin}");
        assert_eq!(
            peer.events.last(),
            Some(&Event::Closed(Ending::Core(Kind::Flooded)))
        );
        // What could not be paid for was not heard.
        assert_eq!(peer.events.len(), 1 + affordable * (items - 2));
    }
}

#[test]
fn bytes_one_by_one_cost_a_read_each() {
    let filler = frame(0x82, &[&[7, 103, 0][..], &[0; 100]].concat());
    let cost = filler.len() * 33 + 2 * 32;
    let mut peer = Peer::open();
    for _ in 0..=65_536 / cost {
        peer.feed(&filler, 1, 0);
    }
    assert_eq!(peer.out, close(1008, "flooded"));
}

#[test]
fn a_peer_that_does_not_read_is_closed() {
    let mut peer = Peer::open();
    let before = peer.events.len();
    for _ in 0..64 {
        peer.session
            .send(&[0; 1000], 0, &peer.options, &mut peer.events);
    }
    assert_eq!(peer.events.len(), before);
    for _ in 0..64 {
        peer.session
            .send(&[0; 1000], 0, &peer.options, &mut peer.events);
    }
    assert_eq!(peer.events, [Event::Closed(Ending::Core(Kind::SlowReader))]);
    assert!(peer.session.statistics().waiting_bytes <= 65_536 + 127);
}

#[test]
fn what_waits_must_be_taken_in_time() {
    let mut peer = Peer::open();
    peer.session
        .send(&[0; 1000], 0, &peer.options, &mut peer.events);
    peer.session.sent(0, 1_000, &peer.options);
    assert_eq!(peer.session.next_deadline(), Some(11_000));
    peer.session.sent(500, 9_000, &peer.options); // progress, but not the whole
    assert_eq!(peer.session.next_deadline(), Some(11_000));
    peer.timeout(11_000);
    assert_eq!(peer.events, [Event::Closed(Ending::Core(Kind::SlowReader))]);
    assert!(peer.session.is_over());
}

#[test]
fn our_close_waits_for_the_peers() {
    let mut peer = Peer::open();
    peer.session.close(1001, "draining", 2_000, 0);
    peer.session
        .send(b"too late", 0, &peer.options, &mut peer.events);
    peer.flush(0);
    assert_eq!(peer.out, close(1001, "draining"));
    peer.feed(
        &[&frame(0x89, b"?"), &frame(0x82, OTP_REQUEST), CLOSED_1000].concat(),
        3,
        0,
    );
    assert_eq!(peer.events, [Event::Closed(Ending::Asked)]);
    assert_eq!(peer.out, close(1001, "draining"));
}

#[test]
fn a_close_has_one_deadline() {
    let mut peer = Peer::open();
    peer.session
        .send(&[0; 1000], 0, &peer.options, &mut peer.events);
    peer.session.sent(10, 0, &peer.options);
    peer.session.close(1008, "replaced", 2_000, 1_000);
    peer.session.close(1001, "draining", 2_000, 1_500); // comes too late to matter
    assert_eq!(peer.session.next_deadline(), Some(3_000));
    let mut answer = CLOSED_1000.to_vec();
    peer.session
        .receive_data(&mut answer, 2_000, &peer.options, &mut peer.events);
    assert_eq!(peer.events, [Event::Closed(Ending::Asked)]);
    assert_eq!(peer.session.next_deadline(), Some(3_000));
    assert!(!peer.session.data_to_send().is_empty() && !peer.session.wants_shutdown());
    peer.session
        .handle_timeout(3_000, &peer.options, &mut peer.events);
    assert!(peer.session.is_over() && peer.session.was_cut());
}

#[test]
fn an_echo_goes_back_whole_and_as_it_came() {
    let mut peer = Peer::new(SessionOptions {
        kind: SessionKind::Echo,
        ..Default::default()
    });
    peer.options.message.text = true;
    peer.feed(
        &[
            HEAD,
            &frame(0x01, b"a"),
            &frame(0x80, b"b"),
            &frame(0x82, b"c"),
        ]
        .concat(),
        5,
        0,
    );
    assert!(peer.out.ends_with(b"\x81\x02ab\x82\x01c"));
}

proptest! {
    #[test]
    fn three_feedings_give_the_same(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..9),
        noise: Vec<u8>,
        size in 1_usize..50,
    ) {
        let mut stream = HEAD.to_vec();
        for (first, payload) in frames {
            stream.extend(frame(if first > 99 { 0x82 } else { first & 0x8f }, &payload));
        }
        stream.extend(noise);
        let whole = feed(&stream, usize::MAX);
        prop_assert_eq!(&whole, &feed(&stream, 1));
        prop_assert_eq!(&whole, &feed(&stream, size));
    }
}
