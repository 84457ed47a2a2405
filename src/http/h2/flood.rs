//! Counts what a peer makes us do and says when it is too much. Formulas and defaults are those of Envoy 1.40 (its
//! `ProtocolConstraints`, the connection manager's guard against rapid resets, nghttp2's rate of resets), each measured on the
//! program.
//!
//! Looks at no frame and ends nothing: the connection reports, and acts on the answer.

use super::ConnectionError;
use super::settings::FloodLimits;
use crate::base::clock::Instant;

/// What a connection's peer has done so far.
#[derive(Debug)]
pub struct FloodGuard {
    /// Empty frames since the last one that was not.
    empty_frames: u32,
    priority_frames: u32,
    window_updates: u32,
    data_frames_sent: u32,
    metadata_bytes: u32,
    /// RST_STREAM frames that may still come, and since when that was not raised.
    resets_left: u32,
    resets_raised: Instant,
    /// Streams that ended, and how many of them prematurely.
    ended_streams: u32,
    premature_resets: u32,
}

impl FloodGuard {
    /// Nothing was done yet.
    pub fn new(limits: &FloodLimits) -> FloodGuard {
        FloodGuard {
            empty_frames: 0,
            priority_frames: 0,
            window_updates: 0,
            data_frames_sent: 0,
            metadata_bytes: 0,
            resets_left: limits.reset_burst,
            resets_raised: Instant::default(),
            ended_streams: 0,
            premature_resets: 0,
        }
    }

    /// A DATA, HEADERS or CONTINUATION frame came. `is_idle`: it is empty, padding aside, and does not end its stream.
    #[inline]
    pub fn on_content_frame(&mut self, limits: &FloodLimits, is_idle: bool) -> Result<(), ConnectionError> {
        if !is_idle {
            self.empty_frames = 0;
            return Ok(());
        }
        self.empty_frames += 1;
        check(self.empty_frames <= limits.max_consecutive_empty_frames, ConnectionError::EmptyFramesFlood)
    }

    /// A PRIORITY frame came while so many streams were open.
    pub fn on_priority(&mut self, limits: &FloodLimits, open_streams: u32) -> Result<(), ConnectionError> {
        self.priority_frames = self.priority_frames.saturating_add(1);
        let allowed = u64::from(limits.max_priority_frames_per_stream) * (1 + u64::from(open_streams));
        check(u64::from(self.priority_frames) <= allowed, ConnectionError::PriorityFlood)
    }

    /// A WINDOW_UPDATE frame came while so many streams were open.
    #[inline]
    pub fn on_window_update(
        &mut self,
        limits: &FloodLimits,
        open_streams: u32,
    ) -> Result<(), ConnectionError> {
        self.window_updates = self.window_updates.saturating_add(1);
        let for_data = u64::from(limits.max_window_updates_per_data_frame) * u64::from(self.data_frames_sent);
        let allowed = 5 + 2 * (u64::from(open_streams) + for_data);
        check(u64::from(self.window_updates) <= allowed, ConnectionError::WindowUpdateFlood)
    }

    /// A DATA frame was sent.
    #[inline]
    pub fn on_data_sent(&mut self) {
        self.data_frames_sent = self.data_frames_sent.saturating_add(1);
    }

    /// A METADATA frame came; `is_last` of its block.
    pub fn on_metadata(
        &mut self,
        limits: &FloodLimits,
        bytes: usize,
        is_last: bool,
    ) -> Result<(), ConnectionError> {
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes as u32);
        check(self.metadata_bytes <= limits.max_metadata_bytes, ConnectionError::MetadataFlood)?;
        if is_last {
            self.metadata_bytes = 0;
        }
        Ok(())
    }

    /// A RST_STREAM frame came.
    pub fn on_reset(&mut self, limits: &FloodLimits, now: Instant) -> Result<(), ConnectionError> {
        let seconds = now.since(self.resets_raised).as_secs();
        if seconds > 0 {
            let gained = seconds.saturating_mul(limits.reset_rate_per_s.into());
            let left = u64::from(self.resets_left).saturating_add(gained).min(limits.reset_burst.into());
            self.resets_left = left as u32;
            self.resets_raised = now;
        }
        check(self.resets_left > 0, ConnectionError::ResetFlood)?;
        self.resets_left -= 1;
        Ok(())
    }

    /// A client's stream ended as it should, or late.
    #[inline]
    pub fn on_stream_end(&mut self) {
        self.ended_streams = self.ended_streams.saturating_add(1);
    }

    /// A client's stream was reset: by the client before it was answered, or by us because of the client's errors.
    /// These are known as Rapid Reset (CVE-2023-44487) and MadeYouReset (CVE-2025-8671).
    pub fn on_early_reset(
        &mut self,
        limits: &FloodLimits,
        opened: Instant,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.on_stream_end();
        if now.since(opened).as_secs() > limits.premature_reset_lifetime_s.into() {
            return Ok(());
        }
        self.premature_resets = self.premature_resets.saturating_add(1);
        let counted = self.ended_streams.max(limits.premature_reset_total_streams);
        check(u64::from(self.premature_resets) * 2 < counted.into(), ConnectionError::PrematureResets)
    }
}

fn check(is_fine: bool, error: ConnectionError) -> Result<(), ConnectionError> {
    if is_fine { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FloodLimits = FloodLimits::SERVER;

    /// How many calls succeed before the first that does not.
    fn count(mut call: impl FnMut() -> Result<(), ConnectionError>) -> (u32, ConnectionError) {
        let mut succeeded = 0;
        loop {
            match call() {
                Ok(()) => succeeded += 1,
                Err(error) => return (succeeded, error),
            }
        }
    }

    fn guard() -> FloodGuard {
        FloodGuard::new(&LIMITS)
    }

    fn seconds(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// What Envoy 1.40 tolerated, found by sending one frame more each time.
    #[test]
    fn as_measured_on_envoy() {
        for (open, tolerated) in [(0, 100), (1, 200), (10, 1_100)] {
            let mut guard = guard();
            assert_eq!(
                count(|| guard.on_priority(&LIMITS, open)),
                (tolerated, ConnectionError::PriorityFlood)
            );
        }
        for (open, data_sent, tolerated) in [(0, 0, 5), (1, 0, 7), (10, 0, 25), (0, 10, 205)] {
            let mut guard = guard();
            (0..data_sent).for_each(|_| guard.on_data_sent());
            assert_eq!(
                count(|| guard.on_window_update(&LIMITS, open)),
                (tolerated, ConnectionError::WindowUpdateFlood)
            );
        }
        let mut guard = guard();
        assert_eq!(count(|| guard.on_content_frame(&LIMITS, true)), (1, ConnectionError::EmptyFramesFlood));
    }

    #[test]
    fn empty_frames_count_in_a_row_only() {
        let mut guard = guard();
        for index in 0..100 {
            assert_eq!(guard.on_content_frame(&LIMITS, index % 2 == 0), Ok(()));
        }
    }

    #[test]
    fn the_250th_premature_reset_is_the_last() {
        let mut one = guard();
        let reset = |guard: &mut FloodGuard| guard.on_early_reset(&LIMITS, seconds(5), seconds(6));
        assert_eq!(count(|| reset(&mut one)), (249, ConnectionError::PrematureResets));
        // Half of all, once there were more than 500.
        let mut one = guard();
        (0..1_000).for_each(|_| one.on_stream_end());
        assert_eq!(count(|| reset(&mut one)), (999, ConnectionError::PrematureResets));
        // Late ones do not count.
        let mut one = guard();
        for _ in 0..1_000 {
            assert_eq!(one.on_early_reset(&LIMITS, seconds(5), seconds(7)), Ok(()));
        }
    }

    #[test]
    fn resets_have_a_rate() {
        let mut guard = guard();
        assert_eq!(count(|| guard.on_reset(&LIMITS, seconds(10))), (1_000, ConnectionError::ResetFlood));
        assert_eq!(count(|| guard.on_reset(&LIMITS, seconds(12))), (66, ConnectionError::ResetFlood));
        assert_eq!(count(|| guard.on_reset(&LIMITS, seconds(1_000))), (1_000, ConnectionError::ResetFlood));
    }

    #[test]
    fn metadata_counts_by_block() {
        let mut guard = guard();
        for _ in 0..10 {
            assert_eq!(guard.on_metadata(&LIMITS, 1 << 19, false), Ok(()));
            assert_eq!(guard.on_metadata(&LIMITS, 1 << 19, true), Ok(()));
        }
        assert_eq!(guard.on_metadata(&LIMITS, 1 << 20, false), Ok(()));
        assert_eq!(guard.on_metadata(&LIMITS, 1, false), Err(ConnectionError::MetadataFlood));
    }
}
