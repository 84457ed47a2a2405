//! Route tables against what Envoy 1.40 did with the same configuration and requests, and the indexes against
//! naive scans.

mod actions;
mod layout;
mod matching;
mod mutations;
mod properties;
mod reuse;

use envoy_types::pb::envoy::config::route::v3 as proto;

use super::{MatchContext, PerFilterError, RouteMatch, RouteTable};
use crate::api::proto_json::{UnknownFields, read};
use crate::api::{ConfigError, pool, yaml};
use crate::config::{self, FieldPath, RouteConfiguration, Runtime};
use crate::http::{Method, RequestHead};

/// Converts and compiles a route table written as in a file.
fn try_table(text: &str) -> Result<RouteTable, Vec<ConfigError>> {
    RouteTable::compile(&try_configuration(text)?, &|_, config| {
        Err(PerFilterError::UnknownType(config.type_name().to_owned()))
    })
}

/// The same for one without errors.
fn table(text: &str) -> RouteTable {
    try_table(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn configuration(text: &str) -> RouteConfiguration {
    try_configuration(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn try_configuration(text: &str) -> Result<RouteConfiguration, Vec<ConfigError>> {
    let document = yaml::parse(text, 0).expect("YAML");
    let desc = pool::pool()
        .get_message_by_name("envoy.config.route.v3.RouteConfiguration")
        .expect("part of the API");
    let root = document.root.expect("not only comments");
    let outcome = read(&desc, &root, UnknownFields::Refuse);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let message: proto::RouteConfiguration = outcome.message.transcode_to().expect("the same message");
    let refuse = |_: config::ExternalData<'_>| Err(std::io::ErrorKind::NotFound.into());
    let mut context = config::Context::new(&refuse);
    let converted = RouteConfiguration::from_proto(&message, false, &FieldPath::root(), &mut context);
    context.finish(converted)
}

/// A GET request. An empty path makes it a CONNECT request, which has none.
fn request(path: &str, host: &str, headers: &[(&str, &str)]) -> RequestHead {
    let method = if path.is_empty() { Method::Connect } else { Method::Get };
    let mut head = RequestHead::new(method, "http", host.as_bytes(), path.as_bytes());
    if path.is_empty() {
        head.headers.remove(":path");
    }
    for (name, value) in headers {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

/// The name of the route that takes a request; `-` for none, `tls` for a redirect to TLS.
fn route_name(table: &RouteTable, head: &RequestHead) -> String {
    let runtime = Runtime::default();
    match table.match_route(head, &MatchContext { random: 0, runtime: &runtime }) {
        RouteMatch::Route(matched) => matched.route.name.as_deref().unwrap_or_default().to_owned(),
        RouteMatch::RequireTls => "tls".to_owned(),
        RouteMatch::NotFound => "-".to_owned(),
    }
}
