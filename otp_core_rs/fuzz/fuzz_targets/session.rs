// Invariant: events and bytes out depend on the bytes in and not on how they were cut; at most one
// end is told, nothing is told after it, no frame passes its limit, what is held stays below the
// outbox and one frame, and a deadline is always known until the connection is over.
//
// The input's first byte is the size of the pieces; the rest follows a whole upgrade request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_core_rs::session::{Event, Session, SessionOptions};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn run(stream: &[u8], size: usize) -> (Vec<Event>, Vec<u8>) {
    let options = SessionOptions {
        burst_bytes: 1 << 40,
        ..SessionOptions::default()
    };
    let mut session = Session::new(0, &options);
    let (mut events, mut out) = (Vec::new(), Vec::new());
    session.receive_data(&mut HEAD.to_vec(), 0, &options, &mut events);
    session.accept(0, &options, &mut events);
    for piece in stream.to_vec().chunks_mut(size) {
        session.receive_data(piece, 0, &options, &mut events);
        let data = session.data_to_send().to_vec();
        session.sent(data.len(), 0, &options);
        out.extend(data);
        assert!(session.is_over() || session.next_deadline().is_some());
        assert!(session.statistics().held_bytes <= options.outbox_bytes_max + 4096);
    }
    let data = session.data_to_send().to_vec();
    session.sent(data.len(), 0, &options);
    out.extend(data);
    let ends = events
        .iter()
        .position(|event| matches!(event, Event::Closed(_)));
    assert!(ends.is_none_or(|at| at == events.len() - 1));
    for event in &events {
        if let Event::Frame(frame) = event {
            assert!(frame.payload.len() + 3 <= options.frame_bytes_max);
        }
    }
    (events, out)
}

fuzz_target!(|input: &[u8]| {
    let [piece_bytes, stream @ ..] = input else {
        return;
    };
    // A single piece may queue more pongs than the outbox takes: then the peer is a slow reader.
    let stream = &stream[..stream.len().min(4096)];
    assert_eq!(
        run(stream, stream.len().max(1)),
        run(stream, usize::from(*piece_bytes).max(1))
    );
});
