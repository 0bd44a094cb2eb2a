//! `haptic::codec`: golden bytes, three feedings, limits before memory.

use otp_core_rs::error::Error;
use otp_core_rs::haptic::codec::{Frame, FrameDecoder, FrameFault, encode_frame};
use proptest::prelude::*;

const FRAME_BYTES_MAX: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    frames: Vec<Frame>,
    fault: Option<FrameFault>,
    pending_bytes: usize,
}

fn feed<'data>(frame_bytes_max: usize, pieces: impl IntoIterator<Item = &'data [u8]>) -> Seen {
    let mut decoder = FrameDecoder::new(frame_bytes_max).expect("a valid limit");
    let frames = pieces
        .into_iter()
        .flat_map(|piece| decoder.receive_data(piece))
        .collect();
    Seen {
        frames,
        fault: decoder.fault(),
        pending_bytes: decoder.pending_bytes(),
    }
}

/// Whole, byte by byte, cut in two at every place, and followed by another frame: the same frames.
fn three_feedings(frame_bytes_max: usize, stream: &[u8]) -> Seen {
    let whole = feed(frame_bytes_max, [stream]);
    assert_eq!(whole, feed(frame_bytes_max, stream.chunks(1)), "by bytes");
    for cut in 0..=stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(whole, feed(frame_bytes_max, [head, tail]), "cut at {cut}");
    }
    if whole.pending_bytes == 0 {
        let trailed = feed(
            frame_bytes_max,
            [[stream, &[19, 3, 0, 7]].concat().as_slice()],
        );
        let (before, after) = trailed.frames.split_at(whole.frames.len());
        assert_eq!(before, whole.frames);
        if whole.fault.is_none() {
            assert_eq!(after, [frame(19, b"")]);
            assert_eq!(trailed.pending_bytes, 1);
        } else {
            assert_eq!((after.len(), trailed.pending_bytes), (0, 0));
        }
    }
    whole
}

fn frame(frame_type: u8, payload: &[u8]) -> Frame {
    Frame {
        frame_type,
        payload: payload.to_vec(),
    }
}

#[test]
fn an_empty_frame_has_length_three() {
    let seen = three_feedings(FRAME_BYTES_MAX, &[19, 3, 0]);
    assert_eq!(seen.frames, [frame(19, b"")]);
    assert_eq!((seen.fault, seen.pending_bytes), (None, 0));
}

#[test]
fn the_sources_example_is_read() {
    let seen = three_feedings(FRAME_BYTES_MAX, &[1, 6, 0, 1, 2, 3]);
    assert_eq!(seen.frames, [frame(1, &[1, 2, 3])]);
}

#[test]
fn several_frames_in_one_piece_come_in_order() {
    let stream = [0, 3, 0, 255, 4, 0, 9, 19, 5, 0, 8, 1];
    let seen = three_feedings(FRAME_BYTES_MAX, &stream);
    let expected = [frame(0, b""), frame(255, &[9]), frame(19, &[8, 1])];
    assert_eq!(seen.frames, expected);
}

#[test]
fn lengths_below_the_header_are_faults() {
    for length in 0..3 {
        let seen = three_feedings(FRAME_BYTES_MAX, &[19, length, 0]);
        assert_eq!((seen.frames.len(), seen.pending_bytes), (0, 0));
        assert_eq!(seen.fault, Some(FrameFault::TooShort));
    }
}

#[test]
fn the_limit_counts_the_header_and_is_inclusive() {
    let largest = encode_frame(7, &[5; 7]).unwrap();
    assert_eq!(three_feedings(10, &largest).frames, [frame(7, &[5; 7])]);
    let larger = encode_frame(7, &[5; 8]).unwrap();
    let seen = three_feedings(10, &larger);
    assert_eq!(seen.fault, Some(FrameFault::TooLarge));
    assert_eq!((seen.frames.len(), seen.pending_bytes), (0, 0));
}

#[test]
fn a_length_is_judged_when_the_header_is_complete() {
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX).unwrap();
    assert_eq!(decoder.receive_data(&[19, 0xFF]), []);
    assert_eq!((decoder.fault(), decoder.pending_bytes()), (None, 2));
    assert_eq!(decoder.receive_data(&[0xFF]), []);
    assert_eq!(decoder.fault(), Some(FrameFault::TooLarge));
    assert_eq!(decoder.pending_bytes(), 0);
}

#[test]
fn frames_before_a_fault_come_and_none_after_it() {
    let seen = three_feedings(FRAME_BYTES_MAX, &[19, 3, 0, 19, 2, 0, 19, 3, 0]);
    assert_eq!(seen.frames, [frame(19, b"")]);
    assert_eq!(seen.fault, Some(FrameFault::TooShort));
}

#[test]
fn a_fault_stays() {
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX).unwrap();
    decoder.receive_data(&[19, 2, 0]);
    assert_eq!(decoder.receive_data(&[19, 3, 0]), []);
    assert_eq!(decoder.fault(), Some(FrameFault::TooShort));
    assert_eq!(decoder.pending_bytes(), 0);
}

#[test]
fn faults_have_their_tokens_and_close_codes() {
    let short = FrameFault::TooShort;
    assert_eq!(
        (short.kind(), short.close_code()),
        ("frame_too_short", 1002)
    );
    let large = FrameFault::TooLarge;
    assert_eq!(
        (large.kind(), large.close_code()),
        ("frame_too_large", 1009)
    );
}

#[test]
fn limits_outside_the_wire_are_refused() {
    for frame_bytes_max in [0, 2, 65536, usize::MAX] {
        let refused = FrameDecoder::new(frame_bytes_max).err();
        assert!(
            matches!(refused, Some(Error::Value(_))),
            "{frame_bytes_max}"
        );
    }
    for frame_bytes_max in [3, 65535] {
        assert!(FrameDecoder::new(frame_bytes_max).is_ok());
    }
}

#[test]
fn the_largest_frame_is_written_and_no_larger() {
    assert_eq!(encode_frame(1, &vec![0; 65532]).unwrap().len(), 65535);
    assert!(matches!(
        encode_frame(1, &vec![0; 65533]),
        Err(Error::Value(_))
    ));
}

proptest! {
    #[test]
    fn frames_survive_the_wire(
        sent in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6)
    ) {
        let mut stream = Vec::new();
        for (frame_type, payload) in &sent {
            stream.extend(encode_frame(*frame_type, payload).unwrap());
        }
        let seen = three_feedings(FRAME_BYTES_MAX, &stream);
        let expected: Vec<Frame> = sent.iter().map(|(kind, payload)| frame(*kind, payload)).collect();
        prop_assert_eq!(seen.frames, expected);
        prop_assert_eq!((seen.fault, seen.pending_bytes), (None, 0));
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        stream in prop::collection::vec(prop_oneof![Just(0_u8), 0..12_u8, any::<u8>()], 0..60),
        frame_bytes_max in 3..40_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = three_feedings(frame_bytes_max, &stream);
        prop_assert!(whole.pending_bytes < frame_bytes_max);
        prop_assert!(whole.frames.iter().all(|frame| frame.payload.len() + 3 <= frame_bytes_max));
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|place| &stream[place[0]..place[1]]);
        prop_assert_eq!(whole, feed(frame_bytes_max, pieces));
    }
}
