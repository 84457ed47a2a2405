//! Which upgrades of HTTP connections are passed through
//! (`HttpConnectionManager.UpgradeConfig`, `envoy.config.route.v3.RouteAction.UpgradeConfig`).

use envoy_types::pb::google::protobuf::BoolValue;

use super::context::wrapped_or;
use super::{Context, FieldPath};

/// Upgrades that one level of the configuration speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UpgradeConfigs(Vec<UpgradeConfig>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct UpgradeConfig {
    /// In lower case.
    upgrade_type: String,
    enabled: bool,
}

impl UpgradeConfigs {
    /// Converts the field `upgrade_configs` of the message at `path`, given as names and switches.
    pub(super) fn from_protos<'a>(
        protos: impl Iterator<Item = (&'a str, &'a Option<BoolValue>)>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> UpgradeConfigs {
        let mut configs = UpgradeConfigs::default();
        for (i, (name, enabled)) in protos.enumerate() {
            let path = path.element("upgrade_configs", i).field("upgrade_type");
            let upgrade_type = name.to_ascii_lowercase();
            if upgrade_type == "connect" || upgrade_type == "connect-udp" {
                context.error(&path, format!("{name} is not implemented yet"));
            }
            if configs.find(upgrade_type.as_bytes()).is_some() {
                context.error(&path, format!("multiple upgrade configs with the same name: '{name}'"));
            }
            configs.0.push(UpgradeConfig { upgrade_type, enabled: wrapped_or!(enabled, true) });
        }
        configs
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an upgrade to this protocol (in any case) is allowed; none if nothing is said of it.
    pub fn find(&self, upgrade_type: &[u8]) -> Option<bool> {
        let is_meant = |config: &&UpgradeConfig| {
            config.upgrade_type.as_bytes().eq_ignore_ascii_case(upgrade_type.trim_ascii())
        };
        self.0.iter().find(is_meant).map(|config| config.enabled)
    }
}
