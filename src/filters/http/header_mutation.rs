//! Changes headers and trailers (`envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`):
//! the filter's own mutations, then those of the route's levels.
//!
//! Mutations run one after the other, each on what the ones before it left. Unlike Envoy, which then
//! sends a malformed message, this refuses to remove pseudo-headers and the host.

use std::sync::Arc;

use envoy_types::pb::envoy::config::common::mutation_rules::v3::{
    HeaderMutation as MutationProto, header_mutation::Action,
};
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3::{
    HeaderMutation as HeaderMutationProto, HeaderMutationPerRoute, Mutations as MutationsProto,
};

use crate::api::{ConfigError, MessageSupport};
use crate::config::{self, Context, FieldPath, HeaderToAdd, StringMatcher};
use crate::filters::BuildContext;
use crate::formatter::FormatContext;
use crate::http::{HeaderMap, RequestHead, ResponseHead};
use crate::routing::HeaderMutations;

use super::convert::convert;
use super::{
    BuiltFilter, DataAction, FilterContext, HeadAction, HttpFilter, HttpFilterDefinition, HttpFilterFactory,
    RouteConfig,
};

/// The header mutation filter's definition.
pub struct HeaderMutation;

impl HttpFilterDefinition for HeaderMutation {
    type Config = HeaderMutationProto;
    type RouteConfig = HeaderMutationPerRoute;

    const SUPPORT: &'static [MessageSupport] = &[
        MessageSupport::all("envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"),
        MessageSupport::all("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"),
        MessageSupport {
            message: "envoy.extensions.filters.http.header_mutation.v3.Mutations",
            honoured: &[
                "request_mutations",
                "response_mutations",
                "request_trailers_mutations",
                "response_trailers_mutations",
            ],
            no_effect: &[],
        },
        MessageSupport::all("envoy.config.common.mutation_rules.v3.HeaderMutation"),
        MessageSupport::all("envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch"),
    ];

    fn build(
        config: HeaderMutationProto,
        path: &FieldPath,
        _: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let shared = Arc::new(Shared {
            mutations: Mutations::from_proto(config.mutations.as_ref(), path)?,
            most_specific_wins: config.most_specific_header_mutations_wins,
        });
        Ok(BuiltFilter::Filter(Arc::new(Factory(shared))))
    }

    fn build_route(
        config: HeaderMutationPerRoute,
        path: &FieldPath,
    ) -> Result<RouteConfig, Vec<ConfigError>> {
        Ok(Arc::new(Mutations::from_proto(config.mutations.as_ref(), path)?))
    }
}

/// The mutations of one level.
#[derive(Debug, Default)]
struct Mutations {
    request: Vec<Mutation>,
    request_trailers: Vec<Mutation>,
    response: Vec<Mutation>,
    response_trailers: Vec<Mutation>,
}

#[derive(Debug)]
enum Mutation {
    /// One addition or removal.
    Change(HeaderMutations),
    /// Removes the headers whose names match.
    RemoveOnMatch(StringMatcher),
}

impl Mutations {
    fn from_proto(proto: Option<&MutationsProto>, path: &FieldPath) -> Result<Mutations, Vec<ConfigError>> {
        let Some(proto) = proto else { return Ok(Mutations::default()) };
        let path = path.field("mutations");
        convert(|context| {
            let mut list = |protos: &[MutationProto], name: &str| -> Vec<Mutation> {
                let protos = protos.iter().enumerate();
                protos
                    .filter_map(|(i, proto)| Mutation::from_proto(proto, &path.element(name, i), context))
                    .collect()
            };
            Mutations {
                request: list(&proto.request_mutations, "request_mutations"),
                request_trailers: list(&proto.request_trailers_mutations, "request_trailers_mutations"),
                response: list(&proto.response_mutations, "response_mutations"),
                response_trailers: list(&proto.response_trailers_mutations, "response_trailers_mutations"),
            }
        })
    }
}

impl Mutation {
    fn from_proto(proto: &MutationProto, path: &FieldPath, context: &mut Context<'_>) -> Option<Mutation> {
        let mut change = config::HeaderMutations::default();
        match &proto.action {
            Some(Action::Remove(name)) => {
                let path = path.field("remove");
                if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
                    context.error(&path, ":-prefixed or host headers may not be removed");
                }
                change.remove.push(context.header_name(name, &path));
            }
            Some(Action::Append(option)) => {
                change.add.push(HeaderToAdd::from_proto(option, &path.field("append"), context));
            }
            Some(Action::RemoveOnMatch(by)) => {
                let path = path.field("remove_on_match").field("key_matcher");
                let matcher = by.key_matcher.clone().unwrap_or_default();
                return Some(Mutation::RemoveOnMatch(StringMatcher::from_proto(&matcher, &path, context)));
            }
            None => {
                context.error(path, "one of remove, append and remove_on_match is required");
                return None;
            }
        }
        // What is wrong with names and formats is recorded above.
        HeaderMutations::compile(&change).ok().map(Mutation::Change)
    }

    fn remove_from(matcher: &StringMatcher, headers: &mut HeaderMap) {
        headers.retain(|name, _| {
            let name = name.as_str();
            name.starts_with(':') || !matcher.matches(name.as_bytes())
        });
    }
}

struct Shared {
    mutations: Mutations,
    /// The route's levels are applied from the table to the route, so that the route has the last word.
    most_specific_wins: bool,
}

impl Shared {
    /// Calls `apply` with the mutations of all levels in order.
    fn for_each_level(&self, cx: &FilterContext<'_>, mut apply: impl FnMut(&Mutations)) {
        apply(&self.mutations);
        let levels = cx.route_configs::<Mutations>();
        if self.most_specific_wins { levels.for_each(apply) } else { levels.rev().for_each(apply) }
    }
}

struct Factory(Arc<Shared>);

impl HttpFilterFactory for Factory {
    fn create(&self) -> Box<dyn HttpFilter> {
        Box::new(HeaderMutationFilter(Arc::clone(&self.0)))
    }
}

struct HeaderMutationFilter(Arc<Shared>);

impl HttpFilter for HeaderMutationFilter {
    fn decode_head(&mut self, cx: &mut FilterContext<'_>, request: &mut RequestHead, _: bool) -> HeadAction {
        let format = cx.format_context();
        self.0.for_each_level(cx, |level| {
            for mutation in &level.request {
                match mutation {
                    Mutation::Change(change) => change.apply_request(request, &format),
                    Mutation::RemoveOnMatch(names) => Mutation::remove_from(names, &mut request.headers),
                }
            }
        });
        HeadAction::Continue
    }

    fn decode_trailers(&mut self, cx: &mut FilterContext<'_>, trailers: &mut HeaderMap) -> DataAction {
        let format = cx.format_context();
        self.0.for_each_level(cx, |level| change_trailers(&level.request_trailers, trailers, &format));
        DataAction::Continue
    }

    fn encode_head(
        &mut self,
        cx: &mut FilterContext<'_>,
        response: &mut ResponseHead,
        _: bool,
    ) -> HeadAction {
        let format = cx.format_context();
        self.0.for_each_level(cx, |level| {
            for mutation in &level.response {
                match mutation {
                    Mutation::Change(change) => change.apply_response(response, &format),
                    Mutation::RemoveOnMatch(names) => Mutation::remove_from(names, &mut response.headers),
                }
            }
        });
        HeadAction::Continue
    }

    fn encode_trailers(&mut self, cx: &mut FilterContext<'_>, trailers: &mut HeaderMap) -> DataAction {
        let format = cx.format_context();
        self.0.for_each_level(cx, |level| change_trailers(&level.response_trailers, trailers, &format));
        DataAction::Continue
    }
}

fn change_trailers(mutations: &[Mutation], trailers: &mut HeaderMap, format: &FormatContext<'_>) {
    for mutation in mutations {
        match mutation {
            Mutation::Change(change) => change.apply_headers(trailers, format),
            Mutation::RemoveOnMatch(names) => Mutation::remove_from(names, trailers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::http::chain::Ending;
    use crate::filters::http::testing::{Stream, fields};
    use envoy_types::pb::envoy::config::common::mutation_rules::v3::header_mutation::RemoveOnMatch;
    use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;

    fn append(key: &str, value: &str, append_action: i32) -> MutationProto {
        let header = HeaderValue { key: key.into(), value: value.into(), ..HeaderValue::default() };
        let option =
            HeaderValueOption { header: Some(header), append_action, ..HeaderValueOption::default() };
        MutationProto { action: Some(Action::Append(option)) }
    }

    fn remove(name: &str) -> MutationProto {
        MutationProto { action: Some(Action::Remove(name.into())) }
    }

    fn remove_prefix(prefix: &str) -> MutationProto {
        let pattern = matcher::string_matcher::MatchPattern::Prefix(prefix.into());
        let key_matcher = matcher::StringMatcher { match_pattern: Some(pattern), ignore_case: false };
        MutationProto {
            action: Some(Action::RemoveOnMatch(RemoveOnMatch { key_matcher: Some(key_matcher) })),
        }
    }

    fn stream(proto: MutationsProto) -> Stream {
        let mutations = Mutations::from_proto(Some(&proto), &FieldPath::root()).expect("mutations");
        let shared = Arc::new(Shared { mutations, most_specific_wins: false });
        Stream::of(vec![Factory(shared).create()])
    }

    #[test]
    fn mutations_see_what_the_ones_before_them_left() {
        let request_mutations =
            vec![append("x-a", "1", 0), append("x-b", "%REQ(x-a)%", 0), remove("x-a"), append("x-a", "2", 0)];
        let mut stream = stream(MutationsProto { request_mutations, ..MutationsProto::default() });
        stream.request_head("GET", "/", &[("x-a", "0")], true);
        assert_eq!(fields(&stream.request.headers, "x-b"), ["0"]);
        assert_eq!(fields(&stream.request.headers, "x-a"), ["2"]);
    }

    #[test]
    fn names_are_removed_by_pattern_but_never_the_request_line() {
        let mut stream = stream(MutationsProto {
            request_mutations: vec![remove_prefix("x-"), remove_prefix(":")],
            ..MutationsProto::default()
        });
        stream.request_head("GET", "/p", &[("x-a", "1"), ("y", "1"), ("x-b", "1")], true);
        let names: Vec<_> = stream.request.headers.iter_without_pseudo().map(|(name, _)| name).collect();
        assert_eq!((names, stream.request.path()), (vec!["y"], &b"/p"[..]));
    }

    #[test]
    fn responses_and_trailers_are_changed_too() {
        let mut stream = stream(MutationsProto {
            response_mutations: vec![append("x-path", "%REQ(:PATH)%", 2)],
            response_trailers_mutations: vec![append("x-t", "down", 0)],
            request_trailers_mutations: vec![append("x-t", "up", 0), remove("x-gone")],
            ..MutationsProto::default()
        });
        stream.request_head("POST", "/p", &[], false);
        stream.request_trailers(&[("x-gone", "1")]);
        let Ending::Trailers(up) = stream.take_request_ending() else { panic!("trailers") };
        assert_eq!((fields(&up, "x-t"), up.len()), (vec!["up".to_owned()], 1));
        stream.response_head(200, &[("x-path", "old")], false);
        stream.response_trailers(&[]);
        assert_eq!(fields(&stream.response.headers, "x-path"), ["/p"]);
        let Ending::Trailers(down) = stream.encode.take_ending() else { panic!("trailers") };
        assert_eq!(fields(&down, "x-t"), ["down"]);
    }

    #[test]
    fn what_would_make_messages_malformed_is_refused_with_its_place() {
        let proto = MutationsProto {
            request_mutations: vec![remove("x"), remove(":path"), append("Host", "x", 0), remove("a b")],
            response_mutations: vec![MutationProto { action: None }],
            ..MutationsProto::default()
        };
        let errors = Mutations::from_proto(Some(&proto), &FieldPath::root()).expect_err("errors");
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "mutations.request_mutations[1].remove",
                "mutations.request_mutations[2].append.header.key",
                "mutations.request_mutations[3].remove",
                "mutations.response_mutations[0]",
            ]
        );
    }
}
