//! The known names, and finding the number of a name: one multiplication, one byte of a table, one comparison.
//!
//! To add a name, add a line to the list; its number is nobody's business.

use super::Known;

macro_rules! known_names {
    ($( $name:ident = $text:literal; )*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Id { NONE, $( $name, )* }
        pub(super) const NAMES: [&str; Id::NONE as usize + 1 + [$( $text ),*].len()] = ["", $( $text, )*];
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $name: Known = Known(Id::$name as u8);
        )*
    };
}

known_names! {
    METHOD = ":method";
    PATH = ":path";
    AUTHORITY = ":authority";
    SCHEME = ":scheme";
    PROTOCOL = ":protocol";
    STATUS = ":status";

    ACCEPT = "accept";
    ACCEPT_CHARSET = "accept-charset";
    ACCEPT_ENCODING = "accept-encoding";
    ACCEPT_LANGUAGE = "accept-language";
    ACCEPT_RANGES = "accept-ranges";
    ACCESS_CONTROL_ALLOW_CREDENTIALS = "access-control-allow-credentials";
    ACCESS_CONTROL_ALLOW_HEADERS = "access-control-allow-headers";
    ACCESS_CONTROL_ALLOW_METHODS = "access-control-allow-methods";
    ACCESS_CONTROL_ALLOW_ORIGIN = "access-control-allow-origin";
    ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK = "access-control-allow-private-network";
    ACCESS_CONTROL_EXPOSE_HEADERS = "access-control-expose-headers";
    ACCESS_CONTROL_MAX_AGE = "access-control-max-age";
    ACCESS_CONTROL_REQUEST_HEADERS = "access-control-request-headers";
    ACCESS_CONTROL_REQUEST_METHOD = "access-control-request-method";
    ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK = "access-control-request-private-network";
    AGE = "age";
    ALLOW = "allow";
    ALT_SVC = "alt-svc";
    AUTHORIZATION = "authorization";
    BAGGAGE = "baggage";
    CACHE_CONTROL = "cache-control";
    CAPSULE_PROTOCOL = "capsule-protocol";
    CDN_LOOP = "cdn-loop";
    CONNECTION = "connection";
    CONTENT_DISPOSITION = "content-disposition";
    CONTENT_ENCODING = "content-encoding";
    CONTENT_LANGUAGE = "content-language";
    CONTENT_LENGTH = "content-length";
    CONTENT_LOCATION = "content-location";
    CONTENT_RANGE = "content-range";
    CONTENT_SECURITY_POLICY = "content-security-policy";
    CONTENT_TYPE = "content-type";
    COOKIE = "cookie";
    DATE = "date";
    DNT = "dnt";
    ETAG = "etag";
    EXPECT = "expect";
    EXPIRES = "expires";
    FORWARDED = "forwarded";
    FROM = "from";
    GRPC_ACCEPT_ENCODING = "grpc-accept-encoding";
    GRPC_ENCODING = "grpc-encoding";
    GRPC_MESSAGE = "grpc-message";
    GRPC_STATUS = "grpc-status";
    GRPC_STATUS_DETAILS_BIN = "grpc-status-details-bin";
    GRPC_TIMEOUT = "grpc-timeout";
    HOST_ON_THE_WIRE = "host";
    HTTP2_SETTINGS = "http2-settings";
    IF_MATCH = "if-match";
    IF_MODIFIED_SINCE = "if-modified-since";
    IF_NONE_MATCH = "if-none-match";
    IF_RANGE = "if-range";
    IF_UNMODIFIED_SINCE = "if-unmodified-since";
    KEEP_ALIVE = "keep-alive";
    LAST_MODIFIED = "last-modified";
    LINK = "link";
    LOCATION = "location";
    MAX_FORWARDS = "max-forwards";
    ORIGIN = "origin";
    PRAGMA = "pragma";
    PRIORITY = "priority";
    PROXY_AUTHENTICATE = "proxy-authenticate";
    PROXY_AUTHORIZATION = "proxy-authorization";
    PROXY_CONNECTION = "proxy-connection";
    PROXY_STATUS = "proxy-status";
    RANGE = "range";
    REFERER = "referer";
    REFRESH = "refresh";
    RETRY_AFTER = "retry-after";
    SEC_CH_UA = "sec-ch-ua";
    SEC_CH_UA_MOBILE = "sec-ch-ua-mobile";
    SEC_CH_UA_PLATFORM = "sec-ch-ua-platform";
    SEC_FETCH_DEST = "sec-fetch-dest";
    SEC_FETCH_MODE = "sec-fetch-mode";
    SEC_FETCH_SITE = "sec-fetch-site";
    SEC_FETCH_USER = "sec-fetch-user";
    SEC_WEBSOCKET_ACCEPT = "sec-websocket-accept";
    SEC_WEBSOCKET_EXTENSIONS = "sec-websocket-extensions";
    SEC_WEBSOCKET_KEY = "sec-websocket-key";
    SEC_WEBSOCKET_PROTOCOL = "sec-websocket-protocol";
    SEC_WEBSOCKET_VERSION = "sec-websocket-version";
    SERVER = "server";
    SERVER_TIMING = "server-timing";
    SET_COOKIE = "set-cookie";
    STRICT_TRANSPORT_SECURITY = "strict-transport-security";
    TE = "te";
    TRACEPARENT = "traceparent";
    TRACESTATE = "tracestate";
    TRAILER = "trailer";
    TRANSFER_ENCODING = "transfer-encoding";
    UPGRADE = "upgrade";
    UPGRADE_INSECURE_REQUESTS = "upgrade-insecure-requests";
    USER_AGENT = "user-agent";
    VARY = "vary";
    VIA = "via";
    WARNING = "warning";
    WWW_AUTHENTICATE = "www-authenticate";

    B3 = "b3";
    X_B3_FLAGS = "x-b3-flags";
    X_B3_PARENTSPANID = "x-b3-parentspanid";
    X_B3_SAMPLED = "x-b3-sampled";
    X_B3_SPANID = "x-b3-spanid";
    X_B3_TRACEID = "x-b3-traceid";
    X_CLIENT_TRACE_ID = "x-client-trace-id";
    X_CONTENT_TYPE_OPTIONS = "x-content-type-options";
    X_FORWARDED_CLIENT_CERT = "x-forwarded-client-cert";
    X_FORWARDED_FOR = "x-forwarded-for";
    X_FORWARDED_HOST = "x-forwarded-host";
    X_FORWARDED_PORT = "x-forwarded-port";
    X_FORWARDED_PROTO = "x-forwarded-proto";
    X_FRAME_OPTIONS = "x-frame-options";
    X_REAL_IP = "x-real-ip";
    X_REQUESTED_WITH = "x-requested-with";
    X_REQUEST_ID = "x-request-id";

    X_ENVOY_ATTEMPT_COUNT = "x-envoy-attempt-count";
    X_ENVOY_AUTH_FAILURE_MODE_ALLOWED = "x-envoy-auth-failure-mode-allowed";
    X_ENVOY_AUTH_HEADERS_TO_REMOVE = "x-envoy-auth-headers-to-remove";
    X_ENVOY_AUTH_PARTIAL_BODY = "x-envoy-auth-partial-body";
    X_ENVOY_CLUSTER = "x-envoy-cluster";
    X_ENVOY_DECORATOR_OPERATION = "x-envoy-decorator-operation";
    X_ENVOY_DEGRADED = "x-envoy-degraded";
    X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER = "x-envoy-downstream-service-cluster";
    X_ENVOY_DOWNSTREAM_SERVICE_NODE = "x-envoy-downstream-service-node";
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS = "x-envoy-expected-rq-timeout-ms";
    X_ENVOY_EXTERNAL_ADDRESS = "x-envoy-external-address";
    X_ENVOY_FAULT_ABORT_GRPC_REQUEST = "x-envoy-fault-abort-grpc-request";
    X_ENVOY_FAULT_ABORT_REQUEST = "x-envoy-fault-abort-request";
    X_ENVOY_FAULT_ABORT_REQUEST_PERCENTAGE = "x-envoy-fault-abort-request-percentage";
    X_ENVOY_FAULT_DELAY_REQUEST = "x-envoy-fault-delay-request";
    X_ENVOY_FAULT_DELAY_REQUEST_PERCENTAGE = "x-envoy-fault-delay-request-percentage";
    X_ENVOY_FAULT_THROUGHPUT_RESPONSE = "x-envoy-fault-throughput-response";
    X_ENVOY_FAULT_THROUGHPUT_RESPONSE_PERCENTAGE = "x-envoy-fault-throughput-response-percentage";
    X_ENVOY_FORCE_TRACE = "x-envoy-force-trace";
    X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT = "x-envoy-hedge-on-per-try-timeout";
    X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL = "x-envoy-immediate-health-check-fail";
    X_ENVOY_INTERNAL = "x-envoy-internal";
    X_ENVOY_IP_TAGS = "x-envoy-ip-tags";
    X_ENVOY_IS_TIMEOUT_RETRY = "x-envoy-is-timeout-retry";
    X_ENVOY_LOCAL_OVERLOADED = "x-envoy-local-overloaded";
    X_ENVOY_MAX_RETRIES = "x-envoy-max-retries";
    X_ENVOY_ORIGINAL_DST_HOST = "x-envoy-original-dst-host";
    X_ENVOY_ORIGINAL_HOST = "x-envoy-original-host";
    X_ENVOY_ORIGINAL_METHOD = "x-envoy-original-method";
    X_ENVOY_ORIGINAL_PATH = "x-envoy-original-path";
    X_ENVOY_ORIGINAL_URL = "x-envoy-original-url";
    X_ENVOY_OVERLOADED = "x-envoy-overloaded";
    X_ENVOY_PEER_METADATA = "x-envoy-peer-metadata";
    X_ENVOY_PEER_METADATA_ID = "x-envoy-peer-metadata-id";
    X_ENVOY_RATE_LIMITED = "x-envoy-ratelimited";
    X_ENVOY_RETRIABLE_HEADER_NAMES = "x-envoy-retriable-header-names";
    X_ENVOY_RETRIABLE_STATUS_CODES = "x-envoy-retriable-status-codes";
    X_ENVOY_RETRY_GRPC_ON = "x-envoy-retry-grpc-on";
    X_ENVOY_RETRY_ON = "x-envoy-retry-on";
    X_ENVOY_UPSTREAM_ALT_STAT_NAME = "x-envoy-upstream-alt-stat-name";
    X_ENVOY_UPSTREAM_CANARY = "x-envoy-upstream-canary";
    X_ENVOY_UPSTREAM_HEALTHCHECKED_CLUSTER = "x-envoy-upstream-healthchecked-cluster";
    X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS = "x-envoy-upstream-rq-per-try-timeout-ms";
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE = "x-envoy-upstream-rq-timeout-alt-response";
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS = "x-envoy-upstream-rq-timeout-ms";
    X_ENVOY_UPSTREAM_SERVICE_TIME = "x-envoy-upstream-service-time";
    X_ENVOY_UPSTREAM_STREAM_DURATION_MS = "x-envoy-upstream-stream-duration-ms";
    X_RATELIMIT_LIMIT = "x-ratelimit-limit";
    X_RATELIMIT_REMAINING = "x-ratelimit-remaining";
    X_RATELIMIT_RESET = "x-ratelimit-reset";
}

/// `host`, which is `:authority` in a map.
pub const HOST: Known = AUTHORITY;

const _: () = assert!(NAMES.len() <= 256 && STATUS.0 == 6);

#[inline]
pub(in crate::http) const fn is_pseudo(id: u8) -> bool {
    id >= METHOD.0 && id <= STATUS.0
}

/// The text of a number; empty for zero.
#[inline]
pub(in crate::http) const fn known_text(id: u8) -> &'static str {
    NAMES[id as usize]
}

/// The number of a lower-case name, zero if it has none.
#[inline]
pub(in crate::http) fn lookup(name: &[u8]) -> u8 {
    find(name, |known| known == name)
}

/// The number of a name in any case, zero if it has none. `name` is a token.
#[inline]
pub(in crate::http) fn lookup_any_case(name: &[u8]) -> u8 {
    find(name, |known| is_lower_case_of(known, name))
}

#[inline]
fn find(name: &[u8], is_it: impl Fn(&[u8]) -> bool) -> u8 {
    let mut slot = hash(name);
    loop {
        let id = SLOTS[slot];
        if id == 0 || is_it(NAMES[id as usize].as_bytes()) {
            return if id == HOST_ON_THE_WIRE.0 { AUTHORITY.0 } else { id };
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

/// The bit that makes ASCII letters lower case. All other characters of the known names have it set.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// Whether `known`, a known name, is `token` in lower case. Setting one bit in every byte is enough to compare: what
/// would become `-` or a digit by it besides themselves are control characters, which no token has.
#[inline]
fn is_lower_case_of(known: &[u8], token: &[u8]) -> bool {
    if known.len() != token.len() {
        return false;
    }
    let (Some(known_tail), Some(token_tail)) = (known.last_chunk::<8>(), token.last_chunk::<8>()) else {
        return short_word(known) | LOWER == short_word(token) | LOWER;
    };
    let same =
        |known: &[u8; 8], token: &[u8; 8]| u64::from_le_bytes(*known) == u64::from_le_bytes(*token) | LOWER;
    let (known_words, _) = known.as_chunks::<8>();
    let (token_words, _) = token.as_chunks::<8>();
    same(known_tail, token_tail)
        && known_words.iter().zip(token_words).all(|(known, token)| same(known, token))
}

const SLOT_COUNT: usize = 1024;

/// Numbers by hash of their names, collisions in the next free slot.
static SLOTS: [u8; SLOT_COUNT] = {
    let mut slots = [0u8; SLOT_COUNT];
    let mut id = 1;
    while id < NAMES.len() {
        let mut slot = hash(NAMES[id].as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOT_COUNT;
        }
        slots[slot] = id as u8;
        id += 1;
    }
    slots
};

/// Mixes the length with the first and the last eight bytes, which tell the known names apart well. The same for a name
/// in upper case.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (short_word(name), 0),
    };
    let words = (head | LOWER) ^ (tail | LOWER).rotate_left(29) ^ ((name.len() as u64) << 56);
    (words.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

/// Up to seven bytes as a number.
#[inline]
const fn short_word(name: &[u8]) -> u64 {
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(head), Some(tail)) => {
            (u32::from_le_bytes(*head) as u64) | ((u32::from_le_bytes(*tail) as u64) << 32)
        }
        _ => {
            let mut word = 0;
            let mut index = 0;
            while index < name.len() {
                word = word << 8 | name[index] as u64;
                index += 1;
            }
            word
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header::is_token;

    #[test]
    fn every_known_name_is_found_by_its_text() {
        for (id, name) in NAMES.iter().enumerate().skip(1) {
            let expected = if id == HOST_ON_THE_WIRE.0 as usize { AUTHORITY.0 } else { id as u8 };
            assert_eq!(lookup(name.as_bytes()), expected, "{name}");
            assert!(is_token(name.trim_start_matches(':').as_bytes()));
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }

    #[test]
    fn case_does_not_matter_on_the_wire() {
        for (id, name) in NAMES.iter().enumerate().skip(7) {
            let expected = if id == HOST_ON_THE_WIRE.0 as usize { AUTHORITY.0 } else { id as u8 };
            assert_eq!(lookup_any_case(name.to_ascii_uppercase().as_bytes()), expected, "{name}");
            assert_eq!(lookup_any_case(name.as_bytes()), expected, "{name}");
            assert_eq!(lookup_any_case(name.replacen(char::is_alphabetic, "!", 1).as_bytes()), 0, "{name}");
        }
    }

    #[test]
    fn near_misses_have_no_number() {
        for name in ["", "a", "hos", "hosts", "content-lengt", "content-length ", "x-envoy-", ":statu"] {
            assert_eq!(lookup(name.as_bytes()), 0, "{name}");
        }
    }

    #[test]
    fn probing_stays_short() {
        let longest_run = SLOTS.split(|&id| id == 0).map(<[u8]>::len).max();
        assert!(longest_run < Some(8), "{longest_run:?}");
    }
}
