//! A small origin server for the demo and for measuring; not a web server. What it answers is in the path:
//! `/bytes/N` a body of that length, `/status/N` that status, `/delay/N` after that many milliseconds, `/close` and
//! ends the connection, `/reset` nothing but a reset; everything else one short text. It speaks HTTP/1.1, and HTTP/2 to
//! who begins with that (RFC 9113 section 3.3); requests of gRPC are answered as such, with `grpc-status: 0`.

mod answers;
mod http1;
mod http2;

use std::rc::Rc;
use std::time::Duration;

use crate::buf::Chunk;
use crate::http::h2::PREFACE;
use crate::io::Socket;
use crate::transport::Stream;

use super::service::{Service, ServiceError, ServiceOptions};
use super::tls::PemIdentity;
use answers::Answers;

/// How long a client may take to close after our last words.
const LINGER: Duration = Duration::from_secs(1);

/// Starts an origin that answers with `body` unless the path asks for something else; over TLS if it has an identity.
///
/// # Errors
/// If it cannot listen, there is no thread, or the identity has no use.
pub fn start_origin(
    options: &ServiceOptions,
    body: &str,
    identity: Option<&PemIdentity>,
) -> Result<Service, ServiceError> {
    let body = body.to_owned();
    let tls = identity.map(PemIdentity::acceptor).transpose().map_err(ServiceError::Tls)?;
    Service::start("origin", options, move || {
        let answers = Rc::new(Answers::new(body.into_bytes()));
        move |socket: Socket| {
            let stream = match &tls {
                Some(tls) => tls.accept(socket),
                None => Stream::raw(socket),
            };
            serve(stream, Rc::clone(&answers))
        }
    })
}

/// Serves a connection with the protocol that it begins with.
async fn serve(mut stream: Stream, answers: Rc<Answers>) {
    let mut begin = Chunk::new();
    loop {
        match stream.recv().await {
            Ok(Some(chunk)) => begin.append(chunk),
            // It may have been a handshake only, whose ticket is still to be sent.
            Ok(None) => return stream.close_after_flush(LINGER),
            Err(_) => return,
        }
        if begin.starts_with(PREFACE) {
            return http2::serve(stream, begin, answers).await;
        }
        if !PREFACE.starts_with(&begin) {
            return http1::serve(stream, begin, answers).await;
        }
    }
}
