//! The 64 bits by which a completion is recognised: operation, slot, generation.

/// The kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// A multishot receive of a stream.
    Receive = 1,
    /// A send of a stream.
    Send = 2,
    /// A connect of a stream.
    Connect = 3,
    /// A multishot accept of a listener.
    Accept = 4,
    /// The watch on the worker's eventfd.
    Watch = 5,
    /// Cancels and closes: reported only if they fail, which does not matter.
    Ignored = 6,
    /// The end of the longest sleep.
    Timeout = 7,
    /// The watch for a failure of a stream whose peer has ended its direction.
    Failure = 8,
}

/// `operation` in bits 56-63, `generation` in 24-55, `index` in 0-23.
#[inline]
pub(super) fn pack(operation: Operation, index: u32, generation: u32) -> u64 {
    debug_assert!(index < 1 << 24);
    (operation as u64) << 56 | u64::from(generation) << 24 | u64::from(index)
}

/// The reverse of `pack`: operation, index, generation.
#[inline]
pub(super) fn unpack(tag: u64) -> (Operation, u32, u32) {
    let operation = match tag >> 56 {
        1 => Operation::Receive,
        2 => Operation::Send,
        3 => Operation::Connect,
        4 => Operation::Accept,
        5 => Operation::Watch,
        7 => Operation::Timeout,
        8 => Operation::Failure,
        _ => Operation::Ignored,
    };
    (operation, (tag & 0xff_ffff) as u32, (tag >> 24) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_way() {
        for operation in [Operation::Receive, Operation::Timeout, Operation::Ignored] {
            assert_eq!(
                unpack(pack(operation, 0xff_fffe, u32::MAX - 1)),
                (operation, 0xff_fffe, u32::MAX - 1)
            );
        }
    }
}
