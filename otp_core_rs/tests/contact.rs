//! `contact`: what stores hold already is found and opens, and nothing else does.

use otp_core_rs::contact::{ContactCipher, ContactIndex, KEY_BYTES_MIN, NONCE_BYTES};
use proptest::{prop_assert_eq, proptest};

fn hex(bytes: &[u8]) -> String {
    let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    each.concat()
}

/// Made by another HMAC: Python's `hmac.digest`.
#[test]
fn known_answers() {
    let key: Vec<u8> = (0..32).collect();
    let index = ContactIndex::new(&key).unwrap();
    assert_eq!(
        hex(&index.of("acme", "sms", "+12025550123")),
        "1f747cc30511e465ded4eaa62ae66f184073acba69a4f34c93989cfe565e3e2c"
    );
    assert_eq!(
        hex(&index.of("", "email", "jürgen@exämple.org")),
        "3fd918319f44f7e632035fd64b7a00305b0632fdd3294358b187e1bf64233c8e"
    );
}

#[test]
fn fields_do_not_run_into_each_other() {
    let index = ContactIndex::new(&[7; 32]).unwrap();
    assert_ne!(index.of("ab", "c", "d"), index.of("a", "bc", "d"));
    assert_ne!(index.of("a", "bc", "d"), index.of("a", "b", "cd"));
}

#[test]
fn short_keys_are_refused_and_nothing_is_shown() {
    assert!(ContactIndex::new(&[1; KEY_BYTES_MIN - 1]).is_err());
    let index = ContactIndex::new(&[1; KEY_BYTES_MIN]).unwrap();
    assert_eq!(format!("{index:?}"), "ContactIndex");
}

/// Made by another ChaCha20-Poly1305, with which contacts were sealed once: OpenSSL's.
const SEALED: [(&str, [&str; 3], &str); 3] = [
    (
        "k1",
        ["acme", "sms", "+12025550123"],
        "026b316465666768696a6b6c6d6e6f1f2089faaa904367cbef274c47e58307b0698d027bdd1b8fd57b0307",
    ),
    (
        "schlüssel",
        ["", "email", "jürgen@exämple.org"],
        "0a7363686cc3bc7373656c6465666768696a6b6c6d6e6f5ed207b8ffc018129ea6d6db9ff9b4f65ea9e05360\
         7fc022d1a71efc36055019d169fe06",
    ),
    (
        "",
        ["t", "email", ""],
        "006465666768696a6b6c6d6e6f6046028fab339faa706fb9ca06fd3714",
    ),
];

fn nonce() -> Vec<u8> {
    (100..112).collect()
}

fn cipher(key_id: &str) -> ContactCipher {
    let key: Vec<u8> = (0..32).collect();
    ContactCipher::new(&key, key_id).expect("a key of 32 bytes")
}

fn opened(cipher: &ContactCipher, tenant: &str, channel: &str, sealed: &[u8]) -> Option<String> {
    let contact = cipher.open(tenant, channel, sealed)?;
    Some((*contact).clone())
}

#[test]
fn sealed_as_stores_hold_it() {
    for (key_id, [tenant, channel, contact], known) in SEALED {
        let cipher = cipher(key_id);
        let sealed = cipher.seal(&nonce(), tenant, channel, contact).unwrap();
        assert_eq!(hex(&sealed), known);
        assert_eq!(
            opened(&cipher, tenant, channel, &sealed).as_deref(),
            Some(contact)
        );
    }
}

#[test]
fn nothing_else_opens() {
    let cipher = cipher("k1");
    let sealed = cipher.seal(&nonce(), "ab", "sms", "+12025550123").unwrap();
    assert!(cipher.open("ab", "sms", &sealed).is_some());
    for (tenant, channel) in [("a", "sms"), ("ab", "email"), ("a", "bsms"), ("absms", "")] {
        assert!(cipher.open(tenant, channel, &sealed).is_none());
    }
    for other in [
        ContactCipher::new(&[7; 32], "k1").unwrap(),
        ContactCipher::new(&[7; 32], "k2").unwrap(),
    ] {
        assert!(other.open("ab", "sms", &sealed).is_none());
    }
    let longer = [&*sealed, &[0]].concat();
    assert!(cipher.open("ab", "sms", &longer).is_none());
    for at in 0..sealed.len() {
        assert!(cipher.open("ab", "sms", &sealed[..at]).is_none());
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(cipher.open("ab", "sms", &changed).is_none());
        }
    }
}

#[test]
fn what_is_no_text_is_no_contact() {
    let sealed = "026b316465666768696a6b6c6d6e6fcbef7e968bcc01f9aa91967480e3294dacf4";
    let bytes: Vec<u8> = (0..sealed.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap())
        .collect();
    assert!(cipher("k1").open("acme", "sms", &bytes).is_none());
}

#[test]
fn keys_ids_and_nonces_are_checked_and_nothing_is_shown() {
    for size in [0, 31, 33] {
        assert!(ContactCipher::new(&vec![1; size], "k1").is_err());
    }
    assert!(ContactCipher::new(&[1; 32], &"k".repeat(256)).is_err());
    let cipher = ContactCipher::new(&[1; 32], &"k".repeat(255)).unwrap();
    for size in [0, 11, 13] {
        assert!(cipher.seal(&vec![1; size], "t", "sms", "c").is_err());
    }
    assert_eq!(format!("{cipher:?}"), "ContactCipher");
}

proptest! {
    #[test]
    fn a_contact_opens_where_it_was_sealed_and_nowhere_else(
        key: [u8; 32],
        nonce: [u8; NONCE_BYTES],
        key_id in ".{0,60}",
        tenant in ".{0,30}",
        channel in "sms|email",
        contact in ".{0,254}",
        elsewhere in ".{0,30}",
    ) {
        let cipher = ContactCipher::new(&key, &key_id).unwrap();
        let sealed = cipher.seal(&nonce, &tenant, &channel, &contact).unwrap();
        let row = 1 + key_id.len() + nonce.len() + contact.len() + 16;
        prop_assert_eq!(sealed.len(), row);
        prop_assert_eq!(opened(&cipher, &tenant, &channel, &sealed), Some(contact));
        let there = opened(&cipher, &elsewhere, &channel, &sealed);
        prop_assert_eq!(there.is_some(), elsewhere == tenant);
    }
}
