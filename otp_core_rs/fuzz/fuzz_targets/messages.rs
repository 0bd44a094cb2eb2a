// Invariant: any bytes are read or refused without a panic; the three decoders differ only in
// which strings they look at; a message that is read, written and read again is the same message;
// and two readable messages in a row are readable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_core_rs::haptic::codec::HEADER_BYTES;
use otp_core_rs::haptic::messages::{
    decode_auth, decode_otp_request, decode_otp_response, encode_otp_response,
};
use otp_core_rs::haptic::wire::WireFault;

fuzz_target!(|payload: &[u8]| {
    let request = decode_otp_request(payload);
    let auth = decode_auth(payload);
    let response = decode_otp_response(payload);

    // The request has no string: it refuses nothing but the encoding, as both others do.
    if let Err(fault) = request {
        assert!([fault, WireFault::NotUtf8].contains(&auth.expect_err("refused")));
        let refused = response.err().expect("refused");
        assert!([fault, WireFault::NotUtf8].contains(&refused));
        return;
    }
    let Ok(response) = response else { return };
    assert_eq!(
        auth,
        Ok(response.otp.as_str()),
        "field 1 is a string in both"
    );

    if let Ok(frame) = encode_otp_response(&response.otp, response.expires_at_ms, &response.error) {
        let again = decode_otp_response(&frame[HEADER_BYTES..]).expect("we wrote it");
        assert!(again == response);
    }
    assert!(decode_otp_response(&[payload, payload].concat()).is_ok_and(|twice| twice == response));
});
