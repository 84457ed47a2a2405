//! Requests, from bytes to events.

use super::*;

#[test]
fn a_head_becomes_pseudo_headers_and_headers() {
    let start = first_request(
        H1Settings::default(),
        b"GET /a?b HTTP/1.1\r\nAccept: */*\r\nHOST:h\r\nX-Custom:  1 \t\r\nEmpty:\r\n\r\nrest",
    );
    let all: Vec<_> =
        start.head.headers.iter().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
    let expected =
        [":method=GET", ":path=/a?b", ":authority=h", ":scheme=http", "accept=*/*", "x-custom=1", "empty="];
    assert_eq!(all, expected);
    assert_eq!(start.head_bytes, 66);
    assert!(start.keep_alive && !start.upgrade && start.framing == Framing::None);
}

#[test]
fn the_target_overrules_the_host() {
    let start = first_request(H1Settings::default(), b"GET https://foo:444?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(start.form, TargetForm::Absolute);
    assert_eq!(start.head.headers.get_all(HOST).collect::<Vec<_>>(), [b"foo:444"]);
    assert_eq!((start.head.path(), start.head.scheme()), (&b"/?x=1"[..], &b"https"[..]));
    let start = first_request(H1Settings::default(), b"GET http://foo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(start.head.path(), b"/");
    let start = first_request(H1Settings::default(), b"OPTIONS http://foo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(start.head.path(), b"*");
}

#[test]
fn persistence() {
    for (bytes, keeps) in [
        (&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], true),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: foo, CLOSE\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: h\r\nProxy-Connection: close\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
    ] {
        assert_eq!(first_request(OLD, bytes).keep_alive, keeps, "{}", bytes.escape_ascii());
    }
}

#[test]
fn refused_heads_are_there_for_the_log() {
    let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
    let mut input = Chunk::from_static(b"GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(decoder.decode(&mut input).err(), Some(H1Error::FragmentInPath));
    assert_eq!(decoder.take_rejected_head().map(|head| head.path().to_vec()), Some(b"/x#y".to_vec()));
    assert_eq!(decoder.decode(&mut Chunk::new()).err(), Some(H1Error::FragmentInPath), "errors stay");
}

#[test]
fn an_upgrade_waits_for_the_decision() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    for as_tunnel in [true, false] {
        let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
        let mut input = Chunk::from_static(bytes);
        assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::Head(start))) if start.upgrade));
        let left = input.len();
        assert!(matches!(decoder.decode(&mut input), Ok(None)));
        assert_eq!(input.len(), left, "nothing is read before the decision");
        decoder.resume(as_tunnel);
        if as_tunnel {
            assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::Data(data))) if data.len() == left));
            assert!(matches!(decoder.decode_eof(), Ok(Some(Event::End))));
        } else {
            assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::End))));
            assert!(
                matches!(decoder.decode(&mut input), Ok(Some(Event::Head(start))) if start.head.path() == b"/2")
            );
        }
    }
}

#[test]
fn h2c_is_ignored() {
    let start = first_request(
        H1Settings::default(),
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    );
    assert!(!start.upgrade);
    assert_eq!(start.head.headers.iter_without_pseudo().count(), 0);
}

#[test]
fn bodies_share_the_memory_of_the_input() {
    let mut bytes = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n".to_vec();
    bytes.extend_from_slice(&[b'x'; 4096]);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut input = Chunk::copy_from(&bytes);
    let range = input.as_ptr_range();
    let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::Head(_)))));
    let Ok(Some(Event::Data(data))) = decoder.decode(&mut input) else { panic!() };
    assert_eq!(data.len(), 4096);
    assert!(range.contains(&data.as_ptr()));
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::End))));
    assert!(decoder.is_idle());
}

#[test]
fn tiny_chunks_are_gathered() {
    let bytes = post("Transfer-Encoding: chunked\r\n", &"1\r\na\r\n".repeat(1000));
    let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
    let mut input = Chunk::copy_from(&bytes);
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::Head(_)))));
    let Ok(Some(Event::Data(data))) = decoder.decode(&mut input) else { panic!() };
    assert_eq!((data.len(), input.len()), (1000, 0));
}

#[test]
fn trailers_are_dropped_or_handed_on_without_framing() {
    let bytes = post(
        "Transfer-Encoding: chunked\r\n",
        "2\r\nab\r\n0\r\nFoo: bar\r\nContent-Length: 5\r\nHost: z\r\n\r\n",
    );
    assert_eq!(requests(H1Settings::default(), &[&bytes])[1..], ["data ab", "end"]);
    assert_eq!(requests(TRAILERS, &[&bytes])[1..], ["data ab", "trailers {\"foo\": \"bar\"}"]);
}

#[test]
fn end_of_input() {
    let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
    assert!(decoder.is_idle());
    assert!(matches!(decoder.decode_eof(), Ok(None)));
    assert!(matches!(decoder.decode(&mut Chunk::from_static(b"GET /")), Ok(None)));
    assert!(!decoder.is_idle());
    assert_eq!(decoder.decode_eof().err(), Some(H1Error::UnexpectedEof));

    let mut decoder = ClientDecoder::new(H1Settings::default());
    assert!(matches!(decoder.decode_eof(), Ok(None)));
    decoder.expect_response(Method::Get, false);
    let mut input = Chunk::from_static(b"HTTP/1.1 200 OK\r\n\r\nbody");
    assert!(
        matches!(decoder.decode(&mut input), Ok(Some(Event::Head(start))) if start.framing == Framing::UntilClose)
    );
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::Data(_)))));
    assert!(matches!(decoder.decode_eof(), Ok(Some(Event::End))));
    decoder.expect_response(Method::Get, false);
    assert_eq!(decoder.decode_eof().err(), Some(H1Error::UnexpectedEof));
}
