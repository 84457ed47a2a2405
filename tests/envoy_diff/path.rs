//! Path normalisation options of the connection manager.

use crate::Group;
use crate::case::case;
use crate::groups::{listener_with_routes, with_clusters};
use crate::side::Ports;

const ROUTES: &str = "
- match: {path: /exact}
  direct_response: {status: 202}
- match: {prefix: /admin}
  direct_response: {status: 403}
- match: {prefix: /}
  route: {cluster: origin}
";

const LISTENERS: [(&str, &str); 7] = [
    ("main", ""),
    ("normalize", "normalize_path: true"),
    ("merge", "merge_slashes: true"),
    ("both", "normalize_path: true\nmerge_slashes: true"),
    ("reject", "path_with_escaped_slashes_action: REJECT_REQUEST"),
    ("unescape", "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD\nnormalize_path: true"),
    ("redirect", "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"),
];

const PATHS: [&str; 16] = [
    "/a/./b/../c",
    "/a/../admin/x",
    "/../../admin",
    "/a//b///c",
    "//admin",
    "/a%2Fb%5Cc",
    "/a%2f..%2fadmin",
    "/%61dmin",
    "/a/%2e%2e/admin",
    "/exact?x=/../y",
    "/exact/",
    "/exact/.",
    "/a\\b",
    "/a/..;/admin",
    "/a?b=%2F..%2Fc//d",
    "/caf%C3%A9/%7Euser",
];

fn config(ports: &Ports) -> String {
    let mut listeners = LISTENERS.iter().map(|(name, hcm)| listener_with_routes(name, ROUTES).hcm(hcm));
    let first = listeners.next().expect("a listener");
    with_clusters(listeners.fold(first, |http, other| http.and(other)), ports).yaml()
}

pub fn group() -> Group {
    let cases = LISTENERS
        .iter()
        .flat_map(|(listener, _)| {
            PATHS.iter().map(move |path| {
                let row = case(&format!("{listener}: {path}")).on(listener).get(path);
                let faulty = *listener == "reject" && path.to_lowercase().starts_with("/a%2f");
                if faulty { row.bug("13") } else { row }
            })
        })
        .collect();
    Group { name: "path", config, cases }
}
