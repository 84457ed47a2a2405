//! What a child process does to itself between fork and exec: forbid itself io_uring, as the default seccomp
//! profiles of container runtimes do (`io_uring_setup`, `io_uring_enter` and `io_uring_register` fail with
//! EPERM), and end when its test ends.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// First and last system call number of io_uring (the same on every architecture).
const IO_URING_FIRST: u32 = 425;
const IO_URING_LAST: u32 = 427;

/// Makes `command` start its process without access to io_uring.
pub fn deny_io_uring(command: &mut Command) -> &mut Command {
    // SAFETY: the closure runs between fork and exec and calls only prctl(2), which is
    // async-signal-safe; it neither allocates nor takes locks.
    unsafe { command.pre_exec(install_filter) }
}

/// Makes the process end (SIGKILL) when the thread that starts it ends, so that an interrupted test run
/// leaves nothing behind.
pub fn end_with_parent(command: &mut Command) -> &mut Command {
    let set = || {
        // SAFETY: a plain prctl(2) call.
        let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0;
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure runs between fork and exec and calls only prctl(2), which is async-signal-safe.
    unsafe { command.pre_exec(set) }
}

fn install_filter() -> std::io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | code) as u16,
        jt,
        jf,
        k,
    };
    let mut filter = [
        // The system call number is the first word of struct seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::BPF_JGE | libc::BPF_K, IO_URING_FIRST, 0, 2),
        jump(libc::BPF_JGT | libc::BPF_K, IO_URING_LAST, 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: plain prctl(2) calls; `program` points at `filter`, and both outlive the call, which copies them.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_still_run_under_the_filter() {
        let status = deny_io_uring(&mut Command::new("true")).status().expect("start");
        assert!(status.success());
    }
}
