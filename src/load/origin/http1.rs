//! The origin's side of an HTTP/1.1 connection (RFC 9112): finds the ends of requests, and answers in their order.

use std::rc::Rc;

use crate::buf::Chunk;
use crate::io;
use crate::load::message::{Body, Chunked, Malformed, scan_head};
use crate::transport::Stream;

use super::LINGER;
use super::answers::{Answer, Answers, Then};

/// A client that has not taken so much of its answers is not read from.
const UNSENT_MAX_BYTES: usize = 1_024 * 1_024;

/// Serves a connection to its end. `first` has been received already.
pub(super) async fn serve(mut stream: Stream, first: Chunk, answers: Rc<Answers>) {
    let mut requests = Requests::default();
    let mut bytes = first;
    loop {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Ok((taken, answer)) = requests.take(rest, &answers) else { return };
            rest = &rest[taken..];
            let Some((answer, is_head)) = answer else { continue };
            if !answer.delay.is_zero() {
                io::sleep(answer.delay).await;
            }
            if answer.then == Then::Reset {
                return stream.reset();
            }
            let mut message = answer.http1;
            if is_head {
                message.truncate(answer.http1_head_len);
            }
            stream.write_chunk(message);
            if answer.then == Then::Close {
                return stream.close_after_flush(LINGER);
            }
            if stream.queued_bytes() > UNSENT_MAX_BYTES && stream.drained(UNSENT_MAX_BYTES / 2).await.is_err()
            {
                return;
            }
        }
        let Ok(Some(more)) = stream.recv().await else { return };
        bytes = more;
    }
}

/// Finds the ends of requests on a connection.
#[derive(Debug, Default)]
struct Requests {
    /// The beginning of a head whose end has not come.
    partial: Vec<u8>,
    /// The request whose body is under way.
    current: Option<(Answer, bool, Body)>,
}

impl Requests {
    /// Takes bytes up to the end of a request: how many, and what to answer if it is complete.
    fn take(
        &mut self,
        bytes: &[u8],
        answers: &Answers,
    ) -> Result<(usize, Option<(Answer, bool)>), Malformed> {
        if let Some((_, _, body)) = &mut self.current {
            let (taken, ended) = body.take(bytes)?;
            let answer = if ended { self.current.take() } else { None };
            return Ok((taken, answer.map(|(answer, is_head, _)| (answer, is_head))));
        }
        let before = self.partial.len();
        if before > 0 {
            self.partial.extend_from_slice(bytes);
        }
        let text = if before > 0 { &self.partial[..] } else { bytes };
        let Some(head) = scan_head(text)? else {
            if before == 0 {
                self.partial.extend_from_slice(bytes);
            }
            return Ok((bytes.len(), None));
        };
        let (mut answer, is_head) = answers.find_by_line(&text[..head.first_line_len])?;
        if head.close && answer.then == Then::Stay {
            answer.then = Then::Close;
        }
        self.partial.clear();
        let taken = head.len - before;
        let body = match (head.chunked, head.content_length.unwrap_or(0)) {
            (true, _) => Body::Chunked(Chunked::START),
            (false, 0) => return Ok((taken, Some((answer, is_head)))),
            (false, length) => Body::Length(length),
        };
        self.current = Some((answer, is_head, body));
        Ok((taken, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers::new(b"short".to_vec())
    }

    fn answered(requests: &mut Requests, mut text: &[u8]) -> Vec<String> {
        let (answers, mut found) = (answers(), Vec::new());
        while !text.is_empty() {
            let (taken, answer) = requests.take(text, &answers).expect("well-formed");
            text = &text[taken..];
            found.extend(answer.map(|(answer, _)| String::from_utf8_lossy(&answer.http1).into_owned()));
        }
        found
    }

    #[test]
    fn paths_choose_the_answer() {
        let mut requests = Requests::default();
        let text = b"GET /bytes/3 HTTP/1.1\r\n\r\nGET /status/503?x HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let found = answered(&mut requests, text);
        assert!(found[0].ends_with("content-length: 3\r\n\r\nxxx") && found[0].starts_with("HTTP/1.1 200"));
        assert!(found[1].starts_with("HTTP/1.1 503 ") && found[2].ends_with("short"), "{found:?}");
    }

    #[test]
    fn bodies_are_skipped_in_any_pieces() {
        let text = b"POST /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /POST /b HTTP/1.1\r\n\
                     transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let mut requests = Requests::default();
        let found: usize = text.chunks(7).map(|piece| answered(&mut requests, piece).len()).sum();
        assert_eq!(found, 2);
    }
}
