//! Formats against what Envoy 1.40 printed for the same requests. The fixtures repeat the exchange that was run
//! through the binary: `GET /up/x?a=1&b=22%203&c` forwarded to an origin, and a direct response.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::clock::{Instant, UnixTime};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, Version};
use crate::stream_info::{ConnectionInfo, PeerAddress, ResponseFlags, StreamInfo, Timing, UpstreamInfo};

struct Exchange {
    info: StreamInfo,
    request: RequestHead,
    response: ResponseHead,
    trailers: HeaderMap,
}

fn ip(text: &str) -> PeerAddress {
    PeerAddress::Ip(text.parse().expect("an address"))
}

fn info(filter_chain: &str) -> StreamInfo {
    let connection = ConnectionInfo {
        direct_remote_address: ip("10.0.0.9:5"),
        filter_chain_name: Arc::from(filter_chain),
        ..ConnectionInfo::new(1, ip("127.0.0.1:17801"), ip("127.0.0.1:44714"))
    };
    let timing =
        Timing::starting(Instant::from_nanos(1_000_000_000), UnixTime::from_nanos(1_795_249_542_382_757_000));
    StreamInfo::new(Rc::new(connection), Some(Version::Http11), timing)
}

/// The request that was forwarded.
fn forwarded() -> Exchange {
    let mut info = info("fc1");
    let at = |micros| Some(info.timing.start + Duration::from_micros(micros));
    info.timing.last_downstream_rx = at(20);
    info.timing.upstream_connect_start = at(100);
    info.timing.upstream_connect_complete = at(300);
    info.timing.first_upstream_tx = at(350);
    info.timing.last_upstream_tx = at(400);
    info.timing.first_upstream_rx = at(2_900);
    info.timing.first_upstream_rx_body = at(2_950);
    info.timing.last_upstream_rx = at(3_000);
    info.timing.first_downstream_tx = at(3_100);
    info.timing.last_downstream_tx = at(5_094);
    info.timing.complete = at(6_000);
    info.response_code = Some(200);
    info.response_code_details = "via_upstream".into();
    info.bytes_sent = 7;
    info.wire_bytes.upstream_sent = 208;
    info.wire_bytes.upstream_received = 149;
    info.wire_bytes.downstream_sent = 202;
    info.wire_bytes.downstream_received = 111;
    info.header_bytes.upstream_sent = 171;
    info.header_bytes.upstream_received = 117;
    info.header_bytes.downstream_sent = 176;
    info.header_bytes.downstream_received = 69;
    info.route_name = Some("up".into());
    info.upstream_cluster = Some("backend".into());
    info.request_id = Some("99f418ed-2d95-4a48-b7c3-e83dccd635f7".into());
    info.attempt_count = 1;
    info.upstream = Some(UpstreamInfo {
        host_address: ip("127.0.0.1:17802"),
        hostname: "hosty".into(),
        local_address: Some("127.0.0.1:51350".parse().expect("an address")),
        connection_id: 2,
        protocol: Some(Version::Http11),
        tls: None,
    });
    let mut request = RequestHead::new(Method::Get, "http", b"a.com", b"/up/x?a=1&b=22%203&c");
    request.headers.append("x-a", b"alpha");
    request.headers.append("x-a", b"beta");
    request.headers.append("x-empty", b"");
    request.headers.append("x-esc", b"a\"b\\c\td\xc3\xa9\xff");
    let mut response = ResponseHead::new(200);
    response.headers.append("content-length", b"7");
    response.headers.append("x-up", b"v\tq\"b\\z");
    response.headers.append("x-up", b"two");
    Exchange { info, request, response, trailers: HeaderMap::new() }
}

/// The direct response.
fn direct() -> Exchange {
    let mut info = info("");
    info.response_code = Some(200);
    info.response_code_details = "direct_response".into();
    info.bytes_sent = 5;
    let request = RequestHead::new(Method::Post, "http", b"a.com:80", b"/direct");
    let mut response = ResponseHead::new(200);
    response.headers.append("content-length", b"5");
    Exchange { info, request, response, trailers: HeaderMap::new() }
}

impl Exchange {
    fn context(&self) -> FormatContext<'_> {
        let now = self.info.timing.start + Duration::from_millis(9);
        FormatContext {
            request: Some(&self.request),
            response: Some(&self.response),
            response_trailers: Some(&self.trailers),
            access_log_type: AccessLogType::DownstreamEnd,
            ..FormatContext::new(&self.info, now, UnixTime::from_nanos(1_795_249_543_000_000_000))
        }
    }

    fn print(&self, format: &str) -> String {
        let formatter = Formatter::parse(format).unwrap_or_else(|error| panic!("{format}: {error}"));
        let mut out = Vec::new();
        formatter.write(&self.context(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn print_json(&self, format: &serde_json::Value, omit_empty_values: bool) -> String {
        let members = format.as_object().expect("an object");
        let formatter = JsonFormatter::compile(members, omit_empty_values).expect("a good format");
        let mut out = Vec::new();
        formatter.write(&self.context(), &mut out);
        String::from_utf8(out).expect("JSON is text")
    }
}

/// Format, what Envoy 1.40 logged for the forwarded request, and for the direct response.
const CASES: &[(&str, &str, &str)] = &[
    ("%%|%PROTOCOL%", "%|HTTP/1.1", "%|HTTP/1.1"),
    ("%PROTOCOL()%", "HTTP/1.1", "HTTP/1.1"),
    ("%START_TIME%", "2026-11-21T08:25:42.382Z", "2026-11-21T08:25:42.382Z"),
    ("%START_TIME(%s.%3f)%", "1795249542.382", "1795249542.382"),
    ("%EMIT_TIME(%s)%", "1795249543", "1795249543"),
    ("%REQ(X-A)%", "alpha", "-"),
    ("%REQ(X-Missing)%", "-", "-"),
    ("%REQ(X-Missing?X-A)%", "alpha", "-"),
    ("%REQ(X-Missing?X-A):3%", "alp", "-"),
    ("%REQUEST_HEADER(x-a)%", "alpha", "-"),
    ("[%REQ(x-empty)%] [%REQ(x-empty?x-a)%]", "[] []", "[-] [-]"),
    ("%REQ(X-A):0%|", "|", "-|"),
    ("%REQ(?x-a)% %REQ(:path?)%", "alpha /up/x?a=1&b=22%203&c", "- /direct"),
    ("%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "GET /up/x?a=1&b=22%203&c", "POST /direct"),
    ("%PATH()%", "/up/x?a=1&b=22%203&c", "/direct"),
    ("%PATH%", "/up/x?a=1&b=22%203&c", "/direct"),
    ("%PATH(NQ)%", "/up/x", "/direct"),
    ("%PATH(WQ:ORIG)%", "-", "-"),
    ("%PATH(NQ:PATH):3%", "/up", "/di"),
    ("%PATH(NQ:ORIG_OR_PATH)%", "/up/x", "/direct"),
    ("%QUERY_PARAM(a)%", "1", "-"),
    ("%QUERY_PARAM(b):2%", "22", "-"),
    ("%QUERY_PARAM(b)%|%QUERY_PARAM(c)%", "22 3|", "-|-"),
    ("%QUERY_PARAMS%", "a=1&b=22%203&c", "-"),
    ("%QUERY_PARAMS(DECODED)%", "a=1&b=22%203&c", "-"),
    ("%RESP(content-length)%", "7", "5"),
    ("%RESP(x-up)%", "v\tq\"b\\z", "-"),
    ("%TRAILER(x)%", "-", "-"),
    ("%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%", "200 via_upstream", "200 direct_response"),
    ("%CONNECTION_TERMINATION_DETAILS%", "-", "-"),
    ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "- -", "- -"),
    ("%BYTES_RECEIVED% %BYTES_SENT%", "0 7", "0 5"),
    (
        "%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% \
         %DOWNSTREAM_WIRE_BYTES_RECEIVED%",
        "208 149 202 111",
        "0 0 0 0",
    ),
    (
        "%UPSTREAM_HEADER_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_SENT% \
         %DOWNSTREAM_HEADER_BYTES_RECEIVED%",
        "171 117 176 69",
        "0 0 0 0",
    ),
    (
        "%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_TX_DURATION%",
        "6 0 2 2 0",
        "9 - - - -",
    ),
    ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "5094", "-"),
    ("%COMMON_DURATION(US_CX_BEG:US_CX_END:ns)%", "200000", "-"),
    ("%COMMON_DURATION(DS_TX_END:DS_RX_BEG)% %COMMON_DURATION(DS_RX_BEG:foo)%", "- -", "- -"),
    ("%UPSTREAM_HOST% %UPSTREAM_HOST_NAME%", "127.0.0.1:17802 hosty", "- -"),
    ("%UPSTREAM_HOST_NAME_WITHOUT_PORT%", "hosty", "-"),
    ("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "backend backend", "- -"),
    (
        "%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%",
        "127.0.0.1:51350 127.0.0.1 51350",
        "- - -",
    ),
    (
        "%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%",
        "127.0.0.1:17802 127.0.0.1 17802",
        "- - -",
    ),
    (
        "%UPSTREAM_PROTOCOL% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_TRANSPORT_FAILURE_REASON% \
         %UPSTREAM_CONNECTION_ID%",
        "HTTP/1.1 1 - 2",
        "- 0 - 0",
    ),
    (
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%",
        "127.0.0.1:44714 127.0.0.1 44714",
        "127.0.0.1:44714 127.0.0.1 44714",
    ),
    ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_PORT%", "10.0.0.9:5 5", "10.0.0.9:5 5"),
    (
        "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_LOCAL_PORT%",
        "127.0.0.1:17801 127.0.0.1 17801",
        "127.0.0.1:17801 127.0.0.1 17801",
    ),
    ("%CONNECTION_ID% %STREAM_ID%", "1 99f418ed-2d95-4a48-b7c3-e83dccd635f7", "1 -"),
    ("%ROUTE_NAME% %VIRTUAL_CLUSTER_NAME%", "up -", "- -"),
    ("[%LOCAL_REPLY_BODY%]", "[]", "[]"),
    ("%GRPC_STATUS% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "- - -", "- - -"),
    ("%REQUESTED_SERVER_NAME% %FILTER_CHAIN_NAME%", "- fc1", "- -"),
    ("%TRACE_ID%|%SPAN_ID%|%ACCESS_LOG_TYPE%", "-|-|DownstreamEnd", "-|-|DownstreamEnd"),
    ("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_SUBJECT%", "- -", "- -"),
    ("%ENVIRONMENT(RINGWAY_SURELY_NOT_SET)%", "-", "-"),
];

#[test]
fn commands_print_as_envoy_1_40_does() {
    let (forwarded, direct) = (forwarded(), direct());
    for (format, expected_forwarded, expected_direct) in CASES {
        assert_eq!(forwarded.print(format), *expected_forwarded, "forwarded: {format}");
        assert_eq!(direct.print(format), *expected_direct, "direct: {format}");
    }
}

#[test]
fn the_default_line_is_envoys() {
    assert_eq!(
        forwarded().print(DEFAULT_ACCESS_LOG_FORMAT),
        "[2026-11-21T08:25:42.382Z] \"GET /up/x?a=1&b=22%203&c HTTP/1.1\" 200 - 0 7 6 - \"-\" \"-\" \"-\" \"a.com\" \
         \"127.0.0.1:17802\"\n"
    );
}

#[test]
fn absent_values_print_as_nothing_in_header_values() {
    let formatter = Formatter::parse_omitting_empty("[%REQ(nope)%][%UPSTREAM_HOST%][%RESPONSE_DURATION%]");
    let mut out = Vec::new();
    formatter.expect("a good format").write(&direct().context(), &mut out);
    assert_eq!(out, b"[][][]");
}

#[test]
fn grpc_status_comes_from_trailers_then_headers_then_the_http_status() {
    let mut exchange = forwarded();
    let format = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)%";
    exchange.request.headers.append("content-type", b"application/grpc+proto");
    assert_eq!(exchange.print(format), "Unknown UNKNOWN 2");
    exchange.response.headers.append("grpc-status", b"4");
    assert_eq!(exchange.print(format), "DeadlineExceeded DEADLINE_EXCEEDED 4");
    exchange.trailers.append("grpc-status", b"0");
    assert_eq!(exchange.print(format), "OK OK 0");
    exchange.trailers.set("grpc-status", b"99");
    assert_eq!(exchange.print(format), "99 99 99");
}

#[test]
fn details_stay_one_word_and_flags_are_listed() {
    let mut exchange = direct();
    exchange.info.response_code_details = "upstream reset: refused".into();
    exchange.info.upstream_transport_failure_reason = Some("TLS error: bad".into());
    exchange.info.response_flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
    exchange.info.response_flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
    assert_eq!(
        exchange.print("%RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %RESPONSE_FLAGS%"),
        "upstream_reset:_refused TLS_error:_bad URX,UF"
    );
    assert_eq!(
        exchange.print("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)% %RESPONSE_FLAGS_LONG%"),
        "upstream reset: refused UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
    );
}

/// Envoy 1.40 writes the line break raw here; Ringway does not. (In headers the codecs refuse such bytes.)
#[test]
fn a_client_cannot_forge_a_log_line() {
    let mut exchange = forwarded();
    exchange.request.set_path(b"/x?b=x%0d%0ay%00%22&x-a=1");
    assert_eq!(exchange.print("%QUERY_PARAM(b)%"), "x\\r\\ny\\0\"");
}

#[test]
fn unique_ids_are_version_4_uuids_and_differ_within_a_line() {
    let text = forwarded().print("%UNIQUE_ID%|%UNIQUE_ID%");
    let (one, two) = text.split_once('|').expect("two ids");
    assert_ne!(one, two);
    for id in [one, two] {
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
}

/// Format and Envoy 1.40's complaint about it.
#[test]
fn wrong_formats_are_refused_with_envoys_words() {
    let cases = [
        ("%REQ%", "REQ requires parameters"),
        ("%REQ()%", "REQ requires parameters"),
        ("%FOO%", "Not supported field in StreamInfo: FOO"),
        ("%FOO(a)%", "Not supported field in StreamInfo: FOO"),
        ("%VIRTUAL_HOST_NAME%", "Not supported field in StreamInfo: VIRTUAL_HOST_NAME"),
        ("%REQ(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"),
        ("%PROTOCOL(x)%", "PROTOCOL does not take any parameters or length"),
        ("%HOSTNAME:3%", "HOSTNAME does not take any parameters or length"),
        ("%DURATION(x)%", "DURATION does not take any parameters or length"),
        ("%START_TIME:3%", "START_TIME does not allow length to be specified."),
        ("%RESPONSE_CODE_DETAILS:3%", "RESPONSE_CODE_DETAILS does not allow length to be specified."),
        ("%COMMON_DURATION(a)%", "Invalid common duration configuration: a."),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:x)%", "Invalid common duration precision: x."),
        ("%PATH(X)%", "Invalid PATH option: 'X', only 'WQ'/'NQ' are allowed"),
        ("%PATH(WQ:X)%", "Invalid PATH option: 'X', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"),
        ("%QUERY_PARAMS(RAW)%", "Invalid QUERY_PARAMS option: 'RAW', only 'ORIG'/'DECODED' are allowed"),
        ("%REQ(X A)%", "Invalid header configuration. Format string contains invalid characters."),
        ("%REQ(a))%", "Invalid header configuration. Format string contains invalid characters."),
        ("%DYNAMIC_METADATA(a:b)%", "%DYNAMIC_METADATA% is not implemented by Ringway yet"),
    ];
    for (format, message) in cases {
        let error = Formatter::parse(format).map(|_| ()).expect_err(format);
        assert_eq!(error.to_string(), message, "{format}");
    }
}

/// As Envoy 1.40 printed it: members sorted, numbers and nulls for lone commands, text otherwise.
#[test]
fn json_is_printed_as_envoy_1_40_does() {
    let exchange = direct();
    let format = serde_json::json!({
        "b": "%PROTOCOL%", "a": "%RESPONSE_CODE%", "c": "x%RESPONSE_CODE%", "d": 12, "e": true, "f": null,
        "g": [1, 2.5, "%BYTES_SENT%", {"z": "%DURATION%", "y": "%REQ(x-num)%"}],
        "h": {"nested": {"q": "%REQ(nope)%", "p": "%REQ(nope)%x"}},
        "lit": "a\"b/é\n\t\u{1}<>", "empty": "", "emptyobj": {}, "emptyarr": [], "A": "upper", "k\"ey": "1%%2",
        "none": "%UPSTREAM_HOST%", "nonenum": "%RESPONSE_DURATION%", "big": 123_456_789_012_i64, "fl": 1.5,
        "neg": -3, "up": "%UPSTREAM_LOCAL_PORT%", "portl": "%DOWNSTREAM_LOCAL_PORT%", "ucid": "%UPSTREAM_CONNECTION_ID%",
        "flags": "%RESPONSE_FLAGS%", "lrb": "%LOCAL_REPLY_BODY%", "envn": "%ENVIRONMENT(RINGWAY_NOPE)%", "pct": "100%%",
        "two": "%RESPONSE_CODE%%BYTES_SENT%", "gs": "%GRPC_STATUS_NUMBER%",
    });
    assert_eq!(
        exchange.print_json(&format, false),
        concat!(
            r#"{"A":"upper","a":200,"b":"HTTP/1.1","big":123456789012,"c":"x200","d":12,"e":true,"empty":"","#,
            r#""emptyarr":[],"emptyobj":{},"envn":"-","f":null,"fl":1.5,"flags":"-","g":[1,2.5,5,{"y":null,"z":9}],"#,
            r#""gs":null,"h":{"nested":{"p":"-x","q":null}},"k\"ey":"1%2","lit":"a\"b/é\n\t\u0001<>","lrb":"","neg":-3,"#,
            r#""none":null,"nonenum":null,"pct":"100%","portl":17801,"two":"2005","ucid":0,"up":null}"#
        )
    );
    assert_eq!(
        exchange.print_json(&format, true),
        concat!(
            r#"{"A":"upper","a":200,"b":"HTTP/1.1","big":123456789012,"c":"x200","d":12,"e":true,"empty":"","#,
            r#""emptyarr":[],"envn":"-","fl":1.5,"flags":"-","g":[1,2.5,5,{"z":9}],"h":{"nested":{"p":"x"}},"#,
            r#""k\"ey":"1%2","lit":"a\"b/é\n\t\u0001<>","lrb":"","neg":-3,"pct":"100%","portl":17801,"two":"2005","#,
            r#""ucid":0}"#
        )
    );
    let numbers = serde_json::json!({"one": 1e20, "two": 0.1, "three": -0.0, "four": 1e-7, "five": 123_456_789.125,
        "six": 9_007_199_254_740_993_i64});
    assert_eq!(
        exchange.print_json(&numbers, false),
        r#"{"five":123456789.125,"four":1e-07,"one":1e+20,"six":9007199254740992,"three":-0,"two":0.1}"#
    );
}

/// Header values and how Envoy 1.40 wrote them into JSON: text that is not UTF-8 is escaped byte by byte.
#[test]
fn json_strings_are_escaped_as_envoy_1_40_does() {
    let cases: [(&[u8], &str); 5] = [
        (
            b"a\"b\\c\td\xc3\xa9\xf0\x9f\x98\x80\xe2\x80\xa8z/<&>'",
            "a\\\"b\\\\c\\td\u{e9}\u{1f600}\u{2028}z/<&>'",
        ),
        (b"a\"b\\c\td\xc3\xa9\xffz/<&>'\x80", r"a\u0022b\u005cc\u0009d\u00c3\u00a9\u00ffz/<&>'\u0080"),
        (b"\xed\xa0\x80x", r"\u00ed\u00a0\u0080x"),
        (b"\xc0\x80x", r"\u00c0\u0080x"),
        (b"plain", "plain"),
    ];
    for (value, expected) in cases {
        let mut exchange = direct();
        exchange.request.headers.append("x", value);
        let json = exchange.print_json(&serde_json::json!({"s": "%REQ(x)%"}), false);
        assert_eq!(json, format!("{{\"s\":\"{expected}\"}}"));
        serde_json::from_str::<serde_json::Value>(&json).expect("parses again");
    }
}
