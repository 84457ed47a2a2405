//! How much processor time a thread has used, from `/proc`, to the nanosecond; and how exactly its sleeps end.

use std::fs;
use std::time::Duration;

/// Processor time of the calling thread so far; zero where the kernel does not tell.
pub(super) fn of_this_thread() -> Duration {
    let nanos = fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Lets timed waits of the calling thread end when they should, not up to 50 microseconds later. Where that is not
/// allowed they stay coarse, which the schedule lag shows.
pub(super) fn sharpen_sleeps() {
    let thread = fs::read_link("/proc/thread-self").ok();
    if let Some(number) = thread.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str()) {
        let _ = fs::write(format!("/proc/{number}/timerslack_ns"), "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows() {
        let before = of_this_thread();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let used = of_this_thread() - before;
        assert!(used > Duration::from_micros(100) && used < Duration::from_secs(1), "{used:?}");
    }
}
