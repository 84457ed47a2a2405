//! What filters share to turn their messages into settings: error collection and header conditions
//! (`envoy.config.route.v3.HeaderMatcher`). It knows no filter.

use envoy_types::pb::envoy::config::route::v3 as route;

use crate::api::ConfigError;
use crate::config::{Context, ExternalData, FieldPath, HeaderMatcher};
use crate::http::{HeaderMap, HeaderNameBuf};

/// Runs a conversion that reads no files.
///
/// # Errors
/// All that it recorded.
pub(super) fn convert<T>(conversion: impl FnOnce(&mut Context<'_>) -> T) -> Result<T, Vec<ConfigError>> {
    let refuse = |_: ExternalData<'_>| Err(std::io::ErrorKind::Unsupported.into());
    let mut context = Context::new(&refuse);
    let value = conversion(&mut context);
    context.finish(value)
}

/// Conditions on headers, all of which must hold; none always hold.
#[derive(Debug, Clone, Default)]
pub(super) struct HeaderConditions(Vec<(HeaderNameBuf, HeaderMatcher)>);

impl HeaderConditions {
    /// Converts the matchers in the field `headers` of the message at `path`.
    pub(super) fn from_proto(
        protos: &[route::HeaderMatcher],
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HeaderConditions {
        let matchers = HeaderMatcher::list(protos, path, "headers", context).into_iter();
        // The list has recorded an error about every name that is none.
        let named = matchers.filter_map(|matcher| Some((HeaderNameBuf::parse(&matcher.name).ok()?, matcher)));
        HeaderConditions(named.collect())
    }

    /// Whether all hold.
    pub(super) fn match_headers(&self, headers: &HeaderMap) -> bool {
        self.0.iter().all(|(name, matcher)| matcher.matches_values(headers.get_all(name)))
    }
}
