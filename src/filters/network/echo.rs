//! Sends back what it receives (`envoy.extensions.filters.network.echo.v3.Echo`).

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::network::echo::v3::Echo as EchoProto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::filters::BuildContext;

use super::{BuiltFilter, Connection, NetworkFilterDefinition, Serve, TerminalFilter};

/// The echo filter.
pub struct Echo;

impl NetworkFilterDefinition for Echo {
    type Config = EchoProto;

    const SUPPORT: &'static [MessageSupport] =
        &[MessageSupport::all("envoy.extensions.filters.network.echo.v3.Echo")];

    fn build(_: EchoProto, _: &FieldPath, _: &mut BuildContext<'_>) -> Result<BuiltFilter, Vec<ConfigError>> {
        Ok(BuiltFilter::Terminal(Arc::new(Echo)))
    }
}

impl TerminalFilter for Echo {
    fn serve(self: Arc<Self>, connection: Connection) -> Serve {
        Box::pin(async {
            // A broken connection needs no closing.
            let _ = echo(connection).await;
            None
        })
    }
}

async fn echo(connection: Connection) -> std::io::Result<()> {
    let Connection { mut stream, listener, .. } = connection;
    while let Some(chunk) = stream.recv().await? {
        stream.write_chunk(chunk);
        // A client that does not read is not read either.
        stream.drained(listener.buffer_limit_bytes).await?;
    }
    stream.flush_and_close(super::CLOSE_TIMEOUT).await;
    Ok(())
}
