//! The structure of the source, enforced: who may import whom, where `unsafe` may stand, who may name
//! the kernel's and tokio's interfaces, how long a file may be. The tables below are the rules; a change
//! of the structure starts with a change of them. The checker itself is tested on planted violations.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/` in layer order. A module imports modules of lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("buf", 0),
    ("http", 1),
    ("tls", 1),
    ("stream_info", 1),
    ("formatter", 1),
    ("api", 1),
    ("config", 2),
    ("stats", 2),
    ("io", 2),
    ("transport", 3),
    ("upstream", 3),
    ("routing", 3),
    ("access_log", 3),
    ("trace", 3),
    ("filters", 4),
    ("listener", 5),
    ("load", 5),
    ("xds", 6),
    ("admin", 6),
    ("server", 7),
    ("demo", 7),
    ("cli", 7),
    ("main", 8),
];

/// Imports between modules of one layer that are wanted.
const SIBLINGS: &[(&str, &str)] = &[
    ("stream_info", "http"),
    ("formatter", "http"),
    ("formatter", "stream_info"),
    // Logs and rules tell what the handshake has settled.
    ("stream_info", "tls"),
    ("formatter", "tls"),
    // Memory comes from `buf`'s pools, whose sizes are base's constants.
    ("buf", "base"),
    // Connections to hosts go over transport sockets; health checks change the headers of their requests as
    // routes do.
    ("upstream", "transport"),
    ("upstream", "routing"),
    ("server", "cli"),
    ("server", "demo"),
    ("demo", "cli"),
    ("demo", "server"),
];

/// Where `unsafe` may stand: the two drivers, the buffers, and what tests do to child processes.
const UNSAFE_PLACES: &[&str] = &["src/io/ring", "src/io/epoll", "src/buf", "tests/support"];

/// Words that only some places may contain, as code.
const WORDS: &[Word] = &[
    Word { words: &["glommio", "io_uring"], places: &["src/io"], why: "only io knows its executors" },
    Word {
        words: &["tokio", "hyper", "hyper_util", "hickory_resolver"],
        places: &[
            "src/upstream/control",
            "src/upstream/discovery",
            "src/upstream/health",
            "src/xds/file",
            "src/xds/file_subscription",
            "src/admin",
            "src/server",
            "src/demo",
            "src/main.rs",
        ],
        why: "tokio lives on the control thread only",
    },
    Word {
        words: &["rustls", "webpki", "aws_lc_rs"],
        places: &["src/tls"],
        why: "only tls knows its libraries",
    },
    Word {
        words: &["envoy_types"],
        places: &["src/api", "src/config", "src/xds", "src/filters"],
        why: "generated messages end at api, config, xds and a filter's own configuration",
    },
];

/// Places that get time and randomness as arguments and do no I/O.
const SANS_IO: &[&str] = &[
    "src/buf",
    "src/http",
    "src/stream_info",
    "src/formatter",
    "src/tls",
    "src/routing",
    "src/upstream/lb",
    "src/upstream/outlier",
    "src/upstream/breaker",
    "src/upstream/retry",
    "src/xds/subscription",
];

/// What [`SANS_IO`] places must not name.
const IO_WORDS: &[&str] =
    &["Instant::now", "SystemTime::now", "TcpStream", "UdpSocket", "UnixStream", "crate::io"];

/// Modules below `src/filters/<kind>/` that are no filters: what filters share.
const FILTER_FRAME: &[&str] =
    &["mod", "chain", "registry", "factory", "callbacks", "local_reply", "convert", "testing"];

/// Lines a file may have.
const MAX_LINES: usize = 800;

struct Word {
    words: &'static [&'static str],
    places: &'static [&'static str],
    why: &'static str,
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    message: String,
}

#[test]
fn the_source_follows_its_rules() {
    let violations = check(Path::new(env!("CARGO_MANIFEST_DIR")));
    let list: Vec<String> =
        violations.iter().map(|v| format!("{}:{}: {}", v.file, v.line, v.message)).collect();
    assert!(list.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
}

#[test]
fn the_library_lists_its_modules_in_layer_order() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let modules: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 10, "{modules:?}");
    let layers: Vec<u8> =
        modules.iter().map(|m| layer_of(m).unwrap_or_else(|| panic!("{m} is in no layer"))).collect();
    assert!(layers.is_sorted(), "{modules:?} are in layers {layers:?}");
}

/// Checks every Rust file of the workspace at `root`.
fn check(root: &Path) -> Vec<Violation> {
    let mut files = Vec::new();
    for directory in ["src", "tests", "benches", "loadgen"] {
        collect(&root.join(directory), &mut files);
    }
    files.sort();
    let mut violations = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let file = File { name: &name, code: code_only(&text), text: &text };
        file.check(&mut violations);
    }
    violations
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

struct File<'a> {
    name: &'a str,
    /// The text with comments and literals blanked out; lines are kept.
    code: String,
    text: &'a str,
}

impl File<'_> {
    fn check(&self, violations: &mut Vec<Violation>) {
        let mut report = |line: usize, message: String| {
            violations.push(Violation { file: self.name.to_string(), line, message });
        };
        let lines = self.text.lines().count();
        if lines > MAX_LINES {
            report(lines, format!("{lines} lines; the cap is {MAX_LINES}"));
        }
        if !self.text.starts_with("//!") {
            report(1, "does not open with //!".into());
        }
        for (index, line) in self.code.lines().enumerate() {
            self.check_line(line, &mut |message| report(index + 1, message));
        }
        if let Some(module) = self.module() {
            for (line, imported) in crate_paths(&self.code) {
                self.check_edge(module, &imported, &mut |message| report(line, message));
            }
        }
    }

    fn check_line(&self, line: &str, report: &mut dyn FnMut(String)) {
        if has_word(line, "unsafe") && !self.is_in(UNSAFE_PLACES) {
            report("unsafe outside of the places for it".into());
        }
        if line.contains("super::super") {
            report("super::super: name the path from the crate".into());
        }
        if !self.name.starts_with("src/") {
            return;
        }
        // Test modules may use what their subject must not.
        if self.name.ends_with("/tests.rs") || self.name.contains("/tests/") {
            return;
        }
        for rule in WORDS {
            for word in rule.words {
                if has_word(line, word) && !self.is_in(rule.places) {
                    report(format!("{word} here: {}", rule.why));
                }
            }
        }
        if self.is_in(SANS_IO) {
            for word in IO_WORDS {
                if has_word(line, word) {
                    report(format!("{word} here: time and I/O are the caller's"));
                }
            }
        }
    }

    fn check_edge(&self, module: &str, imported: &[String], report: &mut dyn FnMut(String)) {
        let Some(target) = imported.first() else { return };
        // Macros live at the crate's root; those for logging are base's.
        let target = if target.starts_with("log_") { "base" } else { target.as_str() };
        let (Some(own), Some(other)) = (layer_of(module), layer_of(target)) else {
            // An item of the root (a macro) or a new module: the table must know modules.
            if self.name != "src/lib.rs" && target.chars().next().is_some_and(char::is_lowercase) {
                report(format!("crate::{target} is in no layer of the table"));
            }
            return;
        };
        let sibling = own == other && module != target;
        if own < other || (sibling && !SIBLINGS.contains(&(module, target))) {
            report(format!("{module} (layer {own}) imports {target} (layer {other})"));
        }
        if let (Some((kind, filter)), [first, second, third, ..]) = (self.filter(), imported)
            && first == "filters"
            && second == kind
            && third != filter
            && third.chars().all(|c| c.is_lowercase() || c == '_')
            && !FILTER_FRAME.contains(&third.as_str())
            && !FILTER_FRAME.contains(&filter)
        {
            report(format!("filter {filter} imports filter {third}"));
        }
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            self.name
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
        })
    }

    /// The module of `src/` that this file belongs to.
    fn module(&self) -> Option<&str> {
        let below = self.name.strip_prefix("src/")?;
        let first = below.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Kind and name of the filter that this file is part of.
    fn filter(&self) -> Option<(&str, &str)> {
        let mut parts = self.name.strip_prefix("src/filters/")?.split('/');
        let kind = parts.next()?;
        let filter = parts.next()?;
        Some((kind, filter.strip_suffix(".rs").unwrap_or(filter)))
    }
}

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Whether `line` has `word` with no letter, digit or underscore around it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// Every path that begins with `crate::`, with its line; groups in braces are spread out one level.
fn crate_paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if rest.starts_with('{') {
            for item in top_level_items(rest) {
                paths.push((line, segments(item.trim())));
            }
        } else {
            paths.push((line, segments(rest)));
        }
    }
    paths
}

/// The comma-separated items of a brace group that `text` begins with.
fn top_level_items(text: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 1);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 1) || depth == 0 {
            items.push(&text[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    items.into_iter().filter(|item| !item.trim().is_empty()).collect()
}

/// The identifiers of a path such as `a::b::C`.
fn segments(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text[..end].split("::").filter(|s| !s.is_empty()).map(str::to_string).collect()
}

/// The text with comments, strings and character literals replaced by blanks.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => text[at..].find('\n').map_or(bytes.len(), |n| at + n),
            [b'/', b'*', ..] => block_comment_end(bytes, at),
            [b'"', ..] => string_end(bytes, at),
            [b'r', b'"' | b'#', ..] if !continues_word(bytes, at) => {
                raw_string_end(text, at).unwrap_or(at + 1)
            }
            [b'\'', b'\\', _, rest @ ..] => {
                at + 3 + rest.iter().position(|&b| b == b'\'').map_or(0, |n| n + 1)
            }
            [b'\'', _, b'\'', ..] => at + 3,
            _ => {
                at += 1;
                continue;
            }
        };
        // A lone `r` that begins no raw string stays.
        if !(bytes[at] == b'r' && end == at + 1) {
            out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn continues_word(bytes: &[u8], at: usize) -> bool {
    // `br"` begins a literal too; any other letter before the `r` makes it part of a name.
    match at.checked_sub(1).map(|before| bytes[before]) {
        Some(b'b') => at >= 2 && (bytes[at - 2].is_ascii_alphanumeric() || bytes[at - 2] == b'_'),
        Some(byte) => byte.is_ascii_alphanumeric() || byte == b'_',
        None => false,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn raw_string_end(text: &str, start: usize) -> Option<usize> {
    let after = &text[start + 1..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let body = start + 1 + hashes + 1;
    Some(text[body..].find(&close).map_or(text.len(), |n| body + n + close.len()))
}

mod planted {
    //! Each rule sees its violation, and only that.

    use super::*;

    /// Puts a file into an otherwise empty tree and says what the checker finds.
    fn findings(name: &str, text: &str) -> Vec<String> {
        let tree = tempfile::tempdir().expect("scratch tree");
        let path = tree.path().join(name);
        fs::create_dir_all(path.parent().expect("directory")).expect("directory");
        fs::write(&path, text).expect("file");
        check(tree.path()).into_iter().map(|v| format!("{}:{} {}", v.file, v.line, v.message)).collect()
    }

    #[track_caller]
    fn assert_found(name: &str, text: &str, part: &str) {
        let found = findings(name, text);
        assert!(found.len() == 1 && found[0].contains(part), "{name}: {found:?}");
    }

    #[track_caller]
    fn assert_clean(name: &str, text: &str) {
        let found = findings(name, text);
        assert!(found.is_empty(), "{name}: {found:?}");
    }

    #[test]
    fn upward_imports() {
        assert_found(
            "src/http/a.rs",
            "//! x\nuse crate::config::Listener;\n",
            "http (layer 1) imports config",
        );
        assert_found(
            "src/http/a.rs",
            "//! x\nfn f() { crate::server::run(); }\n",
            "a.rs:2 http (layer 1) imports server",
        );
        assert_found("src/buf/a.rs", "//! x\nuse crate::{\n    base::X,\n    io::Y,\n};\n", "imports io");
        assert_clean("src/server/a.rs", "//! x\nuse crate::{base::X, io::{Y, Z}};\n");
    }

    #[test]
    fn sideward_imports() {
        assert_found(
            "src/routing/a.rs",
            "//! x\nuse crate::upstream::Cluster;\n",
            "routing (layer 3) imports upstream",
        );
        assert_clean("src/formatter/a.rs", "//! x\nuse crate::http::HeaderMap;\n");
        assert_clean("src/routing/a.rs", "//! x\nuse crate::routing::b;\n");
    }

    #[test]
    fn unknown_modules() {
        assert_found("src/routing/a.rs", "//! x\nuse crate::novelty::X;\n", "crate::novelty is in no layer");
    }

    #[test]
    fn unsafe_in_the_wrong_place() {
        assert_found("src/http/a.rs", "//! x\nunsafe fn f() {}\n", "unsafe outside");
        assert_found("src/io/mod.rs", "//! x\nunsafe fn f() {}\n", "unsafe outside");
        assert_found("tests/it/a.rs", "//! x\nunsafe fn f() {}\n", "unsafe outside");
        assert_clean("src/io/ring/a.rs", "//! x\nunsafe fn f() {}\n");
        assert_clean(
            "src/http/a.rs",
            "//! unsafe\n// unsafe\nconst A: &str = \"unsafe\"; /* unsafe */ const B: char = '\"';\n",
        );
        assert_clean("src/http/a.rs", "//! x\nconst A: &str = r#\"a \" unsafe\"#; const UNSAFE_N: u8 = 1;\n");
    }

    #[test]
    fn words_out_of_place() {
        assert_found("src/upstream/a.rs", "//! x\nuse glommio::X;\n", "glommio here");
        assert_found("src/listener/a.rs", "//! x\nuse io_uring::X;\n", "io_uring here");
        assert_found("src/filters/http/a.rs", "//! x\nuse tokio::X;\n", "tokio here");
        assert_found("src/upstream/a.rs", "//! x\nuse envoy_types::X;\n", "envoy_types here");
        assert_found("src/config/tls.rs", "//! x\nuse rustls::X;\n", "rustls here");
        assert_clean("src/routing/tests/mod.rs", "//! x\nuse envoy_types::X;\n");
        assert_clean("src/upstream/discovery/dns.rs", "//! x\nuse tokio::X;\n");
        assert_clean("src/upstream/discovery.rs", "//! x\nuse tokio::X;\n");
        assert_clean("src/filters/http/a.rs", "//! x\nuse envoy_types::X;\n");
    }

    #[test]
    fn clocks_and_sockets_in_policies() {
        assert_found("src/upstream/lb/a.rs", "//! x\nfn f() { Instant::now(); }\n", "Instant::now here");
        assert_found("src/http/h1/a.rs", "//! x\nuse std::net::TcpStream;\n", "TcpStream here");
        assert_found("src/routing/a.rs", "//! x\nuse crate::io::now;\n", "crate::io here");
    }

    #[test]
    fn filters_that_know_each_other() {
        assert_found(
            "src/filters/http/cors.rs",
            "//! x\nuse crate::filters::http::fault::X;\n",
            "filter cors imports filter fault",
        );
        assert_clean("src/filters/http/cors/config.rs", "//! x\nuse crate::filters::http::cors::X;\n");
        assert_clean("src/filters/http/cors.rs", "//! x\nuse crate::filters::http::chain::X;\n");
        assert_clean("src/filters/http/cors.rs", "//! x\nuse crate::filters::http::HttpFilter;\n");
    }

    #[test]
    fn shape_of_a_file() {
        assert_found("src/http/a.rs", "fn f() {}\n", "does not open with //!");
        assert_found("src/http/a.rs", &("//! x\n".to_string() + &"\n".repeat(800)), "801 lines");
        assert_found("src/http/a.rs", "//! x\nuse super::super::b;\n", "super::super");
        assert_clean("src/http/a.rs", &("//! x\n".to_string() + &"\n".repeat(799)));
    }
}
