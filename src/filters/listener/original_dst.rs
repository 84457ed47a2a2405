//! Takes the address that a redirected client meant to reach for the connection's own
//! (`envoy.extensions.filters.listener.original_dst.v3.OriginalDst`): behind iptables REDIRECT, filter chains are
//! then chosen by it.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst as OriginalDstProto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::filters::BuildContext;
use crate::io::Socket;
use crate::stream_info::{ConnectionInfo, PeerAddress};

use super::{Inspected, ListenerFilter, ListenerFilterDefinition, ListenerFilterFactory};

/// The original-destination filter. Connections that were not redirected are left as they are.
pub struct OriginalDst;

impl ListenerFilterDefinition for OriginalDst {
    type Config = OriginalDstProto;

    const SUPPORT: &'static [MessageSupport] =
        &[MessageSupport::all("envoy.extensions.filters.listener.original_dst.v3.OriginalDst")];

    fn build(
        _: OriginalDstProto,
        _: &FieldPath,
        _: &mut BuildContext<'_>,
    ) -> Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>> {
        Ok(Arc::new(OriginalDst))
    }
}

impl ListenerFilterFactory for OriginalDst {
    fn create(&self) -> Box<dyn ListenerFilter> {
        Box::new(OriginalDst)
    }
}

impl ListenerFilter for OriginalDst {
    fn on_accept(&mut self, socket: &Socket, info: &mut ConnectionInfo) {
        if let Some(original) = socket.original_destination() {
            info.local_address = PeerAddress::Ip(original);
        }
    }

    fn need_bytes(&self) -> usize {
        0
    }

    fn inspect(&mut self, _bytes: &[u8], _end: bool, _info: &mut ConnectionInfo) -> Inspected {
        Inspected::Done { taken: 0 }
    }
}
