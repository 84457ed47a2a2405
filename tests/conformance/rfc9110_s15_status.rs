//! RFC 9110 section 15: status codes.

use crate::target::Target;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub fn s15_2_unknown_interim_responses_are_understood(t: &Target) {
    let response = t.answer(&format!("HTTP/1.1 177 Whatever\r\nX-A: 1\r\n\r\n{OK}")).expect("response");
    assert_eq!((response.status(), response.text().as_str(), response.header("x-a")), (200, "ok", None));
}

pub fn s15_2_interim_responses_are_forwarded(t: &Target) {
    let response =
        t.answer(&format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}")).expect("response");
    assert_eq!(response.status(), 200);
    let interim: Vec<_> = response.interim.iter().map(|i| (i.status(), i.header("link"))).collect();
    assert_eq!(interim, [(103, Some("</a>"))]);
}

pub fn s15_2_many_interim_responses(t: &Target) {
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(10);
    assert_eq!(t.answer(&format!("{many}{OK}")).expect("response").text(), "ok");
}

pub fn s15_2_2_no_unasked_switch(t: &Target) {
    let response = t.answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    assert_eq!(response.expect("response").status(), 502);
}

pub fn s15_4_5_304_keeps_its_fields(t: &Target) {
    let response = t
        .answer("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n")
        .expect("response");
    assert_eq!((response.status(), response.header("etag"), response.body.len()), (304, Some("\"x\""), 0));
}

pub fn s15_unknown_status_of_a_class_is_forwarded(t: &Target) {
    for status in [299, 399, 477, 555] {
        let response =
            t.answer(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).expect("response");
        assert_eq!(response.status(), status);
    }
}
