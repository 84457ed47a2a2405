//! Starting a proxy (Ringway or the real Envoy), finding where it listens, and seeing it end well.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Request;
use crate::message::Message;
use crate::{eventually, eventually_within, seccomp};

/// The I/O driver of Ringway's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    Ring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// Value of `--io-driver`.
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Ring => "ring",
            Driver::Epoll => "epoll",
        }
    }
}

/// How to start a proxy.
#[derive(Debug)]
pub struct Server {
    program: OsString,
    arguments: Vec<OsString>,
    files: Vec<(String, String)>,
    deny_io_uring: bool,
    concurrency: usize,
    kind: &'static str,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Exited {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
    /// Largest resident memory seen while it ran, in bytes (polled).
    pub peak_rss_bytes: u64,
}

impl Server {
    /// Ringway with one I/O driver. `epoll` runs where io_uring is forbidden, as container runtimes forbid it:
    /// so every test of that driver also shows that nothing else needs io_uring.
    pub fn ringway(driver: Driver) -> Server {
        let mut server = Server::ringway_bare();
        server.deny_io_uring = driver == Driver::Epoll;
        server.arguments.extend(["--io-driver".into(), driver.as_str().into()]);
        server
    }

    /// Ringway without any flag of ours.
    pub fn ringway_bare() -> Server {
        Server {
            program: ringway_binary().into(),
            arguments: Vec::new(),
            files: Vec::new(),
            deny_io_uring: false,
            concurrency: 1,
            kind: "ringway",
        }
    }

    /// The real Envoy; none when this machine has none.
    pub fn envoy() -> Option<Server> {
        let there = Command::new("envoy")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        there.then(|| Server {
            program: "envoy".into(),
            arguments: vec!["--disable-hot-restart".into()],
            files: Vec::new(),
            deny_io_uring: false,
            concurrency: 1,
            kind: "envoy",
        })
    }

    /// Adds an argument. `{dir}` stands for the process's scratch directory.
    pub fn arg(mut self, argument: &str) -> Server {
        self.arguments.push(argument.into());
        self
    }

    /// Number of workers; 1 unless set.
    pub fn concurrency(mut self, workers: usize) -> Server {
        self.concurrency = workers;
        self
    }

    /// Puts a file into the scratch directory.
    pub fn file(mut self, name: &str, text: &str) -> Server {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Starts where io_uring is forbidden.
    pub fn deny_io_uring(mut self) -> Server {
        self.deny_io_uring = true;
        self
    }

    /// Starts with this configuration and waits until it is ready. `{dir}` in the text stands for the
    /// scratch directory.
    ///
    /// # Panics
    /// When it ends or does not become ready; the message has its standard error.
    #[track_caller]
    pub fn start(self, yaml: &str) -> Proxy {
        let workers = self.concurrency.to_string();
        let server = self
            .file("config.yaml", yaml)
            .arg("-c")
            .arg("{dir}/config.yaml")
            .arg("--concurrency")
            .arg(&workers)
            .arg("--admin-address-path")
            .arg("{dir}/admin")
            .arg("-l")
            .arg("warn");
        server.start_without_file()
    }

    /// Starts with the arguments given so far, which must name a configuration and
    /// `--admin-address-path {dir}/admin`, and waits until it is ready.
    ///
    /// # Panics
    /// As [`Server::start`].
    #[track_caller]
    pub fn start_without_file(self) -> Proxy {
        let kind = self.kind;
        let running = self.spawn();
        let mut proxy =
            Proxy { running, kind, admin: SocketAddr::from(([127, 0, 0, 1], 0)), listeners: Vec::new() };
        proxy.become_ready();
        proxy
    }

    /// Starts and waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn run_to_end(self, limit: Duration) -> Exited {
        let began = Instant::now();
        let mut running = self.spawn();
        let pid = running.child.id();
        let mut peak_rss_bytes = 0;
        let status = eventually_within(limit, "the process to end by itself", || {
            peak_rss_bytes = peak_rss_bytes.max(crate::procfs::peak_rss_bytes(pid));
            running.child.try_wait().expect("wait")
        });
        let took = began.elapsed();
        running.join_readers();
        Exited { status, stdout: running.stdout.text(), stderr: running.stderr.text(), took, peak_rss_bytes }
    }

    fn spawn(self) -> Running {
        let directory = TempDir::new().expect("scratch directory");
        let in_directory = |text: &str| text.replace("{dir}", &directory.path().display().to_string());
        for (name, text) in &self.files {
            fs::write(directory.path().join(name), in_directory(text)).expect("write file");
        }
        let mut command = Command::new(&self.program);
        for argument in &self.arguments {
            command.arg(in_directory(&argument.to_string_lossy()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        seccomp::end_with_parent(&mut command);
        if self.deny_io_uring {
            seccomp::deny_io_uring(&mut command);
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {:?}: {e}", self.program));
        let (stdout, out_reader) = Capture::of(child.stdout.take().expect("stdout"));
        let (stderr, err_reader) = Capture::of(child.stderr.take().expect("stderr"));
        Running { child, stdout, stderr, readers: vec![out_reader, err_reader], directory }
    }
}

/// Output of a process, collected while it runs.
#[derive(Debug, Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    fn of(mut from: impl Read + Send + 'static) -> (Capture, JoinHandle<()>) {
        let capture = Capture::default();
        let into = capture.clone();
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(n) = from.read(&mut chunk) {
                if n == 0 {
                    break;
                }
                into.0.lock().expect("capture").extend_from_slice(&chunk[..n]);
            }
        });
        (capture, reader)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("capture")).into_owned()
    }
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdout: Capture,
    stderr: Capture,
    readers: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Running {
    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended; both calls are harmless then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A proxy that serves. Killed (by its pid) when dropped.
#[derive(Debug)]
pub struct Proxy {
    running: Running,
    kind: &'static str,
    admin: SocketAddr,
    listeners: Vec<(String, SocketAddr)>,
}

impl Proxy {
    /// Waits for the admin address, for `/ready`, and for every listener to have its port.
    fn become_ready(&mut self) {
        let path = self.directory().join("admin");
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            if let Some(status) = self.running.child.try_wait().expect("wait") {
                self.running.join_readers();
                panic!("{} ended at start ({status}):\n{}", self.kind, self.stderr());
            }
            let admin = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            if let Some(admin) = admin {
                self.admin = admin;
                let ready = Request::get("/ready").try_send(admin).is_ok_and(|r| r.status() == 200);
                if ready && self.find_listeners() {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "{} is not ready in time:\n{}", self.kind, self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks anew where listeners listen. Whether all of them have a port.
    pub fn find_listeners(&mut self) -> bool {
        let listing = self.admin_get("/listeners?format=json");
        let Ok(listing) = serde_json::from_slice::<Value>(&listing.body) else { return false };
        let statuses = listing["listener_statuses"].as_array().cloned().unwrap_or_default();
        self.listeners = statuses
            .iter()
            .flat_map(|status| {
                let name = status["name"].as_str().unwrap_or("").to_string();
                let additional = status["additional_local_addresses"].as_array().cloned().unwrap_or_default();
                std::iter::once(status["local_address"].clone())
                    .chain(additional)
                    .filter_map(|address| socket_address(&address))
                    .map(move |address| (name.clone(), address))
                    .collect::<Vec<_>>()
            })
            .collect();
        self.listeners.iter().all(|(_, address)| address.port() != 0)
    }

    /// Address of the first listener.
    ///
    /// # Panics
    /// When there is no TCP listener.
    pub fn address(&self) -> SocketAddr {
        self.listeners.first().expect("a listener").1
    }

    /// All addresses of the listener with this name.
    pub fn addresses_of(&self, name: &str) -> Vec<SocketAddr> {
        self.listeners.iter().filter(|(n, _)| n == name).map(|(_, address)| *address).collect()
    }

    /// First address of the listener with this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        *self.addresses_of(name).first().unwrap_or_else(|| panic!("no listener {name}: {:?}", self.listeners))
    }

    /// Address of the admin server.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// GET from the admin server.
    pub fn admin_get(&self, target: &str) -> Message {
        Request::get(target).send(self.admin)
    }

    /// POST to the admin server.
    pub fn admin_post(&self, target: &str) -> Message {
        Request::post(target, "").send(self.admin)
    }

    /// Value of one counter or gauge; 0 if it has none.
    pub fn stat(&self, name: &str) -> u64 {
        self.find_stat(name).unwrap_or(0)
    }

    /// Value of one counter or gauge; none if it is not listed.
    pub fn find_stat(&self, name: &str) -> Option<u64> {
        let stats = self.admin_get("/stats").text();
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        line.trim().parse().ok()
    }

    /// Value of a text readout; none if it is not listed.
    pub fn find_text(&self, name: &str) -> Option<String> {
        let stats = self.admin_get("/stats").text();
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": \""))?;
        line.strip_suffix('"').map(str::to_owned)
    }

    /// Waits until a text readout has this value.
    pub fn await_text(&self, name: &str, value: &str) {
        eventually(&format!("{name} = {value:?} (is {:?})", self.find_text(name)), || {
            (self.find_text(name).as_deref() == Some(value)).then_some(())
        });
    }

    /// Waits until a counter or gauge has this value.
    pub fn await_stat(&self, name: &str, value: u64) {
        eventually(&format!("{name} = {value} (is {:?})", self.find_stat(name)), || {
            (self.stat(name) == value).then_some(())
        });
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Its scratch directory, where the configuration lies.
    pub fn directory(&self) -> &Path {
        self.running.directory.path()
    }

    /// Moves a file with this text into the scratch directory, in place of one of that name. `{dir}` in the
    /// text stands for the directory.
    ///
    /// # Panics
    /// If that fails.
    pub fn put(&self, name: &str, text: &str) {
        let next = self.directory().join(format!(".next-{name}"));
        fs::write(&next, text.replace("{dir}", &self.directory().display().to_string())).expect("write file");
        fs::rename(&next, self.directory().join(name)).expect("move file");
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.running.stderr.text()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.running.stdout.text()
    }

    /// Sends a signal, e.g. `libc::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("pid");
        // SAFETY: kill(2) takes plain numbers. The child has not been waited for, so its id is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "kill({pid}, {signal})");
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.running.child.try_wait().expect("wait").is_none()
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn await_end(&mut self) -> ExitStatus {
        let kind = self.kind;
        let status = eventually(&format!("{kind} to end"), || self.running.child.try_wait().expect("wait"));
        self.running.join_readers();
        status
    }

    /// Asks it to end (SIGTERM) and asserts that it does so in order: exit code 0, no panic reported.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(libc::SIGTERM);
        let status = self.await_end();
        assert!(status.success(), "{} ended with {status}:\n{}", self.kind, self.stderr());
        assert!(!self.stderr().contains("panicked"), "a panic:\n{}", self.stderr());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stderr = self.stderr();
            eprintln!("--- standard error of {} (pid {}):\n{stderr}---", self.kind, self.pid());
        }
    }
}

/// The `ringway` program of this build: `RINGWAY_BINARY` if set, else beside the running test.
///
/// # Panics
/// When it has not been built; `cargo test` builds it before integration tests run.
pub fn ringway_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RINGWAY_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("path of the test");
    let built = test.ancestors().nth(2).map(|directory| directory.join("ringway"));
    built.filter(|path| path.is_file()).unwrap_or_else(|| panic!("no ringway beside {}", test.display()))
}

/// Reads a whole file; nothing if it is not there.
pub fn read_file(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn socket_address(address: &Value) -> Option<SocketAddr> {
    let address = &address["socket_address"];
    let ip = address["address"].as_str()?.parse().ok()?;
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::new(ip, port))
}
