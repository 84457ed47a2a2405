//! Getting a connection to a host of the cluster, in as many attempts as are allowed.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::config::route::RoutingPriority;
use crate::filters::network::Connection;
use crate::io::{self, Timer};
use crate::stream_info::{ConnectionInfo, PeerAddress, ResponseFlags, StreamInfo, UpstreamInfo};
use crate::transport::Stream;
use crate::transport::proxy_protocol::Addresses;
use crate::upstream::breaker::ResourceKind;
use crate::upstream::{Cluster, Host, HostPick, PoolFailure, TcpConnection};

use super::TcpProxy;

/// There is no connection, and there will not be one; the log knows why.
pub(super) struct NoConnection;

/// What ends attempts from outside.
struct Limits<'a> {
    client: &'a mut Stream,
    /// Of the whole connection.
    timer: &'a mut Timer,
}

impl TcpProxy {
    /// `pick_host` and `check_out_connection`, again and again.
    pub(super) async fn connect(
        &self,
        connection: &mut Connection,
        info: &mut StreamInfo,
        timer: &mut Timer,
    ) -> Result<TcpConnection, NoConnection> {
        let Some(cluster) = self.cluster(connection, info) else { return Err(NoConnection) };
        let client = addresses(&connection.info);
        let mut limits = Limits { client: &mut connection.stream, timer };
        let traffic = &cluster.info().stats.traffic;
        let breaker = cluster.breakers().shared().priority(RoutingPriority::Default);
        loop {
            // Before a host is picked: nobody waits for a connection that nobody may make.
            if breaker.is_open(ResourceKind::Connections) {
                traffic.upstream_cx_overflow.inc();
                info.response_flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
                return Err(NoConnection);
            }
            if info.attempt_count >= self.settings.max_connect_attempts {
                traffic.upstream_cx_connect_attempts_exceeded.inc();
                info.response_flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                return Err(NoConnection);
            }
            let Some(host) = io::with_rng(|rng| cluster.pick_host(&HostPick::default(), rng)) else {
                info.response_flags.insert(ResponseFlags::NO_HEALTHY_UPSTREAM);
                return Err(NoConnection);
            };
            if info.attempt_count > 0 {
                let pause = io::with_rng(|rng| self.settings.pause_before(info.attempt_count + 1, rng));
                self.within(&mut limits, Box::pin(io::sleep(pause)), info).await?;
            }
            info.attempt_count += 1;
            let failure = match self.within(&mut limits, Box::pin(host.connect_tcp(client)), info).await? {
                Ok(upstream) => {
                    note_host(info, &host);
                    if let Some(noted) = &mut info.upstream {
                        noted.tls = upstream.stream.tls_facts();
                    }
                    return Ok(upstream);
                }
                Err(failure) => failure,
            };
            match failure {
                // Nothing was tried; it counts as an attempt.
                PoolFailure::Overflow => {}
                PoolFailure::Timeout => {
                    note_host(info, &host);
                    info.response_flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
                }
                PoolFailure::ConnectFailure(reason) => {
                    note_host(info, &host);
                    info.response_flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
                    info.upstream_transport_failure_reason =
                        (!reason.is_empty()).then(|| reason.to_string().into());
                }
            }
        }
    }

    fn cluster(&self, connection: &Connection, info: &mut StreamInfo) -> Option<Rc<Cluster>> {
        let name = io::with_rng(|rng| self.settings.choose_cluster(rng));
        let cluster = connection.worker.clusters.get(name);
        match &cluster {
            Some(cluster) => info.upstream_cluster = Some(std::sync::Arc::clone(&cluster.info().name)),
            None => {
                self.stats.downstream_cx_no_route.inc();
                info.response_flags.insert(ResponseFlags::NO_CLUSTER_FOUND);
            }
        }
        cluster
    }

    /// Waits for `future` while the client stays and the connection may last.
    async fn within<T>(
        &self,
        limits: &mut Limits<'_>,
        mut future: Pin<Box<dyn Future<Output = T> + '_>>,
        info: &mut StreamInfo,
    ) -> Result<T, NoConnection> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if limits.timer.poll_expired(cx).is_ready() {
                self.note_too_long(info);
                return Poll::Ready(Err(NoConnection));
            }
            // A reset can be seen. An end cannot be told from a half-close.
            let _ = limits.client.poll_readable(cx);
            limits.client.poll_failed(cx).map(|()| Err(NoConnection))
        })
        .await
    }
}

/// What hosts may be told of the client; none if it is not on an IP network.
fn addresses(info: &ConnectionInfo) -> Option<Addresses> {
    match (&info.remote_address, &info.local_address) {
        (PeerAddress::Ip(source), PeerAddress::Ip(destination)) => {
            Some(Addresses { source: *source, destination: *destination })
        }
        _ => None,
    }
}

fn note_host(info: &mut StreamInfo, host: &Host) {
    info.upstream = Some(UpstreamInfo {
        host_address: host.address().into(),
        hostname: host.hostname(),
        local_address: None,
        connection_id: 0,
        protocol: None,
        tls: None,
    });
}
