//! What machine a run was made on.

use std::fs;

use ringway::io::DriverKind;
use serde::{Deserialize, Serialize};

/// Facts that figures depend on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Such as `Linux 6.18.0`.
    pub kernel: String,
    /// The processor's name.
    pub cpu_model: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// How the generator did network I/O.
    pub io_driver: String,
    /// The generator's version.
    pub version: String,
}

impl Machine {
    /// This machine.
    pub fn here(driver: DriverKind) -> Machine {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |key: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Machine {
            kernel: format!("Linux {}", kernel.trim()),
            cpu_model: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: core_affinity::get_core_ids().map_or(1, |cores| cores.len()),
            io_driver: driver.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
