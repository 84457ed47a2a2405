//! The header map against a list of pairs that does the same naively, and what the codecs rely on.

use proptest::prelude::*;

use super::*;
use crate::http::header::{self, CONTENT_TYPE, COOKIE, HOST, PATH, X_REQUEST_ID};

/// What the map should do, without cleverness.
#[derive(Debug, Default, Clone)]
struct Model(Vec<(String, Vec<u8>)>);

impl Model {
    fn append(&mut self, name: &str, value: &[u8]) {
        let at = match name.starts_with(':') {
            true => self.0.iter().take_while(|(name, _)| name.starts_with(':')).count(),
            false => self.0.len(),
        };
        self.0.insert(at, (name.to_owned(), clean(value)));
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        match self.0.iter().position(|(other, _)| other == name) {
            None => self.append(name, value),
            Some(first) => {
                self.0[first].1 = clean(value);
                let mut index = 0;
                self.0.retain(|(other, _)| {
                    index += 1;
                    index <= first + 1 || other != name
                });
            }
        }
    }

    fn extend(&mut self, name: &str, value: &[u8]) {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            None => self.append(name, value),
            Some((_, old)) => old.extend([b", ", &clean(value)[..]].concat()),
        }
    }
}

fn clean(value: &[u8]) -> Vec<u8> {
    value.iter().map(|&byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte }).collect()
}

#[derive(Debug, Clone)]
enum Op {
    Append(&'static str, Vec<u8>),
    Set(&'static str, Vec<u8>),
    SetIfAbsent(&'static str, Vec<u8>),
    Extend(&'static str, Vec<u8>),
    Remove(&'static str),
    RetainLongerThan(usize),
    Clear,
    Clone,
}

fn op() -> impl Strategy<Value = Op> {
    let name =
        prop::sample::select(vec![":path", ":authority", "x-a", "x-b", "cookie", "content-type", "x-custom"]);
    let value = prop::collection::vec(prop_oneof![Just(b'\r'), Just(0u8), any::<u8>()], 0..300);
    prop_oneof![
        4 => (name.clone(), value.clone()).prop_map(|(name, value)| Op::Append(name, value)),
        4 => (name.clone(), value.clone()).prop_map(|(name, value)| Op::Set(name, value)),
        1 => (name.clone(), value.clone()).prop_map(|(name, value)| Op::SetIfAbsent(name, value)),
        2 => (name.clone(), value).prop_map(|(name, value)| Op::Extend(name, value)),
        2 => name.prop_map(Op::Remove),
        1 => (0usize..200).prop_map(Op::RetainLongerThan),
        1 => Just(Op::Clear),
        1 => Just(Op::Clone),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_list(ops in prop::collection::vec(op(), 0..80)) {
        let mut map = HeaderMap::new();
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Append(name, value) => { map.append(name, &value); model.append(name, &value); }
                Op::Set(name, value) => { map.set(name, &value); model.set(name, &value); }
                Op::SetIfAbsent(name, value) => {
                    let absent = !model.0.iter().any(|(other, _)| other == name);
                    prop_assert_eq!(map.set_if_absent(name, &value), absent);
                    if absent { model.append(name, &value); }
                }
                Op::Extend(name, value) => { map.append_to_value(name, ", ", &value); model.extend(name, &value); }
                Op::Remove(name) => {
                    let before = model.0.len();
                    model.0.retain(|(other, _)| other != name);
                    prop_assert_eq!(map.remove(name), before - model.0.len());
                }
                Op::RetainLongerThan(len) => {
                    map.retain(|_, value| value.len() > len);
                    model.0.retain(|(_, value)| value.len() > len);
                }
                Op::Clear => { map.clear(); model.0.clear(); }
                Op::Clone => map = map.clone(),
            }
            let listed: Vec<_> = map.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(&listed, &model.0);
            prop_assert_eq!(map.len(), model.0.len());
            prop_assert_eq!(map.byte_size(), model.0.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
            prop_assert!(map.iter_without_pseudo().all(|(name, _)| !name.starts_with(':')));
            for name in [":path", ":authority", "x-a", "cookie", "x-custom", "x-absent"] {
                let values: Vec<_> = model.0.iter().filter(|(other, _)| other == name).map(|(_, value)| &value[..]).collect();
                prop_assert_eq!(map.get_all(name).collect::<Vec<_>>(), values.clone());
                prop_assert_eq!(map.get(name), values.first().copied());
                prop_assert_eq!(map.contains(name), !values.is_empty());
            }
        }
    }
}

#[test]
fn host_and_authority_are_one_name() {
    let map: HeaderMap = [("accept", "*/*"), ("host", "h")].into_iter().collect();
    assert_eq!(map.get(HOST), Some(&b"h"[..]));
    assert_eq!(map.get(":authority"), Some(&b"h"[..]));
    assert_eq!(map.iter().next(), Some((":authority", &b"h"[..])));
}

#[test]
fn names_that_are_no_tokens_are_refused() {
    let mut map = HeaderMap::new();
    for name in ["", "X-Upper", "a b", "a\r\nb", ":unknown", "\u{e9}"] {
        map.append(name, b"1");
    }
    assert!(map.is_empty());
}

#[test]
fn values_joined_and_numbers() {
    let map: HeaderMap =
        [("cookie", "a"), ("age", "12"), ("cookie", "b"), ("x-n", "+1")].into_iter().collect();
    let mut joined = Vec::new();
    assert!(map.get_joined(COOKIE, &mut joined));
    assert_eq!(joined, b"a,b");
    assert!(!map.get_joined(CONTENT_TYPE, &mut joined));
    assert_eq!((map.get_u64("age"), map.get_u64("x-n"), map.get_str("age")), (Some(12), None, Some("12")));
}

#[test]
fn decoded_headers_are_as_others_and_remember_that_they_are_sensitive() {
    let mut map = HeaderMap::new();
    map.push_decoded(PATH.id(), b"", b"/", false);
    map.push_decoded(0, b"x-mine", b"1", true);
    map.push_decoded(COOKIE.id(), b"", b"a", true);
    map.push_decoded(HOST.id(), b"", b"h", false);
    let expected: HeaderMap =
        [(":path", "/"), (":authority", "h"), ("x-mine", "1"), ("cookie", "a")].into_iter().collect();
    assert_eq!(map, expected);
    assert_eq!(map.byte_size(), expected.byte_size());
    assert_eq!((map.get("x-mine"), map.get(COOKIE)), (Some(&b"1"[..]), Some(&b"a"[..])));
    map.set("x-mine", b"a longer one");
    for round in 0..1000usize {
        map.set(X_REQUEST_ID, &vec![b'x'; round % 100]);
    }
    let (_, entries, _) = map.parts();
    let sensitive: Vec<_> = entries.iter().map(|entry| entry.is_never_indexed()).collect();
    assert_eq!(sensitive, [false, false, true, true, false]);
    assert_eq!(map.remove("x-mine"), 1);
}

#[test]
fn values_are_joined_in_the_place_of_the_first() {
    let mut map: HeaderMap =
        [("cookie", "a"), ("x", "1"), ("cookie", "b"), ("cookie", "c")].into_iter().collect();
    map.join(COOKIE, b"; ");
    let expected: HeaderMap = [("cookie", "a; b; c"), ("x", "1")].into_iter().collect();
    assert_eq!(map, expected);
    map.join(COOKIE, b"; ");
    map.join(CONTENT_TYPE, b"; ");
    assert_eq!(map, expected);
}

#[test]
fn replacing_values_for_ever_does_not_grow() {
    let mut map = HeaderMap::new();
    map.append(PATH, b"/");
    for round in 0..10_000usize {
        map.set(X_REQUEST_ID, &vec![b'x'; round % 100]);
        map.remove("x-other");
        map.append("x-other", &[b'y'; 50]);
    }
    assert!(map.parts().0.len() < 3 * super::storage::DEAD_MIN_BYTES, "{}", map.parts().0.len());
    assert_eq!(
        (map.len(), map.get(PATH), map.get(X_REQUEST_ID).map(<[u8]>::len)),
        (3, Some(&b"/"[..]), Some(99))
    );
}

#[test]
fn memory_is_recycled_and_small() {
    assert_eq!(size_of::<HeaderMap>(), 8);
    let mut map = HeaderMap::new();
    map.append(header::SERVER, b"first");
    let address = map.parts().0.as_ptr();
    drop(map);
    let mut next = HeaderMap::new();
    assert!(next.is_empty() && next.get(header::SERVER).is_none());
    next.append(header::VIA, b"second");
    assert_eq!(next.parts().0.as_ptr(), address);
}
