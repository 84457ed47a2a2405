//! Responses, from bytes to events.

use super::*;

#[test]
fn response_bodies() {
    let framing = |method: &str, bytes: &str| {
        let mut decoder = ClientDecoder::new(H1Settings::default());
        decoder.expect_response(Method::from_bytes(method.as_bytes()), method == "UPGRADE");
        match decoder.decode(&mut Chunk::copy_from(bytes.as_bytes())) {
            Ok(Some(Event::Head(start))) => Ok((start.framing, start.keep_alive)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    assert_eq!(framing("GET", &ok("Content-Length: 5\r\n")), Ok((Framing::Length(5), true)));
    assert_eq!(
        framing("GET", &ok("Content-Length: 5\r\nContent-Length: 5\r\n")),
        Err(H1Error::InvalidContentLength)
    );
    assert_eq!(framing("GET", &ok("Content-Length: 5, 6\r\n")), Err(H1Error::InvalidContentLength));
    assert_eq!(framing("GET", &ok("Transfer-Encoding: chunked\r\n")), Ok((Framing::Chunked, true)));
    assert_eq!(
        framing("GET", &ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        Err(H1Error::LengthAndChunked)
    );
    assert_eq!(framing("GET", &ok("Transfer-Encoding: gzip\r\n")), Err(H1Error::UnsupportedTransferEncoding));
    assert_eq!(framing("GET", &ok("")), Ok((Framing::UntilClose, false)));
    assert_eq!(
        framing("GET", &ok("Connection: close\r\nContent-Length: 0\r\n")),
        Ok((Framing::Length(0), false))
    );
    assert_eq!(framing("HEAD", &ok("Content-Length: 5\r\n")), Ok((Framing::None, true)));
    assert_eq!(framing("HEAD", &ok("Transfer-Encoding: chunked\r\n")), Ok((Framing::None, true)));
    assert_eq!(framing("CONNECT", &ok("")), Ok((Framing::Tunnel, false)));
    assert_eq!(
        framing("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        Ok((Framing::None, true))
    );
    assert_eq!(
        framing("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        Ok((Framing::None, true))
    );
    assert_eq!(
        framing("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        Err(H1Error::ContentLengthNotAllowed)
    );
    assert_eq!(
        framing("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(H1Error::TransferEncodingNotAllowed)
    );
    assert_eq!(framing("GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(H1Error::UnexpectedResponse));
    assert_eq!(framing("UPGRADE", "HTTP/1.1 101 Switching Protocols\r\n\r\n"), Ok((Framing::Tunnel, false)));
    assert_eq!(
        framing("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"),
        Ok((Framing::Length(5), false))
    );
    assert_eq!(
        framing("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
        Ok((Framing::Length(5), true))
    );
    for malformed in [
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 2000 x\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
    ] {
        assert!(matches!(framing("GET", malformed), Err(H1Error::Malformed(_))), "{malformed:?}");
    }
}

#[test]
fn interim_responses_precede_the_final_one() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
    let lines = responses(H1Settings::default(), Method::Get, &[bytes]);
    let starts: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(starts, ["100", "103", "200", "data", "end"]);
    let surplus = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(
        responses(H1Settings::default(), Method::Get, &[surplus]).last().map(|line| &line[..5]),
        Some("error")
    );
}

#[test]
fn spaces_before_the_colon_are_removed_from_responses() {
    let mut decoder = ClientDecoder::new(H1Settings::default());
    decoder.expect_response(Method::Get, false);
    let mut input = Chunk::from_static(b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n");
    let Ok(Some(Event::Head(start))) = decoder.decode(&mut input) else { panic!() };
    let mut out = Vec::new();
    encode_response(&start.head, Version::Http11, start.framing, HeaderCase::Lower, &mut out);
    assert_eq!(
        out.escape_ascii().to_string(),
        "HTTP/1.1 200 OK\\r\\na: b\\r\\ncontent-length: 0\\r\\n\\r\\n"
    );
}

#[test]
fn status_of_a_received_response_is_a_pseudo_header() {
    let mut decoder = ClientDecoder::new(H1Settings::default());
    decoder.expect_response(Method::Get, false);
    let Ok(Some(Event::Head(start))) = decoder.decode(&mut Chunk::from_static(b"HTTP/1.1 404\r\n\r\n"))
    else {
        panic!()
    };
    assert_eq!((start.head.status(), start.head.headers.get(STATUS)), (404, Some(&b"404"[..])));
}
