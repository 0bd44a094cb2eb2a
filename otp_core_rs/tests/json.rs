//! What is plain JSON, and what is left to a reader that says why not.

use otp_core_rs::json::is_plain;

const DEPTH: usize = 4;

#[test]
fn what_clients_send_is_plain() {
    for text in [
        r#"{"type":"email-login","email":"person@example.com"}"#,
        r#" { "type" : "t" , "entities" : [ { "type" : "client" , "id" : 338 } , {"id":"x"} ] } "#,
        "{}",
        "[]",
        "\t[\n1,\r-20,0,-0,999999999999999999] ",
        r#"["\"\\\/\b\f\n\r\t\u00e9","é😀"]"#,
        r#"{"a":{"a":{"a":{}}},"b":[true,false,null]}"#,
        r#"[{"a":1},{"a":2}]"#,
        "\"alone\"",
        "0",
    ] {
        assert!(is_plain(text.as_bytes(), DEPTH), "{text}");
    }
}

#[test]
fn what_may_be_refused_is_not() {
    for text in [
        "",
        " ",
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"b":{},"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"a\n":1}"#,
        "[[[[[]]]]]",
        r#"{"a":{"a":{"a":{"a":{}}}}}"#,
        "1.5",
        "1e5",
        "[1E400]",
        "9999999999999999999",
        "01",
        "-",
        "+1",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "[1,]",
        "[,1]",
        "[1 2]",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        "{a:1}",
        "{1:1}",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        r#""open"#,
        r#""\"#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        "\"\n\"",
        "\"\u{0}\"",
        "tru",
        "truee",
        "nul",
        "{} {}",
        "{}x",
        "\u{feff}{}",
        "\u{a0}{}",
    ] {
        assert!(!is_plain(text.as_bytes(), DEPTH), "{text}");
    }
    assert!(!is_plain(b"\"\xff\"", DEPTH));
    assert!(!is_plain(b"\"\xed\xa0\x80\"", DEPTH));
}

#[test]
fn every_beginning_of_a_text_is_read_to_its_end() {
    let text = r#"{"type":"t","mobilePhone":"+49\u0031","entities":[{"id":1}]}"#;
    for end in 0..text.len() {
        assert!(!is_plain(&text.as_bytes()[..end], DEPTH), "{end}");
    }
    assert!(is_plain(text.as_bytes(), DEPTH));
}

#[test]
fn names_are_compared_up_to_a_bound() {
    let object = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":[]")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(is_plain(object(16).as_bytes(), DEPTH));
    assert!(!is_plain(object(17).as_bytes(), DEPTH));
    assert!(is_plain(
        format!("[{},{}]", object(16), object(16)).as_bytes(),
        DEPTH
    ));
}
