//! `/config_dump`: the configuration in force, whole or in part.

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::admin::reply::Reply;
use crate::admin::routes::Call;

/// Shows all sections, or one `resource` of them; `mask` chooses fields, `name_regex` resources.
pub(super) fn show(call: &Call<'_>) -> Reply {
    answer(call).unwrap_or_else(|error| error)
}

/// Lists of resources in sections, and what their elements are (in `envoy.admin.v3`).
const RESOURCES: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
    ("ecds_filters", "EcdsConfigDump.EcdsFilterConfig"),
];

fn answer(call: &Call<'_>) -> Result<Reply, Reply> {
    let name_regex = call.query.get_set("name_regex").map(compile).transpose()?;
    let mask = call.query.get_set("mask").map(Mask::parse);
    let mut sections = call.state.config_dump(call.query.has("include_eds"));
    if let Some(regex) = &name_regex {
        sections.iter_mut().for_each(|section| retain_named(section, regex));
    }
    let mut configs = match call.query.get_set("resource") {
        Some(resource) => elements(sections, resource)?,
        None => sections,
    };
    if let Some(mask) = &mask {
        configs = configs.iter().filter_map(|config| mask.apply(config)).collect();
        if configs.is_empty() {
            let text = call.query.get("mask").unwrap_or_default();
            let error = format!("FieldMask {text} could not be successfully applied to any configs.");
            return Err(Reply::error(400, error));
        }
    }
    Ok(Reply::json(&if configs.is_empty() { json!({}) } else { json!({ "configs": configs }) }))
}

/// The elements of one list, each with its type.
fn elements(sections: Vec<Value>, resource: &str) -> Result<Vec<Value>, Reply> {
    let kind = RESOURCES.iter().find(|(name, _)| *name == resource);
    for mut section in sections {
        let Some(found) = section.get_mut(resource).map(Value::take) else { continue };
        let (Value::Array(elements), Some((_, kind))) = (found, kind) else {
            let error =
                format!("{resource} is not a repeated field. Use ?mask={resource} to get only this field");
            return Err(Reply::error(400, error));
        };
        let typed = elements.into_iter().map(|element| {
            let kind = format!("type.googleapis.com/envoy.admin.v3.{kind}");
            let mut typed = Map::from_iter([("@type".to_owned(), Value::from(kind))]);
            if let Value::Object(fields) = element {
                typed.extend(fields);
            }
            Value::Object(typed)
        });
        return Ok(typed.collect());
    }
    match kind {
        Some(_) => Ok(Vec::new()),
        None => Err(Reply::error(404, format!("{resource} not found in config dump"))),
    }
}

/// Keeps the resources whose names match; an empty list goes.
fn retain_named(section: &mut Value, regex: &Regex) {
    let Value::Object(fields) = section else { return };
    for (list, _) in RESOURCES {
        if let Some(Value::Array(elements)) = fields.get_mut(*list) {
            elements.retain(|element| resource_name(element).is_some_and(|name| regex.is_match(name)));
            if elements.is_empty() {
                fields.remove(*list);
            }
        }
    }
}

fn resource_name(element: &Value) -> Option<&str> {
    let inner = [
        ("cluster", "name"),
        ("listener", "name"),
        ("route_config", "name"),
        ("endpoint_config", "cluster_name"),
    ];
    let own = element.get("name");
    own.or_else(|| inner.iter().find_map(|(field, name)| element.get(field)?.get(name)))?.as_str()
}

/// A `google.protobuf.FieldMask`: paths whose names are separated by dots.
struct Mask {
    paths: Vec<Vec<String>>,
}

impl Mask {
    fn parse(text: &str) -> Mask {
        let paths = text.split(',').map(|path| path.split('.').map(str::to_owned).collect());
        Mask { paths: paths.collect() }
    }

    /// The value with these fields only (and its type); none if it has none of them.
    fn apply(&self, value: &Value) -> Option<Value> {
        let mut kept = Value::Object(Map::new());
        let mut found = false;
        for path in &self.paths {
            found |= copy(value, path, &mut kept);
        }
        found.then_some(kept)
    }
}

fn copy(from: &Value, path: &[String], to: &mut Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        *to = from.clone();
        return true;
    };
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return false };
    let Some(field) = from.get(first) else { return false };
    let mut inner = to.remove(first).unwrap_or_else(|| Value::Object(Map::new()));
    let found = copy(field, rest, &mut inner);
    if found {
        if let Some(kind) = from.get("@type") {
            to.insert("@type".to_owned(), kind.clone());
        }
        to.insert(first.clone(), inner);
    }
    found
}

fn compile(regex: &str) -> Result<Regex, Reply> {
    Regex::new(regex).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Reply::error(400, format!("INVALID_ARGUMENT: Error while parsing name_regex from {regex}: {reason}"))
    })
}
