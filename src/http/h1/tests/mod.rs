//! The codec as a whole. Here: what the tests have in common.

mod encoding;
mod odd_requests;
mod properties;
mod requests;
mod responses;

use super::*;
use crate::buf::Chunk;
use crate::http::header::{CONTENT_LENGTH, HOST, STATUS, UPGRADE};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, Version};

const OLD: H1Settings = H1Settings { accept_http_10: true, ..H1Settings::STRICT };
const TRAILERS: H1Settings = H1Settings { enable_trailers: true, ..H1Settings::STRICT };
const ENVOY: H1Settings = H1Settings { leniency: Leniency::ENVOY, ..H1Settings::STRICT };

/// What came of some bytes: one line for each head, body and end, body pieces joined.
fn transcript<S: std::fmt::Debug>(
    pieces: &[&[u8]],
    mut decode: impl FnMut(&mut Chunk) -> Result<Option<Event<S>>, H1Error>,
    describe: impl Fn(&S) -> String,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for piece in pieces {
        let mut input = Chunk::copy_from(piece);
        loop {
            let event = decode(&mut input);
            if !matches!(event, Ok(Some(Event::Data(_)) | None)) && !data.is_empty() {
                lines.push(format!("data {}", data.escape_ascii()));
                data.clear();
            }
            match event {
                Ok(None) => {
                    assert!(input.is_empty(), "input is left: {input:?}");
                    break;
                }
                Ok(Some(Event::Head(start))) => lines.push(describe(&start)),
                Ok(Some(Event::Data(chunk))) => {
                    assert!(!chunk.is_empty());
                    data.extend_from_slice(&chunk);
                }
                Ok(Some(Event::Trailers(trailers))) => lines.push(format!("trailers {trailers:?}")),
                Ok(Some(Event::End)) => lines.push("end".into()),
                Err(error) => {
                    lines.push(format!("error {} {}", error.status(), error.details()));
                    return lines;
                }
            }
        }
    }
    if !data.is_empty() {
        lines.push(format!("partial data {}", data.escape_ascii()));
    }
    lines
}

fn requests(settings: H1Settings, pieces: &[&[u8]]) -> Vec<String> {
    let decoder = std::cell::RefCell::new(ServerDecoder::new(settings, "http"));
    transcript(
        pieces,
        |input| {
            let mut decoder = decoder.borrow_mut();
            let event = decoder.decode(input);
            if let Ok(Some(Event::Head(start))) = &event {
                decoder.resume(start.upgrade || start.form == TargetForm::Authority);
            }
            event
        },
        |start| {
            format!(
                "{:?} {:?} keep={} up={} cont={} {:?} {} {:?}",
                start.form,
                start.framing,
                start.keep_alive,
                start.upgrade,
                start.expect_continue,
                start.head.version,
                start.head_bytes,
                start.head.headers
            )
        },
    )
}

fn responses(settings: H1Settings, method: Method<'_>, pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = ClientDecoder::new(settings);
    decoder.expect_response(method, false);
    transcript(
        pieces,
        |input| decoder.decode(input),
        |start| {
            format!(
                "{} {:?} keep={} interim={} {:?} {:?}",
                start.head.status(),
                start.framing,
                start.keep_alive,
                start.interim,
                start.head.version,
                start.head.headers
            )
        },
    )
}

fn first_request(settings: H1Settings, bytes: &[u8]) -> RequestStart {
    match ServerDecoder::new(settings, "http").decode(&mut Chunk::copy_from(bytes)) {
        Ok(Some(Event::Head(start))) => start,
        other => panic!("{other:?}"),
    }
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}").into_bytes()
}
