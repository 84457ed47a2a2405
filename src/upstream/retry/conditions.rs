//! The conditions of `retry_on`, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.

/// A set of conditions under which an attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(u32);

macro_rules! conditions {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl RetryOn {
            $(#[doc = concat!("`", $text, "`")] pub const $name: RetryOn = RetryOn(1 << $bit);)*
        }
        const NAMES: &[(&str, RetryOn)] = &[$(($text, RetryOn::$name),)*];
    };
}

conditions! {
    ON_5XX = 0, "5xx";
    GATEWAY_ERROR = 1, "gateway-error";
    CONNECT_FAILURE = 2, "connect-failure";
    RETRIABLE_4XX = 3, "retriable-4xx";
    REFUSED_STREAM = 4, "refused-stream";
    RETRIABLE_STATUS_CODES = 5, "retriable-status-codes";
    RESET = 6, "reset";
    RETRIABLE_HEADERS = 7, "retriable-headers";
    ENVOY_RATE_LIMITED = 8, "envoy-ratelimited";
    HTTP3_POST_CONNECT_FAILURE = 9, "http3-post-connect-failure";
    RESET_BEFORE_REQUEST = 10, "reset-before-request";
    GRPC_CANCELLED = 16, "cancelled";
    GRPC_DEADLINE_EXCEEDED = 17, "deadline-exceeded";
    GRPC_RESOURCE_EXHAUSTED = 18, "resource-exhausted";
    GRPC_UNAVAILABLE = 19, "unavailable";
    GRPC_INTERNAL = 20, "internal";
}

impl RetryOn {
    /// Never.
    pub const NONE: RetryOn = RetryOn(0);
    /// What covers every attempt without a response.
    pub(super) const ANY_RESET: RetryOn = RetryOn(Self::ON_5XX.0 | Self::GATEWAY_ERROR.0 | Self::RESET.0);
    /// What looks at `grpc-status`.
    pub(super) const ANY_GRPC: RetryOn = RetryOn(0x1f << 16);

    /// Parses a comma-separated list; unknown names are skipped, as Envoy does.
    pub fn parse(text: &[u8]) -> RetryOn {
        let conditions = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        conditions.fold(RetryOn::NONE, |set, condition| {
            let known = NAMES.iter().find(|(name, _)| name.as_bytes() == condition);
            known.map_or(set, |(_, bit)| set.with(*bit))
        })
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: RetryOn) -> RetryOn {
        RetryOn(self.0 | other.0)
    }

    /// Whether any condition of `other` is set.
    pub const fn intersects(self, other: RetryOn) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no condition is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The conditions that a status alone fulfils.
    pub(super) const fn of_status(status: u16) -> RetryOn {
        match status {
            502..=504 => RetryOn(Self::ON_5XX.0 | Self::GATEWAY_ERROR.0),
            500..=599 => Self::ON_5XX,
            409 => Self::RETRIABLE_4XX,
            _ => Self::NONE,
        }
    }

    /// The conditions that a gRPC status in the response's head fulfils.
    pub(super) const fn of_grpc_status(status: u64) -> RetryOn {
        match status {
            1 => Self::GRPC_CANCELLED,
            4 => Self::GRPC_DEADLINE_EXCEEDED,
            8 => Self::GRPC_RESOURCE_EXHAUSTED,
            13 => Self::GRPC_INTERNAL,
            14 => Self::GRPC_UNAVAILABLE,
            _ => Self::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_and_unknown_names_skipped() {
        let set = RetryOn::parse(b" 5xx, connect-failure ,nonsense,,unavailable");
        let expected = RetryOn::ON_5XX.with(RetryOn::CONNECT_FAILURE).with(RetryOn::GRPC_UNAVAILABLE);
        assert_eq!(set, expected);
        assert!(RetryOn::parse(b"").is_empty() && RetryOn::parse(b"5XX").is_empty());
    }
}
