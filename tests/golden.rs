//! Golden diagnostics: every broken configuration in `tests/golden/diagnostics` against the text
//! that a user sees for it, which stands beside it as `<file>.expected`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` rewrites the expected texts; read the difference before
//! you commit it. Envoy is asked in `config_oracle.rs`, not here.

use ringway::api::{Inputs, load_bootstrap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diagnostics");
    let entries = std::fs::read_dir(dir).expect("the directory of cases");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext != "expected"));
    paths.sort();
    paths
}

fn rendered(path: &Path) -> String {
    let inputs = Inputs { config_path: Some(path), ..Inputs::default() };
    let diagnostics = load_bootstrap(inputs).expect_err("a broken configuration").to_string();
    let dir = format!("{}/", path.parent().expect("in a directory").display());
    diagnostics.replace(&dir, "")
}

#[test]
fn broken_configurations_are_explained() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for path in cases {
        let expected_path = PathBuf::from(format!("{}.expected", path.display()));
        let actual = rendered(&path);
        if update {
            std::fs::write(&expected_path, &actual).expect("written");
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            failures.push(format!("== {}\n-- expected\n{expected}-- actual\n{actual}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every broken file costs bounded time, hostile ones too (debug build, shared machine).
#[test]
fn broken_configurations_are_refused_quickly() {
    for path in cases() {
        let start = Instant::now();
        rendered(&path);
        assert!(start.elapsed() < Duration::from_secs(20), "{} took {:?}", path.display(), start.elapsed());
    }
}
