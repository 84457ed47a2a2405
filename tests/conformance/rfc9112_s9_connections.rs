//! RFC 9112 section 9: connections.

use crate::target::Target;
use ringway_test_support::{Answer, Request, Then};

pub fn s9_2_response_bytes_beyond_the_message_are_not_used(t: &Target) {
    let double =
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    t.origin.expect([Answer::raw(double)]);
    let mut connection = t.connect();
    assert_eq!(Request::get("/").send_on(&mut connection).expect("response").text(), "a");
    assert_eq!(Request::get("/").send_on(&mut connection).expect("next response").text(), "ok");
}

pub fn s9_3_connections_persist(t: &Target) {
    let mut connection = t.connect();
    for _ in 0..5 {
        assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), 200);
    }
}

pub fn s9_3_1_post_is_not_sent_again(t: &Target) {
    // On a connection that has been used before, so that the close may look like an idle one's.
    t.get("/");
    t.origin.take_requests();
    t.origin.expect([Answer::Raw(Vec::new(), Then::Close)]);
    let response = Request::post("/", "once").send(t.address);
    assert!([502, 503].contains(&response.status()), "{response:?}");
    assert_eq!(t.origin.request_count(), 1);
}

pub fn s9_3_2_pipelined_requests_are_answered_in_order(t: &Target) {
    let count = 20;
    t.origin.expect((0..count).map(|i| Answer::status(200, "", &format!("answer {i}"))));
    let mut connection = t.connect();
    let requests: String = (0..count).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    connection.send(requests);
    for i in 0..count {
        assert_eq!(connection.response().text(), format!("answer {i}"));
    }
    let received: Vec<_> = t.origin.take_requests().iter().map(|r| r.target().to_string()).collect();
    assert_eq!(received, (0..count).map(|i| format!("/{i}")).collect::<Vec<_>>());
}

pub fn s9_3_2_pipelined_behind_a_body(t: &Target) {
    let mut connection = t.connect();
    connection.send(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for _ in 0..3 {
        assert_eq!(connection.response().status(), 200);
    }
    let bodies: Vec<_> = t.origin.take_requests().iter().map(|r| r.text()).collect();
    assert_eq!(bodies, ["abc", "de", ""]);
}

pub fn s9_6_close_is_honoured(t: &Target) {
    let mut connection = t.connect();
    let response =
        Request::get("/").header("Connection", "close").send_on(&mut connection).expect("response");
    assert!(response.has_token("connection", "close"), "{response:?}");
    assert!(connection.is_closed_by_peer());
}

pub fn s9_6_nothing_is_served_after_close(t: &Target) {
    let (response, mut connection) = t.exchange(
        "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(response.expect("response").status(), 200);
    assert!(connection.is_closed_by_peer());
    assert_eq!(t.received().target(), "/1");
}

pub fn s9_6_close_of_the_origin_is_its_own(t: &Target) {
    t.origin.expect([Answer::Raw(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Then::Close,
    )]);
    let mut connection = t.connect();
    let response = Request::get("/").send_on(&mut connection).expect("response");
    assert!(!response.has_token("connection", "close"), "{response:?}");
    assert_eq!(Request::get("/").send_on(&mut connection).expect("next response").text(), "ok");
}

pub fn s9_6_half_closed_client_gets_its_response(t: &Target) {
    let mut connection = t.connect();
    connection.send(Request::get("/").bytes()).half_close();
    t.await_request();
    assert_eq!(connection.response().text(), "ok");
}
