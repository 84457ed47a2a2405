//! The indexes give what trying everything in order gives.

use proptest::prelude::*;

use crate::routing::condition::PathCondition;
use crate::routing::domains::DomainIndex;
use crate::routing::path_index::PathIndexBuilder;

/// Pieces that make common beginnings, splits and slashes likely.
const PIECE: &str = "(/|a|b|ab|A|/a|/b|/ab|é)";

fn condition() -> impl Strategy<Value = (PathCondition, bool)> {
    let text = format!("/?{PIECE}{{0,4}}");
    (text.as_str().prop_map_into_string(), 0..4_u8, any::<bool>()).prop_map(|(text, kind, case_sensitive)| {
        let text = if case_sensitive { text } else { text.to_ascii_lowercase() };
        let condition = match kind {
            0 => PathCondition::Prefix(text.into()),
            1 => PathCondition::Path(text.into()),
            2 => PathCondition::PathSeparatedPrefix(text.into()),
            _ => {
                let pattern = format!("{text}b*a?");
                let source = format!(
                    "virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{safe_regex: {{regex: '{pattern}'}}}}, \
                     direct_response: {{status: 200}}}}]}}]"
                );
                let config = super::configuration(&source);
                PathCondition::compile(&config.virtual_hosts[0].routes[0].route_match)
            }
        };
        (condition, case_sensitive)
    })
}

/// A strategy for texts that a pattern describes.
trait IntoText {
    fn prop_map_into_string(self) -> BoxedStrategy<String>;
}

impl IntoText for &str {
    fn prop_map_into_string(self) -> BoxedStrategy<String> {
        proptest::string::string_regex(self).expect("a good pattern").boxed()
    }
}

/// What the condition means, said plainly.
fn matches(condition: &PathCondition, case_sensitive: bool, path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let folded = if case_sensitive { path } else { &lower };
    match condition {
        PathCondition::Prefix(text) => folded.starts_with(&**text),
        PathCondition::Path(text) => folded == &**text,
        PathCondition::PathSeparatedPrefix(text) => {
            folded.strip_prefix(&**text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathCondition::Regex { regex, .. } => regex.is_full_match(path.as_bytes()),
        PathCondition::Connect => false,
    }
}

/// What the domains mean, said plainly.
fn naive_domain(domains: &[String], host: &str) -> Option<u32> {
    let host = host.to_ascii_lowercase();
    let position = |wanted: &dyn Fn(&str) -> Option<usize>| {
        let ranked = domains.iter().enumerate().filter_map(|(at, domain)| Some((wanted(domain)?, at)));
        ranked.max_by_key(|(rank, at)| (*rank, usize::MAX - at)).map(|(_, at)| at as u32)
    };
    position(&|domain| (domain == host).then_some(0))
        .or_else(|| {
            position(&|domain| {
                let suffix = domain.strip_prefix('*').filter(|suffix| !suffix.is_empty())?;
                (host.ends_with(suffix) && host.len() > suffix.len()).then_some(suffix.len())
            })
        })
        .or_else(|| {
            position(&|domain| {
                let prefix =
                    domain.strip_suffix('*').filter(|prefix| !prefix.is_empty() && *prefix != "*")?;
                (host.starts_with(prefix) && host.len() > prefix.len()).then_some(prefix.len())
            })
        })
        .or_else(|| position(&|domain| (domain == "*").then_some(0)))
}

proptest! {
    #[test]
    fn the_path_index_finds_the_first_route_in_order(
        routes in proptest::collection::vec((condition(), any::<bool>()), 0..40),
        path in format!("/?{PIECE}{{0,6}}").as_str().prop_map_into_string(),
    ) {
        let mut index = PathIndexBuilder::default();
        for (at, ((condition, case_sensitive), _)) in routes.iter().enumerate() {
            index.push(at as u32, condition, *case_sensitive);
        }
        let index = index.finish();
        let accepts = |at: u32| {
            let ((condition, _), others_hold) = &routes[at as usize];
            *others_hold && condition.is_confirmed_by(path.as_bytes())
        };
        let naive = routes.iter().position(|((condition, case_sensitive), others_hold)| {
            *others_hold && matches(condition, *case_sensitive, &path)
        });
        prop_assert_eq!(index.find(path.as_bytes(), accepts), naive.map(|at| at as u32));
    }

    #[test]
    fn the_domain_index_keeps_the_precedence(
        domains in proptest::collection::hash_set("(\\*|\\*\\.|\\*-)?(a|b|a\\.b|b\\.a|a\\.a\\.b){1,2}|a\\.\\*|a\\.b\\.\\*|b\\*|\\*", 0..12),
        host in "(a|b|A|\\.|-|a\\.b){0,6}",
    ) {
        let domains: Vec<String> = domains.into_iter().collect();
        let mut index = DomainIndex::default();
        for (at, domain) in domains.iter().enumerate() {
            prop_assert!(index.insert(domain, at as u32));
        }
        prop_assert_eq!(index.find(host.as_bytes()), naive_domain(&domains, &host));
    }
}
