//! Questions and answers without a network, and what the filter does around them.

use super::check::{Body, Decision, Grant};
use super::settings::{RouteSettings, Service, Settings};
use super::*;
use crate::base::clock::{Instant, UnixTime};
use crate::config::{StringMatcher, StringPattern};
use crate::filters::http::testing::{Stream, fields};
use crate::formatter::FormatContext;
use crate::http::Method;
use crate::stats::Registry;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as proto;
use envoy_types::pb::google::protobuf as pb;

fn prefix(text: &str) -> Vec<StringMatcher> {
    vec![StringMatcher { pattern: StringPattern::Prefix(text.into()), ignore_case: false }]
}

fn asked(service: &Service, headers: &[(&str, &[u8])], body: Option<Body>) -> RequestHead {
    let stream = Stream::of(Vec::new());
    let mut request = RequestHead::new(Method::Post, "http", b"a.test", b"/p?q");
    headers.iter().for_each(|(name, value)| request.headers.append(*name, value));
    let format = FormatContext::new(&stream.info, Instant::from_nanos(0), UnixTime::default());
    service.question(&request, body.as_ref(), &format)
}

fn answered(service: &Service, status: u16, headers: &[(&str, &str)]) -> Decision {
    let mut head = ResponseHead::new(status);
    headers.iter().for_each(|(name, value)| head.headers.append(*name, value.as_bytes()));
    service.read(Ok(Answer { head, body: b"text".to_vec() }))
}

fn granted(service: &Service, headers: &[(&str, &str)]) -> Grant {
    match answered(service, 200, headers) {
        Decision::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_shows_the_request_line_the_credentials_and_what_is_allowed() {
    let service =
        Service { path_prefix: "/check".into(), allowed_headers: prefix("x-"), ..Service::default() };
    let sent: [(&str, &[u8]); 6] = [
        ("authorization", b"me"),
        ("content-length", b"9"),
        ("x-a", b"1"),
        ("x-a", b"2"),
        ("x-bad", b"\xc3("),
        ("cookie", b"secret"),
    ];
    let head = asked(&service, &sent, None);
    assert_eq!(
        (head.method(), head.path(), head.authority()),
        (Method::Post, &b"/check/p?q"[..], &b"a.test"[..])
    );
    assert_eq!(fields(&head.headers, "authorization"), ["me"]);
    assert_eq!(fields(&head.headers, "content-length"), ["0"]);
    assert_eq!(
        (fields(&head.headers, "x-a"), fields(&head.headers, "x-bad")),
        (vec!["1,2".into()], vec!["!(".into()])
    );
    assert!(!head.headers.contains("cookie") && !head.headers.contains("x-envoy-auth-partial-body"));
}

#[test]
fn headers_may_be_shown_as_they_are_and_some_never() {
    let service = Service {
        path_override: "/always".into(),
        allowed_headers: prefix("x-"),
        disallowed_headers: prefix("x-no"),
        encode_raw_headers: true,
        ..Service::default()
    };
    let head = asked(&service, &[("x-a", b"1"), ("x-a", b"\xff"), ("x-no", b"1")], None);
    assert_eq!(head.path(), b"/always");
    assert_eq!(head.headers.get_all("x-a").collect::<Vec<_>>(), [&b"1"[..], b"\xff"]);
    assert!(!head.headers.contains("x-no"));
}

#[test]
fn a_body_is_shown_up_to_its_limit() {
    let service = Service::default();
    let partial = |body: Body| {
        let head = asked(&service, &[], Some(body));
        (
            fields(&head.headers, "content-length").remove(0),
            fields(&head.headers, "x-envoy-auth-partial-body").remove(0),
        )
    };
    assert_eq!(partial(Body::cut(b"12345".to_vec(), 5)), ("5".into(), "false".into()));
    assert_eq!(partial(Body::cut(b"12345".to_vec(), 4)), ("4".into(), "true".into()));
}

#[test]
fn a_grant_changes_the_request() {
    let service = Service {
        upstream_headers: prefix("x-set"),
        upstream_headers_to_append: prefix("x-add"),
        client_headers_on_success: prefix("x-client"),
        ..Service::default()
    };
    let grant = granted(
        &service,
        &[
            ("x-set", "1"),
            ("x-add", "2"),
            ("x-client", "3"),
            ("x-other", "4"),
            ("x-envoy-auth-headers-to-remove", "x-gone, Host,:path ,,X-Gone-Too"),
        ],
    );
    let mut head = RequestHead::new(Method::Get, "http", b"a.test", b"/p");
    for name in ["x-set", "x-add", "x-gone", "x-gone-too"] {
        head.headers.append(name, b"old");
    }
    grant.changes.apply(&mut head.headers);
    assert_eq!(fields(&head.headers, "x-set"), ["1"]);
    assert_eq!(fields(&head.headers, "x-add"), ["old", "2"]);
    assert!(!head.headers.contains("x-gone") && !head.headers.contains("x-gone-too"));
    assert_eq!(
        (head.path(), head.authority(), head.headers.contains("x-other")),
        (&b"/p"[..], &b"a.test"[..], false)
    );
    assert_eq!(grant.to_client.len(), 1);
    assert!(granted(&service, &[("x-other", "1")]).changes.is_empty());
}

#[test]
fn a_denial_shows_all_headers_or_those_allowed() {
    let headers = [("location", "/l"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "4")];
    let shown = |service: &Service| match answered(service, 302, &headers) {
        Decision::Denied(reply) => {
            assert_eq!(
                (reply.status, &reply.body[..], reply.flags.to_string()),
                (302, &b"text"[..], "UAEX".into())
            );
            let headers = reply.headers.expect("headers");
            (
                fields(&headers, "location").len(),
                fields(&headers, "set-cookie").len(),
                fields(&headers, "content-length").len(),
            )
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(&Service::default()), (1, 2, 0));
    assert_eq!(shown(&Service { client_headers: prefix("x-"), ..Service::default() }), (1, 0, 0));
}

#[test]
fn only_200_is_a_grant_and_only_5xx_and_silence_are_failures() {
    let service = Service::default();
    for status in [204, 302, 401, 403, 429, 600] {
        assert!(matches!(answered(&service, status, &[]), Decision::Denied(_)), "{status}");
    }
    for status in [500, 503, 599] {
        assert!(matches!(answered(&service, status, &[]), Decision::Failed), "{status}");
    }
    assert!(matches!(service.read(Err(CallError::Timeout)), Decision::Failed));
}

fn config() -> proto::ExtAuthz {
    let server_uri = core::HttpUri {
        uri: "http://x".into(),
        timeout: Some(pb::Duration { seconds: 1, nanos: 0 }),
        http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster("gone".into())),
    };
    let service = proto::HttpService { server_uri: Some(server_uri), ..proto::HttpService::default() };
    proto::ExtAuthz {
        services: Some(proto::ext_authz::Services::HttpService(service)),
        ..proto::ExtAuthz::default()
    }
}

fn stream(config: &proto::ExtAuthz) -> Stream {
    let settings = Settings::from_proto(config, &FieldPath::root()).unwrap_or_else(|e| panic!("{e:?}"));
    let stats = ExtAuthzStats::register(&Registry::new(), "http.x.ext_authz.");
    Stream::of(vec![Factory(Arc::new(Shared { settings, stats })).create()])
}

#[test]
fn without_a_server_nobody_passes_unless_failure_lets_them() {
    let mut strict = stream(&config());
    strict.request_head("GET", "/", &[], true);
    assert!(strict.poll_request() && !strict.request_passed());
    let reply = strict.reply().expect("a reply");
    assert_eq!(
        (reply.status, &*reply.details, reply.flags.to_string()),
        (403, "ext_authz_error", "UAEX".into())
    );
    let config =
        proto::ExtAuthz { failure_mode_allow: true, failure_mode_allow_header_add: true, ..config() };
    let mut lenient = stream(&config);
    lenient.request_head("GET", "/", &[], true);
    assert!(lenient.poll_request() && lenient.request_passed());
    assert_eq!(fields(&lenient.request.headers, "x-envoy-auth-failure-mode-allowed"), ["true"]);
}

#[test]
fn a_body_is_awaited_to_its_end_or_to_its_limit() {
    let with_body = |allow_partial_message| proto::ExtAuthz {
        failure_mode_allow: true,
        with_request_body: Some(proto::BufferSettings {
            max_request_bytes: 4,
            allow_partial_message,
            pack_as_bytes: false,
        }),
        ..config()
    };
    let mut whole = stream(&with_body(false));
    whole.request_head("POST", "/", &[], false);
    whole.request_data(b"1234", false);
    assert!(!whole.decode.is_waiting() && !whole.request_passed());
    whole.request_data(b"", true);
    assert!(whole.decode.is_waiting() && whole.poll_request());
    assert_eq!(whole.take_request_body(), b"1234");
    let mut larger = stream(&with_body(false));
    larger.request_head("POST", "/", &[], false);
    larger.request_data(b"12345", false);
    assert!(larger.is_too_large());
    let mut partial = stream(&with_body(true));
    partial.request_head("POST", "/", &[], false);
    partial.request_data(b"12345", false);
    assert!(partial.decode.is_waiting() && partial.poll_request());
    partial.request_data(b"6", true);
    assert_eq!(partial.take_request_body(), b"123456");
}

#[test]
fn a_filter_that_is_off_lets_pass_or_denies() {
    let off = Some(core::RuntimeFractionalPercent::default());
    let mut open = stream(&proto::ExtAuthz { filter_enabled: off.clone(), ..config() });
    open.request_head("GET", "/", &[], true);
    assert!(open.request_passed());
    let deny = core::RuntimeFeatureFlag {
        default_value: Some(pb::BoolValue { value: true }),
        runtime_key: String::new(),
    };
    let mut shut = stream(&proto::ExtAuthz { filter_enabled: off, deny_at_disable: Some(deny), ..config() });
    shut.request_head("GET", "/", &[], true);
    assert_eq!(shut.reply().map(|reply| reply.status), Some(403));
}

#[test]
fn contradictions_are_refused_with_their_place() {
    let mut config = config();
    config.status_on_error = Some(envoy_types::pb::envoy::r#type::v3::HttpStatus { code: 100 });
    if let Some(proto::ext_authz::Services::HttpService(service)) = &mut config.services {
        service.path_prefix = "check".into();
        service.path_override = "/always".into();
    }
    let errors = Settings::from_proto(&config, &FieldPath::root()).expect_err("errors");
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["http_service.path_prefix", "http_service", "status_on_error"]);
    let both = proto::CheckSettings {
        disable_request_body_buffering: true,
        with_request_body: Some(proto::BufferSettings { max_request_bytes: 1, ..Default::default() }),
        ..proto::CheckSettings::default()
    };
    let route = proto::ExtAuthzPerRoute {
        r#override: Some(proto::ext_authz_per_route::Override::CheckSettings(both)),
    };
    assert!(RouteSettings::from_proto(&route, &FieldPath::root()).is_err());
}
