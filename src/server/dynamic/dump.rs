//! What `/config_dump` shows of dynamic configuration (`envoy.admin.v3.ClustersConfigDump` and its kin).

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use crate::api::proto_json::time_text::format_timestamp;
use crate::base::clock::UnixTime;
use crate::xds::Rejected;
use crate::xds::resources::{CLUSTER, LISTENER, ROUTE_CONFIGURATION, SECRET};

use super::Resource;

/// Clusters that came with updates.
#[derive(Default)]
pub struct ClusterDump {
    /// The version in force.
    pub version: String,
    /// Clusters that serve.
    pub active: Vec<Rc<Resource>>,
    /// Clusters whose hosts are not known yet.
    pub warming: Vec<Rc<Resource>>,
    /// The last update, if it was rejected.
    pub rejected: Option<Rejected>,
}

/// Listeners that came with updates, by name.
#[derive(Default)]
pub struct ListenerDump {
    /// The version in force.
    pub version: String,
    /// Listeners that serve.
    pub active: Vec<(String, Rc<Resource>)>,
    /// Listeners that lack something yet.
    pub warming: Vec<(String, Rc<Resource>)>,
    /// Listeners whose connections are ending.
    pub draining: Vec<(String, Rc<Resource>)>,
    /// The last update, if it was rejected.
    pub rejected: Option<Rejected>,
}

/// A discovered route table.
pub struct RouteDump {
    /// Itself, if it has come.
    pub resource: Option<Resource>,
    /// The last update, if it was rejected.
    pub rejected: Option<Rejected>,
}

/// A discovered secret.
pub struct SecretDump {
    /// Its name.
    pub name: String,
    /// Itself, if it has come.
    pub resource: Option<Rc<Resource>>,
    /// The last update, if it was rejected.
    pub rejected: Option<Rejected>,
}

impl SecretDump {
    /// As `envoy.admin.v3.SecretsConfigDump.DynamicSecret`. What must not be seen is not there.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        set_text(&mut fields, "name", &self.name);
        match &self.resource {
            Some(resource) => fields.extend(dynamic(resource, "secret", SECRET)),
            None => set_text(&mut fields, "version_info", "uninitialized"),
        }
        if let Some(rejected) = &self.rejected {
            fields.insert("error_state".to_owned(), error_state(rejected, &rejected.details));
        }
        fields.into()
    }
}

impl ClusterDump {
    /// Adds the fields of `envoy.admin.v3.ClustersConfigDump`.
    pub fn write(&self, section: &mut Map<String, Value>) {
        set_text(section, "version_info", &self.version);
        let mut errors = errors_by_name(self.rejected.as_ref());
        let mut list = |clusters: &[Rc<Resource>]| -> Vec<Value> {
            let shown = clusters.iter().map(|cluster| {
                let mut fields = dynamic(cluster, "cluster", CLUSTER);
                let name = cluster.json.get("name").and_then(Value::as_str).unwrap_or_default();
                fields.extend(errors.remove(name).map(|error| ("error_state".to_owned(), error)));
                Value::from(fields)
            });
            shown.collect()
        };
        let active = list(&self.active);
        let mut warming = list(&self.warming);
        // What is wrong with clusters that are not there.
        warming.extend(errors.into_values().map(|error| json!({ "error_state": error })));
        set_list(section, "dynamic_active_clusters", active);
        set_list(section, "dynamic_warming_clusters", warming);
    }
}

impl ListenerDump {
    /// Adds the fields of `envoy.admin.v3.ListenersConfigDump`.
    pub fn write(&self, section: &mut Map<String, Value>) {
        set_text(section, "version_info", &self.version);
        let mut listeners: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        let states = [
            ("active_state", &self.active),
            ("warming_state", &self.warming),
            ("draining_state", &self.draining),
        ];
        for (state, of_state) in states {
            for (name, resource) in of_state {
                let shown = dynamic(resource, "listener", LISTENER).into();
                listeners.entry(name.clone()).or_default().insert(state.to_owned(), shown);
            }
        }
        for (name, error) in errors_by_name(self.rejected.as_ref()) {
            listeners.entry(name).or_default().insert("error_state".to_owned(), error);
        }
        let list = listeners.into_iter().map(|(name, fields)| {
            let mut listener = Map::new();
            set_text(&mut listener, "name", &name);
            listener.extend(fields);
            Value::from(listener)
        });
        set_list(section, "dynamic_listeners", list.collect());
    }
}

impl RouteDump {
    /// As `envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig`; none if there is nothing to show.
    pub fn to_json(&self) -> Option<Value> {
        let mut fields = match &self.resource {
            Some(resource) => dynamic(resource, "route_config", ROUTE_CONFIGURATION),
            None => Map::new(),
        };
        if let Some(rejected) = &self.rejected {
            fields.insert("error_state".to_owned(), error_state(rejected, &rejected.details));
        }
        (!fields.is_empty()).then(|| fields.into())
    }
}

/// A resource with its type, its version and its time.
fn dynamic(resource: &Resource, field: &str, message: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    set_text(&mut fields, "version_info", &resource.version);
    let mut inner =
        Map::from_iter([("@type".to_owned(), Value::from(format!("type.googleapis.com/{message}")))]);
    inner.extend(resource.json.as_object().cloned().unwrap_or_default());
    fields.insert(field.to_owned(), inner.into());
    fields.insert("last_updated".to_owned(), timestamp(resource.updated).into());
    fields
}

/// What is wrong with each resource.
fn errors_by_name(rejected: Option<&Rejected>) -> BTreeMap<String, Value> {
    let Some(rejected) = rejected else { return BTreeMap::new() };
    let errors = rejected.by_resource.iter();
    errors.map(|(name, details)| (name.clone(), error_state(rejected, details))).collect()
}

/// `envoy.admin.v3.UpdateFailureState`.
fn error_state(rejected: &Rejected, details: &str) -> Value {
    let mut fields = Map::new();
    fields.insert("last_update_attempt".to_owned(), timestamp(rejected.at).into());
    fields.insert("details".to_owned(), details.into());
    set_text(&mut fields, "version_info", &rejected.version);
    fields.into()
}

/// `google.protobuf.Timestamp`, to the millisecond as Envoy shows it.
pub fn timestamp(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    format_timestamp(seconds, (at.subsec_nanos() / 1_000_000 * 1_000_000).cast_signed())
}

fn set_text(fields: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        fields.insert(name.to_owned(), text.into());
    }
}

/// Sets a list, unless it is empty.
pub fn set_list(fields: &mut Map<String, Value>, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        fields.insert(name.to_owned(), list.into());
    }
}
