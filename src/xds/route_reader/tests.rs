//! Reading in part gives what reading as a whole gives, or nothing.

use std::io;

use super::*;
use crate::config::ExternalData;
use crate::xds::{self, UpdateError, resources};

fn external(_: ExternalData<'_>) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

/// A file that is written again and again.
struct File {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
    reader: RouteReader,
}

impl File {
    fn new(name: &str) -> File {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        File { _directory: directory, path, reader: RouteReader::new("table") }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("written");
    }

    /// Reads the file as a whole.
    fn whole(&self) -> Result<(String, Arc<RouteConfiguration>, String), UpdateError> {
        let response = xds::load(&self.path, resources::ROUTE_CONFIGURATION)?;
        let mut context = Context::new(&external);
        let [resource] = &response.resources[..] else {
            return Err(UpdateError::refused(&response, Vec::new()));
        };
        let config = resources::route_configuration(resource, &mut context);
        let config = context.finish(config).map_err(|errors| UpdateError::refused(&response, errors))?;
        let text = response.sources.iter().next().expect("a source").text.clone();
        Ok((response.version, Arc::new(config), text))
    }

    /// Takes the text as the one in force.
    fn start(&mut self, text: &str) {
        self.write(text);
        let (_, config, text) = self.whole().expect("right");
        assert!(self.reader.keep_whole(&self.path, text, &config), "it can be cut");
    }

    /// Reads the new text in part. If that is possible, it must be what the whole gives.
    fn again(&mut self, text: &str) -> Option<(String, Arc<RouteConfiguration>, bool)> {
        self.write(text);
        let read = self.reader.read_again(&self.path, &external)?;
        let (version, config, _) = self.whole().unwrap_or_else(|error| {
            panic!("read in part, but wrong as a whole: {:?}\n{text}", error.lines())
        });
        assert_eq!(read.version, version);
        assert_eq!(shown(&read.config), shown(&config), "{text}");
        let (config, is_changed) = (Arc::clone(&read.config), read.is_changed);
        self.reader.keep(read);
        Some((version, config, is_changed))
    }
}

/// All of a table but where its parts stood when they were read.
fn shown(config: &RouteConfiguration) -> String {
    let text = format!("{config:?}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("FieldPath(\"") {
        out.push_str(&rest[..at]);
        let after = &rest[at + "FieldPath(\"".len()..];
        rest = after.find("\")").map_or("", |end| &after[end..]);
    }
    out.push_str(rest);
    out
}

fn yaml(version: u32, hosts: &[(&str, &[&str])]) -> String {
    let mut text = format!(
        "version_info: 'v{version}'\nresources:\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: table\n  virtual_hosts:\n"
    );
    for (name, routes) in hosts {
        text.push_str(&format!("  - name: {name}\n    domains: [{name}]\n    routes:\n"));
        for route in *routes {
            text.push_str(&format!("    - match: {{prefix: /{route}}}\n      route: {{cluster: {route}}}\n"));
        }
    }
    text
}

#[test]
fn what_has_not_changed_is_the_same_by_address() {
    let mut file = File::new("rds.yaml");
    assert!(file.again(&yaml(0, &[("a", &["x"])])).is_none(), "nothing to compare with");
    file.start(&yaml(1, &[("a", &["x", "v", "z"]), ("b", &["x"])]));
    let first = Arc::clone(&file.reader.last.as_ref().expect("kept").config);
    let (version, same, is_changed) =
        file.again(&yaml(2, &[("a", &["x", "v", "z"]), ("b", &["x"])])).expect("read");
    assert_eq!((version.as_str(), is_changed), ("v2", false));
    assert!(Arc::ptr_eq(&first.virtual_hosts[0], &same.virtual_hosts[0]));
    let (_, changed, is_changed) =
        file.again(&yaml(3, &[("a", &["x", "new", "v", "z"]), ("b", &["x"])])).expect("read");
    assert!(is_changed && Arc::ptr_eq(&first.virtual_hosts[1], &changed.virtual_hosts[1]));
    let routes = &changed.virtual_hosts[0].routes;
    assert!(Arc::ptr_eq(&first.virtual_hosts[0].routes[0], &routes[0]));
    assert!(Arc::ptr_eq(&first.virtual_hosts[0].routes[2], &routes[3]), "moved");
    let (_, shorter, _) = file.again(&yaml(4, &[("b", &["x"])])).expect("read");
    assert!(Arc::ptr_eq(&first.virtual_hosts[1], &shorter.virtual_hosts[0]));
}

#[test]
fn an_empty_list_of_routes_is_not_the_list_that_was_cut() {
    let mut file = File::new("rds.yaml");
    file.start(&yaml(1, &[("a", &["x", "v"])]));
    let emptied = yaml(2, &[("a", &[])]).replace("routes:\n", "routes: []\n");
    let (_, config, is_changed) = file.again(&emptied).expect("read");
    assert!(is_changed && config.virtual_hosts[0].routes.is_empty());
}

#[test]
fn what_is_wrong_or_unusual_is_left_to_the_whole() {
    let right = yaml(1, &[("a", &["x", "v"]), ("b", &["x"])]);
    for (from, to) in [
        ("name: table", "name: other"),
        ("cluster: v", "cluster: v, nonsense: 1"),
        ("prefix: /v", "safe_regex: {regex: '('}"),
        ("cluster: v", "cluster: v, hash_policy: [{terminal: true}]"),
        ("domains: [b]", "domains: [a]"),
        ("domains: [b]", "domains: []"),
        ("version_info: 'v1'", "version_info: [v1"),
        ("RouteConfiguration", "Route"),
        ("name: table", "name: table\n  max_direct_response_body_size_bytes: 1"),
        ("    - match: {prefix: /v}", "    - match: *v"),
    ] {
        let mut file = File::new("rds.yaml");
        file.start(&right);
        assert!(right.contains(from), "{from}");
        assert!(file.again(&right.replacen(from, to, 1)).is_none(), "{to}");
        assert!(file.again(&right).is_some(), "{to}: what was in force is still known");
    }
}

#[test]
fn many_changes_are_left_to_the_whole() {
    let mut file = File::new("rds.yaml");
    let names =
        |prefix: &str| (0..MAX_CHANGED_PIECES + 1).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let table = |version, names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        yaml(version, &[("a", &names)])
    };
    file.start(&table(1, &names("x")));
    assert!(file.again(&table(2, &names("z"))).is_none());
    let mut some = names("x");
    some[7] = "other".into();
    assert!(file.again(&table(3, &some)).is_some());
}

/// A table as a model: virtual hosts with routes.
type Model = Vec<(u8, Vec<u8>)>;

fn render(version: u32, model: &Model, as_json: bool) -> String {
    if as_json {
        let hosts: Vec<_> = model
            .iter()
            .enumerate()
            .map(|(place, (name, routes))| {
                let routes: Vec<_> = routes
                    .iter()
                    .map(|n| serde_json::json!({"match": {"prefix": format!("/{n}")}, "route": {"cluster": "c"}}))
                    .collect();
                serde_json::json!({"name": format!("h{name}"), "domains": [format!("{place}.{name}")], "routes": routes})
            })
            .collect();
        let table = serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "table", "virtual_hosts": hosts,
        });
        let response = serde_json::json!({"version_info": version.to_string(), "resources": [table]});
        return if version.is_multiple_of(2) { response.to_string() } else { format!("{response:#}") };
    }
    let mut text = format!(
        "version_info: '{version}'\nresources:\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: table\n  virtual_hosts:\n"
    );
    for (place, (name, routes)) in model.iter().enumerate() {
        text.push_str(&format!("  - name: h{name}\n    domains: ['{place}.{name}']\n    routes:\n"));
        for route in routes {
            text.push_str(&format!("    - match: {{prefix: /{route}}}\n      route:\n        cluster: c\n"));
        }
    }
    text
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    #[test]
    fn any_sequence_of_tables_reads_alike(
        as_json: bool,
        tables in proptest::collection::vec(
            proptest::collection::vec((0_u8..4, proptest::collection::vec(0_u8..6, 1..6)), 1..5), 2..6),
    ) {
        let mut file = File::new(if as_json { "rds.json" } else { "rds.yaml" });
        file.start(&render(0, &tables[0], as_json));
        for (version, table) in (1..).zip(&tables[1..]) {
            proptest::prop_assert!(file.again(&render(version, table, as_json)).is_some());
        }
    }

    /// Lines are taken out, doubled, moved and indented at random: what still reads in part is right.
    #[test]
    fn any_damage_is_left_to_the_whole(
        edits in proptest::collection::vec((0_usize..30, 0_u8..6, 0_usize..8), 1..4),
    ) {
        let mut file = File::new("rds.yaml");
        let right = yaml(1, &[("a", &["x", "v"]), ("b", &["x", "z", "w"])]);
        file.start(&right);
        let mut lines: Vec<String> = right.lines().map(str::to_owned).collect();
        for (place, edit, amount) in edits {
            let place = place % lines.len();
            match edit {
                0 => drop(lines.remove(place)),
                1 => lines.insert(place, lines[place].clone()),
                2 => lines[place].insert_str(0, &" ".repeat(amount)),
                3 => lines[place] = lines[place].trim_start().to_owned(),
                4 => lines.swap(place, amount % 10),
                _ => lines[place].push_str(["", "]", "}", ": x", " # y", "'", "- ", " |"][amount]),
            }
            if lines.is_empty() {
                break;
            }
        }
        let _ = file.again(&(lines.join("\n") + "\n"));
    }
}
