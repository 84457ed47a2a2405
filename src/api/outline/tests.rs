//! Texts and their pieces, and texts that must not be cut.

use super::*;

/// Head, then for each virtual host its head and its routes.
type Pieces = (String, Vec<(String, Vec<String>)>);

fn pieces(text: &str, syntax: Syntax) -> Option<Pieces> {
    let outline = outline(text, syntax)?;
    let hosts = outline.virtual_hosts.iter().map(|host| {
        let routes = host.routes.iter().map(|route| text[route.clone()].to_owned());
        assert!(
            host.routes.iter().all(|route| host.range.start <= route.start && route.end <= host.range.end)
        );
        (host.head.clone(), routes.collect())
    });
    Some((outline.head.clone(), hosts.collect()))
}

const YAML: &str = "\
version_info: '1'
# A comment.
resources:
- '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: table
  virtual_hosts:
  - name: one
    domains: ['*']
    routes:
    - match: {prefix: /a}

      # In between.
      route:
        cluster: a
    - {match: {prefix: \"/it's\"}, route: {cluster: b}}
    include_request_attempt_count: true
  - name: two
    domains: [x]
  request_headers_to_add: []
";

#[test]
fn block_lists_are_cut_at_their_dashes() {
    let (head, hosts) = pieces(YAML, Syntax::Yaml).expect("cut");
    assert_eq!(
        head,
        "version_info: '1'\n# A comment.\nresources:\n- '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  \
         name: table\n  virtual_hosts: []\n  request_headers_to_add: []\n"
    );
    assert_eq!(
        hosts[0].0,
        "  - name: one\n    domains: ['*']\n    routes: []\n    include_request_attempt_count: true\n"
    );
    assert_eq!(
        hosts[0].1[0],
        "    - match: {prefix: /a}\n\n      # In between.\n      route:\n        cluster: a\n"
    );
    assert_eq!(hosts[0].1[1], "    - {match: {prefix: \"/it's\"}, route: {cluster: b}}\n");
    assert_eq!(hosts[1], ("  - name: two\n    domains: [x]\n".to_owned(), vec![]));
}

#[test]
fn lists_may_be_indented_more_and_end_the_text() {
    let text = "resources:\n  -   name: t\n      virtual_hosts:\n        - routes:\n            - a\n            - b";
    let (head, hosts) = pieces(text, Syntax::Yaml).expect("cut");
    assert_eq!(head, "resources:\n  -   name: t\n      virtual_hosts: []\n");
    assert_eq!(hosts[0].0, "        - routes: []\n");
    assert_eq!(hosts[0].1, ["            - a\n", "            - b"]);
}

#[test]
fn what_is_not_sure_is_not_cut() {
    for text in [
        "",
        "resources: []",
        "resources:\n- name: a\n- name: b\n",
        "resources:\n- name: a\n  virtual_hosts: []\n",
        "resources:\n- name: a\n  virtual_hosts: # many\n  - name: b\n",
        "resources:\n- name: a\n  virtual_hosts:\n  - name: &x b\n",
        "resources:\n- name: a\n  virtual_hosts:\n  - name: *x\n",
        "resources:\n- name: a\n  virtual_hosts:\n  - name: 'b\n     c'\n",
        "resources:\n- name: a\n  virtual_hosts:\n  - name: \"b\\\"\n     c\"\n",
        "resources:\n- name: a\n  virtual_hosts:\n\t- name: b\n",
        "---\nresources:\n- name: a\n  virtual_hosts:\n  - name: b\n",
        "resources:\r\n- name: a\r\n  virtual_hosts:\r\n  - name: b\r\n",
        "resources:\n- name: a\n  virtual_hosts:\n  - name: b\n    routes:\n    more: 1\n",
    ] {
        assert_eq!(pieces(text, Syntax::Yaml), None, "{text}");
    }
    for text in [
        "",
        "{",
        "[]",
        "{\"resources\": 1}",
        "{\"resources\": [{\"virtual_hosts\": [{]}",
        "{'resources': []}",
    ] {
        assert_eq!(pieces(text, Syntax::Json), None, "{text}");
    }
}

#[test]
fn json_is_cut_at_its_brackets() {
    let text = r#" {"version_info": "]}\"", "resources": [ {"name": "t", "virtual_hosts": [
        {"name": "a", "routes": [ {"match": {"prefix": "/,[" } } , {"b": [1, 2]} ], "domains": ["x"]},
        {"name": "b"} ], "rest": {} } ] } "#;
    let (head, hosts) = pieces(text, Syntax::Json).expect("cut");
    assert_eq!(
        head,
        r#" {"version_info": "]}\"", "resources": [ {"name": "t", "virtual_hosts": [], "rest": {} } ] } "#
    );
    assert_eq!(hosts[0].0, r#"{"name": "a", "routes": [], "domains": ["x"]}"#);
    assert_eq!(hosts[0].1, [r#"{"match": {"prefix": "/,[" } }"#, r#"{"b": [1, 2]}"#]);
    assert_eq!(hosts[1], (r#"{"name": "b"}"#.to_owned(), vec![]));
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd(text in "[ \\-a:\\[\\]{}\"'#\n,\\\\*&\t]{0,80}|(resources|virtual_hosts|routes|[:\\- \n\"{}\\[\\],])*") {
        let _ = outline(&text, Syntax::Yaml);
        let _ = outline(&text, Syntax::Json);
    }
}
