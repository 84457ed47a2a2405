//! Frames of HTTP/2 clients that break rules, on the connection or on a stream, and the limits against floods.

use ringway_test_support::h2::{H2Connection, error_code, flag, kind, setting};

use crate::h2::{Case, Group, case};

pub fn group() -> Group {
    let mut cases = frames();
    cases.extend(floods());
    Group { name: "h2_frames", config: crate::h2_requests::config, cases }
}

/// Opens a stream that stays open.
fn open(connection: &mut H2Connection) -> u32 {
    connection.get("/h2/silent")
}

fn frames() -> Vec<Case> {
    vec![
        case("DATA on stream 0", |c| c.frame(kind::DATA, 0, 0, "x")),
        case("DATA on an idle stream", |c| c.frame(kind::DATA, 0, 9, "x")),
        case("HEADERS on an even stream", |c| {
            c.headers(
                2,
                &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/direct")],
                true,
            );
        }),
        case("a stream identifier lower than before", |c| {
            c.get("/direct");
            c.next_stream();
            c.get("/direct");
            c.headers(
                3,
                &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/direct")],
                true,
            );
        })
        .differs(LOWER, |outcome| outcome.ended_with(error_code::PROTOCOL_ERROR)),
        case("a block that cannot be decoded", |c| c.frame(kind::HEADERS, 5, 1, vec![0xff; 20])),
        case("a frame within a header block", |c| {
            c.frame(kind::HEADERS, 1, 1, vec![0x82]);
            c.ping();
        }),
        case("CONTINUATION of nothing", |c| c.frame(kind::CONTINUATION, 4, 1, vec![0x82])),
        case("RST_STREAM on an idle stream", |c| c.reset(9, 8)),
        case("a short RST_STREAM", |c| {
            let stream = open(c);
            c.frame(kind::RST_STREAM, 0, stream, "abc");
        })
        .ignore_origin(),
        case("SETTINGS of five bytes", |c| c.frame(kind::SETTINGS, 0, 0, "abcde")),
        case("SETTINGS on a stream", |c| c.frame(kind::SETTINGS, 0, 1, "")),
        case("a window beyond its limit in SETTINGS", |c| {
            c.settings(&[(setting::INITIAL_WINDOW_SIZE, 0x8000_0000)]);
        }),
        case("a frame size below its limit in SETTINGS", |c| c.settings(&[(setting::MAX_FRAME_SIZE, 100)])),
        case("an unknown setting", |c| c.settings(&[(0x7777, 1)])),
        case("a PING of nine bytes", |c| c.frame(kind::PING, 0, 0, "123456789")),
        case("a PING", |c| {
            c.ping();
            c.get("/direct");
        }),
        case("WINDOW_UPDATE by nothing on the connection", |c| c.window_update(0, 0)),
        case("WINDOW_UPDATE by nothing on a stream", |c| {
            let stream = open(c);
            c.window_update(stream, 0);
        })
        .ignore_origin()
        .differs(ON_STREAM, |outcome| outcome.reset_with(error_code::PROTOCOL_ERROR)),
        case("a window of the connection beyond its limit", |c| c.window_update(0, 0x7fff_ffff)),
        case("a window of a stream beyond its limit", |c| {
            let stream = open(c);
            c.window_update(stream, 0x7fff_ffff);
        })
        .ignore_origin()
        .differs(ON_STREAM, |outcome| outcome.reset_with(error_code::FLOW_CONTROL_ERROR)),
        case("a frame of 20,000 bytes", |c| c.frame(kind::PING, 0, 0, vec![0; 20_000])),
        case("a frame of an unknown kind", |c| {
            c.frame(0x77, 0xff, 0, "anything");
            c.get("/direct");
        }),
        case("PUSH_PROMISE from a client", |c| {
            open(c);
            c.frame(kind::PUSH_PROMISE, 4, 1, vec![0, 0, 0, 2]);
        })
        .ignore_origin(),
        case("data behind the end of a request", |c| {
            let stream = open(c);
            c.data(stream, "x", false);
        })
        .ignore_origin()
        .differs(ON_STREAM, |outcome| outcome.reset_with(error_code::STREAM_CLOSED)),
        case("more padding than payload", |c| {
            let stream = c.post("/h2/silent");
            c.frame(kind::DATA, flag::PADDED, stream, vec![9, 0]);
        })
        .ignore_origin(),
        case("padded DATA", |c| {
            let stream = c.post("/direct");
            c.frame(kind::DATA, flag::PADDED | flag::END_STREAM, stream, b"\x02ab\0\0".to_vec());
        }),
        case("a stream that depends on itself", |c| {
            c.frame(kind::PRIORITY, 0, 1, vec![0, 0, 0, 1, 16]);
            c.get("/direct");
        }),
        case("a reset after the answer", |c| {
            let stream = c.get("/direct");
            c.response(stream);
            c.reset(stream, error_code::CANCEL);
        }),
        case("a reset before the answer", |c| {
            let stream = open(c);
            c.sync();
            c.reset(stream, error_code::CANCEL);
        })
        .ignore_origin(),
        case("GOAWAY from a client", |c| {
            c.send_goaway(0, error_code::NO_ERROR);
            c.get("/direct");
        })
        .differs(CLIENT_GOAWAY, |outcome| outcome.status_is(200)),
        case("GOAWAY from a client, with an error", |c| {
            c.get("/direct");
            c.send_goaway(0, error_code::PROTOCOL_ERROR);
        })
        .differs(CLIENT_GOAWAY, |outcome| outcome.status_is(200)),
    ]
}

/// Likewise.
const LOWER: &str = "RFC 9113 5.1.1: a new stream has a higher identifier than those before";

/// Likewise.
const CLIENT_GOAWAY: &str =
    "RFC 9113 6.8: GOAWAY forbids its receiver to open streams; a client that says it is served on";

/// A reason of several rows.
const ON_STREAM: &str = "RFC 9113 5.1, 6.9: an error that concerns one stream ends that stream only";

fn floods() -> Vec<Case> {
    vec![
        case("100 PRIORITY frames", |c| {
            for _ in 0..100 {
                c.frame(kind::PRIORITY, 0, 1, vec![0, 0, 0, 0, 16]);
            }
        }),
        case("101 PRIORITY frames", |c| {
            for _ in 0..101 {
                c.frame(kind::PRIORITY, 0, 1, vec![0, 0, 0, 0, 16]);
            }
        }),
        case("5 WINDOW_UPDATE frames", |c| (0..5).for_each(|_| c.window_update(0, 1))),
        case("6 WINDOW_UPDATE frames", |c| (0..6).for_each(|_| c.window_update(0, 1))),
        case("one empty DATA frame", |c| {
            let stream = c.post("/h2");
            c.data(stream, "", false);
            c.data(stream, "x", true);
        }),
        case("two empty DATA frames", |c| {
            let stream = c.post("/h2/silent");
            c.data(stream, "", false);
            c.data(stream, "", false);
        })
        .ignore_origin(),
        case("empty CONTINUATION frames", |c| {
            c.frame(kind::HEADERS, 0, 1, vec![0x82]);
            c.frame(kind::CONTINUATION, 0, 1, "");
            c.frame(kind::CONTINUATION, 0, 1, "");
            c.frame(kind::CONTINUATION, 0, 1, "");
        }),
        case("249 resets at once", |c| rapid_reset(c, 249)).ignore_origin(),
        case("250 resets at once", |c| rapid_reset(c, 250)).ignore_origin(),
    ]
}

fn rapid_reset(connection: &mut H2Connection, count: u32) {
    for _ in 0..count {
        let stream = open(connection);
        connection.reset(stream, error_code::CANCEL);
        connection.flush();
    }
}
