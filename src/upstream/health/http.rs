//! Checks by an HTTP/1.1 request (`HealthCheck.HttpHealthCheck`). The codec is that of the data path.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::clock;
use super::judge::{AnswerHead, CheckResult, HttpJudge};
use super::payload::PayloadMatcher;
use super::socket::{CheckSocket, CheckTarget};
use crate::api::ConfigError;
use crate::buf::Chunk;
use crate::config::Runtime;
use crate::config::cluster::HttpHealthCheck;
use crate::formatter::FormatContext;
use crate::http::h1::{self, ClientDecoder, Event, Framing, ResponseEvent};
use crate::http::{Method, RequestHead, Version, header};
use crate::io::Address;
use crate::routing::HeaderMutations;
use crate::stats::groups::HealthCheckStats;
use crate::stream_info::{ConnectionInfo, PeerAddress, StreamInfo, Timing, UpstreamInfo};
use crate::upstream::cluster_info::ClusterInfo;
use crate::upstream::host_set::HostEntry;

/// Bytes received at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// What is asked and how the answer is judged.
#[derive(Debug)]
pub struct HttpCheck {
    judge: HttpJudge,
    mutations: HeaderMutations,
}

/// A connection that can serve further checks.
#[derive(Debug)]
pub struct HttpConnection {
    socket: CheckSocket,
    decoder: ClientDecoder,
}

/// What was received of an answer.
struct Answer<'a> {
    head: Option<AnswerHead>,
    body: PayloadMatcher<'a>,
    keeps_connection: bool,
    is_complete: bool,
}

impl HttpCheck {
    /// Compiles the header changes of `config`.
    ///
    /// # Errors
    /// Those that do not compile.
    pub fn new(config: HttpHealthCheck, runtime: &Runtime) -> Result<HttpCheck, Vec<ConfigError>> {
        let mutations = HeaderMutations::compile(&config.request_headers)?;
        Ok(HttpCheck { judge: HttpJudge::new(config, runtime), mutations })
    }

    /// Checks the host on `connection`, which is made if there is none or the host has ended it. A connection that may
    /// serve again is left there.
    pub async fn check(
        &self,
        reuses_connection: bool,
        connection: &mut Option<HttpConnection>,
        target: CheckTarget<'_>,
        stats: &HealthCheckStats,
        random: u64,
    ) -> CheckResult {
        let mut kept = connection.take();
        if kept.as_mut().is_some_and(|kept| !kept.socket.is_quiet()) {
            kept = None;
        }
        let mut used = match kept {
            Some(connection) => connection,
            None => match CheckSocket::connect(target).await {
                Ok(socket) => HttpConnection { socket, decoder: ClientDecoder::new(target.info.h1_settings) },
                Err(_) => return CheckResult::NETWORK_FAILURE,
            },
        };
        let request = self.encode_request(target.host, target.info);
        let method = Method::from_bytes(self.judge.config().method.as_bytes());
        used.decoder.expect_response(method, false);
        if used.socket.send(&request).await.is_err() {
            return CheckResult::NETWORK_FAILURE;
        }
        let Some(answer) = used.receive(self.judge.body_matcher()).await else {
            return CheckResult::NETWORK_FAILURE;
        };
        let Some(head) = answer.head else { return CheckResult::NETWORK_FAILURE };
        if reuses_connection && answer.keeps_connection {
            *connection = Some(used);
        }
        self.judge.judge(&head, answer.body.is_match(), stats, random)
    }

    fn encode_request(&self, host: &HostEntry, info: &ClusterInfo) -> Vec<u8> {
        let config = self.judge.config();
        let authority = [&*host.health_check.hostname, &config.host, &info.name]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        let method = Method::from_bytes(config.method.as_bytes());
        let scheme = if info.tls.is_some() { "https" } else { "http" };
        let mut head = RequestHead::new(method, scheme, authority.as_bytes(), config.path.as_bytes());
        head.headers.append(header::USER_AGENT, b"Envoy/HC");
        if !self.mutations.is_empty() {
            let stream_info = stream_info(host);
            let context = FormatContext::new(&stream_info, clock::now(), clock::unix_time());
            self.mutations.apply_request(&mut head, &context);
        }
        let framing = match config.send.len() as u64 {
            0 => h1::request_framing(&head, true),
            length => Framing::Length(length),
        };
        let mut request = Vec::new();
        h1::encode_request(&head, framing, info.h1_header_case, &mut request);
        request.extend_from_slice(&config.send);
        request
    }
}

impl HttpConnection {
    /// The whole answer; none if the connection breaks or the answer is malformed.
    async fn receive<'a>(&mut self, body: PayloadMatcher<'a>) -> Option<Answer<'a>> {
        let mut answer = Answer { head: None, body, keeps_connection: false, is_complete: false };
        let mut buffer = vec![0; BUFFER_BYTES];
        while !answer.is_complete {
            match self.socket.receive(&mut buffer).await {
                Ok(0) => {
                    let end = self.decoder.decode_eof().ok()??;
                    answer.take(end);
                    answer.keeps_connection = false;
                }
                Ok(received) => answer.decode(&mut self.decoder, &buffer[..received])?,
                Err(_) => return None,
            }
        }
        Some(answer)
    }
}

impl Answer<'_> {
    /// None if the bytes are malformed.
    fn decode(&mut self, decoder: &mut ClientDecoder, bytes: &[u8]) -> Option<()> {
        let mut input = Chunk::copy_from(bytes);
        while !self.is_complete {
            match decoder.decode(&mut input).ok()? {
                Some(event) => self.take(event),
                None => return Some(()),
            }
        }
        // Nobody asked for what follows an answer.
        self.keeps_connection &= input.is_empty();
        Some(())
    }

    fn take(&mut self, event: ResponseEvent) {
        match event {
            Event::Head(start) if start.interim => {}
            Event::Head(start) => {
                self.head = Some(AnswerHead::from(&start.head));
                self.keeps_connection = start.keep_alive;
            }
            Event::Data(chunk) => self.body.feed(&chunk),
            Event::Trailers(_) | Event::End => {
                self.body.feed(b"");
                self.is_complete = true;
            }
        }
    }
}

/// What header formats can read: there is no client, only the host.
fn stream_info(host: &HostEntry) -> StreamInfo {
    let nobody = PeerAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
    let connection = ConnectionInfo::new(0, nobody.clone(), nobody);
    let timing = Timing::starting(clock::now(), clock::unix_time());
    let mut stream_info = StreamInfo::new(Rc::new(connection), Some(Version::Http11), timing);
    stream_info.upstream = Some(UpstreamInfo {
        host_address: Address::clone(&host.address).into(),
        hostname: Arc::clone(&host.hostname),
        local_address: None,
        connection_id: 0,
        protocol: None,
        tls: None,
    });
    stream_info
}
