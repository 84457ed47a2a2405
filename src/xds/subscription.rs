//! The state of one subscription: which version is in force, what was wrong with the last one that is not,
//! and whether those who wait for the first one still wait. Sans-io: the time is an argument.
//!
//! ```text
//!            accept                       accept, reject
//!  Waiting ----------> Fetched  <-----------------------+
//!     |                   ^                             |
//!     | timeout           | accept                      |
//!     +--------------> GaveUp        (Fetched stays Fetched)
//! ```
//!
//! A rejected first version does not end the wait: nothing is in force yet, and a mended one may come in time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SubscriptionStats;
use crate::base::clock::{Instant, UnixTime};

/// A subscription.
#[derive(Debug)]
pub struct Subscription {
    stats: SubscriptionStats,
    state: FetchState,
    deadline: Option<Instant>,
    version: Option<String>,
    rejected: Option<Rejected>,
    /// What was last said in the log about a source that cannot be read.
    failure: Option<String>,
}

/// Whether the first resources have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchState {
    /// Not yet.
    Waiting,
    /// They have.
    Fetched,
    /// They have not, and nobody waits any longer.
    GaveUp,
}

/// A version that was rejected and not mended since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its `version_info`; may be empty.
    pub version: String,
    /// What is wrong with it: a line for each error.
    pub details: String,
    /// The same by the name of the resource that it is about; under the empty name what is about none.
    pub by_resource: BTreeMap<String, String>,
    /// When it was rejected.
    pub at: UnixTime,
}

impl Subscription {
    /// A subscription whose first resources are waited for from `now` on, at most for `initial_fetch_timeout`.
    pub fn new(
        stats: SubscriptionStats,
        initial_fetch_timeout: Option<Duration>,
        now: Instant,
    ) -> Subscription {
        Subscription {
            stats,
            state: FetchState::Waiting,
            deadline: initial_fetch_timeout.map(|timeout| now + timeout),
            version: None,
            rejected: None,
            failure: None,
        }
    }

    /// An update has come, or is fetched.
    pub fn attempt(&mut self) {
        self.stats.counts.update_attempt.inc();
    }

    /// The update was read, checked and applied, which took `took`.
    pub fn accept(&mut self, version: &str, now: UnixTime, took: Duration) {
        self.stats.accepted(version, now, took);
        self.state = FetchState::Fetched;
        self.deadline = None;
        self.version = Some(version.to_owned());
        self.rejected = None;
        self.failure = None;
    }

    /// The update is wrong; what was in force stays. Returns whether that is news: the same fault of the same
    /// version need not be told twice.
    pub fn reject(&mut self, rejected: Rejected) -> bool {
        self.stats.counts.update_rejected.inc();
        self.failure = None;
        let before = self.rejected.as_ref();
        let is_known = before
            .is_some_and(|before| before.version == rejected.version && before.details == rejected.details);
        self.rejected = Some(rejected);
        !is_known
    }

    /// There is nothing to be read. Returns whether that is news.
    pub fn fail(&mut self, details: &str) -> bool {
        self.stats.counts.update_failure.inc();
        let is_known = self.failure.as_deref() == Some(details);
        self.failure = Some(details.to_owned());
        !is_known
    }

    /// Ends the wait for the first resources if it has lasted long enough. True once.
    pub fn poll_timeout(&mut self, now: Instant) -> bool {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        self.deadline = None;
        self.state = FetchState::GaveUp;
        self.stats.counts.init_fetch_timeout.inc();
        true
    }

    /// Whether the first resources have come.
    pub fn state(&self) -> FetchState {
        self.state
    }

    /// When the wait ends; none if nobody waits, or for ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The version in force; none if there is none.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The last version, if it was rejected.
    pub fn rejected(&self) -> Option<&Rejected> {
        self.rejected.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;

    const SECOND: Duration = Duration::from_secs(1);

    fn subscription(timeout: Option<Duration>) -> (Registry, Subscription) {
        let registry = Registry::new();
        let stats = SubscriptionStats::register(&registry.scope(), "x.");
        let subscription = Subscription::new(stats, timeout, Instant::from_nanos(0));
        (registry, subscription)
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_secs(seconds)
    }

    const NOW: UnixTime = UnixTime::from_nanos(7);

    fn wrong(version: &str, details: &str) -> Rejected {
        let by_resource = BTreeMap::new();
        Rejected { version: version.to_owned(), details: details.to_owned(), by_resource, at: NOW }
    }

    #[test]
    fn the_wait_ends_with_the_first_version_or_in_time() {
        let (registry, mut subscription) = subscription(Some(15 * SECOND));
        assert!(subscription.reject(wrong("1", "wrong")));
        assert!(!subscription.poll_timeout(at(14)));
        assert_eq!(subscription.state(), FetchState::Waiting, "a rejected version is not waited for");
        assert!(subscription.poll_timeout(at(15)) && !subscription.poll_timeout(at(16)));
        assert_eq!(subscription.state(), FetchState::GaveUp);
        subscription.accept("2", NOW, SECOND);
        assert_eq!((subscription.state(), subscription.version()), (FetchState::Fetched, Some("2")));
        assert_eq!(registry.counter_value("x.init_fetch_timeout"), Some(1));
    }

    #[test]
    fn without_a_timeout_the_wait_has_no_end() {
        let (_registry, mut subscription) = subscription(None);
        assert!(!subscription.poll_timeout(Instant::FAR_FUTURE));
        subscription.accept("1", NOW, SECOND);
        assert_eq!(subscription.state(), FetchState::Fetched);
    }

    #[test]
    fn a_bad_version_leaves_the_one_in_force_and_is_told_once() {
        let (registry, mut subscription) = subscription(Some(SECOND));
        subscription.accept("1", NOW, SECOND);
        assert!(subscription.reject(wrong("2", "a")));
        assert!(!subscription.reject(wrong("2", "a")));
        assert!(subscription.reject(wrong("2", "b")), "another fault");
        assert!(subscription.reject(wrong("3", "b")), "another version");
        assert!(!subscription.poll_timeout(at(99)));
        assert_eq!(subscription.version(), Some("1"));
        assert_eq!(subscription.rejected().map(|it| it.version.as_str()), Some("3"));
        subscription.accept("4", NOW, SECOND);
        assert_eq!(subscription.rejected(), None);
        assert!(subscription.fail("gone") && !subscription.fail("gone"));
        assert!(subscription.reject(wrong("5", "a")) && subscription.fail("gone"));
        let counts = ["update_success", "update_rejected", "update_failure"]
            .map(|name| registry.counter_value(&format!("x.{name}")).unwrap_or(0));
        assert_eq!(counts, [2, 5, 3]);
    }
}
