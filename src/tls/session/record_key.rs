//! The keys of one direction of an established session: seals and opens records (RFC 8446 5.2;
//! RFC 5246 6.2.3.3 with RFC 5288 and RFC 7905 for TLS 1.2).
//!
//! Knows nothing of messages. Keys come from rustls once its handshake is complete.

use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use crate::tls::{TlsError, TlsVersion};

/// Largest content of a record (RFC 8446 5.1).
pub(super) const MAX_FRAGMENT_BYTES: usize = 1 << 14;
/// Type, version, length.
pub(super) const HEADER_BYTES: usize = 5;
/// Most that may follow a header in TLS 1.3.
const MAX_TLS13_BODY_BYTES: usize = MAX_FRAGMENT_BYTES + 256;
/// Most that may follow a header in TLS 1.2 with the suites that are implemented.
const MAX_TLS12_BODY_BYTES: usize = MAX_FRAGMENT_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES;
const TAG_BYTES: usize = 16;
const EXPLICIT_NONCE_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
/// Records under one AES-GCM key after which it should be replaced (2^24; RFC 8446 5.5 allows 2^24.5).
const GCM_SOFT_LIMIT: u64 = 1 << 24;
/// Records under one AES-GCM key after which it must not be used: 2^24.5.
const GCM_HARD_LIMIT: u64 = 23_726_566;

/// Types of content.
pub(super) mod content {
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    pub const ALERT: u8 = 21;
    pub const HANDSHAKE: u8 = 22;
    pub const APPLICATION_DATA: u8 = 23;
}

/// The key of one direction.
pub(super) struct RecordKey {
    key: LessSafeKey,
    iv: [u8; NONCE_BYTES],
    /// Records so far under this key.
    sequence: u64,
    format: Format,
    soft_limit: u64,
    hard_limit: u64,
}

/// How records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The type of the content is encrypted, at its end.
    Tls13,
    /// Eight bytes of nonce stand before the content.
    Tls12Explicit,
    /// The nonce follows from the sequence number.
    Tls12Implicit,
}

/// A record that is being written: where it begins in the output, and where its content does.
pub(super) struct OpenRecord {
    start: usize,
    body: usize,
    content_type: u8,
}

impl RecordKey {
    /// Keys that rustls negotiated, after `sequence` records.
    ///
    /// # Errors
    /// If the cryptography library does not take them.
    pub(super) fn new(
        version: TlsVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<RecordKey, TlsError> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(TlsError::Internal),
        };
        let is_gcm = !matches!(secrets, ConnectionTrafficSecrets::Chacha20Poly1305 { .. });
        let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| TlsError::Internal)?;
        Ok(RecordKey {
            key: LessSafeKey::new(unbound),
            iv: iv.as_ref().try_into().map_err(|_| TlsError::Internal)?,
            sequence,
            format: match (version, is_gcm) {
                (TlsVersion::Tls13, _) => Format::Tls13,
                (TlsVersion::Tls12, true) => Format::Tls12Explicit,
                (TlsVersion::Tls12, false) => Format::Tls12Implicit,
            },
            soft_limit: if is_gcm { GCM_SOFT_LIMIT } else { u64::MAX - 1 },
            hard_limit: if is_gcm { GCM_HARD_LIMIT } else { u64::MAX },
        })
    }

    /// Whether so many records were sealed that the key should be replaced.
    #[inline]
    pub(super) fn is_worn(&self) -> bool {
        self.sequence >= self.soft_limit
    }

    /// Bytes that a record needs beside its content.
    #[inline]
    pub(super) fn overhead_bytes(&self) -> usize {
        let inner = match self.format {
            Format::Tls13 => 1,
            Format::Tls12Explicit => EXPLICIT_NONCE_BYTES,
            Format::Tls12Implicit => 0,
        };
        HEADER_BYTES + inner + TAG_BYTES
    }

    /// Begins a record at the end of `out`; its content is appended by the caller (at most
    /// [`MAX_FRAGMENT_BYTES`]), then [`RecordKey::seal`] ends it.
    #[inline]
    pub(super) fn begin(&self, content_type: u8, out: &mut Vec<u8>) -> OpenRecord {
        let start = out.len();
        let outer = if self.format == Format::Tls13 { content::APPLICATION_DATA } else { content_type };
        // The length follows when it is known.
        out.extend_from_slice(&[outer, 3, 3, 0, 0]);
        if self.format == Format::Tls12Explicit {
            let nonce = self.nonce();
            out.extend_from_slice(&nonce[NONCE_BYTES - EXPLICIT_NONCE_BYTES..]);
        }
        OpenRecord { start, body: out.len(), content_type }
    }

    /// Encrypts a record whose content stands at the end of `out`.
    ///
    /// # Errors
    /// If the key was used too often, or the cryptography library fails; the record is removed then.
    #[inline]
    pub(super) fn seal(&mut self, record: OpenRecord, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let sealed = self.try_seal(&record, out);
        if sealed.is_err() {
            out.truncate(record.start);
        }
        sealed
    }

    #[inline]
    fn try_seal(&mut self, record: &OpenRecord, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.sequence >= self.hard_limit {
            return Err(TlsError::KeysExhausted);
        }
        let content_len = out.len() - record.body;
        debug_assert!(content_len <= MAX_FRAGMENT_BYTES);
        if self.format == Format::Tls13 {
            out.push(record.content_type);
        }
        let body_len = (out.len() - record.start - HEADER_BYTES + TAG_BYTES) as u16;
        out[record.start + 3..record.start + HEADER_BYTES].copy_from_slice(&body_len.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let tag = match self.format {
            Format::Tls13 => {
                let aad = Aad::from(header(&out[record.start..])?);
                self.key.seal_in_place_separate_tag(nonce, aad, &mut out[record.body..])
            }
            Format::Tls12Explicit | Format::Tls12Implicit => {
                let aad = Aad::from(self.tls12_aad(record.content_type, content_len));
                self.key.seal_in_place_separate_tag(nonce, aad, &mut out[record.body..])
            }
        };
        out.extend_from_slice(tag.map_err(|_| TlsError::Internal)?.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Encrypts `content` (at most [`MAX_FRAGMENT_BYTES`]) into a record of its own at the end of `out`, from where it
    /// lies: copying 16 KiB that are in no cache first cost more than encrypting them.
    ///
    /// # Errors
    /// As [`RecordKey::seal`].
    pub(super) fn seal_from(
        &mut self,
        content_type: u8,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let record = self.begin(content_type, out);
        let sealed = self.try_seal_from(&record, content, out);
        if sealed.is_err() {
            out.truncate(record.start);
        }
        sealed
    }

    fn try_seal_from(
        &mut self,
        record: &OpenRecord,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        if self.sequence >= self.hard_limit {
            return Err(TlsError::KeysExhausted);
        }
        debug_assert!(content.len() <= MAX_FRAGMENT_BYTES);
        let inner_type = [record.content_type];
        let extra = if self.format == Format::Tls13 { &inner_type[..] } else { &[] };
        out.resize(record.body + content.len() + extra.len() + TAG_BYTES, 0);
        let body_len = (out.len() - record.start - HEADER_BYTES) as u16;
        out[record.start + 3..record.start + HEADER_BYTES].copy_from_slice(&body_len.to_be_bytes());
        let outer = header(&out[record.start..])?;
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let (text, tail) = out[record.body..].split_at_mut(content.len());
        let sealed = match self.format {
            Format::Tls13 => {
                self.key.seal_out_of_place_scatter(nonce, Aad::from(outer), content, text, extra, tail)
            }
            Format::Tls12Explicit | Format::Tls12Implicit => {
                let aad = Aad::from(self.tls12_aad(record.content_type, content.len()));
                self.key.seal_out_of_place_scatter(nonce, aad, content, text, extra, tail)
            }
        };
        sealed.map_err(|_| TlsError::Internal)?;
        self.sequence += 1;
        Ok(())
    }

    /// Decrypts a whole record in place: its type of content, and where its content stands.
    ///
    /// # Errors
    /// If it is not an authentic record of this session, or too large.
    #[inline]
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), TlsError> {
        let outer = header(record)?;
        let nonce_len = if self.format == Format::Tls12Explicit { EXPLICIT_NONCE_BYTES } else { 0 };
        let body = HEADER_BYTES + nonce_len;
        if record.len() < body + TAG_BYTES {
            return Err(TlsError::Decrypt);
        }
        let (clear, encrypted) = record.split_at_mut(body);
        let opened = match self.format {
            Format::Tls13 => {
                if outer[0] != content::APPLICATION_DATA {
                    return Err(TlsError::Unexpected("a record that is not encrypted"));
                }
                self.key.open_in_place(
                    Nonce::assume_unique_for_key(self.nonce()),
                    Aad::from(outer),
                    encrypted,
                )
            }
            Format::Tls12Explicit => {
                let mut nonce = self.iv;
                nonce[NONCE_BYTES - EXPLICIT_NONCE_BYTES..].copy_from_slice(&clear[HEADER_BYTES..]);
                let aad = Aad::from(self.tls12_aad(outer[0], encrypted.len() - TAG_BYTES));
                self.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, encrypted)
            }
            Format::Tls12Implicit => {
                let aad = Aad::from(self.tls12_aad(outer[0], encrypted.len() - TAG_BYTES));
                self.key.open_in_place(Nonce::assume_unique_for_key(self.nonce()), aad, encrypted)
            }
        };
        let mut content = &*opened.map_err(|_| TlsError::Decrypt)?;
        self.sequence += 1;
        let content_type = if self.format == Format::Tls13 {
            // Behind the type there may be zeros as padding (RFC 8446 5.4).
            let at = content.iter().rposition(|&byte| byte != 0);
            let at = at.ok_or(TlsError::Unexpected("a record without a type"))?;
            let content_type = content[at];
            content = &content[..at];
            content_type
        } else {
            outer[0]
        };
        if content.len() > MAX_FRAGMENT_BYTES {
            return Err(TlsError::RecordTooLarge);
        }
        Ok((content_type, body..body + content.len()))
    }

    /// Length of the record at the beginning of `bytes`, once its header is there.
    ///
    /// # Errors
    /// If it is larger than any record may be.
    #[inline]
    pub(super) fn record_len(&self, bytes: &[u8]) -> Result<Option<usize>, TlsError> {
        let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        let most = if self.format == Format::Tls13 { MAX_TLS13_BODY_BYTES } else { MAX_TLS12_BODY_BYTES };
        if body_len > most { Err(TlsError::RecordTooLarge) } else { Ok(Some(HEADER_BYTES + body_len)) }
    }

    /// The initialization vector with the sequence number mixed in (RFC 8446 5.3).
    #[inline]
    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, digit) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= digit;
        }
        nonce
    }

    #[inline]
    fn tls12_aad(&self, content_type: u8, content_len: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..11].copy_from_slice(&[content_type, 3, 3]);
        aad[11..].copy_from_slice(&(content_len as u16).to_be_bytes());
        aad
    }

    #[cfg(test)]
    pub(super) fn set_soft_limit(&mut self, limit: u64) {
        self.soft_limit = limit;
    }

    /// Pretends that so many records were sent or received.
    #[cfg(test)]
    pub(super) fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}

#[inline]
fn header(record: &[u8]) -> Result<[u8; HEADER_BYTES], TlsError> {
    record.first_chunk().copied().ok_or(TlsError::Decrypt)
}
