//! Which driver a worker can use here: decided by trying, never by a kernel version.

use super::ring;

/// The drivers that move real packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring, one ring per worker, inside a glommio executor.
    Ring,
    /// epoll, where io_uring is missing or forbidden.
    Epoll,
}

impl DriverKind {
    /// The name used on the command line and in `/server_info`.
    pub const fn name(self) -> &'static str {
        match self {
            DriverKind::Ring => "ring",
            DriverKind::Epoll => "epoll",
        }
    }
}

/// What the operator asked for (`--io-driver`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// `ring` where it works, otherwise `epoll`.
    #[default]
    Auto,
    /// `ring` or an error.
    Ring,
    /// `epoll`.
    Epoll,
}

/// The outcome of [`probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The driver to use.
    pub kind: DriverKind,
    /// Why `auto` did not take the ring: what is missing, in one sentence.
    pub fallback_reason: Option<String>,
}

/// The ring was asked for and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the io_uring driver cannot be used here: {missing}")]
pub struct ProbeError {
    /// What is missing, in one sentence.
    pub missing: String,
}

/// Tries what the choice needs. Takes a few milliseconds; touches no network.
///
/// # Errors
/// [`ProbeError`] if the ring was demanded and does not work here.
pub fn probe(choice: DriverChoice) -> Result<Probed, ProbeError> {
    if choice == DriverChoice::Epoll {
        return Ok(Probed { kind: DriverKind::Epoll, fallback_reason: None });
    }
    match (ring::probe(), choice) {
        (Ok(()), _) => Ok(Probed { kind: DriverKind::Ring, fallback_reason: None }),
        (Err(missing), DriverChoice::Ring) => Err(ProbeError { missing }),
        (Err(missing), _) => Ok(Probed { kind: DriverKind::Epoll, fallback_reason: Some(missing) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_always_there_and_auto_explains_itself() {
        let epoll = probe(DriverChoice::Epoll).expect("epoll");
        assert_eq!((epoll.kind, epoll.fallback_reason), (DriverKind::Epoll, None));
        let auto = probe(DriverChoice::Auto).expect("auto never fails");
        assert_eq!(auto.kind == DriverKind::Epoll, auto.fallback_reason.is_some());
    }
}
