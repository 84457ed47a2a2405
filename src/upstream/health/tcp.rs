//! Checks by a connection, and by bytes on it (`HealthCheck.TcpHealthCheck`).

use super::judge::CheckResult;
use super::payload::PayloadMatcher;
use super::socket::{CheckSocket, CheckTarget};
use crate::config::cluster::TcpHealthCheck;

/// Bytes received at a time.
const BUFFER_BYTES: usize = 4 * 1024;

/// Checks the host on `connection`, which is made if there is none. A connection that may serve again is
/// left there.
pub async fn check(
    config: &TcpHealthCheck,
    reuses_connection: bool,
    connection: &mut Option<CheckSocket>,
    target: CheckTarget<'_>,
) -> CheckResult {
    let mut socket = match connection.take() {
        Some(socket) => socket,
        None => match CheckSocket::connect(target).await {
            Ok(socket) => socket,
            Err(_) => return CheckResult::NETWORK_FAILURE,
        },
    };
    if config.receive.is_empty() {
        return CheckResult::Success { is_degraded: false };
    }
    if socket.send(&config.send).await.is_err() {
        return CheckResult::NETWORK_FAILURE;
    }
    let mut matcher = PayloadMatcher::new(&config.receive, None);
    let mut buffer = [0; BUFFER_BYTES];
    while !matcher.is_match() {
        match socket.receive(&mut buffer).await {
            Ok(0) | Err(_) => return CheckResult::NETWORK_FAILURE,
            Ok(received) => matcher.feed(&buffer[..received]),
        }
    }
    *connection = Some(socket).filter(|_| reuses_connection);
    CheckResult::Success { is_degraded: false }
}

/// Waits for the end of a connection that waits for the next check. What comes meanwhile is thrown away.
pub async fn closed(connection: &mut Option<CheckSocket>) {
    let Some(socket) = connection else { return std::future::pending().await };
    let mut buffer = [0; BUFFER_BYTES];
    while !matches!(socket.receive(&mut buffer).await, Ok(0) | Err(_)) {}
}
