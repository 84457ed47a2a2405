//! Faults by configuration, by header and by runtime.

use super::*;
use crate::config::{FractionalPercent, RuntimeLayer, RuntimeValue};
use crate::filters::http::testing::Stream;
use crate::stats::Registry;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, fault_abort};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent as PercentProto;

const ALWAYS: Option<PercentProto> = Some(PercentProto { numerator: 100, denominator: 0 });
/// The tests' random number is 50.
const SELDOM: Option<PercentProto> = Some(PercentProto { numerator: 50, denominator: 0 });

fn abort(error_type: fault_abort::ErrorType, percentage: Option<PercentProto>) -> Option<FaultAbort> {
    Some(FaultAbort { percentage, response_body: String::new(), error_type: Some(error_type) })
}

fn by_header(percentage: Option<PercentProto>) -> HttpFault {
    HttpFault {
        abort: abort(fault_abort::ErrorType::HeaderAbort(fault_abort::HeaderAbort {}), percentage),
        ..HttpFault::default()
    }
}

fn factory(config: &HttpFault) -> Factory {
    let settings = FaultSettings::from_proto(config, &FieldPath::root()).expect("settings");
    let stats = FaultStats::register(&Registry::new(), "http.x.fault.");
    Factory(Arc::new(Shared { settings, stats, active: AtomicU64::new(0) }))
}

fn played(config: &HttpFault, runtime: Runtime, headers: &[(&str, &str)]) -> Stream {
    let mut stream = Stream::with_runtime(vec![factory(config).create()], runtime);
    stream.request_head("GET", "/", headers, true);
    stream
}

fn status(config: &HttpFault, headers: &[(&str, &str)]) -> Option<u16> {
    played(config, Runtime::default(), headers).reply().map(|reply| reply.status)
}

fn runtime(key: &str, value: RuntimeValue) -> Runtime {
    let values = [(key.to_owned(), value)].into();
    Runtime { layers: vec![RuntimeLayer { name: "a".into(), is_admin: false, values }] }
}

#[test]
fn an_abort_says_what_envoy_says() {
    let config =
        HttpFault { abort: abort(fault_abort::ErrorType::HttpStatus(503), ALWAYS), ..HttpFault::default() };
    let stream = played(&config, Runtime::default(), &[]);
    let reply = stream.reply().expect("a reply");
    assert_eq!((reply.status, &reply.body[..]), (503, &b"fault filter abort"[..]));
    assert_eq!((&*reply.details, reply.flags.to_string()), ("fault_filter_abort", "FI".to_owned()));
}

#[test]
fn chance_decides_and_no_percentage_is_never() {
    for (percentage, aborted) in [(ALWAYS, true), (SELDOM, false), (None, false)] {
        let config = HttpFault {
            abort: abort(fault_abort::ErrorType::HttpStatus(503), percentage),
            ..HttpFault::default()
        };
        assert_eq!(status(&config, &[]).is_some(), aborted, "{percentage:?}");
    }
}

#[test]
fn headers_may_ask_for_less_but_not_for_more_or_for_nonsense() {
    let always = by_header(ALWAYS);
    let ask = "x-envoy-fault-abort-request";
    let percentage = "x-envoy-fault-abort-request-percentage";
    assert_eq!(status(&always, &[(ask, "429")]), Some(429));
    assert_eq!(status(&always, &[(ask, "429"), (percentage, "50")]), None);
    assert_eq!(status(&by_header(SELDOM), &[(ask, "429"), (percentage, "100")]), None);
    for nonsense in ["199", "600", "abc", "", "-200"] {
        assert_eq!(status(&always, &[(ask, nonsense)]), None, "{nonsense}");
    }
    let grpc = played(&always, Runtime::default(), &[("x-envoy-fault-abort-grpc-request", "14")]);
    assert_eq!(grpc.reply().map(|reply| (reply.status, reply.grpc_status)), Some((200, Some(14))));
}

#[test]
fn runtime_overrides_share_and_status_for_all_or_for_one_caller() {
    let config =
        HttpFault { abort: abort(fault_abort::ErrorType::HttpStatus(503), SELDOM), ..HttpFault::default() };
    let all = runtime("fault.http.abort.abort_percent", RuntimeValue::Number(51.0));
    assert!(played(&config, all, &[]).reply().is_some());
    let one = runtime(
        "fault.http.shop.abort.abort_percent",
        RuntimeValue::Fraction(FractionalPercent { numerator: 51, denominator: 100 }),
    );
    assert!(played(&config, one.clone(), &[]).reply().is_none());
    let caller = [("x-envoy-downstream-service-cluster", "shop")];
    assert!(played(&config, one, &caller).reply().is_some());
    let config = HttpFault {
        abort: abort(fault_abort::ErrorType::HttpStatus(503), ALWAYS),
        abort_http_status_runtime: "mine".into(),
        ..HttpFault::default()
    };
    let other = played(&config, runtime("mine", RuntimeValue::Number(404.0)), &[]);
    assert_eq!(other.reply().map(|reply| reply.status), Some(404));
}

#[test]
fn a_delay_holds_the_request_and_counts_as_active_while_the_stream_lives() {
    let delay = fault_delay::FaultDelaySecifier::FixedDelay(envoy_types::pb::google::protobuf::Duration {
        seconds: 1,
        nanos: 0,
    });
    let config = HttpFault {
        delay: Some(FaultDelay { percentage: ALWAYS, fault_delay_secifier: Some(delay) }),
        max_active_faults: Some(envoy_types::pb::google::protobuf::UInt32Value { value: 1 }),
        ..HttpFault::default()
    };
    let factory = factory(&config);
    let mut first = Stream::of(vec![factory.create()]);
    first.request_head("GET", "/", &[], true);
    assert!(first.decode.is_waiting() && !first.request_passed());
    assert_eq!(first.info.response_flags.to_string(), "DI");
    let mut second = Stream::of(vec![factory.create()]);
    second.request_head("GET", "/", &[], true);
    assert!(second.request_passed(), "one fault at a time");
    drop(first);
    let mut third = Stream::of(vec![factory.create()]);
    third.request_head("GET", "/", &[], true);
    assert!(third.decode.is_waiting());
}

#[test]
fn only_requests_that_match_are_concerned() {
    let config = HttpFault {
        abort: abort(fault_abort::ErrorType::HttpStatus(503), ALWAYS),
        downstream_nodes: vec!["n1".into()],
        ..HttpFault::default()
    };
    let node = "x-envoy-downstream-service-node";
    assert_eq!(status(&config, &[(node, "n1")]), Some(503));
    assert_eq!((status(&config, &[(node, "n2")]), status(&config, &[])), (None, None));
    let elsewhere = HttpFault { upstream_cluster: "c".into(), downstream_nodes: Vec::new(), ..config };
    assert_eq!(status(&elsewhere, &[]), None);
}
