//! Session tickets (RFC 5077 4, RFC 8446 4.6.1): sealed with keys that many processes may share (Envoy's
//! `TlsSessionTicketKeys`), or with random ones that are replaced from time to time.
//!
//! A ticket is `key name (16) ‖ IV (16) ‖ AES-256-CBC(time of issue (8) ‖ state) ‖ HMAC-SHA-256`. The MAC also covers what
//! the ticket may be used for (certificates, rules for clients), so that a ticket of one filter chain is none for
//! another, even with the same keys.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hmac, rand};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use super::TlsError;

/// Length of a configured key.
pub const TICKET_KEY_BYTES: usize = NAME_BYTES + 2 * SECRET_BYTES;
/// How long a ticket can be used unless configured otherwise; BoringSSL's default.
pub const DEFAULT_SESSION_TIMEOUT_S: u32 = 2 * 60 * 60;

/// Longest that a ticket may live (RFC 8446 4.6.1).
const MAX_LIFETIME_S: u32 = 7 * 24 * 60 * 60;
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const IV_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
/// Random keys are used for this long; their tickets are accepted for as long again.
const RANDOM_KEY_LIFE_S: u64 = 24 * 60 * 60;

/// A key as it is configured: name, key of the MAC, key of the cipher.
#[derive(Clone)]
pub struct TicketKey {
    name: [u8; NAME_BYTES],
    mac: hmac::Key,
    cipher: [u8; SECRET_BYTES],
}

/// Makes and reads tickets.
pub(super) struct Ticketer {
    keys: Keys,
    lifetime_s: u32,
    /// What tickets are bound to.
    binding: [u8; 32],
    time: Arc<dyn TimeProvider>,
}

enum Keys {
    /// The first one seals, all of them open.
    Configured(Vec<Arc<TicketKey>>),
    /// Made here; taken for a moment at each handshake, changed once a day.
    Random(RwLock<RandomKeys>),
}

struct RandomKeys {
    current: Arc<TicketKey>,
    previous: Option<Arc<TicketKey>>,
    /// When `current` was made, in seconds since the Unix epoch.
    made_at: u64,
}

impl TicketKey {
    /// A configured key; none unless it has [`TICKET_KEY_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Option<TicketKey> {
        let bytes: &[u8; TICKET_KEY_BYTES] = bytes.try_into().ok()?;
        let (name, secrets) = bytes.split_first_chunk()?;
        let (mac, cipher) = secrets.split_first_chunk::<SECRET_BYTES>()?;
        Some(TicketKey {
            name: *name,
            mac: hmac::Key::new(hmac::HMAC_SHA256, mac),
            cipher: cipher.try_into().ok()?,
        })
    }

    fn random() -> Result<Arc<TicketKey>, TlsError> {
        let mut bytes = [0; TICKET_KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| TlsError::Internal)?;
        TicketKey::from_bytes(&bytes).map(Arc::new).ok_or(TlsError::Internal)
    }

    fn seal(&self, plain: &[u8], binding: &[u8]) -> Option<Vec<u8>> {
        let key = UnboundCipherKey::new(&AES_256, &self.cipher).ok()?;
        let mut ticket = plain.to_vec();
        let context = PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()?.encrypt(&mut ticket).ok()?;
        let iv: &[u8] = (&context).try_into().ok()?;
        let mut sealed = Vec::with_capacity(NAME_BYTES + IV_BYTES + ticket.len() + MAC_BYTES);
        sealed.extend_from_slice(&self.name);
        sealed.extend_from_slice(iv);
        sealed.extend_from_slice(&ticket);
        let mac = hmac::sign(&self.mac, &[&sealed, binding].concat());
        sealed.extend_from_slice(mac.as_ref());
        Some(sealed)
    }

    fn open(&self, ticket: &[u8], binding: &[u8]) -> Option<Vec<u8>> {
        let (body, mac) = ticket.split_at_checked(ticket.len().checked_sub(MAC_BYTES)?)?;
        hmac::verify(&self.mac, &[body, binding].concat(), mac).ok()?;
        let (iv, encrypted) = body.get(NAME_BYTES..)?.split_first_chunk::<IV_BYTES>()?;
        let key = UnboundCipherKey::new(&AES_256, &self.cipher).ok()?;
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        let mut plain = encrypted.to_vec();
        let len = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?.decrypt(&mut plain, context).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl Ticketer {
    /// Seals with the first of `keys`, or, if there are none, with random ones. Tickets live for `lifetime_s` seconds, a
    /// week at most, and are bound to `binding`.
    pub(super) fn new(
        keys: Vec<TicketKey>,
        lifetime_s: u32,
        binding: [u8; 32],
        time: Arc<dyn TimeProvider>,
    ) -> Result<Ticketer, TlsError> {
        let keys = if keys.is_empty() {
            let made_at = time.current_time().map_or(0, |now| now.as_secs());
            Keys::Random(RwLock::new(RandomKeys { current: TicketKey::random()?, previous: None, made_at }))
        } else {
            Keys::Configured(keys.into_iter().map(Arc::new).collect())
        };
        Ok(Ticketer { keys, lifetime_s: lifetime_s.min(MAX_LIFETIME_S), binding, time })
    }

    fn now(&self) -> Option<u64> {
        self.time.current_time().map(|now| now.as_secs())
    }

    /// The key that seals.
    fn sealing_key(&self, now: u64) -> Option<Arc<TicketKey>> {
        match &self.keys {
            Keys::Configured(keys) => keys.first().cloned(),
            Keys::Random(keys) => {
                let is_old = |keys: &RandomKeys| now >= keys.made_at + RANDOM_KEY_LIFE_S;
                {
                    let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
                    if !is_old(&keys) {
                        return Some(keys.current.clone());
                    }
                }
                let fresh = TicketKey::random().ok()?;
                let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
                // Another worker may have been faster.
                if is_old(&keys) {
                    keys.previous = Some(std::mem::replace(&mut keys.current, fresh));
                    keys.made_at = now;
                }
                Some(keys.current.clone())
            }
        }
    }

    /// The key of that name.
    fn opening_key(&self, name: &[u8]) -> Option<Arc<TicketKey>> {
        match &self.keys {
            Keys::Configured(keys) => keys.iter().find(|key| key.name == name).cloned(),
            Keys::Random(keys) => {
                let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
                [Some(&keys.current), keys.previous.as_ref()]
                    .into_iter()
                    .flatten()
                    .find(|key| key.name == name)
                    .cloned()
            }
        }
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = self.now()?;
        self.sealing_key(now)?.seal(&[&now.to_be_bytes(), plain].concat(), &self.binding)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.opening_key(cipher.get(..NAME_BYTES)?)?.open(cipher, &self.binding)?;
        let issued_at = u64::from_be_bytes(*plain.first_chunk()?);
        if self.now()?.saturating_sub(issued_at) > u64::from(self.lifetime_s) {
            return None;
        }
        plain.drain(..TIME_BYTES);
        Some(plain)
    }
}

/// Secrets are not printed.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::FixedTime;

    const START: u64 = 1_700_000_000;

    fn key(seed: u8) -> TicketKey {
        TicketKey::from_bytes(&[seed; TICKET_KEY_BYTES]).expect("80 bytes")
    }

    fn ticketer(keys: Vec<TicketKey>, binding: u8, time: &Arc<FixedTime>) -> Ticketer {
        Ticketer::new(keys, 100, [binding; 32], Arc::clone(time) as Arc<dyn TimeProvider>)
            .expect("random numbers")
    }

    #[test]
    fn keys_have_eighty_bytes() {
        assert!(TicketKey::from_bytes(&[0; 79]).is_none() && TicketKey::from_bytes(&[0; 81]).is_none());
    }

    #[test]
    fn all_keys_open_and_the_first_one_seals() {
        let time = FixedTime::at(START);
        let old = ticketer(vec![key(1)], 0, &time);
        let new = ticketer(vec![key(2), key(1)], 0, &time);
        let ticket = old.encrypt(b"state").expect("a ticket");
        assert_eq!(new.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        let ticket = new.encrypt(b"state").expect("a ticket");
        assert_eq!(old.decrypt(&ticket), None);
        assert_ne!(new.encrypt(b"state"), Some(ticket), "never the same twice");
    }

    #[test]
    fn a_ticket_is_bound_and_expires() {
        let time = FixedTime::at(START);
        let one = ticketer(vec![key(1)], 1, &time);
        let ticket = one.encrypt(b"state").expect("a ticket");
        assert_eq!(ticketer(vec![key(1)], 2, &time).decrypt(&ticket), None);
        time.set(START + 100);
        assert!(one.decrypt(&ticket).is_some());
        time.set(START + 101);
        assert_eq!(one.decrypt(&ticket), None);
    }

    #[test]
    fn random_keys_are_replaced_and_kept_for_one_more_life() {
        let time = FixedTime::at(START);
        let mut ticketer = ticketer(Vec::new(), 0, &time);
        ticketer.lifetime_s = u32::MAX;
        let first = ticketer.encrypt(b"state").expect("a ticket");
        time.set(START + RANDOM_KEY_LIFE_S);
        let second = ticketer.encrypt(b"state").expect("a ticket");
        assert_ne!(first[..NAME_BYTES], second[..NAME_BYTES]);
        assert!(ticketer.decrypt(&first).is_some() && ticketer.decrypt(&second).is_some());
        time.set(START + 2 * RANDOM_KEY_LIFE_S);
        ticketer.encrypt(b"state").expect("a ticket");
        assert!(ticketer.decrypt(&first).is_none() && ticketer.decrypt(&second).is_some());
    }

    proptest! {
        #[test]
        fn damaged_tickets_open_as_nothing(state: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8, cut: prop::sample::Index) {
            let ticketer = ticketer(vec![key(1)], 0, &FixedTime::at(START));
            let ticket = ticketer.encrypt(&state).expect("a ticket");
            prop_assert_eq!(ticketer.decrypt(&ticket), Some(state));
            let mut damaged = ticket.clone();
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            prop_assert_eq!(ticketer.decrypt(&damaged), None);
            prop_assert_eq!(ticketer.decrypt(&ticket[..cut.index(ticket.len())]), None);
        }
    }
}
