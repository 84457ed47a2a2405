//! Running the program and reading what it wrote.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringway_test_support::{Driver, Origin, eventually_within};
use serde_json::Value;
use tempfile::TempDir;

/// Longest time for a run to end.
const LIMIT: Duration = Duration::from_secs(60);

/// A run that has ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// What `--json` wrote; null if nothing.
    pub json: Value,
    pub directory: TempDir,
}

/// A run under way.
pub struct Running {
    child: Child,
    directory: TempDir,
}

impl Ended {
    /// A number of the results, by its path.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> f64 {
        self.json
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("no {pointer}: {}", self.said()))
    }

    /// Failures of a kind.
    pub fn errors(&self, kind: &str) -> u64 {
        self.json["errors"][kind].as_u64().unwrap_or(0)
    }

    /// Everything that it printed.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// `http://127.0.0.1:PORT` and a path.
pub fn url(origin: &Origin, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", origin.port())
}

/// Starts a run on one thread; `{dir}` in an argument stands for its scratch directory.
pub fn start(driver: Driver, arguments: &[&str]) -> Running {
    let all = ["--io-driver", driver.as_str(), "-t", "1", "--json", "{dir}/results.json"];
    start_bare(&[&all, arguments].concat())
}

/// Starts the program with these arguments alone.
pub fn start_bare(arguments: &[&str]) -> Running {
    let directory = TempDir::new().expect("scratch directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    for argument in arguments {
        command.arg(argument.replace("{dir}", &directory.path().display().to_string()));
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    Running { child: child.expect("start loadgen"), directory }
}

/// Runs to the end.
#[track_caller]
pub fn run(driver: Driver, arguments: &[&str]) -> Ended {
    start(driver, arguments).end()
}

impl Running {
    /// Sends a signal, such as `INT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(status.expect("sh").success());
    }

    /// The first line that it prints.
    pub fn first_line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        let out = self.child.stdout.as_mut().expect("piped");
        while out.read(&mut byte).expect("output") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = eventually_within(LIMIT, "loadgen to end", || self.child.try_wait().expect("wait"));
        let (mut stdout, mut stderr) = (String::new(), String::new());
        // What it prints is little enough for the pipes.
        self.child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("output");
        self.child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("output");
        let json = read_json(&self.directory.path().join("results.json"));
        let directory = std::mem::replace(&mut self.directory, TempDir::new().expect("scratch directory"));
        Ended { code: status.code(), stdout, stderr, json, directory }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; both calls are harmless then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
