//! Finding the ends of HTTP/1.1 responses on a connection (RFC 9112 section 6.3). Sans-io.

use super::message::{Body, Chunked, Head, Malformed, scan_head};

/// A complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Another request may follow on the connection.
    pub(super) keep_alive: bool,
}

/// Where in a response the next byte lies.
#[derive(Debug, Default)]
pub(super) struct ResponseScanner {
    /// The beginning of a head whose end has not come.
    partial: Vec<u8>,
    /// The response whose body is under way.
    current: Option<(Response, Body)>,
}

impl ResponseScanner {
    /// Takes bytes up to the end of the response: how many, and the response if it is complete. `is_head`: it
    /// answers a HEAD request.
    #[inline]
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        is_head: bool,
    ) -> Result<(usize, Option<Response>), Malformed> {
        let mut at = 0;
        loop {
            if let Some((response, body)) = &mut self.current {
                let (taken, ended) = body.take(&bytes[at..])?;
                at += taken;
                let response = ended.then_some(*response);
                if ended {
                    self.current = None;
                }
                return Ok((at, response));
            }
            let Some((start, taken)) = self.take_head(&bytes[at..], is_head)? else {
                return Ok((bytes.len(), None));
            };
            at += taken;
            let response = start.response;
            match start.body {
                None if response.status < 200 => {}
                None | Some(Body::Length(0)) => return Ok((at, Some(response))),
                Some(body) => self.current = Some((response, body)),
            }
        }
    }

    /// The connection ended: the response, if that is how it ends.
    pub(super) fn end(&mut self) -> Option<Response> {
        match self.current.take() {
            Some((response, Body::UntilClose)) => Some(response),
            _ => None,
        }
    }

    /// The head at the beginning of `bytes`, and how many of them belonged to it; none if its end has not come.
    #[inline]
    fn take_head(&mut self, bytes: &[u8], is_head: bool) -> Result<Option<(Start, usize)>, Malformed> {
        if self.partial.is_empty() {
            if let Some(head) = scan_head(bytes)? {
                return Ok(Some((Start::read(bytes, &head, is_head)?, head.len)));
            }
            self.partial.extend_from_slice(bytes);
            return Ok(None);
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some(head) = scan_head(&self.partial)? else { return Ok(None) };
        let start = Start::read(&self.partial, &head, is_head)?;
        self.partial.clear();
        Ok(Some((start, head.len - before)))
    }
}

/// What a head says.
struct Start {
    response: Response,
    /// None if there is no body whatever the fields say.
    body: Option<Body>,
}

impl Start {
    #[inline]
    fn read(bytes: &[u8], head: &Head, is_head: bool) -> Result<Start, Malformed> {
        let (status, version) = status_line(&bytes[..head.first_line_len])?;
        let body = body_of(status, head, is_head);
        let keep_alive = keep_alive(version, head) && body != Some(Body::UntilClose);
        Ok(Start { response: Response { status, keep_alive }, body })
    }
}

/// Status and the version's last digit of `HTTP/1.x NNN reason`.
#[inline]
fn status_line(line: &[u8]) -> Result<(u16, u8), Malformed> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', version, b' ', a, b, c, rest @ ..] = line else {
        return Err(Malformed);
    };
    let status = [a, b, c].into_iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')).ok_or(Malformed)
    })?;
    let ends = rest.first().is_none_or(|byte| *byte == b' ');
    if ends && status >= 100 { Ok((status, *version)) } else { Err(Malformed) }
}

fn keep_alive(version: u8, head: &Head) -> bool {
    !head.close && (version != b'0' || head.keep_alive)
}

#[inline]
fn body_of(status: u16, head: &Head, is_head: bool) -> Option<Body> {
    if is_head || status < 200 || status == 204 || status == 304 {
        return None;
    }
    Some(match (head.chunked, head.content_length) {
        (true, _) => Body::Chunked(Chunked::START),
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OK: Response = Response { status: 200, keep_alive: true };

    #[track_caller]
    fn whole(text: &str, is_head: bool) -> Response {
        let mut scanner = ResponseScanner::default();
        let (taken, response) = scanner.take(text.as_bytes(), is_head).expect("well-formed");
        assert_eq!(taken, text.len());
        response.unwrap_or_else(|| scanner.end().expect("complete"))
    }

    #[test]
    fn every_kind_of_framing() {
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false), OK);
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", true), OK);
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false), OK);
        assert_eq!(whole("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false), OK);
        let until_close = Response { status: 200, keep_alive: false };
        assert_eq!(whole("HTTP/1.1 200 OK\r\n\r\nabc", false), until_close);
        assert_eq!(whole("HTTP/1.1 204 No\r\n\r\n", false).status, 204);
        assert_eq!(
            whole("HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 404 No\r\ncontent-length:0\r\n\r\n", false).status,
            404
        );
        assert!(!whole("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", false).keep_alive);
        assert!(
            whole("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", false).keep_alive
        );
        assert!(
            !whole("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", false).keep_alive
        );
    }

    #[test]
    fn a_cut_answer_is_not_complete() {
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"] {
            let mut scanner = ResponseScanner::default();
            assert_eq!(scanner.take(text.as_bytes(), false), Ok((text.len(), None)));
            assert_eq!(scanner.end(), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for text in
            ["SSH-2.0-x\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20x\r\n\r\n", "HTTP/1.1 2000\r\n\r\n"]
        {
            assert_eq!(ResponseScanner::default().take(text.as_bytes(), false), Err(Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn pipelined_responses_are_told_apart_however_they_are_cut(
            bodies in prop::collection::vec((200_u16..600, 0_usize..200, any::<bool>()), 1..6),
            cuts in prop::collection::vec(1_usize..60, 1..50),
        ) {
            let mut bytes = Vec::new();
            for (status, len, chunked) in &bodies {
                let body = "x".repeat(*len);
                let text = match (status, chunked) {
                    (204 | 304, _) => format!("HTTP/1.1 {status} x\r\n\r\n"),
                    (_, true) if *len > 0 => format!(
                        "HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n0\r\n\r\n"
                    ),
                    _ => format!("HTTP/1.1 {status} x\r\nContent-Length: {len}\r\n\r\n{body}"),
                };
                bytes.extend_from_slice(text.as_bytes());
            }
            let mut scanner = ResponseScanner::default();
            let mut seen = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (mut piece, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                while !piece.is_empty() {
                    let (taken, response) = scanner.take(piece, false).expect("well-formed");
                    seen.extend(response.map(|response| response.status));
                    piece = &piece[taken..];
                }
                if rest.is_empty() {
                    break;
                }
            }
            let expected: Vec<u16> = bodies.iter().map(|(status, _, _)| *status).collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn anything_can_be_scanned(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
            if let Ok((taken, _)) = ResponseScanner::default().take(&text, false) {
                prop_assert!(taken <= text.len());
            }
        }
    }
}
