//! Sees files being replaced, by inotify, as Envoy does: when something is moved into a place, not when a
//! file is written to, which is seen half done. One watcher serves all who want to know; it runs on the
//! control thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::Notify;

use crate::log_warn;

/// Bytes of events that are taken from the kernel at once.
const EVENT_BUFFER_BYTES: usize = 4096;

/// Watches directories. Clones are handles to the same one.
#[derive(Clone)]
pub struct FileWatcher {
    inner: Rc<Inner>,
}

/// Somebody's interest in a file or a directory; it ends when this is dropped.
pub struct Watch {
    notify: Rc<Notify>,
    directory: WatchDescriptor,
    watcher: Weak<Inner>,
}

/// Why something cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch '{}': {source}", path.display())]
pub struct WatchError {
    /// The directory.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

struct Inner {
    kernel: RefCell<Watches>,
    directories: RefCell<HashMap<WatchDescriptor, Directory>>,
}

struct Directory {
    path: PathBuf,
    interests: Vec<Interest>,
}

struct Interest {
    /// None for whatever is moved there.
    name: Option<OsString>,
    notify: Rc<Notify>,
}

impl FileWatcher {
    /// A watcher of nothing yet. Must be made within a tokio `LocalSet`, on which it runs.
    ///
    /// # Errors
    /// If the system gives no inotify instance.
    pub fn start() -> io::Result<FileWatcher> {
        let events = Inotify::init()?.into_event_stream([0; EVENT_BUFFER_BYTES])?;
        let kernel = RefCell::new(events.watches());
        let inner = Rc::new(Inner { kernel, directories: RefCell::default() });
        tokio::task::spawn_local(follow(events, Rc::downgrade(&inner)));
        Ok(FileWatcher { inner })
    }

    /// Tells when a file is moved to `path`. There need not be one yet, but its directory must be there.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch_file(&self, path: &Path) -> Result<Watch, WatchError> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        self.watch(directory, path.file_name())
    }

    /// Tells when anything is moved into the directory at `path`.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch_directory(&self, path: &Path) -> Result<Watch, WatchError> {
        self.watch(path, None)
    }

    fn watch(&self, path: &Path, name: Option<&OsStr>) -> Result<Watch, WatchError> {
        let mask = WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        let directory = self
            .inner
            .kernel
            .borrow_mut()
            .add(path, mask)
            .map_err(|source| WatchError { path: path.to_owned(), source })?;
        let notify = Rc::new(Notify::new());
        let interest = Interest { name: name.map(OsStr::to_owned), notify: Rc::clone(&notify) };
        let mut directories = self.inner.directories.borrow_mut();
        let entry = directories.entry(directory.clone());
        let entry = entry.or_insert_with(|| Directory { path: path.to_owned(), interests: Vec::new() });
        entry.interests.push(interest);
        Ok(Watch { notify, directory, watcher: Rc::downgrade(&self.inner) })
    }
}

impl Watch {
    /// Completes when something was moved into place since the last time this completed (or since the watch
    /// began). Several moves may be told as one.
    pub async fn moved(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(watcher) = self.watcher.upgrade() else { return };
        let mut directories = watcher.directories.borrow_mut();
        let Some(directory) = directories.get_mut(&self.directory) else { return };
        directory.interests.retain(|interest| !Rc::ptr_eq(&interest.notify, &self.notify));
        if directory.interests.is_empty() {
            directories.remove(&self.directory);
            // It may be gone already, together with the directory.
            let _ = watcher.kernel.borrow_mut().remove(self.directory.clone());
        }
    }
}

/// Passes the kernel's events on until the watcher is gone.
async fn follow(mut events: EventStream<[u8; EVENT_BUFFER_BYTES]>, watcher: Weak<Inner>) {
    while let Some(event) = events.next().await {
        let Some(watcher) = watcher.upgrade() else { return };
        match event {
            Ok(event) => watcher.on_event(&event),
            Err(error) => {
                log_warn!(File, "files are not watched any more: {error}");
                return;
            }
        }
    }
}

impl Inner {
    fn on_event(&self, event: &EventOwned) {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            // Nobody knows what was missed: all look.
            let directories = self.directories.borrow();
            directories.values().flat_map(|it| &it.interests).for_each(|it| it.notify.notify_one());
            return;
        }
        let directories = self.directories.borrow();
        let Some(directory) = directories.get(&event.wd) else { return };
        if event.mask.contains(EventMask::IGNORED) {
            log_warn!(File, "'{}' is gone and is not watched any more", directory.path.display());
        }
        if event.mask.contains(EventMask::MOVED_TO) {
            let is_meant = |interest: &&Interest| {
                interest.name.as_deref().is_none_or(|name| Some(name) == event.name.as_deref())
            };
            directory.interests.iter().filter(is_meant).for_each(|interest| interest.notify.notify_one());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(10);

    /// Whether the watch tells of a move within a time that others' events need not take.
    async fn is_told(watch: &Watch) -> bool {
        timeout(Duration::from_millis(20), watch.moved()).await.is_ok()
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_file_is_seen_when_it_is_moved_into_place() {
        run(async {
            let dir = tempfile::tempdir().expect("a directory");
            let (path, other) = (dir.path().join("a"), dir.path().join("b"));
            let watcher = FileWatcher::start().expect("inotify");
            let watch = watcher.watch_file(&path).expect("watched");
            let directory = watcher.watch_directory(dir.path()).expect("watched");
            fs::write(&path, "x").expect("written");
            fs::write(&other, "y").expect("written");
            assert!(!is_told(&watch).await && !is_told(&directory).await, "writing is not moving");
            fs::rename(&other, &path).expect("renamed");
            timeout(SOON, watch.moved()).await.expect("told");
            timeout(SOON, directory.moved()).await.expect("told");
            fs::rename(&path, &other).expect("renamed");
            timeout(SOON, directory.moved()).await.expect("told");
            assert!(!is_told(&watch).await, "another file was moved into the directory");
        });
    }

    #[test]
    fn moves_while_nobody_waits_are_told_as_one() {
        run(async {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("a");
            let watcher = FileWatcher::start().expect("inotify");
            let watch = watcher.watch_file(&path).expect("watched");
            for number in 0..20 {
                let next = dir.path().join(number.to_string());
                fs::write(&next, "x").expect("written");
                fs::rename(&next, &path).expect("renamed");
            }
            timeout(SOON, watch.moved()).await.expect("told");
            assert!(!is_told(&watch).await);
        });
    }

    #[test]
    fn a_dropped_watch_leaves_nothing() {
        run(async {
            let dir = tempfile::tempdir().expect("a directory");
            let watcher = FileWatcher::start().expect("inotify");
            let first = watcher.watch_file(&dir.path().join("a")).expect("watched");
            let second = watcher.watch_file(&dir.path().join("b")).expect("watched");
            drop(first);
            assert_eq!(watcher.inner.directories.borrow().len(), 1);
            drop(second);
            assert!(watcher.inner.directories.borrow().is_empty());
            let error =
                watcher.watch_directory(Path::new("/nonexistent")).err().expect("refused").to_string();
            assert!(error.starts_with("cannot watch '/nonexistent': "), "{error}");
        });
    }
}
