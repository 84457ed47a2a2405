//! Dynamic configuration: what listeners, clusters, route tables and hosts are told while the process serves.
//!
//! [`Subscription`] is the state of one subscription, whatever brings its resources: it knows no clock and no
//! I/O. [`FileWatcher`] sees files change, for whoever needs that; [`FileSubscription`] joins the two. What an
//! update means is the business of the [`Subscriber`], which the server provides.

mod file;
mod file_subscription;
pub mod resources;
mod response;
mod route_reader;
mod stats;
mod subscription;

pub use file::{FileWatcher, Watch, WatchError};
pub use file_subscription::{FileSubscription, Subscriber};
pub use response::{UpdateError, load};
pub use route_reader::{Read, RouteReader};
pub use stats::SubscriptionStats;
pub use subscription::{FetchState, Rejected, Subscription};
