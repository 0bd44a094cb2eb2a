//! `haptic::messages` and `haptic::wire`: golden bytes, what is refused, and round trips.
//!
//! Agreement with the protobuf runtime is held by `tests/core/test_messages_differential.py`.

use otp_core_rs::haptic::messages::{
    decode_auth, decode_otp_request, decode_otp_response, encode_otp_response,
};
use otp_core_rs::haptic::wire::WireFault;
use proptest::prelude::*;

/// The three decoders on one payload: each accepts, or says why not.
fn faults(payload: &[u8]) -> [Option<WireFault>; 3] {
    [
        decode_otp_request(payload).err(),
        decode_auth(payload).err(),
        decode_otp_response(payload).err(),
    ]
}

fn response(payload: &[u8]) -> (String, u64, String) {
    let response = decode_otp_response(payload).expect("a valid message");
    let otp = response.otp.to_string();
    (otp, response.expires_at_ms, response.error)
}

#[test]
fn a_code_frame_is_golden() {
    let golden = b"\x14\x12\x00\x0A\x06123456\x10\x80\xD0\x95\xFF\xBC1";
    let frame = encode_otp_response("123456", 1_700_000_000_000, "").unwrap();
    assert_eq!(*frame, golden);
    let expected = ("123456".to_owned(), 1_700_000_000_000, String::new());
    assert_eq!(response(&golden[3..]), expected);
}

#[test]
fn an_error_frame_is_golden() {
    let golden = b"\x14\x11\x00\x1A\x0Crate_limited";
    let frame = encode_otp_response("", 0, "rate_limited").unwrap();
    assert_eq!(*frame, golden);
    let expected = (String::new(), 0, "rate_limited".to_owned());
    assert_eq!(response(&golden[3..]), expected);
}

#[test]
fn a_frame_beyond_sixteen_bits_is_refused() {
    assert!(encode_otp_response("", 0, &"x".repeat(65_528)).is_ok());
    assert!(encode_otp_response("", 0, &"x".repeat(65_529)).is_err());
}

#[test]
fn an_empty_message_has_defaults() {
    assert_eq!(decode_otp_request(b""), Ok(false));
    assert_eq!(decode_auth(b""), Ok(""));
    assert_eq!(response(b""), (String::new(), 0, String::new()));
}

#[test]
fn any_varint_but_zero_is_true() {
    assert_eq!(decode_otp_request(b"\x08\x01"), Ok(true));
    assert_eq!(decode_otp_request(b"\x08\x80\x80\x01"), Ok(true));
    assert_eq!(decode_otp_request(b"\x08\x80\x80\x00"), Ok(false));
}

#[test]
fn the_last_value_wins() {
    assert_eq!(decode_otp_request(b"\x08\x01\x08\x00"), Ok(false));
    assert_eq!(decode_auth(b"\x0A\x01a\x0A\x01b"), Ok("b"));
    assert_eq!(decode_auth(b"\x0A\x01a\x0A\x00"), Ok(""));
}

#[test]
fn unknown_fields_of_every_accepted_kind_are_skipped() {
    let unknown = b"\x20\xFF\x01\x29\0\0\0\0\0\0\0\0\x32\x02\xFF\xFE\x3D\0\0\0\0";
    assert_eq!(faults(unknown), [None; 3]);
    let payload = [unknown.as_slice(), b"\x0A\x01a", unknown].concat();
    assert_eq!(decode_auth(&payload), Ok("a"));
}

#[test]
fn a_known_field_of_another_wire_type_is_unknown() {
    assert_eq!(decode_otp_request(b"\x08\x01\x0A\x01a"), Ok(true));
    assert_eq!(decode_auth(b"\x0A\x01a\x08\x05\x0D\0\0\0\0"), Ok("a"));
    assert_eq!(
        response(b"\x10\x07\x12\x01a"),
        (String::new(), 7, String::new())
    );
}

#[test]
fn what_protobuf_refuses_is_refused() {
    let table: [(&[u8], WireFault); 18] = [
        (b"\x00\x01", WireFault::FieldZero),
        (b"\x80\x00\x01", WireFault::FieldZero),
        (b"\x23\x24", WireFault::Group),
        (b"\x24", WireFault::Group),
        (b"\x0B\x0C", WireFault::Group),
        (b"\x26\x00", WireFault::UnknownWireType),
        (b"\x27", WireFault::UnknownWireType),
        (b"\x20", WireFault::Truncated),
        (b"\x20\x80", WireFault::Truncated),
        (b"\x29\0\0\0\0\0\0\0", WireFault::Truncated),
        (b"\x2D\0\0\0", WireFault::Truncated),
        (b"\x22\x02a", WireFault::Truncated),
        (b"\x22\xFF\xFF\xFF\xFF\x07", WireFault::Truncated),
        (b"\x22\xFF\xFF\xFF\xFF\x0F", WireFault::VarintTooLarge),
        (b"\x22\x80\x80\x80\x80\x80\x00", WireFault::VarintTooLarge),
        (b"\xA0\x80\x80\x80\x10\x01", WireFault::VarintTooLarge),
        (b"\xA0\x80\x80\x80\x80\x00\x01", WireFault::VarintTooLarge),
        (
            b"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
            WireFault::VarintTooLarge,
        ),
    ];
    for (payload, fault) in table {
        assert_eq!(faults(payload), [Some(fault); 3], "{payload:02x?}");
    }
}

#[test]
fn a_string_must_be_utf8_even_if_a_later_one_replaces_it() {
    assert_eq!(decode_auth(b"\x0A\x02\xC3\x28"), Err(WireFault::NotUtf8));
    assert_eq!(
        decode_auth(b"\x0A\x01\xFF\x0A\x01a"),
        Err(WireFault::NotUtf8)
    );
    assert_eq!(
        decode_auth(b"\x0A\x03\xED\xA0\x80"),
        Err(WireFault::NotUtf8)
    );
}

#[test]
fn sixty_four_bits_are_read_and_more_fall_off() {
    let largest = b"\x10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01";
    assert_eq!(response(largest).1, u64::MAX);
    let beyond = b"\x10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7E";
    assert_eq!(response(beyond).1, u64::MAX >> 1);
}

proptest! {
    #[test]
    fn responses_survive_the_wire(otp in ".{0,20}", expires_at_ms: u64, error in "[a-z_]{0,20}") {
        let frame = encode_otp_response(&otp, expires_at_ms, &error).unwrap();
        prop_assert_eq!(usize::from(u16::from_le_bytes([frame[1], frame[2]])), frame.len());
        prop_assert_eq!(response(&frame[3..]), (otp, expires_at_ms, error));
    }

    #[test]
    fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
        faults(&payload);
    }

    #[test]
    fn a_message_cut_short_is_refused_or_means_its_first_fields(
        otp in "[0-9]{1,8}", error in "[a-z]{1,8}", cut: prop::sample::Index,
    ) {
        let frame = encode_otp_response(&otp, 0, &error).unwrap();
        let payload = &frame[3..3 + cut.index(frame.len() - 3)];
        match decode_otp_response(payload) {
            Ok(read) => prop_assert!(payload.is_empty() || *read.otp == otp && read.error.is_empty()),
            Err(fault) => prop_assert_eq!(fault, WireFault::Truncated),
        }
    }
}
