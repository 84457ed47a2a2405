//! RFC 9110 section 5: fields.

use crate::target::Target;
use ringway_test_support::{Answer, Request};

pub fn s5_1_unknown_fields_are_forwarded(t: &Target) {
    t.origin.expect([Answer::status(200, "X-Unknown-Back: 2\r\n", "")]);
    let (response, received) = t.forward(&Request::get("/").header("X-Unknown", "1"));
    assert_eq!((received.header("x-unknown"), response.header("x-unknown-back")), (Some("1"), Some("2")));
}

pub fn s5_3_order_of_equal_names_is_kept(t: &Target) {
    let request =
        Request::get("/").header("X-A", "1").header("X-B", "2").header("x-a", "3").header("X-A", "4");
    t.origin.expect([Answer::status(200, "X-A: 1\r\nX-A: 2\r\n", "")]);
    let (response, received) = t.forward(&request);
    let joined = |values: Vec<&str>| values.join(",").replace(' ', "");
    assert_eq!(joined(received.header_all("x-a")), "1,3,4");
    assert_eq!(joined(response.header_all("x-a")), "1,2");
}

pub fn s5_3_set_cookie_is_not_joined(t: &Target) {
    t.origin.expect([Answer::status(200, "Set-Cookie: a=1, b\r\nSet-Cookie: c=2\r\n", "")]);
    assert_eq!(t.get("/").header_all("set-cookie"), ["a=1, b", "c=2"]);
}

pub fn s5_5_values_are_unchanged(t: &Target) {
    let value = "a  b, \"c,d\" ; e=\t<f>";
    let (_, received) = t.forward(&Request::get("/").header("X-A", value));
    assert_eq!(received.header("x-a"), Some(value));
}
