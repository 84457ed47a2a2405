//! A small server on a thread of its own, for measuring: it accepts connections and runs a task for each until it is
//! dropped.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::task::Poll;
use std::thread::JoinHandle;

use crate::io::{self, Address, DriverKind, ListenOptions, Listener, Mailbox, Sender, Socket, WorkerOptions};

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Service {
    address: Address,
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// Where a server listens and runs.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Port 0 takes a free one.
    pub listen: Address,
    /// How it does network I/O.
    pub driver: DriverKind,
    /// The CPU to stay on.
    pub cpu: Option<usize>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It cannot listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Address,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Its certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// It has no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl ServiceOptions {
    /// On a free port of loopback, not pinned.
    pub fn on_loopback(driver: DriverKind) -> ServiceOptions {
        let listen = Address::Ip(([127, 0, 0, 1], 0).into());
        ServiceOptions { listen, driver, cpu: None }
    }
}

impl Service {
    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until it ends, which it does by itself only if its I/O fails.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }

    /// Starts a server; `prepare` is called on its thread and makes what handles each connection.
    pub(super) fn start<H, F>(
        name: &str,
        options: &ServiceOptions,
        prepare: impl FnOnce() -> H + Send + 'static,
    ) -> Result<Service, ServiceError>
    where
        H: Fn(Socket) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let listen_error = |source| ServiceError::Listen { address: options.listen.clone(), source };
        let fd = io::bind_listener(&ListenOptions::new(options.listen.clone())).map_err(listen_error)?;
        let bound = socket2::SockRef::from(&fd).local_addr().map_err(listen_error)?;
        let address = bound.as_socket().map_or(options.listen.clone(), Address::Ip);
        let (stop, stopped) = io::mailbox();
        let worker = WorkerOptions { cpu: options.cpu, ..WorkerOptions::new(options.driver, 0) };
        let thread_name = name.to_owned();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Err(error) = io::run_worker(worker, move || serve(fd, stopped, prepare())) {
                    eprintln!("{thread_name}: {error}");
                }
            })
            .map_err(ServiceError::Thread)?;
        Ok(Service { address, stop, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; then nobody receives this.
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve<H, F>(fd: OwnedFd, mut stopped: Mailbox<()>, handle: H)
where
    H: Fn(Socket) -> F,
    F: Future<Output = ()> + 'static,
{
    let Ok(mut listener) = Listener::from_fd(fd) else { return };
    poll_fn(|cx| {
        while let Poll::Ready(accepted) = listener.poll_accept(cx) {
            match accepted {
                Ok(socket) => io::spawn(handle(socket)),
                Err(_) => return Poll::Ready(()),
            }
        }
        stopped.poll_recv(cx).map(|_| ())
    })
    .await;
}
