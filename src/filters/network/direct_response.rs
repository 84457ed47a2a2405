//! Answers a new connection with fixed bytes and closes it
//! (`envoy.extensions.filters.network.direct_response.v3.Config`).

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::filters::network::direct_response::v3::Config as Proto;

use crate::api::{ConfigError, MessageSupport};
use crate::buf::Chunk;
use crate::config::{Context, FieldPath, MAX_DATA_SOURCE_BYTES, read_data_source};
use crate::filters::BuildContext;
use crate::io;
use crate::stream_info::{StreamInfo, Timing};

use super::{BuiltFilter, Connection, NetworkFilterDefinition, Serve, TerminalFilter};

/// The direct-response filter.
pub struct DirectResponse {
    response: Bytes,
}

impl NetworkFilterDefinition for DirectResponse {
    type Config = Proto;

    const SUPPORT: &'static [MessageSupport] =
        &[MessageSupport::all("envoy.extensions.filters.network.direct_response.v3.Config")];

    fn build(
        config: Proto,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let mut context = Context::new(cx.read);
        let response = match &config.response {
            Some(source) => {
                read_data_source(source, MAX_DATA_SOURCE_BYTES, &path.field("response"), &mut context)
            }
            None => Bytes::new(),
        };
        context.finish(BuiltFilter::Terminal(Arc::new(DirectResponse { response })))
    }
}

impl TerminalFilter for DirectResponse {
    fn serve(self: Arc<Self>, connection: Connection) -> Serve {
        Box::pin(async move {
            let Connection { mut stream, info, .. } = connection;
            let timing = Timing::starting(io::now(), io::unix_time());
            stream.write_chunk(Chunk::from_bytes(self.response.clone()));
            stream.flush_and_close(super::CLOSE_TIMEOUT).await;
            let mut info = StreamInfo::new(info, None, timing);
            info.response_code_details = "direct_response".into();
            info.bytes_sent = self.response.len() as u64;
            Some(Box::new(info))
        })
    }
}
