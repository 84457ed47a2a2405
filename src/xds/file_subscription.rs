//! A subscription whose resources are in a file: read at once, and again whenever another file is moved into
//! its place.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::AbortHandle;

use super::{
    FetchState, FileWatcher, Rejected, Subscription, SubscriptionStats, UpdateError, Watch, WatchError,
};
use crate::base::clock::{self, UnixTime};
use crate::config::ConfigSource;
use crate::{log_info, log_warn};

/// Who wants the resources. Called on the control thread.
pub trait Subscriber {
    /// What is subscribed to, for the log: `lds`, `rds 'table'`.
    fn name(&self) -> String;

    /// Reads the file and puts what it says into force, or nothing of it. Gives the version.
    ///
    /// # Errors
    /// Why it is not in force.
    fn update(&self, path: &Path) -> Result<String, UpdateError>;

    /// The first resources have not come in time.
    fn give_up(&self);
}

/// A subscription to a file; it ends when this is dropped.
pub struct FileSubscription {
    state: Rc<RefCell<Subscription>>,
    task: AbortHandle,
}

impl FileSubscription {
    /// Reads the file, and again whenever it is replaced. Must be called within a tokio `LocalSet`.
    ///
    /// # Errors
    /// If the file cannot be watched. That it cannot be read is no error here.
    pub fn start(
        source: &ConfigSource,
        stats: SubscriptionStats,
        watcher: &FileWatcher,
        subscriber: Rc<dyn Subscriber>,
    ) -> Result<FileSubscription, WatchError> {
        let file = source.file();
        // Before the file is read, so that no change is missed.
        let watch = match &file.watched_directory {
            Some(directory) => watcher.watch_directory(Path::new(directory))?,
            None => watcher.watch_file(Path::new(&file.path))?,
        };
        let began = Instant::now();
        let subscription =
            Subscription::new(stats, source.initial_fetch_timeout, clock::Instant::from_nanos(0));
        let state = Rc::new(RefCell::new(subscription));
        let follower =
            Follower { path: file.path.clone().into(), state: Rc::clone(&state), subscriber, began };
        follower.refresh();
        let task = tokio::task::spawn_local(follower.follow(watch)).abort_handle();
        Ok(FileSubscription { state, task })
    }

    /// Whether the first resources have come.
    pub fn state(&self) -> FetchState {
        self.state.borrow().state()
    }

    /// The version in force; empty if there is none.
    pub fn version(&self) -> String {
        self.state.borrow().version().unwrap_or_default().to_owned()
    }

    /// The last version, if it was rejected.
    pub fn rejected(&self) -> Option<Rejected> {
        self.state.borrow().rejected().cloned()
    }
}

impl Drop for FileSubscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    path: PathBuf,
    state: Rc<RefCell<Subscription>>,
    subscriber: Rc<dyn Subscriber>,
    /// The beginning of the subscription's own time.
    began: Instant,
}

impl Follower {
    async fn follow(self, watch: Watch) {
        loop {
            let deadline = self.state.borrow().deadline();
            match deadline {
                None => watch.moved().await,
                Some(deadline) => {
                    let at = self.began + Duration::from_nanos(deadline.as_nanos());
                    tokio::select! {
                        () = watch.moved() => {}
                        () = tokio::time::sleep_until(at.into()) => {
                            self.time_out();
                            continue;
                        }
                    }
                }
            }
            self.refresh();
        }
    }

    fn time_out(&self) {
        let now = clock::Instant::from_nanos(nanos(self.began.elapsed()));
        let gave_up = self.state.borrow_mut().poll_timeout(now);
        if gave_up {
            let name = self.subscriber.name();
            log_warn!(Config, "{name}: nothing came from {} in time", self.path.display());
            self.subscriber.give_up();
        }
    }

    fn refresh(&self) {
        let began = Instant::now();
        self.state.borrow_mut().attempt();
        // The subscriber may look at subscriptions meanwhile.
        let outcome = self.subscriber.update(&self.path);
        let name = self.subscriber.name();
        let mut state = self.state.borrow_mut();
        match outcome {
            Ok(version) => {
                let took = began.elapsed();
                state.accept(&version, unix_now(), took);
                log_info!(Config, "{name} update accepted in {took:?}, version '{version}'");
            }
            Err(error @ UpdateError::Unreadable(_)) => {
                let lines = error.lines();
                if state.fail(&lines.join("\n")) {
                    log_warn!(Config, "{name} update failure: {}", shown(&lines));
                }
            }
            Err(error) => {
                let (lines, version) = (error.lines(), error.version());
                let is_news = state.reject(Rejected {
                    version: version.to_owned(),
                    details: lines.join("\n"),
                    by_resource: error.by_resource(),
                    at: unix_now(),
                });
                if is_news {
                    log_warn!(Config, "{name} update rejected, version '{version}': {}", shown(&lines));
                }
            }
        }
    }
}

/// The first error; the others are in `/config_dump`.
fn shown(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more errors)", rest.len()),
    }
}

fn unix_now() -> UnixTime {
    UnixTime::from_nanos(nanos(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
