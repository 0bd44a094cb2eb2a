// Invariant: frames, fault and pending bytes depend on the bytes and not on how they were cut; no
// frame passes the limit, less than one frame is kept, nothing is kept after a fault, and the
// frames written again are the bytes that were read.
//
// The input's first byte is the size of the pieces, the second sets the limit, the rest is the
// stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_core_rs::haptic::codec::{FrameDecoder, encode_frame};

fuzz_target!(|input: &[u8]| {
    let [piece_bytes, limit, stream @ ..] = input else {
        return;
    };
    let frame_bytes_max = 3 + 4 * usize::from(*limit);
    let mut whole = FrameDecoder::new(frame_bytes_max).expect("3 to 1023");
    let mut cut = FrameDecoder::new(frame_bytes_max).expect("3 to 1023");
    let frames = whole.receive_data(stream);
    let mut cut_frames = Vec::new();
    for piece in stream.chunks(usize::from(*piece_bytes).max(1)) {
        cut_frames.extend(cut.receive_data(piece));
        assert!(cut.pending_bytes() < frame_bytes_max);
    }
    assert_eq!(frames, cut_frames);
    assert_eq!(whole.fault(), cut.fault());
    assert_eq!(whole.pending_bytes(), cut.pending_bytes());
    assert!(whole.fault().is_none() || whole.pending_bytes() == 0);

    let mut written = Vec::new();
    for frame in &frames {
        let bytes = encode_frame(frame.frame_type, &frame.payload).expect("it was read");
        assert!(bytes.len() <= frame_bytes_max);
        written.extend(bytes);
    }
    assert!(stream.starts_with(&written));
    if whole.fault().is_none() {
        assert_eq!(written.len() + whole.pending_bytes(), stream.len());
    }
});
