//! Fixed responses (`envoy.config.route.v3.DirectResponseAction`).

use bytes::Bytes;

use envoy_types::pb::envoy::config::route::v3 as route;

use crate::config::data_source::read_data_source;
use crate::config::{Context, FieldPath, SubstitutionFormat};

/// Answers a request with a fixed response.
#[derive(Debug, Clone)]
pub struct DirectResponseAction {
    /// Status, 200 to 599.
    pub status: u16,
    /// Body; may be empty.
    pub body: Bytes,
    /// Format of the body, where given.
    pub body_format: Option<SubstitutionFormat>,
}

impl DirectResponseAction {
    /// Converts a fixed response whose body may have up to `max_body_bytes`.
    pub fn from_proto(
        proto: &route::DirectResponseAction,
        max_body_bytes: usize,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> DirectResponseAction {
        let body = proto.body.as_ref();
        let format = proto.body_format.as_ref();
        DirectResponseAction {
            status: u16::try_from(proto.status).unwrap_or_else(|_| {
                context.error(&path.field("status"), format!("{} is no status", proto.status));
                500
            }),
            body: body
                .map(|body| read_data_source(body, max_body_bytes, &path.field("body"), context))
                .unwrap_or_default(),
            body_format: format
                .map(|format| SubstitutionFormat::from_proto(format, &path.field("body_format"), context)),
        }
    }
}
