//! Every request of a corpus, whole, cut everywhere and with others around it; what may smuggle one
//! is refused (requirement 74). `tests/support/framing_corpus.py` has the same rows and more.

mod http_peer;

use http_peer::{CHUNKED, COLD, GET, HEAD_BYTES_MAX, Heard, START, heard};
use otp_core_rs::http::{FIELDS_MAX, Offence};
use proptest::prelude::*;

const EVERY_SPLIT_BYTES_MAX: usize = 400;

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn field(line: &[u8]) -> Vec<u8> {
    bytes(&[b"GET /nothing HTTP/1.1\r\nHost: x\r\n", line, b"\r\n\r\n"])
}

fn with(line: &str) -> Vec<u8> {
    bytes(&[START, line.as_bytes()])
}

fn padded(size: usize) -> Vec<u8> {
    let rest = size - field(b"X: ").len();
    field(&bytes(&[b"X: ", &vec![b'x'; rest]]))
}

fn good() -> Vec<(Vec<u8>, &'static str)> {
    let chunks = |rest: &str| bytes(&[CHUNKED, rest.as_bytes()]);
    vec![
        (GET.to_vec(), ""),
        (with("Content-Length: 2\r\n\r\n{}"), "{}"),
        (with("CONTENT-length:2 \t\r\n\r\n{}"), "{}"),
        (with("Content-Length: 0\r\n\r\n"), ""),
        (with("Content-Length: 002\r\n\r\n{}"), "{}"),
        (with("Content-Length: 4\r\n\r\n\n\r\n\n"), "\n\r\n\n"),
        (chunks("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), "{}"),
        (chunks("0\r\n\r\n"), ""),
        (chunks("00000002\r\n{}\r\n000\r\n\r\n"), "{}"),
        (
            chunks("a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n"),
            "01234567890123456789a",
        ),
        (chunks("2\r\n{}\r\n0\r\nX-Sum: 1\r\nX: 2\r\n\r\n"), "{}"),
        (
            with("Transfer-Encoding:\tChunked \r\n\r\n1\r\na\r\n0\r\n\r\n"),
            "a",
        ),
        (field(b"X:"), ""),
        (field(b"X: a\tb \xe9"), ""),
        (field(b"!#$%&'*+.^_`|~09azAZ-: x"), ""),
        (field(b"Expect: something"), ""),
        (padded(HEAD_BYTES_MAX), ""),
        (
            b"PUT /otp/u-1/attempt?a=b?c HTTP/1.1\r\nHost:\r\nContent-Length: 1\r\n\r\nx".to_vec(),
            "x",
        ),
        (b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), ""),
    ]
}

type Rows = Vec<(Vec<u8>, Offence)>;

const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

fn bad() -> Rows {
    [bad_framing(), bad_chunks(), too_large(), bad_lines()].concat()
}

/// Where the body ends.
fn bad_framing() -> Rows {
    use Offence::{
        Coding, FieldName, FieldValue, Folded, Host, Length, LengthAndCoding, Repeated,
        StrayLineEnd,
    };
    let mut rows = Vec::new();
    for (framing, offence) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            LengthAndCoding,
        ),
        (
            "Content-Length: 1\r\nContent-Length: 1\r\nTransfer-Encoding: x",
            LengthAndCoding,
        ),
        ("Content-Length: 2\r\nContent-Length: 3", Repeated),
        ("Content-Length: 2\r\nX: y\r\ncontent-length: 2", Repeated),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Repeated,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            Repeated,
        ),
        ("Transfer-Encoding:\r\n chunked", Folded),
        ("X: y\r\n Transfer-Encoding: chunked", Folded),
        ("Transfer-Encoding : chunked", FieldName),
        ("Transfer-Encoding\t: chunked", FieldName),
        ("Transfer-Encoding\x0b: chunked", FieldName),
        ("Content-Length : 2", FieldName),
        ("Transfer-Encoding: \x0bchunked", FieldValue),
        ("Transfer-Encoding: chunked\0", FieldValue),
        ("X: y\rTransfer-Encoding: chunked", StrayLineEnd),
        ("X: y\nTransfer-Encoding: chunked", StrayLineEnd),
        ("Host: x", Host),
    ] {
        rows.push((with(&format!("{framing}\r\n\r\n{SMUGGLED}")), offence));
    }
    for length in [
        "+2",
        "-0",
        "-1",
        "0x2",
        "2,2",
        "2 2",
        "2.0",
        "",
        "\u{b2}",
        "0000000000000000000",
        "99999999999999999999999",
        "2\t2",
        "1e1",
        "2;",
    ] {
        rows.push((
            with(&format!("Content-Length: {length}\r\n\r\n{SMUGGLED}")),
            Length,
        ));
    }
    for coding in [
        "xchunked",
        "identity",
        "gzip, chunked",
        "chunked, identity",
        "chunked,",
        "\"chunked\"",
        "chunked;q=1",
        "",
        "chun ked",
        "[chunked]",
        "chunked chunked",
        "\u{a0}chunked",
    ] {
        rows.push((
            with(&format!("Transfer-Encoding: {coding}\r\n\r\n{SMUGGLED}")),
            Coding,
        ));
    }
    let old = CHUNKED.to_vec();
    let old = String::from_utf8(old).expect("ASCII").replace("1.1", "1.0");
    rows.push((bytes(&[old.as_bytes(), SMUGGLED.as_bytes()]), Coding));
    rows
}

fn bad_chunks() -> Rows {
    use Offence::{ChunkExtension, ChunkSize, FieldName, FieldValue, Folded, StrayLineEnd};
    let mut rows = Vec::new();
    for (chunks, offence) in [
        ("0x2\r\n{}", ChunkSize),
        ("+2\r\n{}", ChunkSize),
        ("-2\r\n{}", ChunkSize),
        (" 2\r\n{}", ChunkSize),
        ("2 \r\n{}", ChunkSize),
        ("2 ;a\r\n{}", ChunkSize),
        ("g\r\n{}", ChunkSize),
        ("\r\n{}", ChunkSize),
        ("000000002\r\n{}", ChunkSize),
        ("2_\r\n{}", ChunkSize),
        ("2;a=b\r\n{}", ChunkExtension),
        ("2;\r\n{}", ChunkExtension),
        ("2;\n{}", ChunkExtension),
        ("0;a\r\n", ChunkExtension),
        ("2\n{}\n0\n\n", StrayLineEnd),
        ("2\r{}", StrayLineEnd),
        ("2\r\n{}x\r\n", ChunkSize),
        ("2\r\n{}\n", ChunkSize),
        ("2\r\n{}\r0", ChunkSize),
        ("2\r\n{}0\r\n", ChunkSize),
        ("0\r\n\n", StrayLineEnd),
        ("0\r\nX: a\r\n b\r\n\r\n", Folded),
        ("0\r\nX: a\n\r\n\r\n", StrayLineEnd),
        ("0\r\nX: \0\r\n\r\n", FieldValue),
        ("0\r\nX\r\n\r\n", FieldName),
        ("0\r\nX : a\r\n\r\n", FieldName),
    ] {
        rows.push((
            bytes(&[CHUNKED, chunks.as_bytes(), SMUGGLED.as_bytes()]),
            offence,
        ));
    }
    rows
}

fn too_large() -> Rows {
    use Offence::TooLarge;
    let mut rows = Vec::new();
    let long = "x".repeat(HEAD_BYTES_MAX);
    rows.push((
        bytes(&[CHUNKED, b"0\r\nX: ", long.as_bytes(), b"\r\n\r\n"]),
        TooLarge,
    ));
    rows.push((padded(HEAD_BYTES_MAX + 1), TooLarge));
    rows.push((
        bytes(&[b"GET /nothing HTTP/1.1\r\nX: ", long.as_bytes()]),
        TooLarge,
    ));
    rows.push((
        field("X: y\r\n".repeat(FIELDS_MAX).trim_end().as_bytes()),
        TooLarge,
    ));
    rows
}

/// Request lines, fields, line ends.
fn bad_lines() -> Rows {
    use Offence::{FieldName, FieldValue, Host, RequestLine, StrayLineEnd, Target, Version};
    let mut rows = vec![
        (
            b"POST / HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}".to_vec(),
            StrayLineEnd,
        ),
        (
            b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            StrayLineEnd,
        ),
        (
            b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            RequestLine,
        ),
        (b"\x16\x03\x01\x02\x00".to_vec(), RequestLine),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Host),
        (field(b"X: a\r"), StrayLineEnd),
    ];
    for line in [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / http/1.1",
        "G(T / HTTP/1.1",
        "GE\0T / HTTP/1.1",
        "Get / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET /  HTTP/1.1",
    ] {
        rows.push((
            format!("{line}\r\nHost: x\r\n\r\n").into_bytes(),
            RequestLine,
        ));
    }
    for line in [
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / HTTP/0.9",
        "PRI * HTTP/2.0",
    ] {
        rows.push((format!("{line}\r\nHost: x\r\n\r\n").into_bytes(), Version));
    }
    for target in [
        "http://x/nothing",
        "nothing",
        "//",
        "x:80",
        "?a",
        "\\nothing",
    ] {
        let offence = if target.starts_with('/') {
            continue;
        } else {
            Target
        };
        rows.push((
            format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
            offence,
        ));
    }
    for line in [
        "X : a",
        "X Y: a",
        ": a",
        "X",
        "X(: a",
        "X\0: a",
        "X\u{e9}: a",
        "\u{a0}X: a",
    ] {
        rows.push((field(line.as_bytes()), FieldName));
    }
    for control in ["\0", "\x01", "\x08", "\x0b", "\x0c", "\x1f", "\x7f"] {
        rows.push((field(format!("X: a{control}b").as_bytes()), FieldValue));
    }
    rows
}

/// Whole, every split in two (of a few for what is long), byte by byte.
fn cuts(data: &[u8]) -> Vec<Vec<&[u8]>> {
    let step = if data.len() <= EVERY_SPLIT_BYTES_MAX {
        1
    } else {
        997
    };
    let halves = (1..data.len())
        .step_by(step)
        .map(|at| vec![&data[..at], &data[at..]]);
    let mut all: Vec<Vec<&[u8]>> = vec![vec![data], data.chunks(1).collect()];
    all.extend(halves);
    all
}

fn same_however_cut(data: &[u8]) -> Heard {
    let whole = heard([data]);
    for pieces in cuts(data) {
        assert_eq!(heard(pieces), whole, "{}", String::from_utf8_lossy(data));
    }
    whole
}

#[test]
fn what_is_well_framed_is_heard_however_it_is_cut() {
    for (data, body) in good() {
        for (before, behind) in [(&b""[..], &b""[..]), (GET, b""), (CHUNKED, GET)] {
            let before = if before == CHUNKED {
                bytes(&[CHUNKED, b"0\r\n\r\n"])
            } else {
                before.to_vec()
            };
            let stream = bytes(&[&before, &data, behind]);
            let heard = same_however_cut(&stream);
            let place = usize::from(!before.is_empty());
            let count = place + 1 + usize::from(!behind.is_empty());
            assert_eq!(heard.statuses(), vec![200; count]);
            assert_eq!(heard.requests[place].body.as_deref(), Some(body.as_bytes()));
        }
    }
}

#[test]
fn what_is_not_is_refused_however_it_is_cut() {
    for (data, offence) in bad() {
        let heard = same_however_cut(&bytes(&[GET, &data, GET]));
        let text = String::from_utf8_lossy(&data);
        assert_eq!(heard.statuses(), [200, offence.status()], "{text}");
        let out = String::from_utf8_lossy(&heard.out);
        let said = offence.status() != 400 || out.contains(offence.text());
        assert!(
            said && out.contains("connection: close\r\n"),
            "{text}: {out}"
        );
        assert!(!out.contains("smuggled"));
        assert_eq!(heard.elsewhere, None, "{text}");
    }
}

#[test]
fn what_is_not_ours_is_handed_over_with_all_that_follows() {
    let upgrade = field(b"Upgrade: websocket\r\nConnection: Upgrade");
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04";
    let cases: [&[u8]; 7] = [
        COLD,
        &upgrade,
        h2,
        b"DELETE /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n\0",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n\x16",
        b"GET /%6eothing HTTP/1.0\r\n\r\n",
    ];
    for cold in cases {
        for before in [&b""[..], GET] {
            let stream = bytes(&[before, cold, GET]);
            let heard = same_however_cut(&stream);
            assert_eq!(heard.statuses(), vec![200; usize::from(!before.is_empty())]);
            assert_eq!(heard.elsewhere, Some(stream[before.len()..].to_vec()));
        }
    }
}

// --- any requests, any cuts ----------------------------------------------------------------------

fn any_field() -> impl Strategy<Value = Vec<u8>> {
    let value = proptest::collection::vec(
        prop::sample::select(b" \tabc:;,=\xe9\xff\"'".to_vec()),
        0..12,
    );
    ("[a-cX-Z019_.~-]{1,8}", value)
        .prop_map(|(name, value)| bytes(&[b"X-", name.as_bytes(), b": ", &value, b"\r\n"]))
}

fn any_fields() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any_field(), 0..3).prop_map(|fields| fields.concat())
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(GET.to_vec()),
        Just(CHUNKED.to_vec()),
    ]
}

fn any_request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let plain = any_fields().prop_map(|fields| {
        let head = GET.strip_suffix(b"\r\n").expect("it has it");
        (bytes(&[head, &fields, b"\r\n"]), Vec::new())
    });
    let counted = (any_fields(), any_body()).prop_map(|(fields, body)| {
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        (bytes(&[START, &fields, length.as_bytes(), &body]), body)
    });
    let chunks = proptest::collection::vec(any_body(), 0..3);
    let chunked = (any_fields(), chunks, any_fields()).prop_map(|(fields, chunks, trailer)| {
        let mut stream = bytes(&[START, &fields, b"Transfer-Encoding: chunked\r\n\r\n"]);
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            stream.extend(format!("{:x}\r\n", chunk.len()).bytes());
            stream.extend(bytes(&[chunk, b"\r\n"]));
        }
        (
            bytes(&[&stream, b"0\r\n", &trailer, b"\r\n"]),
            chunks.concat(),
        )
    });
    prop_oneof![plain, counted, chunked]
}

fn cut<'a>(data: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places
        .iter()
        .map(|place| place % (data.len() + 1))
        .collect();
    ends.extend([0, data.len()]);
    ends.sort_unstable();
    ends.windows(2)
        .map(|pair| &data[pair[0]..pair[1]])
        .collect()
}

const SPOILERS: [&[u8]; 14] = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b";",
    b":",
    b"0",
    b"f",
    b"x",
    b"GET",
    b"\r\n\r\n",
    b"\x7f",
];

proptest! {
    #[test]
    fn any_cut_of_any_good_requests_is_heard(
        requests in proptest::collection::vec(any_request(), 1..4),
        places in proptest::collection::vec(0_usize..4000, 0..8),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|(data, _)| data.clone()).collect();
        let heard = heard(cut(&stream, &places));
        prop_assert_eq!(heard.statuses().len(), requests.len());
        for ((_, body), found) in requests.iter().zip(&heard.requests) {
            prop_assert_eq!(found.body.as_ref(), Some(body));
        }
    }

    #[test]
    fn a_cut_does_not_change_the_verdict(
        requests in proptest::collection::vec(any_request(), 1..4),
        spoilers in proptest::collection::vec((0_usize..4000, 0..SPOILERS.len()), 0..4),
        places in proptest::collection::vec(0_usize..4000, 0..8),
    ) {
        let mut stream: Vec<u8> = requests.iter().flat_map(|(data, _)| data.clone()).collect();
        for (place, spoiler) in spoilers {
            let at = place % stream.len();
            let until = at + place % 2; // put in, or in the place of a byte
            stream.splice(at..until, SPOILERS[spoiler].iter().copied());
        }
        prop_assert_eq!(heard(cut(&stream, &places)), heard([&stream[..]]));
    }
}
