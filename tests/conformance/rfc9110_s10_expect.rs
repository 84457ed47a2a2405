//! RFC 9110 section 10.1.1: `Expect: 100-continue`.

use crate::target::Target;
use ringway_test_support::{Answer, Then};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";

pub fn s10_1_1_expecting_client_gets_100_or_an_answer(t: &Target) {
    let mut connection = t.connect();
    connection.send(HEAD);
    assert_eq!(connection.read_head().expect("interim response").status(), 100);
    connection.send("abc");
    assert_eq!(connection.response().status(), 200);
    assert_eq!(t.received().text(), "abc");
}

pub fn s10_1_1_no_100_after_the_final_response(t: &Target) {
    t.origin.expect([Answer::AtHead(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_vec(), Then::Close)]);
    let mut connection = t.connect();
    connection.send(HEAD);
    let mut seen = Vec::new();
    while let Ok(head) = connection.read_head() {
        seen.push(head.status());
    }
    assert!(
        seen.iter()
            .rposition(|s| *s == 100)
            .is_none_or(|at| at < seen.iter().position(|s| *s == 403).unwrap()),
        "{seen:?}"
    );
}

pub fn s10_1_1_body_sent_at_once_is_forwarded(t: &Target) {
    let (response, _) = t.exchange(format!("{HEAD}abc"));
    assert_eq!(response.expect("response").status(), 200);
    assert_eq!(t.received().text(), "abc");
}
