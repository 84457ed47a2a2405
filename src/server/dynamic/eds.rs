//! Hosts of a cluster from a file (`envoy.config.endpoint.v3.ClusterLoadAssignment`).

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use crate::api::ConfigError;
use crate::config::cluster::{Cluster, DiscoveryType, EdsOptions};
use crate::config::{Context, FieldPath};
use crate::server::configuration::read_external;
use crate::upstream::Endpoints;
use crate::xds::{self, FileSubscription, Subscriber, SubscriptionStats, UpdateError, WatchError, resources};

use super::Surroundings;

struct Eds {
    around: Rc<Surroundings>,
    cluster: String,
    options: EdsOptions,
    endpoints: Endpoints,
}

/// Subscribes to the hosts of a cluster; none for one whose hosts are not discovered.
///
/// # Errors
/// If the file cannot be watched.
pub fn subscribe(
    around: &Rc<Surroundings>,
    cluster: &Cluster,
    endpoints: Endpoints,
) -> Result<Option<FileSubscription>, WatchError> {
    let DiscoveryType::Eds(options) = &cluster.discovery else { return Ok(None) };
    let prefix = format!("cluster.{}.", cluster.stat_name());
    let stats = SubscriptionStats::register(&around.registry.scope(), &prefix);
    let eds = Rc::new(Eds {
        around: Rc::clone(around),
        cluster: cluster.name.clone(),
        options: options.clone(),
        endpoints,
    });
    FileSubscription::start(&options.config_source, stats, &around.watcher()?, eds).map(Some)
}

impl Subscriber for Eds {
    fn name(&self) -> String {
        format!("eds '{}'", self.cluster)
    }

    fn update(&self, path: &Path) -> Result<String, UpdateError> {
        let began = Instant::now();
        let response = xds::load(path, resources::CLUSTER_LOAD_ASSIGNMENT)?;
        let refused = |errors: Vec<ConfigError>| UpdateError::refused(&response, errors);
        let resource = match &response.resources[..] {
            [] => {
                self.endpoints.keep();
                return Ok(response.version);
            }
            [resource] => resource,
            more => {
                let message = format!("Unexpected EDS resource length: {}", more.len());
                return Err(refused(vec![ConfigError::new("resources", message)]));
            }
        };
        let mut context = Context::new(&read_external);
        let expected = &self.options.service_name;
        if resource.name != *expected {
            let path = FieldPath(resource.path.clone()).field("cluster_name");
            let message = format!("Unexpected EDS cluster (expecting {expected}): {}", resource.name);
            context.error(&path, message);
        }
        let assignment = resources::load_assignment(resource, &mut context);
        let assignment = context.finish(assignment).map_err(refused)?;
        self.endpoints.assign(&assignment);
        self.around.ordered(began);
        Ok(response.version)
    }

    fn give_up(&self) {
        self.endpoints.give_up();
        self.around.progress.notify_one();
    }
}
