//! Holds requests until they are complete (`envoy.extensions.filters.http.buffer.v3.Buffer`), and
//! gives those of unknown length a `content-length`. Larger ones are answered with 413.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::{
    Buffer as BufferProto, BufferPerRoute, buffer_per_route,
};

use crate::api::{ConfigError, MessageSupport};
use crate::buf::Chunk;
use crate::config::FieldPath;
use crate::filters::BuildContext;
use crate::formatter::write_u64;
use crate::http::{HeaderMap, RequestHead, header};

use super::{
    BuiltFilter, DataAction, FilterContext, HeadAction, HeldHead, HttpFilter, HttpFilterDefinition,
    HttpFilterFactory, RouteConfig,
};

/// The buffer filter's definition.
pub struct Buffer;

/// Largest request in bytes; none turns the filter off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<usize>);

impl HttpFilterDefinition for Buffer {
    type Config = BufferProto;
    type RouteConfig = BufferPerRoute;

    const SUPPORT: &'static [MessageSupport] = &[
        MessageSupport::all("envoy.extensions.filters.http.buffer.v3.Buffer"),
        MessageSupport::all("envoy.extensions.filters.http.buffer.v3.BufferPerRoute"),
    ];

    fn build(
        config: BufferProto,
        path: &FieldPath,
        _: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        Ok(BuiltFilter::Filter(Arc::new(Factory(limit(&config, path)?))))
    }

    fn build_route(config: BufferPerRoute, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>> {
        Ok(Arc::new(match &config.r#override {
            Some(buffer_per_route::Override::Disabled(true)) => Limit(None),
            Some(buffer_per_route::Override::Buffer(buffer)) => limit(buffer, &path.field("buffer"))?,
            Some(buffer_per_route::Override::Disabled(false)) | None => {
                return Err(vec![ConfigError::new(
                    path.as_str(),
                    "either `disabled: true` or `buffer` is required",
                )]);
            }
        }))
    }
}

fn limit(config: &BufferProto, path: &FieldPath) -> Result<Limit, Vec<ConfigError>> {
    match config.max_request_bytes {
        Some(max) if max.value > 0 => Ok(Limit(Some(usize::try_from(max.value).unwrap_or(usize::MAX)))),
        _ => Err(vec![ConfigError::new(
            path.field("max_request_bytes").as_str(),
            "is required and must be greater than 0",
        )]),
    }
}

struct Factory(Limit);

impl HttpFilterFactory for Factory {
    fn create(&self) -> Box<dyn HttpFilter> {
        Box::new(BufferFilter { limit: self.0, length_bytes: 0 })
    }
}

struct BufferFilter {
    limit: Limit,
    length_bytes: u64,
}

impl HttpFilter for BufferFilter {
    fn decode_head(
        &mut self,
        cx: &mut FilterContext<'_>,
        _: &mut RequestHead,
        end_stream: bool,
    ) -> HeadAction {
        self.limit = cx.route_config::<Limit>().copied().unwrap_or(self.limit);
        let Limit(Some(limit_bytes)) = self.limit else { return HeadAction::Continue };
        if end_stream {
            self.limit = Limit(None);
            return HeadAction::Continue;
        }
        cx.buffer_limit_bytes = Some(limit_bytes);
        HeadAction::Stop
    }

    fn decode_data(&mut self, cx: &mut FilterContext<'_>, data: &mut Chunk, end_stream: bool) -> DataAction {
        if self.limit == Limit(None) {
            return DataAction::Continue;
        }
        self.length_bytes += data.len() as u64;
        if end_stream { self.finish(cx) } else { DataAction::Hold }
    }

    fn decode_trailers(&mut self, cx: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        self.finish(cx)
    }
}

impl BufferFilter {
    fn finish(&self, cx: &mut FilterContext<'_>) -> DataAction {
        if let HeldHead::Request(head) = &mut cx.held
            && !head.headers.contains(header::CONTENT_LENGTH)
        {
            let mut digits = Vec::with_capacity(20);
            write_u64(self.length_bytes, &mut digits);
            head.headers.append(header::CONTENT_LENGTH, &digits);
        }
        DataAction::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::http::testing::{Stream, fields};

    fn stream(limit_bytes: usize) -> Stream {
        Stream::of(vec![Factory(Limit(Some(limit_bytes))).create()])
    }

    #[test]
    fn a_request_of_unknown_length_goes_on_as_a_whole_with_its_length() {
        let mut stream = stream(10);
        stream.request_head("POST", "/", &[], false);
        stream.request_data(b"abc", false);
        assert!(!stream.request_passed());
        stream.request_data(b"de", true);
        assert!(stream.request_passed());
        assert_eq!(fields(&stream.request.headers, "content-length"), ["5"]);
        assert_eq!(stream.take_request_body(), b"abcde");
    }

    #[test]
    fn trailers_end_a_request_too() {
        let mut stream = stream(10);
        stream.request_head("POST", "/", &[], false);
        stream.request_data(b"abc", false);
        stream.request_trailers(&[("x", "1")]);
        assert_eq!(fields(&stream.request.headers, "content-length"), ["3"]);
    }

    #[test]
    fn more_than_the_limit_is_too_large_and_the_limit_itself_is_not() {
        let mut exact = stream(10);
        exact.request_head("POST", "/", &[("content-length", "10")], false);
        exact.request_data(b"0123456789", false);
        assert!(!exact.is_too_large());
        exact.request_data(b"", true);
        assert_eq!(fields(&exact.request.headers, "content-length"), ["10"]);
        let mut larger = stream(10);
        larger.request_head("POST", "/", &[], false);
        larger.request_data(b"0123456789", false);
        larger.request_data(b"x", false);
        assert!(larger.is_too_large());
    }

    #[test]
    fn a_limit_above_that_of_the_stream_counts() {
        let mut stream = stream(Stream::LIMIT_BYTES * 2);
        stream.request_head("POST", "/", &[], false);
        stream.request_data(&[0; Stream::LIMIT_BYTES + 1], false);
        assert!(!stream.is_too_large());
    }

    #[test]
    fn a_request_without_a_body_passes_untouched() {
        let mut stream = stream(1);
        stream.request_head("GET", "/", &[], true);
        assert!(stream.request_passed());
        assert!(!stream.request.headers.contains(header::CONTENT_LENGTH));
    }
}
