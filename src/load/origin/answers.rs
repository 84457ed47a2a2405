//! What the origin answers: the path says it. Each answer is encoded once, for both protocols.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::buf::Chunk;
use crate::http::ResponseHead;
use crate::load::message::Malformed;

/// Answers kept; further ones are made anew each time.
const KEPT_ANSWERS: usize = 256;
/// Largest body.
const BODY_MAX_BYTES: usize = 256 * 1_024 * 1_024;

/// What is answered to a request.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The whole message of HTTP/1.1, and how much of it is head.
    pub(super) http1: Chunk,
    pub(super) http1_head_len: usize,
    /// HTTP/2's head.
    pub(super) http2: Rc<ResponseHead>,
    pub(super) body: Chunk,
    pub(super) delay: Duration,
    pub(super) then: Then,
}

/// What happens to the connection, or to the stream of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    Close,
    Reset,
}

/// Answers by path.
pub(super) struct Answers {
    /// Of an ordinary answer.
    body: Vec<u8>,
    known: RefCell<HashMap<Vec<u8>, Answer>>,
}

impl Answers {
    /// Ordinary ones have this body.
    pub(super) fn new(body: Vec<u8>) -> Answers {
        Answers { body, known: RefCell::default() }
    }

    /// The answer to a request with this first line of HTTP/1.1; true in the second part if it is HEAD.
    pub(super) fn find_by_line(&self, request_line: &[u8]) -> Result<(Answer, bool), Malformed> {
        let mut words = request_line.split(|&byte| byte == b' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(Malformed) };
        Ok((self.find(path), method == b"HEAD"))
    }

    /// The answer for this path.
    pub(super) fn find(&self, path: &[u8]) -> Answer {
        if let Some(answer) = self.known.borrow().get(path) {
            return answer.clone();
        }
        let answer = self.make(path);
        let mut known = self.known.borrow_mut();
        if known.len() < KEPT_ANSWERS {
            known.insert(path.to_vec(), answer.clone());
        }
        answer
    }

    fn make(&self, path: &[u8]) -> Answer {
        let path = String::from_utf8_lossy(path);
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        let name = parts.next().unwrap_or_default();
        let number = parts.next().and_then(|text| text.parse::<usize>().ok());
        let (mut status, mut delay, mut then) = (200, Duration::ZERO, Then::Stay);
        let sized;
        let mut body = &self.body[..];
        match (name, number) {
            ("bytes", Some(len)) => {
                sized = vec![b'x'; len.min(BODY_MAX_BYTES)];
                body = &sized;
            }
            ("status", Some(code @ 200..=599)) => status = code as u16,
            ("delay", Some(ms)) => delay = Duration::from_millis(ms as u64),
            ("close", _) => then = Then::Close,
            ("reset", _) => then = Then::Reset,
            _ => {}
        }
        let is_bodiless = status == 204 || status == 304;
        let closing = if then == Then::Close { "connection: close\r\n" } else { "" };
        let mut http2 = ResponseHead::new(status);
        let mut message = if is_bodiless {
            body = &[];
            format!("HTTP/1.1 {status} x\r\n{closing}\r\n").into_bytes()
        } else {
            let length = body.len().to_string();
            http2.headers.append("content-type", b"text/plain");
            http2.headers.append("content-length", length.as_bytes());
            format!(
                "HTTP/1.1 {status} OK\r\ncontent-type: text/plain\r\n{closing}content-length: {length}\r\n\r\n"
            )
            .into_bytes()
        };
        let http1_head_len = message.len();
        message.extend_from_slice(body);
        let http1 = Chunk::from_vec(message);
        let mut body = http1.clone();
        body.advance(http1_head_len);
        Answer { http1, http1_head_len, http2: Rc::new(http2), body, delay, then }
    }
}
