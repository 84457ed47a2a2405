//! What workers may still use after it was replaced: kept until they do not, so that it is the control thread
//! that frees it. Freeing a large route table takes longer than a worker may pause.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How often the control thread looks whether something can be freed, while there is something.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);

type Item = Arc<dyn Any + Send + Sync>;

/// Values on their way out. Clones are handles to the same list.
#[derive(Clone, Default)]
pub struct Retired {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    items: Mutex<Vec<Item>>,
    more: Notify,
}

impl Retired {
    /// Keeps a value until nobody else has it.
    pub fn keep<T: Any + Send + Sync>(&self, value: Arc<T>) {
        self.items().push(value);
        self.shared.more.notify_one();
    }

    /// Frees what nobody else has, from time to time; for ever. After each round in which something was freed
    /// `freed` is called.
    pub async fn sweep(&self, freed: impl Fn()) {
        loop {
            self.shared.more.notified().await;
            while !self.items().is_empty() {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                if self.free() {
                    freed();
                }
            }
        }
    }

    /// Frees what nobody else has. Whether there was something.
    fn free(&self) -> bool {
        let mut items = self.items();
        // Nobody can get hold of a value that only this list has.
        let (kept, unused): (Vec<Item>, Vec<Item>) =
            items.drain(..).partition(|item| Arc::strong_count(item) > 1);
        *items = kept;
        // Freed without the lock: whoever lets go of a value may retire another one.
        drop(items);
        !unused.is_empty()
    }

    fn items(&self) -> MutexGuard<'_, Vec<Item>> {
        self.shared.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_freed_once_nobody_else_has_it() {
        let retired = Retired::default();
        let (used, unused) = (Arc::new(1), Arc::new(2));
        let weak = [Arc::downgrade(&used), Arc::downgrade(&unused)];
        retired.keep(Arc::clone(&used));
        retired.keep(unused);
        assert!(retired.free());
        assert_eq!(weak.each_ref().map(|value| value.strong_count()), [2, 0]);
        assert!(!retired.free());
        drop(used);
        assert!(retired.free());
        assert_eq!(weak[0].strong_count(), 0);
    }
}
