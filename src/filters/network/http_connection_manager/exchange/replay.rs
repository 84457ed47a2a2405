//! The request's body kept for sending it again. Bounded; copied out of the receive buffers, because
//! it may stay for as long as the upstream thinks.

use crate::buf::Chunk;
use crate::filters::http::chain::Ending;
use crate::http::HeaderMap;

/// What was sent of a request's body so far, as long as it fits.
#[derive(Debug)]
pub struct Replay {
    body: Vec<Chunk>,
    len_bytes: usize,
    trailers: Option<HeaderMap>,
    is_complete: bool,
    limit_bytes: usize,
    /// Nothing was lost: the request can be sent again.
    is_intact: bool,
}

impl Replay {
    /// Keeps up to `limit_bytes`; 0 keeps nothing, so that only requests without body can be sent
    /// again.
    pub fn new(limit_bytes: usize) -> Replay {
        Replay {
            body: Vec::new(),
            len_bytes: 0,
            trailers: None,
            is_complete: false,
            limit_bytes,
            is_intact: true,
        }
    }

    /// Whether all that was sent is here.
    pub fn is_intact(&self) -> bool {
        self.is_intact
    }

    /// Keeps a part of the body.
    pub fn push(&mut self, chunk: &Chunk) {
        if !self.is_intact {
            return;
        }
        self.len_bytes += chunk.len();
        if self.len_bytes > self.limit_bytes {
            self.forget();
        } else {
            self.body.push(chunk.clone().into_unpooled());
        }
    }

    /// Keeps how the body ended.
    pub fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.is_complete = true;
        if self.is_intact {
            self.trailers = trailers.cloned();
        }
    }

    /// Keeps nothing any more: an answer is on its way.
    pub fn forget(&mut self) {
        self.is_intact = false;
        self.body = Vec::new();
        self.trailers = None;
    }

    /// The part at `index`, to be sent again.
    pub fn part(&self, index: usize) -> Option<Chunk> {
        self.body.get(index).cloned()
    }

    /// How the body ended, if it did.
    pub fn ending(&self) -> Ending {
        match (&self.trailers, self.is_complete) {
            (Some(trailers), _) => Ending::Trailers(trailers.clone()),
            (None, true) => Ending::Plain,
            (None, false) => Ending::Open,
        }
    }
}
