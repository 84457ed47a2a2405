//! Access logs from the line to the file.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::access_log::{
    AccessLogError, AccessLogManager, AccessLogOptions, AccessLogSet, LogFilter, flush_thread,
};
use crate::base::clock::{Instant, UnixTime};
use crate::config::{
    AccessLog, AccessLogFilter, AccessLogSink, AccessLogTarget, Comparison, ComparisonOp, FieldPath,
    FormatTemplate, FractionalPercent, HeaderMatcher, HeaderValueMatch, Runtime, RuntimeU32,
    SubstitutionFormat,
};
use crate::formatter::FormatContext;
use crate::http::{HeaderMap, RequestHead, Version};
use crate::stats::Registry;
use crate::stats::groups::FilesystemStats;
use crate::stream_info::{ConnectionInfo, PeerAddress, ResponseFlags, StreamInfo, Timing};

const LONG: Duration = Duration::from_secs(30);

struct World {
    registry: Registry,
    manager: AccessLogManager,
}

fn world(options: AccessLogOptions) -> World {
    let registry = Registry::new();
    let stats = FilesystemStats::register(&registry, "filesystem.");
    World { manager: AccessLogManager::start(options, stats).unwrap(), registry }
}

impl World {
    fn compile(&self, logs: &[AccessLog]) -> AccessLogSet {
        AccessLogSet::compile(logs, &Runtime::default(), &self.manager).unwrap()
    }

    fn settle(&self) {
        flush_thread();
        self.manager.wait_written(LONG).unwrap();
    }

    fn count(&self, name: &str) -> u64 {
        self.registry.counter_value(&format!("filesystem.{name}")).unwrap()
    }
}

fn text_log(path: &Path, format: Option<&str>) -> AccessLog {
    let format = format.map(|text| SubstitutionFormat {
        format: FormatTemplate::Text(text.to_owned()),
        omit_empty_values: false,
        content_type: String::new(),
        path: FieldPath::default(),
    });
    let target = AccessLogTarget::File(path.to_str().unwrap().to_owned());
    AccessLog { name: "file".to_owned(), filter: None, sink: AccessLogSink::Lines { target, format } }
}

fn stream(code: u16) -> StreamInfo {
    let address = PeerAddress::Ip("127.0.0.1:8080".parse().unwrap());
    let connection = ConnectionInfo::new(1, address.clone(), address);
    let timing = Timing::starting(Instant::from_nanos(0), UnixTime::from_nanos(0));
    let mut info = StreamInfo::new(Rc::new(connection), Some(Version::Http11), timing);
    info.response_code = Some(code);
    info.timing.complete = Some(Instant::from_nanos(7_000_000));
    info
}

fn request(headers: &[(&str, &str)]) -> RequestHead {
    let pseudo = [(":method", "GET"), (":path", "/x"), (":authority", "a.example")];
    let headers: HeaderMap = pseudo.iter().chain(headers).copied().collect();
    RequestHead { headers, version: Version::Http11 }
}

fn context<'a>(info: &'a StreamInfo, request: &'a RequestHead) -> FormatContext<'a> {
    let now = Instant::from_nanos(9_000_000);
    FormatContext { request: Some(request), ..FormatContext::new(info, now, UnixTime::from_nanos(0)) }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_default_format_and_a_second_log_to_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let world = world(AccessLogOptions::default());
    let set = world.compile(&[text_log(&path, None), text_log(&path, Some("%RESPONSE_CODE%\n"))]);
    let (info, request) = (stream(404), request(&[("user-agent", "test")]));
    set.log(&context(&info, &request));
    assert!(lines(&path).is_empty(), "lines wait in the thread's buffer");
    world.settle();
    let got = lines(&path);
    assert_eq!(got.len(), 2);
    assert!(
        got[0].contains("\"GET /x HTTP/1.1\" 404 - 0 0 7 - \"-\" \"test\" \"-\" \"a.example\" \"-\""),
        "{got:?}"
    );
    assert_eq!(got[1], "404");
    assert_eq!((world.count("write_buffered"), world.count("write_completed")), (2, 1));
    assert_eq!(world.count("flushed_by_timer"), 1);
    assert_eq!(world.registry.gauge_value("filesystem.write_total_buffered"), Some(0));
}

#[test]
fn full_buffers_go_out_by_themselves_and_json_lines_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let world = world(AccessLogOptions { min_flush_bytes: 30, ..AccessLogOptions::default() });
    let mut log = text_log(&path, Some(""));
    let members = serde_json::json!({"code": "%RESPONSE_CODE%"});
    if let AccessLogSink::Lines { format: Some(format), .. } = &mut log.sink {
        format.format = FormatTemplate::Json(members.as_object().unwrap().clone());
    }
    let set = world.compile(&[log]);
    let (info, request) = (stream(200), request(&[]));
    (0..5).for_each(|_| set.log(&context(&info, &request)));
    world.manager.wait_written(LONG).unwrap();
    assert_eq!(lines(&path), ["{\"code\":200}"; 3]);
    world.settle();
    assert_eq!(lines(&path).len(), 5);
    assert_eq!(world.count("write_completed"), 2);
}

#[test]
fn rotation_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("a.log"), directory.path().join("a.log.1"));
    let world = world(AccessLogOptions::default());
    let set = world.compile(&[text_log(&path, Some("%RESPONSE_CODE%\n"))]);
    let request = request(&[]);
    for code in [200, 201] {
        set.log(&context(&stream(code), &request));
        flush_thread();
        if code == 200 {
            world.manager.wait_written(LONG).unwrap();
            std::fs::rename(&path, &old).unwrap();
        }
    }
    world.manager.reopen_all();
    set.log(&context(&stream(202), &request));
    world.settle();
    assert_eq!(
        (lines(&old), lines(&path)),
        (vec!["200".to_owned(), "201".to_owned()], vec!["202".to_owned()])
    );
    drop(std::fs::remove_dir_all(directory.path()));
    world.manager.reopen_all();
    set.log(&context(&stream(203), &request));
    world.settle();
    assert_eq!((world.count("reopen_failed"), world.count("write_failed")), (1, 0));
}

#[test]
fn what_cannot_be_written_is_counted() {
    let (info, request) = (stream(200), request(&[]));
    let full = world(AccessLogOptions::default());
    let set = full.compile(&[text_log(Path::new("/dev/full"), None)]);
    (0..3).for_each(|_| set.log(&context(&info, &request)));
    full.settle();
    assert_eq!((full.count("write_failed"), full.count("lines_dropped")), (1, 3));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let behind = world(AccessLogOptions { max_pending_bytes: 0, ..AccessLogOptions::default() });
    let set = behind.compile(&[text_log(&path, None)]);
    (0..4).for_each(|_| set.log(&context(&info, &request)));
    behind.settle();
    assert_eq!((behind.count("lines_dropped"), behind.count("write_completed")), (4, 0));
    assert_eq!(behind.registry.gauge_value("filesystem.write_total_buffered"), Some(0));
}

#[test]
fn lines_of_many_threads_arrive_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let world = world(AccessLogOptions { min_flush_bytes: 500, ..AccessLogOptions::default() });
    let set = world.compile(&[text_log(&path, Some("%REQ(X-ID)% end\n"))]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let set = set.clone();
            scope.spawn(move || {
                for at in 0..1_000 {
                    let request = request(&[("x-id", &format!("{thread}-{at}"))]);
                    set.log(&context(&stream(200), &request));
                }
                flush_thread();
            });
        }
    });
    world.manager.shutdown(LONG).unwrap();
    let got: HashSet<String> = lines(&path).into_iter().collect();
    assert_eq!(got.len(), 4_000);
    assert!(got.iter().all(|line| line.ends_with(" end")));
}

#[test]
fn errors_name_the_file_and_the_format() {
    let world = world(AccessLogOptions::default());
    let compile =
        |log: AccessLog| AccessLogSet::compile(&[log], &Runtime::default(), &world.manager).unwrap_err();
    let error = compile(text_log(Path::new("/nowhere/x.log"), None));
    assert!(matches!(&error, AccessLogError::Open { path, .. } if path == "/nowhere/x.log"), "{error}");
    let bad = text_log(Path::new("/nowhere/x.log"), Some("%NOPE%"));
    assert!(AccessLogSet::check(&[text_log(Path::new("/nowhere/x.log"), None)]).is_ok());
    assert!(matches!(AccessLogSet::check(&[bad]), Err(AccessLogError::Format { .. })));
}

#[test]
fn filters_decide_as_envoys() {
    let matches = |filter: AccessLogFilter, info: &StreamInfo, headers: &[(&str, &str)]| {
        let request = request(headers);
        LogFilter::compile(&filter, &Runtime::default()).matches(&context(info, &request))
    };
    let at_least = |value| Comparison {
        op: ComparisonOp::Ge,
        value: RuntimeU32 { default: value, runtime_key: String::new() },
    };
    let (good, mut bad) = (stream(200), stream(503));
    bad.response_flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
    let server_error = AccessLogFilter::StatusCode(at_least(500));
    assert!(!matches(server_error.clone(), &good, &[]) && matches(server_error.clone(), &bad, &[]));
    assert!(matches(AccessLogFilter::Duration(at_least(7)), &good, &[]));
    assert!(!matches(AccessLogFilter::Duration(at_least(8)), &good, &[]));
    for flags in [ResponseFlags::NONE, ResponseFlags::UPSTREAM_CONNECTION_FAILURE] {
        assert!(matches(AccessLogFilter::ResponseFlags(flags), &bad, &[]));
        assert!(!matches(AccessLogFilter::ResponseFlags(flags), &good, &[]));
    }
    assert!(!matches(AccessLogFilter::ResponseFlags(ResponseFlags::NO_ROUTE_FOUND), &bad, &[]));
    let header = AccessLogFilter::Header(HeaderMatcher {
        name: "x-log".to_owned(),
        value: HeaderValueMatch::Present(true),
        invert_match: false,
        treat_missing_header_as_empty: false,
    });
    assert!(matches(header.clone(), &good, &[("x-log", "")]) && !matches(header.clone(), &good, &[]));
    assert!(matches(AccessLogFilter::Or(vec![server_error.clone(), header.clone()]), &bad, &[]));
    assert!(!matches(AccessLogFilter::And(vec![server_error, header]), &bad, &[]));
    let mut check = stream(200);
    check.health_check = true;
    assert!(
        !matches(AccessLogFilter::NotHealthCheck, &check, &[])
            && matches(AccessLogFilter::NotHealthCheck, &good, &[])
    );
    let grpc = |exclude| AccessLogFilter::GrpcStatus { statuses: vec![14], exclude };
    assert!(matches(grpc(false), &bad, &[]) && !matches(grpc(true), &bad, &[]));
    let fraction = |numerator, independent| AccessLogFilter::Runtime {
        runtime_key: "log".to_owned(),
        percent: FractionalPercent { numerator, denominator: 100 },
        use_independent_randomness: independent,
    };
    // 0x0000002a is 42; the context's own number is 0.
    let id = ("x-request-id", "0000002a-0000-4000-8000-000000000000");
    assert!(matches(fraction(43, false), &good, &[id]) && !matches(fraction(42, false), &good, &[id]));
    assert!(matches(fraction(1, true), &good, &[id]) && !matches(fraction(0, true), &good, &[id]));
}
