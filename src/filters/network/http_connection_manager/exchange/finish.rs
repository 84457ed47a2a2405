//! The end of an exchange: statistics, filters' last word, access log.

use crate::filters::network::http_connection_manager::downstream::{DownstreamStream, Gone};
use crate::formatter::{AccessLogType, FormatContext};
use crate::http::Version;
use crate::io;
use crate::stream_info::ResponseFlags;

use super::{Exchange, Stop, hook_context};

impl<D: DownstreamStream> Exchange<'_, D> {
    /// Accounts for the exchange. Returns whether the connection may serve another one.
    pub(super) fn finish(mut self, result: Result<(), Stop>) -> bool {
        let manager = self.around.manager;
        self.clock.clear_stream();
        let reusable = match result {
            Ok(()) => self.persistent && self.request_read && self.response_sent,
            Err(Stop::DownstreamGone(gone)) => {
                manager.stats.requests.downstream_rq_rx_reset.inc();
                self.note_gone(gone);
                false
            }
            Err(Stop::Reply(_) | Stop::Reset) => {
                manager.stats.requests.downstream_rq_tx_reset.inc();
                if self.request.version < Version::Http2 {
                    manager.stats.connections.downstream_cx_destroy_active_rq.inc();
                    manager.stats.connections.downstream_cx_destroy_local_active_rq.inc();
                }
                false
            }
        };
        let now = io::now();
        self.info.timing.complete = Some(now);
        let (received, sent) = self.downstream.wire_bytes();
        self.info.wire_bytes.downstream_received = received;
        self.info.wire_bytes.downstream_sent = sent;
        self.count(now);
        for active in &mut self.filters {
            let worker = self.around.worker;
            let mut cx = hook_context(&mut self.info, Some(&self.request), self.route, worker);
            cx.route_slot = active.route_slot;
            active.filter.on_complete(&mut cx);
        }
        self.write_access_log(now);
        reusable
    }

    /// The client left before the end.
    fn note_gone(&mut self, gone: Gone) {
        let (flag, details) = match gone {
            Gone::Disconnected => {
                let stats = &self.around.manager.stats.connections;
                stats.downstream_cx_destroy_active_rq.inc();
                stats.downstream_cx_destroy_remote_active_rq.inc();
                (ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect")
            }
            Gone::Reset(details) => (ResponseFlags::DOWNSTREAM_REMOTE_RESET, details),
        };
        self.info.response_flags.insert(flag);
        if self.info.response_code_details.is_empty() || self.response_started {
            self.info.response_code_details = details.into();
        }
    }

    fn count(&self, now: crate::base::clock::Instant) {
        let stats = &self.around.manager.stats;
        let status = if self.response_started { self.info.response_code.unwrap_or(0) } else { 0 };
        if self.response_started {
            stats.requests.record(status);
            stats.listener.record(status);
        }
        stats.requests.downstream_rq_time.record(now.since(self.info.timing.start).as_millis() as u64);
    }

    fn write_access_log(&self, now: crate::base::clock::Instant) {
        let logs = &self.around.manager.access_logs;
        if logs.is_empty() {
            return;
        }
        let response = if self.response_started { self.response.as_ref() } else { None };
        let cx = FormatContext {
            request: Some(&self.request),
            response,
            response_trailers: self.response_trailers.as_ref(),
            random: io::random_u64(),
            access_log_type: AccessLogType::DownstreamEnd,
            ..FormatContext::new(&self.info, now, io::unix_time())
        };
        logs.log(&cx);
    }
}
