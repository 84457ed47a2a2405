//! Changes to replies that the proxy itself makes
//! (`envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig`).

use bytes::Bytes;

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::data_source::{MAX_DATA_SOURCE_BYTES, read_data_source};
use super::{AccessLogFilter, Context, FieldPath, HeaderToAdd, SubstitutionFormat};

/// How local replies look.
#[derive(Debug, Clone, Default)]
pub struct LocalReplyConfig {
    /// The first whose filter matches is applied.
    pub mappers: Vec<ResponseMapper>,
    /// Format of bodies; none is the plain text of the reply.
    pub body_format: Option<SubstitutionFormat>,
}

/// Changes some local replies.
#[derive(Debug, Clone)]
pub struct ResponseMapper {
    /// Which replies.
    pub filter: AccessLogFilter,
    /// Status to send instead.
    pub status_code: Option<u16>,
    /// Body to send instead (`%LOCAL_REPLY_BODY%` of the format).
    pub body: Option<Bytes>,
    /// Format of the body instead of the general one.
    pub body_format_override: Option<SubstitutionFormat>,
    /// Headers to add.
    pub headers_to_add: Vec<HeaderToAdd>,
}

impl LocalReplyConfig {
    /// Converts the configuration.
    pub fn from_proto(
        proto: &hcm::LocalReplyConfig,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> LocalReplyConfig {
        let mappers = proto.mappers.iter().enumerate();
        LocalReplyConfig {
            mappers: mappers
                .map(|(i, mapper)| ResponseMapper::from_proto(mapper, &path.element("mappers", i), context))
                .collect(),
            body_format: proto
                .body_format
                .as_ref()
                .map(|format| SubstitutionFormat::from_proto(format, &path.field("body_format"), context)),
        }
    }
}

impl ResponseMapper {
    fn from_proto(
        proto: &hcm::ResponseMapper,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ResponseMapper {
        let filter = proto.filter.clone().unwrap_or_default();
        let body = proto.body.as_ref();
        let format = proto.body_format_override.as_ref();
        ResponseMapper {
            filter: AccessLogFilter::from_proto(&filter, &path.field("filter"), context),
            status_code: proto.status_code.as_ref().and_then(|status| u16::try_from(status.value).ok()),
            body: body
                .map(|body| read_data_source(body, MAX_DATA_SOURCE_BYTES, &path.field("body"), context)),
            body_format_override: format.map(|format| {
                SubstitutionFormat::from_proto(format, &path.field("body_format_override"), context)
            }),
            headers_to_add: HeaderToAdd::list(&proto.headers_to_add, path, "headers_to_add", context),
        }
    }
}
