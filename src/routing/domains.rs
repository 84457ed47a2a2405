//! Which virtual host a request is for, by the domains in `config.route.v3.VirtualHost.domains`: an exact
//! domain before the longest suffix wildcard (`*.a.com`) before the longest prefix wildcard (`a.*`) before
//! `*`. Hosts are compared without case; a wildcard never stands for nothing.

/// Index of a virtual host in its table.
pub type HostIndex = u32;

/// The domains of a route table.
#[derive(Debug, Default)]
pub struct DomainIndex {
    exact: DomainMap,
    /// By length of the text after the star, longest first.
    suffixes: Vec<(usize, DomainMap)>,
    /// By length of the text before the star, longest first.
    prefixes: Vec<(usize, DomainMap)>,
    any: Option<HostIndex>,
}

impl DomainIndex {
    /// Adds a lower-case domain. False if it was there already.
    pub fn insert(&mut self, domain: &str, host: HostIndex) -> bool {
        if domain == "*" {
            return self.any.replace(host).is_none();
        }
        let (map, text) = if let Some(suffix) = domain.strip_prefix('*') {
            (by_length(&mut self.suffixes, suffix.len()), suffix)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (by_length(&mut self.prefixes, prefix.len()), prefix)
        } else {
            (&mut self.exact, domain)
        };
        map.insert(text.as_bytes(), host)
    }

    /// The virtual host for `host`, which may have any case.
    #[inline]
    pub fn find(&self, host: &[u8]) -> Option<HostIndex> {
        if let Some(index) = self.exact.get(host) {
            return Some(index);
        }
        let mut suffixes = self.suffixes.iter().filter(|(len, _)| *len < host.len());
        if let Some(index) = suffixes.find_map(|(len, map)| map.get(&host[host.len() - len..])) {
            return Some(index);
        }
        let mut prefixes = self.prefixes.iter().filter(|(len, _)| *len < host.len());
        prefixes.find_map(|(len, map)| map.get(&host[..*len])).or(self.any)
    }
}

/// `host` without a port, as `ignore_port_in_host_matching` wants it.
pub fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host) {
        // The colons of an IPv6 address stand before its bracket.
        Some(colon) if memchr::memrchr(b']', host).is_none_or(|bracket| bracket < colon) => &host[..colon],
        _ => host,
    }
}

fn by_length(lengths: &mut Vec<(usize, DomainMap)>, len: usize) -> &mut DomainMap {
    let at = lengths.partition_point(|(other, _)| *other > len);
    if lengths.get(at).is_none_or(|(other, _)| *other != len) {
        lengths.insert(at, (len, DomainMap::default()));
    }
    &mut lengths[at].1
}

/// A hash table from texts, compared without ASCII case, to virtual hosts. Open addressing, at most half
/// full. Its keys come from the configuration, so nobody outside can make them collide. A lookup touches a bucket
/// and the key.
#[derive(Debug, Default)]
struct DomainMap {
    /// The number is a power of two, or zero.
    buckets: Vec<Bucket>,
    /// The texts, one after the other.
    keys: Vec<u8>,
    entries: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    hash: u32,
    /// Where its text begins.
    key: u32,
    key_bytes: u32,
    /// [`FREE`] if nothing is here.
    host: HostIndex,
}

/// More virtual hosts than any table has.
const FREE: HostIndex = HostIndex::MAX;

impl DomainMap {
    #[inline]
    fn get(&self, text: &[u8]) -> Option<HostIndex> {
        if self.buckets.is_empty() {
            return None;
        }
        let hash = hash_without_case(text);
        for place in self.probe(hash) {
            let bucket = &self.buckets[place];
            if bucket.host == FREE {
                return None;
            }
            if bucket.hash == hash && self.key(bucket).eq_ignore_ascii_case(text) {
                return Some(bucket.host);
            }
        }
        None
    }

    /// False if the text was there already.
    fn insert(&mut self, text: &[u8], host: HostIndex) -> bool {
        if self.get(text).is_some() {
            return false;
        }
        self.entries += 1;
        if self.entries * 2 > self.buckets.len() {
            self.grow();
        }
        let key = self.keys.len() as u32;
        self.keys.extend_from_slice(text);
        self.place(Bucket { hash: hash_without_case(text), key, key_bytes: text.len() as u32, host });
        true
    }

    fn grow(&mut self) {
        let free = Bucket { hash: 0, key: 0, key_bytes: 0, host: FREE };
        let grown = vec![free; (self.entries * 2).next_power_of_two()];
        for bucket in std::mem::replace(&mut self.buckets, grown) {
            if bucket.host != FREE {
                self.place(bucket);
            }
        }
    }

    fn place(&mut self, bucket: Bucket) {
        let free = self.probe(bucket.hash).find(|place| self.buckets[*place].host == FREE);
        if let Some(place) = free {
            self.buckets[place] = bucket;
        }
    }

    #[inline]
    fn key(&self, bucket: &Bucket) -> &[u8] {
        &self.keys[bucket.key as usize..][..bucket.key_bytes as usize]
    }

    /// The buckets where a text with this hash may stand, in order.
    #[inline]
    fn probe(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.buckets.len() - 1;
        (0..self.buckets.len()).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }
}

/// Mixes eight bytes at a time, bit 5 of each set: letters of both cases are then equal.
#[inline]
fn hash_without_case(text: &[u8]) -> u32 {
    const CASE: u64 = 0x2020_2020_2020_2020;
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |hash: u64, word: [u8; 8]| {
        let mixed = (hash ^ (u64::from_le_bytes(word) | CASE)).wrapping_mul(MULTIPLIER);
        mixed ^ (mixed >> 29)
    };
    let hash = words.iter().fold(text.len() as u64, |hash, word| mix(hash, *word));
    (mix(hash, last).wrapping_mul(MULTIPLIER) >> 32) as u32
}
