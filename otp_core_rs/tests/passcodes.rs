//! `passcode`: uniform, unpredictable without the key, and silent.

use otp_core_rs::error::Error;
use otp_core_rs::passcode::digest::{Key, Scope, verify_digest};
use otp_core_rs::passcode::draw::{BLOCK_BYTES, Sampler, os_random};
use otp_core_rs::passcode::keyring::Keyring;
use otp_core_rs::passcode::{Alphabet, Passcode};
use proptest::prelude::*;

const CODES: u32 = 1_000_000;
const LENGTH: usize = 6;
const SCOPE: Scope<'static> = Scope {
    domain: "rest",
    tenant: "tenant",
    challenge: b"challenge",
};

// Worked out apart from this code, with another language's HMAC.
const GOLDEN_NUMERIC: &str = "474142";
const GOLDEN_NEXT: &str = "450389";
const GOLDEN_ALPHANUMERIC: &str = "ZYBTIIPS";
const GOLDEN_ALPHABETIC: &str = "DCJVLSSZSXBLGEPZCQYNEOUXUZTWQBBB";
const GOLDEN_DIGEST_NEW: &str = "997e43b459da1da85ff4d445f61fe45eda451999dd9e9860c9e15c1281a9d316";
const GOLDEN_DIGEST_OLD: &str = "036e852b346eb5b4d21e615620abe768f846981a7e8b270f6b0210c3c5ad79f7";

/// A source of planned bytes that repeats.
fn planned(bytes: &[u8]) -> impl FnMut(&mut [u8; BLOCK_BYTES]) -> Result<(), Error> + use<> {
    let mut bytes = Vec::from(bytes).into_iter().cycle();
    move |block| {
        block.fill_with(|| bytes.next().expect("a plan"));
        Ok(())
    }
}

fn ring() -> Keyring {
    let keys: [(&str, &[u8]); 2] = [("new", &[2; 32]), ("old", &[1; 40])];
    Keyring::new(keys).expect("valid keys")
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The value that a chi-squared variable of `freedom` degrees passes as rarely as a normal one
/// passes `sigmas` (Wilson and Hilferty's approximation).
fn chi_squared_limit(freedom: f64, sigmas: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + sigmas * spread.sqrt()).powi(3)
}

fn chi_squared(counts: &[u32]) -> f64 {
    let cells = u32::try_from(counts.len()).expect("few cells");
    let total: u32 = counts.iter().sum();
    let expected = f64::from(total) / f64::from(cells);
    counts
        .iter()
        .map(|&count| (f64::from(count) - expected).powi(2) / expected)
        .sum()
}

/// Draws a million codes and judges each position, and each pair of neighbours.
fn assert_uniform(
    alphabet: Alphabet,
    sigmas: f64,
    fill: impl FnMut(&mut [u8; BLOCK_BYTES]) -> Result<(), Error>,
) {
    let symbols = alphabet.symbols();
    let size = symbols.len();
    let mut single = vec![vec![0_u32; size]; LENGTH];
    let mut pairs = vec![vec![0_u32; size * size]; LENGTH - 1];
    let mut sampler = Sampler::new(fill);
    for _ in 0..CODES {
        let code = sampler.passcode(alphabet, LENGTH).expect("a source");
        let mut before = None;
        for (position, character) in code.reveal().bytes().enumerate() {
            let value = symbols.iter().position(|&symbol| symbol == character);
            let value = value.expect("a symbol of the alphabet");
            single[position][value] += 1;
            if let Some(before) = before {
                pairs[position - 1][before * size + value] += 1;
            }
            before = Some(value);
        }
    }
    for counts in single.iter().chain(&pairs) {
        let freedom = f64::from(u32::try_from(counts.len()).expect("few cells")) - 1.0;
        let found = chi_squared(counts);
        let limit = chi_squared_limit(freedom, sigmas);
        assert!(
            found < limit,
            "{alphabet:?}: {found} of {limit}, {freedom} degrees"
        );
    }
}

#[test]
fn a_million_derived_style_codes_of_each_alphabet_are_uniform() {
    let key = Key::new(&[7; 32]).unwrap();
    for alphabet in Alphabet::ALL {
        // 44 statistics in all at 4.5 sigmas: one false alarm in 6600 keys, and this key is fixed.
        assert_uniform(alphabet, 4.5, key.derivation(SCOPE, 0));
    }
}

#[test]
fn a_million_drawn_codes_of_each_alphabet_are_uniform() {
    for alphabet in Alphabet::ALL {
        // Fresh bytes at every run: 8 sigmas is one false alarm in 10^13 runs.
        assert_uniform(alphabet, 8.0, os_random);
    }
}

/// The test of the test: what `byte % 10` would give is found out.
#[test]
fn the_statistic_sees_the_bias_of_a_remainder() {
    let mut counts = [0_u32; 10];
    for byte in 0..CODES {
        counts[(byte % 256 % 10) as usize] += 1;
    }
    assert!(chi_squared(&counts) > chi_squared_limit(9.0, 8.0));
}

#[test]
fn every_symbol_is_selected_by_equally_many_bytes() {
    for (alphabet, share) in Alphabet::ALL.into_iter().zip([16, 4, 8, 8]) {
        let mut counts = vec![0; alphabet.symbols().len()];
        for byte in 0..=u8::MAX {
            // The plan after a rejected byte is a zero, which selects the first symbol.
            let mut sampler = Sampler::new(planned(&[byte, 0]));
            let code = sampler.passcode(alphabet, 2).unwrap();
            let accepted = usize::from(byte) & (alphabet.symbols().len().next_power_of_two() - 1)
                < alphabet.symbols().len();
            if accepted {
                let first = code.reveal().as_bytes()[0];
                let value = alphabet
                    .symbols()
                    .iter()
                    .position(|&symbol| symbol == first);
                counts[value.unwrap()] += 1;
            }
        }
        assert!(
            counts.iter().all(|&count| count == share),
            "{alphabet:?} {counts:?}"
        );
    }
}

#[test]
fn the_full_range_is_reachable() {
    let table: [(Alphabet, &[u8], &str); 9] = [
        (Alphabet::Numeric, &[0], "000000"),
        (Alphabet::Numeric, &[9], "999999"),
        (Alphabet::Numeric, &[0, 1, 2, 3, 4, 5], "012345"),
        (Alphabet::Alphanumeric, &[0], "000000"),
        (Alphabet::Alphanumeric, &[35], "ZZZZZZ"),
        (Alphabet::Alphabetic, &[0], "AAAAAA"),
        (Alphabet::Alphabetic, &[25], "ZZZZZZ"),
        (Alphabet::Unambiguous, &[0], "BBBBBB"),
        (Alphabet::Unambiguous, &[19], "ZZZZZZ"),
    ];
    for (alphabet, plan, expected) in table {
        let code = Sampler::new(planned(plan)).passcode(alphabet, LENGTH);
        assert_eq!(code.unwrap().reveal(), expected);
    }
}

#[test]
fn bytes_that_number_no_symbol_are_dropped() {
    let plan = [10, 0xFF, 0x1F, 7, 0xF9, 0x0A];
    let code = Sampler::new(planned(&plan)).passcode(Alphabet::Numeric, 4);
    assert_eq!(code.unwrap().reveal(), "7979");
}

#[test]
fn codes_share_no_bytes() {
    let mut sampler = Sampler::new(planned(&[0, 1, 2, 3, 4, 5, 6, 7]));
    let codes = [0; 3].map(|_| sampler.passcode(Alphabet::Numeric, 4).unwrap());
    assert_eq!(
        codes.each_ref().map(Passcode::reveal),
        ["0123", "4567", "0123"]
    );
}

#[test]
fn a_failing_source_gives_no_code() {
    let mut sampler = Sampler::new(|_| Err(Error::Random(getrandom::Error::UNSUPPORTED)));
    let refused = sampler.passcode(Alphabet::Numeric, 6).err();
    assert!(matches!(refused, Some(Error::Random(_))));
}

#[test]
fn lengths_are_bounded() {
    for length in [0, 33] {
        assert!(ring().draw(SCOPE, Alphabet::Numeric, length, 1).is_err());
        assert!(
            ring()
                .derive("new", SCOPE, 0, Alphabet::Numeric, length)
                .is_err()
        );
        assert!(Passcode::from_text(&"1".repeat(length), Alphabet::Numeric).is_err());
    }
    for length in [1, 32] {
        let drawn = ring().draw(SCOPE, Alphabet::Alphabetic, length, 3).unwrap();
        assert!(drawn.iter().all(|(code, _)| code.len() == length));
    }
}

#[test]
fn typed_codes_keep_to_their_alphabet() {
    assert_eq!(
        Passcode::from_text("012345", Alphabet::Numeric)
            .unwrap()
            .reveal(),
        "012345"
    );
    for (text, alphabet) in [
        ("12345a", Alphabet::Numeric),
        ("\u{ff11}\u{ff12}\u{ff13}", Alphabet::Numeric),
        ("12 45", Alphabet::Numeric),
        ("abc", Alphabet::Alphanumeric),
        ("ABC1", Alphabet::Alphabetic),
        ("BCDA", Alphabet::Unambiguous),
        ("BCDY", Alphabet::Unambiguous),
        ("12\u{0}3", Alphabet::Numeric),
    ] {
        let error = Passcode::from_text(text, alphabet).unwrap_err();
        assert!(!error.to_string().contains(text));
    }
}

#[test]
fn only_the_same_code_matches() {
    let code = |text, alphabet| Passcode::from_text(text, alphabet).unwrap();
    let right = code("012345", Alphabet::Numeric);
    assert!(right.matches(&code("012345", Alphabet::Numeric)));
    assert!(right.matches(&right));
    for wrong in ["012346", "112345", "0123456", "01234", "543210"] {
        assert!(!right.matches(&code(wrong, Alphabet::Numeric)), "{wrong}");
    }
    assert!(!right.matches(&code("012345", Alphabet::Alphanumeric)));
    let derived = || {
        ring()
            .derive("new", SCOPE, 3, Alphabet::Unambiguous, 8)
            .unwrap()
    };
    assert!(derived().matches(&derived()));
    assert!(code(derived().reveal(), Alphabet::Unambiguous).matches(&derived()));
}

#[test]
fn debug_shows_no_secret() {
    let code = Passcode::from_text("123456", Alphabet::Numeric).unwrap();
    assert_eq!(format!("{code:?}"), "Passcode");
    assert_eq!(format!("{:?}", ring()), r#"Keyring["new", "old"]"#);
}

#[test]
fn derivation_is_golden() {
    let table = [
        ("new", 0, Alphabet::Numeric, 6, GOLDEN_NUMERIC),
        ("new", 1, Alphabet::Numeric, 6, GOLDEN_NEXT),
        ("old", 0, Alphabet::Alphanumeric, 8, GOLDEN_ALPHANUMERIC),
        ("old", 0, Alphabet::Alphabetic, 32, GOLDEN_ALPHABETIC),
    ];
    for (key_id, generation, alphabet, length, expected) in table {
        let code = ring().derive(key_id, SCOPE, generation, alphabet, length);
        assert_eq!(code.unwrap().reveal(), expected);
    }
}

#[test]
fn digests_are_golden() {
    let code = Passcode::from_text("123456", Alphabet::Numeric).unwrap();
    let digests = ring().digests(SCOPE, &code);
    let digests: Vec<String> = digests.iter().map(|digest| hex(digest)).collect();
    assert_eq!(digests, [GOLDEN_DIGEST_NEW, GOLDEN_DIGEST_OLD]);
}

#[test]
fn an_unknown_key_derives_nothing() {
    let refused = ring()
        .derive("none", SCOPE, 0, Alphabet::Numeric, 6)
        .unwrap_err();
    assert_eq!(refused, Error::UnknownKey("none".to_owned()));
}

#[test]
fn fields_do_not_run_into_each_other() {
    let code = Passcode::from_text("123456", Alphabet::Numeric).unwrap();
    let ring = ring();
    let scopes: [(&str, &str, &[u8]); 6] = [
        ("ab", "c", b"d"),
        ("a", "bc", b"d"),
        ("abc", "", b"d"),
        ("ab", "cd", b""),
        ("ab", "", b"cd"),
        ("", "abc", b"d"),
    ];
    let mut seen: Vec<_> = scopes
        .iter()
        .flat_map(|&(domain, tenant, challenge)| {
            let scope = Scope {
                domain,
                tenant,
                challenge,
            };
            ring.digests(scope, &code)
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2 * scopes.len());
}

#[test]
fn rings_are_checked() {
    let key: &[u8] = &[1; 32];
    let long = "x".repeat(65);
    let refused: [Vec<(&str, &[u8])>; 5] = [
        vec![],
        vec![("a", &[1; 31])],
        vec![("a", key), ("a", &[2; 32])],
        vec![("", key)],
        vec![(&long, key)],
    ];
    for keys in refused {
        assert!(matches!(Keyring::new(keys), Err(Error::Value(_))));
    }
    let widest = "é".repeat(64);
    assert_eq!(
        Keyring::new([(&*widest, key)])
            .unwrap()
            .key_ids()
            .collect::<Vec<_>>(),
        [&widest]
    );
}

#[test]
fn digests_are_found_wherever_they_stand() {
    let [one, two, other] = [[1_u8; 32], [2; 32], [3; 32]];
    assert!(verify_digest(&one, [&one[..], &two]));
    assert!(verify_digest(&two, [&one[..], &two]));
    assert!(!verify_digest(&other, [&one[..], &two]));
    assert!(!verify_digest(&one, []));
    assert!(!verify_digest(&one[..31], [&one[..]]));
    assert!(!verify_digest(&one, [&one[..31]]));
    assert!(!verify_digest(b"", [&b""[..]]), "nothing equals nothing");
}

proptest! {
    #[test]
    fn drawn_codes_verify_under_their_own_scope_only(
        domain in ".{0,8}", tenant in ".{0,8}", other in ".{0,8}",
    ) {
        prop_assume!(tenant != other);
        let scope = Scope { domain: &domain, tenant: &tenant, challenge: b"" };
        let ring = ring();
        for (code, stored) in ring.draw(scope, Alphabet::Alphanumeric, 8, 3).unwrap() {
            let typed = Passcode::from_text(code.reveal(), Alphabet::Alphanumeric).unwrap();
            let again = ring.digests(scope, &typed);
            prop_assert_eq!(&again, &stored);
            prop_assert!(verify_digest(&stored[1], again.iter().map(<[u8; 32]>::as_slice)));
            let elsewhere = ring.digests(Scope { tenant: &other, ..scope }, &typed);
            prop_assert!(!verify_digest(&stored[0], elsewhere.iter().map(<[u8; 32]>::as_slice)));
        }
    }

    #[test]
    fn derivation_depends_on_every_argument(
        challenge in prop::collection::vec(any::<u8>(), 0..20), generation: u64,
    ) {
        let scope = Scope { challenge: &challenge, ..SCOPE };
        let derive = |key_id, scope, generation| {
            let code = ring().derive(key_id, scope, generation, Alphabet::Alphanumeric, 32);
            code.unwrap().reveal().to_owned()
        };
        let code = derive("new", scope, generation);
        prop_assert_eq!(&code, &derive("new", scope, generation));
        let longer = [challenge.as_slice(), b"x"].concat();
        for other in [
            derive("old", scope, generation),
            derive("new", scope, generation.wrapping_add(1)),
            derive("new", Scope { domain: "svc", ..scope }, generation),
            derive("new", Scope { tenant: "", ..scope }, generation),
            derive("new", Scope { challenge: &longer, ..scope }, generation),
        ] {
            prop_assert_ne!(&code, &other);
        }
    }
}
