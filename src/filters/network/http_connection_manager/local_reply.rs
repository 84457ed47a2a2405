//! How the proxy's own answers look: plain text or gRPC, changed by `local_reply_config`
//! (`envoy...http_connection_manager.v3.LocalReplyConfig`).

use bytes::Bytes;

use crate::access_log::LogFilter;
use crate::api::ConfigError;
use crate::config::{self, Runtime};
use crate::filters::http::LocalReply;
use crate::formatter::FormatContext;
use crate::http::{ResponseHead, grpc, header};
use crate::routing::{BodyFormat, HeaderMutations};

/// Turns local replies into response heads and bodies.
#[derive(Debug)]
pub struct LocalReplyMapper {
    mappers: Vec<Mapper>,
    format: Option<BodyFormat>,
}

#[derive(Debug)]
struct Mapper {
    filter: LogFilter,
    status: Option<u16>,
    body: Option<Bytes>,
    format: Option<BodyFormat>,
    headers: HeaderMutations,
}

impl LocalReplyMapper {
    /// Compiles a configuration. All errors are collected.
    pub fn compile(
        config: &config::LocalReplyConfig,
        runtime: &Runtime,
    ) -> Result<LocalReplyMapper, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut keep =
            |result: Result<BodyFormat, ConfigError>| result.map_err(|error| errors.push(error)).ok();
        let format = config.body_format.as_ref().and_then(|format| keep(BodyFormat::compile(format)));
        let mut mappers = Vec::with_capacity(config.mappers.len());
        for mapper in &config.mappers {
            let format =
                mapper.body_format_override.as_ref().and_then(|format| keep(BodyFormat::compile(format)));
            mappers.push((mapper, format));
        }
        let mut compiled = Vec::with_capacity(mappers.len());
        for (mapper, format) in mappers {
            match HeaderMutations::compile(&config::HeaderMutations {
                add: mapper.headers_to_add.clone(),
                remove: Vec::new(),
            }) {
                Ok(headers) => compiled.push(Mapper {
                    filter: LogFilter::compile(&mapper.filter, runtime),
                    status: mapper.status_code,
                    body: mapper.body.clone(),
                    format,
                    headers,
                }),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(LocalReplyMapper { mappers: compiled, format }) } else { Err(errors) }
    }

    /// The head and the body of a reply. `cx` must have the reply's status in its stream.
    pub fn compose(
        &self,
        reply: &LocalReply,
        is_grpc: bool,
        cx: &FormatContext<'_>,
    ) -> (ResponseHead, Bytes) {
        let mapper = self.mappers.iter().find(|mapper| mapper.filter.matches(cx));
        let status = mapper.and_then(|mapper| mapper.status).unwrap_or(reply.status);
        let body = mapper.and_then(|mapper| mapper.body.clone()).unwrap_or_else(|| reply.body.clone());
        let original = cx;
        let mut info;
        let mut cx = FormatContext { local_reply_body: &body, ..*cx };
        if status != reply.status {
            info = cx.info.clone();
            info.response_code = Some(status);
            cx.info = &info;
        }
        let format = mapper.and_then(|mapper| mapper.format.as_ref()).or(self.format.as_ref());
        let (body, content_type) = match format {
            Some(format) => {
                let mut out = Vec::with_capacity(256);
                format.write(&cx, &mut out);
                (Bytes::from(out), format.content_type())
            }
            None => (body.clone(), "text/plain"),
        };
        let (mut head, body) = if is_grpc {
            // A JSON body ends its line; a message does not.
            let is_json = format.is_some_and(BodyFormat::is_json);
            let message = if is_json { body.trim_ascii_end() } else { &body[..] };
            (grpc_head(reply, status, message), Bytes::new())
        } else {
            (plain_head(reply, status, content_type, &body), body)
        };
        if let Some(mapper) = mapper {
            mapper.headers.apply_response(&mut head, original);
        }
        (head, body)
    }
}

fn plain_head(reply: &LocalReply, status: u16, content_type: &str, body: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    if !body.is_empty() {
        let mut digits = Vec::with_capacity(20);
        crate::formatter::write_u64(body.len() as u64, &mut digits);
        head.headers.append(header::CONTENT_LENGTH, &digits);
        head.headers.append(header::CONTENT_TYPE, content_type.as_bytes());
    }
    set_reply_headers(reply, &mut head);
    head
}

/// A gRPC client is answered with a status in the head, HTTP 200 and no body.
fn grpc_head(reply: &LocalReply, status: u16, body: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::new(200);
    head.headers.append(header::CONTENT_TYPE, b"application/grpc");
    let mut digits = Vec::with_capacity(4);
    let grpc_status = reply.grpc_status.unwrap_or_else(|| grpc::status_from_http(status));
    crate::formatter::write_u64(u64::from(grpc_status), &mut digits);
    head.headers.append(header::GRPC_STATUS, &digits);
    if !body.is_empty() {
        head.headers.append(header::GRPC_MESSAGE, &grpc::percent_encode_message(body));
    }
    set_reply_headers(reply, &mut head);
    head
}

fn set_reply_headers(reply: &LocalReply, head: &mut ResponseHead) {
    if let Some(headers) = &reply.headers {
        // A name may stand several times, as `set-cookie` does.
        for (name, _) in headers.iter_without_pseudo() {
            head.headers.remove(name);
        }
        for (name, value) in headers.iter_without_pseudo() {
            head.headers.append(name, value);
        }
    }
}
