//! Envoy's response flags: why a request did not simply succeed (`%RESPONSE_FLAGS%`).

use std::fmt;

/// A set of response flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($name:ident = $bit:literal, $short:literal, $long:literal;)*) => {
        impl ResponseFlags {
            $(#[doc = concat!("`", $short, "`: ", $long, ".")] pub const $name: ResponseFlags = ResponseFlags(1 << $bit);)*
        }
        /// Flag, short name, long name, in the order in which Envoy prints them: it prints them as they were set,
        /// and the retry limit is noted before the failure that met it.
        const NAMES: &[(ResponseFlags, &str, &str)] = &[$((ResponseFlags::$name, $short, $long),)*];
    };
}

flags! {
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 15, "URX", "UpstreamRetryLimitExceeded";
    FAILED_LOCAL_HEALTH_CHECK = 0, "LH", "FailedLocalHealthCheck";
    NO_HEALTHY_UPSTREAM = 1, "UH", "NoHealthyUpstream";
    UPSTREAM_REQUEST_TIMEOUT = 2, "UT", "UpstreamRequestTimeout";
    LOCAL_RESET = 3, "LR", "LocalReset";
    UPSTREAM_REMOTE_RESET = 4, "UR", "UpstreamRemoteReset";
    UPSTREAM_CONNECTION_FAILURE = 5, "UF", "UpstreamConnectionFailure";
    UPSTREAM_CONNECTION_TERMINATION = 6, "UC", "UpstreamConnectionTermination";
    UPSTREAM_OVERFLOW = 7, "UO", "UpstreamOverflow";
    NO_ROUTE_FOUND = 8, "NR", "NoRouteFound";
    DELAY_INJECTED = 9, "DI", "DelayInjected";
    FAULT_INJECTED = 10, "FI", "FaultInjected";
    RATE_LIMITED = 11, "RL", "RateLimited";
    UNAUTHORIZED_EXTERNAL_SERVICE = 12, "UAEX", "UnauthorizedExternalService";
    RATE_LIMIT_SERVICE_ERROR = 13, "RLSE", "RateLimitServiceError";
    DOWNSTREAM_CONNECTION_TERMINATION = 14, "DC", "DownstreamConnectionTermination";
    STREAM_IDLE_TIMEOUT = 16, "SI", "StreamIdleTimeout";
    INVALID_ENVOY_REQUEST_HEADERS = 17, "IH", "InvalidEnvoyRequestHeaders";
    DOWNSTREAM_PROTOCOL_ERROR = 18, "DPE", "DownstreamProtocolError";
    UPSTREAM_MAX_STREAM_DURATION_REACHED = 19, "UMSDR", "UpstreamMaxStreamDurationReached";
    RESPONSE_FROM_CACHE_FILTER = 20, "RFCF", "ResponseFromCacheFilter";
    NO_FILTER_CONFIG_FOUND = 21, "NFCF", "NoFilterConfigFound";
    DURATION_TIMEOUT = 22, "DT", "DurationTimeout";
    UPSTREAM_PROTOCOL_ERROR = 23, "UPE", "UpstreamProtocolError";
    NO_CLUSTER_FOUND = 24, "NC", "NoClusterFound";
    OVERLOAD_MANAGER = 25, "OM", "OverloadManagerTerminated";
    DNS_RESOLUTION_FAILED = 26, "DF", "DnsResolutionFailed";
    DROP_OVERLOAD = 27, "DO", "DropOverload";
    DOWNSTREAM_REMOTE_RESET = 28, "DR", "DownstreamRemoteReset";
    UNCONDITIONAL_DROP_OVERLOAD = 29, "UDO", "UnconditionalDropOverload";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: ResponseFlags = ResponseFlags(0);

    /// Adds all of `other`.
    pub fn insert(&mut self, other: ResponseFlags) {
        self.0 |= other.0;
    }

    /// Whether any flag of `other` is set.
    pub const fn intersects(self, other: ResponseFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flag with this short name, as configurations of log filters give it.
    pub fn from_short_name(name: &str) -> Option<ResponseFlags> {
        NAMES.iter().find(|(_, short, _)| *short == name).map(|(flag, _, _)| *flag)
    }

    /// Appends `URX,UF`, or the long names, or `-` for none, to a log line.
    pub fn write(self, long_names: bool, out: &mut Vec<u8>) {
        if self.is_empty() {
            out.push(b'-');
            return;
        }
        let mut first = true;
        for (flag, short, long) in NAMES {
            if self.intersects(*flag) {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend_from_slice(if long_names { long } else { short }.as_bytes());
            }
        }
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(false, &mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_envoys_order() {
        let mut flags = ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        assert_eq!(flags.to_string(), "URX,UF");
        assert_eq!(ResponseFlags::from_short_name("UF"), Some(ResponseFlags::UPSTREAM_CONNECTION_FAILURE));
    }
}
