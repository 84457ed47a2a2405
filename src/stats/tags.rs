//! Tags: the variable parts of a stat's name, taken out of it for Prometheus and like sinks.
//!
//! The default tags are Envoy's. `cluster.up.upstream_rq_200` becomes `cluster.upstream_rq` with
//! `envoy_response_code="200"` and `envoy_cluster_name="up"`. As in Envoy, a name that contains a
//! dot loses only its first part to the tag; listener addresses are recognised whole.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use regex::Regex;

/// A name without its tags, and the tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// What is left of the name.
    pub name: String,
    /// Tag and value, in the order of the rules.
    pub tags: Vec<(Cow<'static, str>, String)>,
}

/// A tag beyond the defaults (`envoy.config.metrics.v3.TagSpecifier`).
#[derive(Debug, Clone)]
pub enum CustomTag {
    /// Every stat has it.
    Fixed {
        /// Name of the tag.
        name: String,
        /// Its value.
        value: String,
    },
    /// Group 1 is taken out of the name; group 2, or else 1, is the value.
    Regex {
        /// Name of the tag.
        name: String,
        /// Searched in the stat's name.
        regex: Regex,
    },
    /// The default rules of this name, where the defaults are not used as a whole.
    Default {
        /// Name of the tag, with or without `envoy_` or `envoy.`.
        name: String,
    },
}

/// Which tags are taken out of names.
#[derive(Debug, Clone)]
pub struct TagExtractor {
    rules: Vec<&'static Rule>,
    custom: Vec<CustomTag>,
}

impl Default for TagExtractor {
    /// Envoy's default tags.
    fn default() -> TagExtractor {
        TagExtractor { rules: RULES.iter().collect(), custom: Vec::new() }
    }
}

impl TagExtractor {
    /// Custom tags, after (or, without `use_all_default_tags`, instead of) the default ones.
    pub fn new(use_all_default_tags: bool, custom: Vec<CustomTag>) -> TagExtractor {
        let wanted: HashSet<String> = custom
            .iter()
            .filter_map(|tag| match tag {
                CustomTag::Default { name } => Some(name.replace('.', "_")),
                _ => None,
            })
            .collect();
        let is_wanted = |rule: &&Rule| {
            let plain = rule.tag.trim_start_matches("envoy_");
            use_all_default_tags || wanted.contains(rule.tag) || wanted.contains(plain)
        };
        TagExtractor { rules: RULES.iter().filter(is_wanted).collect(), custom }
    }

    /// Takes the tags out of a stat's name.
    pub fn extract(&self, name: &str) -> Tagged {
        let mut tags: Vec<(Cow<'static, str>, String)> = Vec::new();
        let mut cuts: Vec<Range<usize>> = Vec::new();
        let tokens = tokens(name);
        for rule in &self.rules {
            let known = tags.iter().any(|(tag, _)| tag == rule.tag);
            if let Some((cut, value)) = (!known).then(|| rule.find(name, &tokens)).flatten() {
                cuts.push(cut);
                tags.push((Cow::Borrowed(rule.tag), name[value].to_owned()));
            }
        }
        for custom in &self.custom {
            match custom {
                CustomTag::Fixed { name, value } => tags.push((Cow::Owned(name.clone()), value.clone())),
                CustomTag::Regex { name: tag, regex } => {
                    if let Some(groups) = regex.captures(name)
                        && let Some(cut) = groups.get(1)
                    {
                        let value = groups.get(2).unwrap_or(cut).as_str();
                        cuts.push(cut.range());
                        tags.push((Cow::Owned(tag.clone()), value.to_owned()));
                    }
                }
                CustomTag::Default { .. } => {}
            }
        }
        Tagged { name: without(name, cuts), tags }
    }
}

/// One default tag: where in a name, split at dots, its value stands.
#[derive(Debug)]
struct Rule {
    tag: &'static str,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// Words that must stand there, from the beginning; more may follow.
    Words(&'static [Word]),
    /// `_200` at the end of `..._rq_200`.
    Code,
    /// `2` in `..._rq_2xx`.
    CodeClass,
}

#[derive(Debug)]
enum Word {
    Is(&'static str),
    Any,
    Value,
    /// A listener: four words that are an IPv4 address with its port, or else one word (`[__1]_80`,
    /// a `stat_prefix`), but not the admin server's.
    Listener,
    /// `worker_0`; `0` is the value.
    Worker,
    /// Any words up to and with this one.
    Until(&'static str),
}

use Shape::{Code, CodeClass, Words};
use Word::{Any, Is, Listener, Until, Value, Worker};

const RULES: &[Rule] = &[
    Rule { tag: "envoy_response_code", shape: Code },
    Rule { tag: "envoy_response_code_class", shape: CodeClass },
    Rule { tag: "envoy_http_user_agent", shape: Words(&[Is("http"), Any, Is("user_agent"), Value]) },
    Rule { tag: "envoy_fault_downstream_cluster", shape: Words(&[Is("http"), Any, Is("fault"), Value, Any]) },
    Rule {
        tag: "envoy_ssl_cipher",
        shape: Words(&[Is("listener"), Listener, Is("ssl"), Is("ciphers"), Value]),
    },
    Rule {
        tag: "envoy_ssl_curve",
        shape: Words(&[Is("listener"), Listener, Is("ssl"), Is("curves"), Value]),
    },
    Rule {
        tag: "envoy_ssl_sigalg",
        shape: Words(&[Is("listener"), Listener, Is("ssl"), Is("sigalgs"), Value]),
    },
    Rule {
        tag: "envoy_ssl_version",
        shape: Words(&[Is("listener"), Listener, Is("ssl"), Is("versions"), Value]),
    },
    Rule { tag: "cipher_suite", shape: Words(&[Is("cluster"), Any, Is("ssl"), Is("ciphers"), Value]) },
    Rule {
        tag: "envoy_grpc_bridge_method",
        shape: Words(&[Is("cluster"), Any, Is("grpc"), Any, Value, Any]),
    },
    Rule { tag: "envoy_grpc_bridge_service", shape: Words(&[Is("cluster"), Any, Is("grpc"), Value, Any]) },
    Rule { tag: "envoy_virtual_cluster", shape: Words(&[Is("vhost"), Any, Is("vcluster"), Value, Any]) },
    Rule { tag: "envoy_route", shape: Words(&[Is("vhost"), Any, Is("route"), Value, Any]) },
    Rule { tag: "envoy_virtual_host", shape: Words(&[Is("vhost"), Value, Any]) },
    Rule { tag: "envoy_mongo_prefix", shape: Words(&[Is("mongo"), Value, Any]) },
    Rule { tag: "envoy_rds_route_config", shape: Words(&[Is("http"), Any, Is("rds"), Value, Any]) },
    Rule { tag: "envoy_scoped_rds_config", shape: Words(&[Is("http"), Any, Is("scoped_rds"), Value, Any]) },
    Rule { tag: "envoy_ratelimit_prefix", shape: Words(&[Is("ratelimit"), Value, Any]) },
    Rule {
        tag: "envoy_local_http_ratelimit_prefix",
        shape: Words(&[Value, Is("http_local_rate_limit"), Any]),
    },
    Rule { tag: "envoy_local_network_ratelimit_prefix", shape: Words(&[Is("local_rate_limit"), Value, Any]) },
    Rule { tag: "envoy_clientssl_prefix", shape: Words(&[Is("auth"), Is("clientssl"), Value, Any]) },
    Rule { tag: "envoy_connection_limit_prefix", shape: Words(&[Is("connection_limit"), Value, Any]) },
    Rule { tag: "envoy_redis_prefix", shape: Words(&[Is("redis"), Value, Any]) },
    Rule { tag: "envoy_thrift_prefix", shape: Words(&[Is("thrift"), Value, Any]) },
    Rule { tag: "envoy_tcp_prefix", shape: Words(&[Is("tcp"), Value, Any]) },
    Rule { tag: "envoy_udp_prefix", shape: Words(&[Is("udp"), Value, Any]) },
    Rule { tag: "envoy_cluster_name", shape: Words(&[Is("cluster"), Value, Any]) },
    Rule {
        tag: "envoy_http_conn_manager_prefix",
        shape: Words(&[Is("listener"), Until("http"), Value, Any]),
    },
    Rule { tag: "envoy_http_conn_manager_prefix", shape: Words(&[Is("http"), Value, Any]) },
    Rule { tag: "envoy_worker_id", shape: Words(&[Is("listener"), Listener, Worker, Any]) },
    Rule { tag: "envoy_worker_id", shape: Words(&[Is("listener_manager"), Worker, Any]) },
    Rule { tag: "envoy_worker_id", shape: Words(&[Is("server"), Worker, Any]) },
    Rule { tag: "envoy_worker_id", shape: Words(&[Is("thread_local_cluster_manager"), Worker, Any]) },
    Rule { tag: "envoy_listener_address", shape: Words(&[Is("listener"), Listener, Any]) },
];

impl Rule {
    /// What to cut out of the name, and the value.
    fn find(&self, name: &str, tokens: &[Range<usize>]) -> Option<(Range<usize>, Range<usize>)> {
        match &self.shape {
            Words(words) => {
                let value = find_words(words, name, tokens)?;
                // The dot behind the value goes as well, or the one before it at the end; before a
                // worker's number there is an underscore that goes instead.
                let cut = if name.as_bytes().get(value.end) == Some(&b'.') && !is_numbered(name, &value) {
                    value.start..value.end + 1
                } else {
                    value.start.saturating_sub(1)..value.end
                };
                Some((cut, value))
            }
            Code => {
                let start = name.len().checked_sub(4)?;
                let digits = name.get(start + 1..)?;
                let fits = name[..start].ends_with("_rq") && name.as_bytes()[start] == b'_';
                (fits && all_digits(digits)).then(|| (start..name.len(), start + 1..name.len()))
            }
            CodeClass => {
                let start = name.strip_suffix("xx")?.len().checked_sub(1)?;
                let fits = name.get(..start)?.ends_with("_rq_") && all_digits(name.get(start..start + 1)?);
                fits.then(|| (start..start + 1, start..start + 1))
            }
        }
    }
}

fn find_words(words: &[Word], name: &str, tokens: &[Range<usize>]) -> Option<Range<usize>> {
    let mut tokens = tokens.iter();
    let mut found = None;
    for word in words {
        let token = tokens.next()?;
        match word {
            Is(text) if name[token.clone()] == **text => {}
            Is(_) => return None,
            Any => {}
            Until(text) => drop(tokens.find(|token| name[(*token).clone()] == **text)?),
            Value => found = Some(token.clone()),
            Listener => {
                if name[token.clone()] == *"admin" {
                    return None;
                }
                let more = tokens.as_slice().get(..3).filter(|more| is_ipv4(name, token, more));
                let end = more.map_or(token.end, |more| more[2].end);
                if more.is_some() {
                    tokens.nth(2);
                }
                found = Some(token.start..end);
            }
            Worker => {
                let number =
                    name[token.clone()].strip_prefix("worker_").filter(|number| all_digits(number))?;
                found = Some(token.end - number.len()..token.end);
            }
        }
    }
    found.filter(|found| !found.is_empty())
}

/// Whether these four words are `127`, `0`, `0` and `1_80`.
fn is_ipv4(name: &str, first: &Range<usize>, more: &[Range<usize>]) -> bool {
    let last = more.last().and_then(|last| name[last.clone()].split_once('_'));
    let middle = more.iter().take(2).chain([first]).all(|word| all_digits(&name[word.clone()]));
    middle && last.is_some_and(|(part, port)| all_digits(part) && all_digits(port))
}

/// Whether the value is the number in `worker_0`.
fn is_numbered(name: &str, value: &Range<usize>) -> bool {
    name[..value.start].ends_with(".worker_")
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn tokens(name: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    name.split('.')
        .map(|token| {
            let range = start..start + token.len();
            start = range.end + 1;
            range
        })
        .collect()
}

/// The name without the cuts, which may overlap.
fn without(name: &str, mut cuts: Vec<Range<usize>>) -> String {
    cuts.sort_by_key(|cut| cut.start);
    let mut left = String::with_capacity(name.len());
    let mut at = 0;
    for cut in cuts {
        left.push_str(name.get(at..cut.start).unwrap_or_default());
        at = at.max(cut.end);
    }
    left.push_str(name.get(at..).unwrap_or_default());
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(name: &str) -> (String, Vec<String>) {
        let tagged = TagExtractor::default().extract(name);
        (tagged.name, tagged.tags.into_iter().map(|(tag, value)| format!("{tag}={value}")).collect())
    }

    /// The expected names and tags were printed by Envoy 1.40.
    #[test]
    fn default_tags_are_envoys() {
        let table: [(&str, &str, &[&str]); 13] = [
            ("cluster.up.upstream_rq_total", "cluster.upstream_rq_total", &["envoy_cluster_name=up"]),
            ("cluster.up.one.membership_total", "cluster.one.membership_total", &["envoy_cluster_name=up"]),
            (
                "cluster.up.one.external.upstream_rq_404",
                "cluster.one.external.upstream_rq",
                &["envoy_response_code=404", "envoy_cluster_name=up"],
            ),
            (
                "cluster.up.upstream_rq_4xx",
                "cluster.upstream_rq_xx",
                &["envoy_response_code_class=4", "envoy_cluster_name=up"],
            ),
            (
                "http.ingress.downstream_rq_2xx",
                "http.downstream_rq_xx",
                &["envoy_response_code_class=2", "envoy_http_conn_manager_prefix=ingress"],
            ),
            (
                "http.ingress.tracing.health_check",
                "http.tracing.health_check",
                &["envoy_http_conn_manager_prefix=ingress"],
            ),
            (
                "listener.127.0.0.1_29902.http.ingress.downstream_rq_completed",
                "listener.http.downstream_rq_completed",
                &["envoy_http_conn_manager_prefix=ingress", "envoy_listener_address=127.0.0.1_29902"],
            ),
            (
                "listener.127.0.0.1_29902.worker_0.downstream_cx_total",
                "listener.worker.downstream_cx_total",
                &["envoy_worker_id=0", "envoy_listener_address=127.0.0.1_29902"],
            ),
            ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", &[]),
            ("listener.1.2.x.worker_0.cx", "listener.2.x.worker_0.cx", &["envoy_listener_address=1"]),
            (
                "listener.simple.worker_12.cx",
                "listener.worker.cx",
                &["envoy_worker_id=12", "envoy_listener_address=simple"],
            ),
            ("server.worker_0.watchdog_miss", "server.worker.watchdog_miss", &["envoy_worker_id=0"]),
            ("workers.watchdog_miss", "workers.watchdog_miss", &[]),
        ];
        for (name, left, tags) in table {
            let (got, got_tags) = extract(name);
            assert_eq!(got, left);
            assert_eq!(got_tags, tags, "{name}");
        }
    }

    #[test]
    fn addresses_and_virtual_hosts() {
        let (name, tags) = extract("listener.[__1]_10000.downstream_cx_total");
        assert_eq!(
            (name.as_str(), tags[0].as_str()),
            ("listener.downstream_cx_total", "envoy_listener_address=[__1]_10000")
        );
        let (name, tags) = extract("vhost.shop.vcluster.cart.upstream_rq_503");
        assert_eq!(name, "vhost.vcluster.upstream_rq");
        assert_eq!(
            tags,
            ["envoy_response_code=503", "envoy_virtual_cluster=cart", "envoy_virtual_host=shop"]
        );
        for odd in [
            "",
            ".",
            "_rq_",
            "xx",
            "_rq_xx",
            "cluster",
            "cluster..x",
            "worker_1",
            "listener.worker_.x",
            "ü_rq_200",
        ] {
            let _ = extract(odd);
        }
    }

    #[test]
    fn custom_tags_come_after_or_instead_of_the_defaults() {
        let shard = CustomTag::Regex {
            name: "shard".into(),
            regex: Regex::new(r"^cluster\.((.+?)-shard\.)").unwrap(),
        };
        let fixed = CustomTag::Fixed { name: "zone".into(), value: "a".into() };
        let one = TagExtractor::new(false, vec![shard.clone(), fixed]).extract("cluster.x-shard.up");
        assert_eq!(one.name, "cluster.up");
        assert_eq!(one.tags, [("shard".into(), "x".to_owned()), ("zone".into(), "a".to_owned())]);
        let only = TagExtractor::new(false, vec![CustomTag::Default { name: "envoy.cluster_name".into() }]);
        assert_eq!(only.extract("cluster.x.upstream_rq_2xx").name, "cluster.upstream_rq_2xx");
        let both = TagExtractor::new(true, vec![shard]).extract("cluster.x-shard.up");
        assert_eq!((both.name.as_str(), both.tags.len()), ("cluster.up", 2));
    }
}
