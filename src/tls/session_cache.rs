//! Sessions that a server keeps itself, for clients of TLS 1.2 that take no tickets (RFC 5246 7.3). Bounded in number
//! and bytes; the oldest go first. Shared by all workers, so that a client may come back to any of them: a lock is
//! taken for a moment in a full handshake, never later.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::server::StoresServerSessions;

/// Sessions that are kept.
const MAX_SESSIONS: usize = 20_480;
/// Bytes of all sessions that are kept.
const MAX_TOTAL_BYTES: usize = 16 << 20;

/// Sessions by their identifiers.
#[derive(Default)]
pub(super) struct SessionCache {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<Vec<u8>, Vec<u8>>,
    /// Identifiers, the oldest first; those that were taken meanwhile are skipped.
    order: VecDeque<Vec<u8>>,
    total_bytes: usize,
}

impl SessionCache {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn remove(&mut self, id: &[u8]) -> Option<Vec<u8>> {
        let session = self.by_id.remove(id)?;
        self.total_bytes -= id.len() + session.len();
        Some(session)
    }

    fn is_full(&self) -> bool {
        self.order.len() > MAX_SESSIONS || self.total_bytes > MAX_TOTAL_BYTES
    }
}

impl StoresServerSessions for SessionCache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut sessions = self.lock();
        sessions.remove(&key);
        sessions.total_bytes += key.len() + value.len();
        sessions.order.push_back(key.clone());
        sessions.by_id.insert(key, value);
        while sessions.is_full() {
            let Some(oldest) = sessions.order.pop_front() else { break };
            sessions.remove(&oldest);
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().by_id.get(key).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().remove(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Secrets are not printed.
impl fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_found_until_they_are_taken() {
        let cache = SessionCache::default();
        assert!(cache.put(b"a".to_vec(), b"one".to_vec()));
        assert!(cache.put(b"a".to_vec(), b"two".to_vec()));
        assert_eq!(cache.get(b"a").as_deref(), Some(&b"two"[..]));
        assert_eq!(cache.take(b"a").as_deref(), Some(&b"two"[..]));
        assert_eq!(cache.get(b"a"), None);
        assert_eq!(cache.lock().total_bytes, 0);
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let cache = SessionCache::default();
        for number in 0..MAX_SESSIONS + 10 {
            cache.put(number.to_be_bytes().to_vec(), vec![0; 8]);
        }
        let sessions = cache.lock();
        assert_eq!((sessions.by_id.len(), sessions.order.len()), (MAX_SESSIONS, MAX_SESSIONS));
        assert_eq!(sessions.total_bytes, MAX_SESSIONS * 16);
        drop(sessions);
        for number in 0..100_u8 {
            cache.put(vec![number], vec![0; 1 << 20]);
        }
        let sessions = cache.lock();
        assert!(sessions.total_bytes <= MAX_TOTAL_BYTES && sessions.by_id.contains_key(&[99][..]));
    }
}
