//! RFC 9112 section 4: the status line.

use crate::target::Target;

pub fn s4_reason_phrase_may_be_missing(t: &Target) {
    assert_eq!(t.answer("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n").expect("response").status(), 200);
}

pub fn s4_reason_phrase_is_not_needed_to_be_known(t: &Target) {
    assert_eq!(
        t.answer("HTTP/1.1 404 Where? \t!\r\nContent-Length: 0\r\n\r\n").expect("response").status(),
        404
    );
}

pub fn s4_malformed_status_line_is_502(t: &Target) {
    assert_eq!(t.answer("HTTQ/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("response").status(), 502);
}

pub fn s4_status_code_has_three_digits(t: &Target) {
    for code in ["20", "2000", "abc", "-20"] {
        let response = t.answer(&format!("HTTP/1.1 {code} OK\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(response.expect("response").status(), 502, "{code}");
    }
}
