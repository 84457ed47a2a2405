//! Heads that are written and read again are the same, and what is written is always accepted.

use proptest::prelude::*;

use super::*;
use crate::http::h2::hpack::{Decoder, Encoder};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, Version};

const LIMITS: HeaderLimits = HeaderLimits { max_bytes: 1 << 20, max_count: 1_000 };

/// What a peer makes of a block.
fn read(decoder: &mut Decoder, kind: MessageKind, block: &[u8]) -> HeaderBlock {
    let mut fields = HeaderBlock::new(kind);
    decoder.decode(block, true, |field| fields.push(field, LIMITS)).expect("valid HPACK");
    fields
}

fn names_and_values() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        2 => prop::sample::select(vec!["cookie", "accept", "x-request-id", "authorization", "te", "user-agent", "expect"])
            .prop_map(str::to_owned),
        1 => "x-[a-z]{1,6}",
    ];
    let value = prop_oneof!["[!-~]([ -~]{0,30}[!-~])?", Just(String::new()), Just("trailers".to_owned())];
    prop::collection::vec((name, value.prop_map(String::into_bytes)), 0..12)
}

fn map(fields: &[(String, Vec<u8>)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (&name[..], value)).collect()
}

/// The map as it arrives: pieces of cookies joined, headers of HTTP/1 gone.
fn as_received(headers: &HeaderMap) -> HeaderMap {
    let mut received = headers.clone();
    received.join(crate::http::header::COOKIE, b"; ");
    received.retain(|name, value| name.as_str() != "te" || value == b"trailers");
    received
}

proptest! {
    #[test]
    fn requests(
        heads in prop::collection::vec((names_and_values(), "/[!-~]{0,20}"), 1..5),
        table in prop::sample::select(vec![0usize, 100, 4096]),
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(table), Decoder::default());
        for (fields, path) in heads {
            let mut head = RequestHead::new(Method::Put, "https", b"example.com:1", path.as_bytes());
            fields.iter().for_each(|(name, value)| head.headers.append(&name[..], value));
            let mut block = Vec::new();
            encode_request(&head, &mut encoder, &mut block);
            let fields = read(&mut decoder, MessageKind::Request { extended_connect: false }, &block);
            let incoming = fields.into_request(false).expect("a request");
            prop_assert_eq!(incoming.head.headers, as_received(&head.headers));
            prop_assert_eq!(incoming.head.version, Version::Http2);
        }
    }

    #[test]
    fn responses_and_trailers(fields in names_and_values(), status in 200u16..=999) {
        let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::default());
        let head = ResponseHead::with_headers(map(&fields), status, Version::Http11);
        let mut block = Vec::new();
        encode_response(&head, &mut encoder, &mut block);
        let incoming = read(&mut decoder, MessageKind::Response, &block).into_response(false, false, false).expect("a response");
        prop_assert_eq!(incoming.head.status(), status);
        let mut expected = head.headers.clone();
        expected.retain(|name, value| name.as_str() != "te" || value == b"trailers");
        prop_assert_eq!(&incoming.head.headers, &expected);

        let mut block = Vec::new();
        encode_trailers(&head.headers, &mut encoder, &mut block);
        let trailers = read(&mut decoder, MessageKind::Trailers, &block).into_trailers().expect("trailers");
        expected.retain(|name, _| !matches!(name.as_str(), ":status" | "expect" | "te"));
        prop_assert_eq!(trailers, expected);
    }

    /// Whatever filters put into a map, as long as it has the parts of a request.
    #[test]
    fn what_leaves_is_accepted(
        values in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b' '), Just(b'\t'), Just(b'\n'), 0x21u8..0x7f, 0x80u8..], 0..12), 0..8),
        names in prop::collection::vec(
            prop::sample::select(vec!["x-a", "connection", "upgrade", "transfer-encoding", "keep-alive", "te", ":status", "cookie"]),
            0..8,
        ),
    ) {
        let mut head = RequestHead::new(Method::Get, "http", b"a", b"/");
        for (name, value) in names.iter().zip(&values) {
            head.headers.append(*name, value);
        }
        let mut block = Vec::new();
        encode_request(&head, &mut Encoder::new(4096), &mut block);
        let fields = read(&mut Decoder::default(), MessageKind::Request { extended_connect: false }, &block);
        prop_assert!(fields.into_request(true).is_ok(), "{:?}", head.headers);
    }
}
