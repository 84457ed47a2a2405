//! How bytes are split does not matter, round trips lose nothing, and nothing does harm.

use proptest::prelude::*;

use super::*;

/// Bytes that are nearly HTTP: valid messages with a few bytes changed, one after the other.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "Host: h\r\n",
        "Host: h\r\n\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Connection: upgrade\r\nUpgrade: x\r\n",
        "A: b\r\n c\r\n",
        "5\r\nhello\r\n",
        "1;x=y\r\na\r\n",
        "0\r\n\r\n",
        "0\r\nT: u\r\n\r\n",
        "hello",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (prop::collection::vec(parts, 0..12), changes).prop_map(|(parts, changes)| {
        let mut bytes = parts.concat().into_bytes();
        for (index, byte) in changes {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        bytes
    })
}

/// `bytes` cut at the given places.
fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn how_bytes_are_split_does_not_matter(
        bytes in nearly_http(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        lenient: bool,
        small: bool,
    ) {
        let settings = H1Settings {
            leniency: if lenient { Leniency::ENVOY } else { Leniency::STRICT },
            accept_http_10: true,
            enable_trailers: true,
            max_head_bytes: if small { 60 } else { 4096 },
            max_header_count: if small { 3 } else { 100 },
            ..H1Settings::STRICT
        };
        // Malformed heads are noticed before their end, but not always at the same byte.
        let bytes = [&bytes[..], b"\r\n\r\n"].concat();
        let single: Vec<_> = bytes.chunks(1).collect();
        let whole = requests(settings, &[&bytes]);
        prop_assert_eq!(&requests(settings, &split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&requests(settings, &single), &whole);
        let whole = responses(settings, Method::Get, &[&bytes]);
        prop_assert_eq!(&responses(settings, Method::Get, &split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&responses(settings, Method::Get, &single), &whole);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        requests(H1Settings::default(), &[&bytes]);
        requests(ENVOY, &[&bytes]);
        responses(ENVOY, Method::Get, &[&bytes]);
    }

    /// What is decoded, encoded and decoded again is the same, and encodes to the same bytes.
    #[test]
    fn round_trip(
        path in "/[!-\"$-~]{0,20}",
        headers in prop::collection::vec(("[a-z][a-z0-9_-]{0,8}x", "([!-~][ -~]{0,20}[!-~])?"), 0..12),
        body in prop::collection::vec(any::<u8>(), 0..2000),
        pieces in prop::collection::vec(1usize..700, 1..6),
        chunked: bool,
        removed in 0usize..12,
    ) {
        let mut head = RequestHead::new(Method::Post, "http", b"example.com:80", path.as_bytes());
        for (name, value) in &headers {
            head.headers.append(&name[..], value.as_bytes());
        }
        if let Some((name, _)) = headers.get(removed) {
            head.headers.remove(&name[..]);
        }
        let framing = if chunked { Framing::Chunked } else { Framing::Length(body.len() as u64) };
        let mut bytes = Vec::new();
        encode_request(&head, framing, HeaderCase::Lower, &mut bytes);
        if chunked {
            let mut rest = &body[..];
            for size in pieces.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*size).min(rest.len()));
                encode_chunk_start(piece.len(), &mut bytes);
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(CHUNK_END);
                rest = tail;
            }
            bytes.extend_from_slice(LAST_CHUNK);
        } else {
            bytes.extend_from_slice(&body);
        }
        let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
        let mut input = Chunk::copy_from(&bytes);
        let Ok(Some(Event::Head(start))) = decoder.decode(&mut input) else { panic!("no head") };
        prop_assert_eq!(start.framing, framing);
        let mut decoded = start.head.headers.clone();
        decoded.remove(CONTENT_LENGTH);
        decoded.remove("transfer-encoding");
        prop_assert_eq!(&decoded, &head.headers);
        prop_assert_eq!(decoded.byte_size(), head.headers.byte_size());
        let mut again = Vec::new();
        encode_request(&start.head, framing, HeaderCase::Lower, &mut again);
        prop_assert_eq!(&again[..], &bytes[..start.head_bytes as usize]);
        let mut received = Vec::new();
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Event::Data(data))) => received.extend_from_slice(&data),
                Ok(Some(Event::End)) => break,
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(received, body);
        prop_assert!(decoder.is_idle() && input.is_empty());
    }

    /// Whatever a filter puts into a map, the head that leaves is one head with as many lines.
    #[test]
    fn nothing_in_a_map_adds_lines(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..6),
        path in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut head = RequestHead::new(Method::Get, "http", b"h", &path);
        for value in &values {
            head.headers.append("x-value", value);
            head.headers.set("x-first", value);
            head.headers.append_to_value("x-all", ",", value);
        }
        let mut bytes = Vec::new();
        encode_request(&head, Framing::None, HeaderCase::Lower, &mut bytes);
        let lines = bytes.split(|&byte| byte == b'\n').count();
        prop_assert_eq!(lines, 2 + values.len() + 2 + 2);
        prop_assert!(bytes.ends_with(b"\r\n\r\n") && !bytes.contains(&0));
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        prop_assert_eq!(first.split(|&byte| byte == b' ').count(), 3);
    }
}
