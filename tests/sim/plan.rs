//! What a client asks an origin to do with its request, and bodies that tell requests apart.

use ringway::base::rng::Rng;

/// How an origin treats a request. It travels in the header `x-plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub kind: Kind,
    /// The response's body.
    pub len: usize,
    /// Its framing: chunked, or by length.
    pub chunked: bool,
    pub status: u16,
}

/// What is special about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    /// Interim responses first.
    Interim,
    /// In pieces, with pauses.
    Slow,
    /// Before the request has been read; that is done afterwards.
    Early,
    /// Closes after the response, and says so.
    CloseAfter,
    /// Closes after the response without a word.
    CloseSilently,
    /// The response's body ends with the connection.
    UntilClose,
    ResetBeforeHead,
    CloseBeforeHead,
    ResetInBody,
    CloseInBody,
    /// Never answers.
    Stall,
    /// Never ends its answer.
    StallInBody,
    /// Fails now and then.
    Flaky,
    /// Before the request has been read, and then closes.
    EarlyClose,
}

use Kind::*;

const KINDS: [Kind; 15] = [
    Normal,
    Interim,
    Slow,
    Early,
    CloseAfter,
    CloseSilently,
    UntilClose,
    ResetBeforeHead,
    CloseBeforeHead,
    ResetInBody,
    CloseInBody,
    Stall,
    StallInBody,
    Flaky,
    EarlyClose,
];

impl Kind {
    /// A client whose request can be sent again safely gets the planned response.
    pub fn is_benign(self) -> bool {
        matches!(self, Normal | Interim | Slow | Early | CloseAfter | CloseSilently | UntilClose)
    }

    /// The response may end before its end.
    pub fn breaks_off(self) -> bool {
        matches!(self, ResetInBody | CloseInBody | StallInBody | EarlyClose)
    }
}

impl Plan {
    /// Half of the plans are harmless.
    pub fn random(rng: &mut Rng) -> Plan {
        let kind = if rng.below(2) == 0 { Normal } else { KINDS[rng.below(KINDS.len() as u64) as usize] };
        let status = match rng.below(16) {
            0 => 204,
            1 => 304,
            2 => 404,
            _ => 200,
        };
        let status = if kind == UntilClose { 200 } else { status };
        // What shall break off must have something to lack.
        let len = random_len(rng).max(usize::from(kind.breaks_off()));
        Plan { kind, len, chunked: rng.below(2) == 0, status }
    }

    /// As a header's value.
    pub fn encode(self) -> String {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).expect("all kinds are listed");
        format!("{kind} {} {} {}", self.len, u8::from(self.chunked), self.status)
    }

    /// From a header's value.
    pub fn decode(text: &str) -> Option<Plan> {
        let mut numbers = text.split(' ').map(|number| number.parse::<usize>().ok());
        let mut next = || numbers.next().flatten();
        Some(Plan { kind: *KINDS.get(next()?)?, len: next()?, chunked: next()? == 1, status: next()? as u16 })
    }
}

/// Mostly small, sometimes up to 100 KB, with a liking for round borders.
pub fn random_len(rng: &mut Rng) -> usize {
    match rng.below(8) {
        0 => 0,
        1 => 16_384,
        2 => rng.below(100_000) as usize,
        3 => 16_380 + rng.below(10) as usize,
        _ => rng.below(3_000) as usize,
    }
}

/// The body of the request with this id.
pub fn request_body(id: u64, len: usize) -> Vec<u8> {
    content(id, len)
}

/// The body of its response.
pub fn response_body(id: u64, len: usize) -> Vec<u8> {
    content(!id, len)
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
