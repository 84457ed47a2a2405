//! The codec as a whole: the RFC's examples, two other implementations as oracles, and blocks that come in pieces.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::http::header::lookup;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, true, |field| fields.push((field.name.to_vec(), field.value.to_vec())))?;
    Ok(fields)
}

fn encode(encoder: &mut Encoder, fields: &Fields) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value) in fields {
        // A map has no `host`, only `:authority`.
        let id = if name == b"host" { 0 } else { lookup(name) };
        encoder.field(id, name, value, false, &mut block);
    }
    block
}

fn list(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal"))
        .collect()
}

/// RFC 7541 appendix C.3 and C.4: three requests on one connection, without and with Huffman code.
#[test]
fn requests_of_the_rfc() {
    let requests = [
        list(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]),
        list(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
            ("cache-control", "no-cache"),
        ]),
        list(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ]),
    ];
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let compressed = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, compressed] {
        let mut decoder = Decoder::default();
        for (block, request) in blocks.iter().zip(&requests) {
            assert_eq!(decode(&mut decoder, &bytes(block)).as_ref(), Ok(request));
        }
    }
}

/// RFC 7541 appendix C.5 and C.6: three responses with a table of 256 bytes, from which entries are evicted.
#[test]
fn responses_of_the_rfc() {
    let first = list(&[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ]);
    let mut second = first.clone();
    second[0].1 = b"307".to_vec();
    let third = list(&[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ]);
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31",
    ];
    let compressed = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, compressed] {
        let mut decoder = Decoder::default();
        decoder.set_limit(256);
        let mut shrunk = false;
        for (block, response) in blocks.iter().zip([&first, &second, &third]) {
            let mut block = bytes(block);
            if !shrunk {
                // 256: three one bits, then 225 in two bytes.
                block.splice(0..0, [0x3f, 0xe1, 0x01]);
                shrunk = true;
            }
            assert_eq!(decode(&mut decoder, &block).as_ref(), Ok(response));
        }
    }
}

#[test]
fn values_enter_when_they_come_again_and_secrets_never() {
    let mut encoder = Encoder::new(DEFAULT_TABLE_BYTES);
    let fields = list(&[
        ("user-agent", "a usual one"),
        ("x-mine", "value"),
        ("x-request-id", "1"),
        ("authorization", "secret"),
        ("cookie", "a=b"),
    ]);
    let sizes: Vec<_> = (0..4).map(|_| encode(&mut encoder, &fields).len()).collect();
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2] && sizes[2] == sizes[3], "{sizes:?}");
    let last = encode(&mut encoder, &fields);
    assert_eq!((last[0] & 0x80, last[1] & 0x80), (0x80, 0x80), "two indices");
    assert!(last.ends_with(b"\x1f\x08\x06secret\x1f\x11\x03a=b"), "never indexed: {}", last.escape_ascii());
    assert!(encode(&mut encoder, &list(&[("x-new", "1")])).starts_with(&[0x40]));
    let mut block = Vec::new();
    encoder.field(0, b"x-mine", b"value", true, &mut block);
    assert_eq!(block[0] & 0xf0, 0x10, "what came never indexed leaves so, whatever the table has");
}

#[test]
fn unique_values_do_not_push_out_others() {
    let mut encoder = Encoder::new(DEFAULT_TABLE_BYTES);
    let common = list(&[("user-agent", "a usual one"), ("x-api-version", "2026-11")]);
    for _ in 0..3 {
        encode(&mut encoder, &common);
    }
    for number in 0..1000 {
        let unique = format!("{number:0100}");
        encode(&mut encoder, &list(&[("x-unique", &unique), ("user-agent", &unique)]));
    }
    assert_eq!(encode(&mut encoder, &common).len(), 2);
}

#[test]
fn table_sizes_are_agreed() {
    let mut encoder = Encoder::new(DEFAULT_TABLE_BYTES);
    let mut decoder = Decoder::default();
    let fields = list(&[("x-a", "1"), ("x-b", "2")]);
    for _ in 0..3 {
        let block = encode(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block).as_ref(), Ok(&fields));
    }
    // The peer makes its table small and large again before we send anything: both are told.
    encoder.set_peer_limit(0);
    encoder.set_peer_limit(100_000);
    let block = encode(&mut encoder, &fields);
    assert_eq!(block[..4], [0x20, 0x3f, 0xe1, 0x1f]);
    assert_eq!(decode(&mut decoder, &block).as_ref(), Ok(&fields));
    // It must be made small if that was announced.
    decoder.set_limit(50);
    assert_eq!(decode(&mut decoder, &[0x82]), Err(HpackError::MissingSizeUpdate));
    let mut decoder = Decoder::default();
    decoder.set_limit(50);
    assert_eq!(
        decode(&mut decoder, &[0x3f, 0x14, 0x82]),
        Err(HpackError::InvalidSizeUpdate),
        "51 is too large"
    );
    let mut decoder = Decoder::default();
    decoder.set_limit(50);
    assert_eq!(decode(&mut decoder, &[0x3f, 0x13, 0x82]).map(|fields| fields.len()), Ok(1));
    assert_eq!(
        decode(&mut decoder, &[0x82, 0x20]),
        Err(HpackError::InvalidSizeUpdate),
        "not at the beginning"
    );
    // A small table of ours is told at once.
    let mut encoder = Encoder::new(0);
    assert_eq!(encode(&mut encoder, &list(&[(":method", "GET")])), [0x20, 0x82]);
    assert_eq!(encoder.heap_bytes(), 0);
}

#[test]
fn what_came_never_indexed_is_told_so() {
    let mut seen = Vec::new();
    let mut decoder = Decoder::default();
    let block = b"\x10\x01a\x01b\x00\x01a\x01b\x40\x01a\x01b\xbe";
    decoder.decode(block, true, |field| seen.push(field.never_indexed)).expect("valid");
    assert_eq!(seen, [true, false, false, false]);
}

#[test]
fn fields_are_judged_once_and_remembered() {
    let mut seen = Vec::new();
    let mut decoder = Decoder::default();
    let block = b"\x40\x01A\x01b\x40\x01a\x01\x00\x40\x01a\x01b\xc0\xbf\xbe\x7f\x00\x01c\x7f\x02\x01\x0a";
    decoder.decode(block, true, |field| seen.push(field.is_valid)).expect("valid HPACK");
    assert_eq!(seen, [false, false, true, false, false, true, true, false]);
}

/// Names and values as they occur, and odd ones.
fn fields() -> impl Strategy<Value = Fields> {
    let name = prop_oneof![
        4 => prop::sample::select(vec![
            ":method", ":path", ":authority", ":scheme", ":status", "accept-encoding", "cookie", "user-agent", "date",
            "x-request-id", "x-envoy-upstream-service-time", "content-length", "host", "set-cookie",
        ]).prop_map(|name| name.as_bytes().to_vec()),
        2 => "x-[a-d]".prop_map(String::into_bytes),
        1 => prop::collection::vec(1u8.., 1..40),
    ];
    let value = prop_oneof![
        3 => prop::sample::select(vec!["", "GET", "/", "200", "304", "https", "gzip, deflate", "a", "some usual value"])
            .prop_map(|value| value.as_bytes().to_vec()),
        2 => prop::collection::vec(b' '..b'~', 0..80),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    prop::collection::vec((name, value), 1..20)
}

struct Oracles {
    loona: loona_hpack::Decoder<'static>,
    httlib: httlib_hpack::Decoder<'static>,
}

impl Oracles {
    fn new() -> Oracles {
        let mut loona = loona_hpack::Decoder::new();
        loona.set_max_allowed_table_size(DEFAULT_TABLE_BYTES);
        Oracles { loona, httlib: httlib_hpack::Decoder::with_dynamic_size(DEFAULT_TABLE_BYTES as u32) }
    }

    fn loona(&mut self, block: &[u8]) -> Option<Fields> {
        self.loona.decode(block).ok()
    }

    /// It panics on some blocks that end early.
    fn httlib(&mut self, block: &[u8]) -> Option<Fields> {
        let mut fields = Vec::new();
        let decoder = &mut self.httlib;
        catch_unwind(AssertUnwindSafe(|| decoder.decode(&mut block.to_vec(), &mut fields))).ok()?.ok()?;
        Some(fields.into_iter().map(|(name, value, _)| (name, value)).collect())
    }
}

proptest! {
    /// What we encode, everybody decodes; what others encode, we do.
    #[test]
    fn all_agree_on_valid_blocks(lists in prop::collection::vec(fields(), 1..12), sizes in prop::collection::vec(0usize..6000, 0..3)) {
        let (mut encoder, mut decoder, mut oracles) = (Encoder::new(DEFAULT_TABLE_BYTES), Decoder::default(), Oracles::new());
        let mut others = (loona_hpack::Encoder::new(), httlib_hpack::Encoder::with_dynamic_size(4096));
        let mut decoders = (Decoder::default(), Decoder::default());
        let mut sizes = sizes.into_iter();
        for fields in lists {
            if let Some(size) = sizes.next() {
                encoder.set_peer_limit(size);
            }
            let block = encode(&mut encoder, &fields);
            prop_assert_eq!(&decode(&mut decoder, &block), &Ok(fields.clone()));
            prop_assert_eq!(oracles.loona(&block), Some(fields.clone()), "loona");
            prop_assert_eq!(oracles.httlib(&block), Some(fields.clone()), "httlib");

            let block = others.0.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])));
            prop_assert_eq!(&decode(&mut decoders.0, &block), &Ok(fields.clone()));
            let mut block = Vec::new();
            for (name, value) in &fields {
                let flags = httlib_hpack::Encoder::WITH_INDEXING | httlib_hpack::Encoder::HUFFMAN_VALUE;
                others.1.encode((name.clone(), value.clone(), flags), &mut block).expect("encoded");
            }
            prop_assert_eq!(&decode(&mut decoders.1, &block), &Ok(fields));
        }
    }

    /// A block may come in any pieces.
    #[test]
    fn pieces_do_not_matter(lists in prop::collection::vec(fields(), 1..4), piece in 1usize..40) {
        let (mut encoder, mut decoder) = (Encoder::new(DEFAULT_TABLE_BYTES), Decoder::default());
        for fields in lists {
            let block = encode(&mut encoder, &fields);
            let (mut decoded, mut rest) = (Vec::new(), Vec::new());
            let mut pieces = block.chunks(piece).peekable();
            while let Some(piece) = pieces.next() {
                rest.extend_from_slice(piece);
                let used = decoder
                    .decode(&rest, pieces.peek().is_none(), |field| decoded.push((field.name.to_vec(), field.value.to_vec())))
                    .expect("valid");
                rest.drain(..used);
            }
            prop_assert_eq!(decoded, fields);
        }
    }

    /// All accept the same blocks, and read the same in them.
    #[test]
    fn all_agree_on_malformed_blocks(
        lists in prop::collection::vec(fields(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut encoder, mut decoder, mut oracles) = (Encoder::new(DEFAULT_TABLE_BYTES), Decoder::default(), Oracles::new());
        for fields in lists {
            let mut block = encode(&mut encoder, &fields);
            for (index, byte) in &changes {
                if !block.is_empty() {
                    let index = index.index(block.len());
                    block[index] = *byte;
                }
            }
            if let (Some(cut), false) = (cut, block.is_empty()) {
                block.truncate(cut.index(block.len()));
            }
            let ours = decode(&mut decoder, &block);
            // Both let the table's size change anywhere; RFC 7541 section 4.2 has it at the beginning only.
            if ours == Err(HpackError::InvalidSizeUpdate) {
                break;
            }
            // It refuses a block that ends with a change of size, which nothing forbids if it is all there is.
            if ours.as_ref().is_ok_and(|fields| !fields.is_empty()) || ours.is_err() {
                prop_assert_eq!(ours.clone().ok(), oracles.loona(&block), "loona {:?} {:x?}", ours, block);
            }
            // It takes any padding, and EOS, for the end of a string; section 5.2 says they are errors, as does loona.
            if ours != Err(HpackError::InvalidHuffman) {
                prop_assert_eq!(ours.clone().ok(), oracles.httlib(&block), "httlib {:?} {:x?}", ours, block);
            }
            if ours.is_err() {
                break;
            }
        }
    }
}
