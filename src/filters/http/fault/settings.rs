//! What a fault configuration asks for, and its outcome for one request. Draws no numbers itself.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};

use crate::api::ConfigError;
use crate::config::{Context, FieldPath, FractionalPercent, Runtime};
use crate::filters::http::convert::{HeaderConditions, convert};
use crate::http::header::Known;
use crate::http::{HeaderMap, RequestHead, header};

/// A fault configuration of a filter or of a route.
#[derive(Debug, Clone)]
pub(super) struct FaultSettings {
    delay: Option<(DelaySource, FractionalPercent)>,
    abort: Option<(AbortSource, FractionalPercent)>,
    abort_body: Bytes,
    upstream_cluster: String,
    headers: HeaderConditions,
    downstream_nodes: Vec<String>,
    max_active_faults: u64,
    keys: RuntimeKeys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DelaySource {
    FixedMs(u64),
    Header,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AbortSource {
    HttpStatus(u16),
    GrpcStatus(u32),
    Header,
}

/// Under which keys the runtime may override a number.
#[derive(Debug, Clone)]
struct RuntimeKeys {
    delay_percent: String,
    delay_duration: String,
    abort_percent: String,
    abort_http_status: String,
    abort_grpc_status: String,
    max_active_faults: String,
}

/// An answer instead of the origin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Abort {
    /// HTTP status, 200 to 599.
    pub(super) status: u16,
    /// gRPC status, where the configuration has one; `status` is 200 then.
    pub(super) grpc_status: Option<u32>,
    /// Its body.
    pub(super) body: Bytes,
}

impl FaultSettings {
    pub(super) fn from_proto(proto: &HttpFault, path: &FieldPath) -> Result<FaultSettings, Vec<ConfigError>> {
        let key = |configured: &str, default: &str| -> String {
            if configured.is_empty() { format!("fault.http.{default}") } else { configured.to_owned() }
        };
        convert(|context| FaultSettings {
            delay: proto.delay.as_ref().and_then(|delay| read_delay(delay, &path.field("delay"), context)),
            abort: proto.abort.as_ref().and_then(|abort| read_abort(abort, &path.field("abort"), context)),
            abort_body: match &proto.abort {
                Some(abort) if !abort.response_body.is_empty() => abort.response_body.clone().into(),
                _ => Bytes::from_static(b"fault filter abort"),
            },
            upstream_cluster: proto.upstream_cluster.clone(),
            headers: HeaderConditions::from_proto(&proto.headers, path, context),
            downstream_nodes: proto.downstream_nodes.clone(),
            max_active_faults: proto.max_active_faults.map_or(u64::MAX, |max| max.value.into()),
            keys: RuntimeKeys {
                delay_percent: key(&proto.delay_percent_runtime, "delay.fixed_delay_percent"),
                delay_duration: key(&proto.delay_duration_runtime, "delay.fixed_duration_ms"),
                abort_percent: key(&proto.abort_percent_runtime, "abort.abort_percent"),
                abort_http_status: key(&proto.abort_http_status_runtime, "abort.http_status"),
                abort_grpc_status: key(&proto.abort_grpc_status_runtime, "abort.grpc_status"),
                max_active_faults: key(&proto.max_active_faults_runtime, "max_active_faults"),
            },
        })
    }

    /// Whether faults are meant for this request. `cluster` names the cluster that it goes to.
    pub(super) fn concerns<'r>(
        &self,
        request: &'r RequestHead,
        cluster: impl FnOnce() -> Option<&'r str>,
    ) -> bool {
        (self.upstream_cluster.is_empty() || cluster() == Some(&self.upstream_cluster))
            && self.is_from_node(request.headers.get(header::X_ENVOY_DOWNSTREAM_SERVICE_NODE))
            && self.headers.match_headers(&request.headers)
    }

    fn is_from_node(&self, node: Option<&[u8]>) -> bool {
        self.downstream_nodes.is_empty()
            || node.is_some_and(|node| self.downstream_nodes.iter().any(|other| other.as_bytes() == node))
    }

    /// How long the request is delayed. `caller` is the service cluster that it comes from.
    pub(super) fn delay(
        &self,
        headers: &HeaderMap,
        caller: Option<&str>,
        runtime: &Runtime,
        random: fn() -> u64,
    ) -> Option<Duration> {
        let (source, percentage) = self.delay?;
        let percentage = asked_percentage(
            percentage,
            headers,
            header::X_ENVOY_FAULT_DELAY_REQUEST_PERCENTAGE,
            source == DelaySource::Header,
        );
        let keys = &self.keys;
        if !fraction(runtime, &keys.delay_percent, caller, "delay.fixed_delay_percent", percentage)
            .contains(random())
        {
            return None;
        }
        let configured = match source {
            DelaySource::FixedMs(millis) => millis,
            DelaySource::Header => headers.get_u64(header::X_ENVOY_FAULT_DELAY_REQUEST)?,
        };
        let millis = runtime.integer_under(&keys.delay_duration, configured);
        let millis = of_caller(runtime, caller, "delay.fixed_duration_ms", millis);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// What the request is answered with.
    pub(super) fn abort(
        &self,
        headers: &HeaderMap,
        caller: Option<&str>,
        runtime: &Runtime,
        random: fn() -> u64,
    ) -> Option<Abort> {
        let (source, percentage) = self.abort?;
        let percentage = asked_percentage(
            percentage,
            headers,
            header::X_ENVOY_FAULT_ABORT_REQUEST_PERCENTAGE,
            source == AbortSource::Header,
        );
        let keys = &self.keys;
        if !fraction(runtime, &keys.abort_percent, caller, "abort.abort_percent", percentage)
            .contains(random())
        {
            return None;
        }
        let (http, grpc) = match source {
            AbortSource::HttpStatus(status) => (Some(status.into()), None),
            AbortSource::GrpcStatus(status) => (None, Some(status.into())),
            AbortSource::Header => {
                let http = headers.get_u64(header::X_ENVOY_FAULT_ABORT_REQUEST);
                (
                    http.filter(|status| (200..600).contains(status)),
                    headers.get_u64(header::X_ENVOY_FAULT_ABORT_GRPC_REQUEST),
                )
            }
        };
        let overridden = |key: &str, own: &str, value: u64| {
            let value = runtime.integer_under(key, value);
            of_caller(runtime, caller, own, value)
        };
        // Where both are asked for, HTTP's counts.
        let (status, grpc_status) = match (http, grpc) {
            (Some(status), _) => (overridden(&keys.abort_http_status, "abort.http_status", status), None),
            (None, Some(status)) => {
                (200, u32::try_from(overridden(&keys.abort_grpc_status, "abort.grpc_status", status)).ok())
            }
            (None, None) => return None,
        };
        let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status))?;
        Some(Abort { status, grpc_status, body: self.abort_body.clone() })
    }

    /// Most streams that may have a fault at a time.
    pub(super) fn max_active_faults(&self, runtime: &Runtime) -> u64 {
        runtime.integer_under(&self.keys.max_active_faults, self.max_active_faults)
    }
}

/// A share, unless the runtime has another for all or for this caller.
fn fraction(
    runtime: &Runtime,
    key: &str,
    caller: Option<&str>,
    own: &str,
    configured: FractionalPercent,
) -> FractionalPercent {
    match caller {
        Some(caller) => runtime.fraction_under(&format!("fault.http.{caller}.{own}"), configured),
        None => runtime.fraction_under(key, configured),
    }
}

/// A number, unless the runtime has another for this caller.
fn of_caller(runtime: &Runtime, caller: Option<&str>, own: &str, value: u64) -> u64 {
    caller.map_or(value, |caller| runtime.integer_under(&format!("fault.http.{caller}.{own}"), value))
}

/// Headers may ask for a smaller share than configured, never for a larger one.
fn asked_percentage(
    configured: FractionalPercent,
    headers: &HeaderMap,
    name: Known,
    by_header: bool,
) -> FractionalPercent {
    match headers.get_u64(name).and_then(|asked| u32::try_from(asked).ok()) {
        Some(asked) if by_header => {
            FractionalPercent { numerator: asked.min(configured.numerator), ..configured }
        }
        _ => configured,
    }
}

fn read_delay(
    proto: &FaultDelay,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<(DelaySource, FractionalPercent)> {
    let source = match &proto.fault_delay_secifier {
        Some(fault_delay::FaultDelaySecifier::FixedDelay(delay)) => {
            let delay = context.duration(delay, &path.field("fixed_delay"));
            DelaySource::FixedMs(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
        }
        Some(fault_delay::FaultDelaySecifier::HeaderDelay(_)) => DelaySource::Header,
        None => {
            context.error(path, "one of fixed_delay and header_delay is required");
            return None;
        }
    };
    Some((source, percentage(proto.percentage.as_ref(), path, context)))
}

fn read_abort(
    proto: &FaultAbort,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<(AbortSource, FractionalPercent)> {
    let source = match proto.error_type {
        Some(fault_abort::ErrorType::HttpStatus(status)) => match u16::try_from(status) {
            Ok(status @ 200..600) => AbortSource::HttpStatus(status),
            _ => {
                context.error(&path.field("http_status"), "must be at least 200 and less than 600");
                return None;
            }
        },
        Some(fault_abort::ErrorType::GrpcStatus(status)) => AbortSource::GrpcStatus(status),
        Some(fault_abort::ErrorType::HeaderAbort(_)) => AbortSource::Header,
        None => {
            context.error(path, "one of http_status, grpc_status and header_abort is required");
            return None;
        }
    };
    Some((source, percentage(proto.percentage.as_ref(), path, context)))
}

/// Not set is never.
fn percentage(
    proto: Option<&envoy_types::pb::envoy::r#type::v3::FractionalPercent>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> FractionalPercent {
    proto.map_or(FractionalPercent::NONE, |proto| {
        FractionalPercent::from_proto(proto, &path.field("percentage"), context)
    })
}
