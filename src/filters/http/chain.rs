//! Runs one direction of a stream's messages through its filters.
//!
//! Each filter has a gate. A closed gate holds what arrives there (the head, then body parts) until
//! its filter opens it; filters behind a closed gate see nothing. What has passed the last filter
//! is taken by the stream from the chain's outlet. This module never waits and never does I/O:
//! futures that filters return are polled by [`Iteration::poll_pending`].
//!
//! The order is Envoy's: requests pass the filters as configured, responses in reverse.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use crate::buf::{Chain, Chunk};
use crate::http::{HeaderMap, RequestHead, ResponseHead};
use crate::routing::FilterSlot;

use super::{DataAction, FilterContext, HeadAction, HeldHead, HttpFilter, LocalReply, Pending, Verdict};

/// A filter of one stream, with its place in the routes' per-filter configuration.
pub struct ActiveFilter {
    /// The filter's state.
    pub filter: Box<dyn HttpFilter>,
    /// Its place in the route table's per-filter configurations; none if the table has none for it.
    pub route_slot: Option<FilterSlot>,
}

/// A direction: which hooks are called, in which order.
pub trait Direction {
    /// The head that travels in this direction.
    type Head;

    /// The index of the filter at `place` of `count`.
    fn index(place: usize, count: usize) -> usize;
    /// Calls the hook on heads.
    fn head(
        f: &mut dyn HttpFilter,
        cx: &mut FilterContext<'_>,
        head: &mut Self::Head,
        end: bool,
    ) -> HeadAction;
    /// Calls the hook on body parts.
    fn data(f: &mut dyn HttpFilter, cx: &mut FilterContext<'_>, data: &mut Chunk, end: bool) -> DataAction;
    /// Calls the hook on trailers.
    fn trailers(f: &mut dyn HttpFilter, cx: &mut FilterContext<'_>, trailers: &mut HeaderMap) -> DataAction;
    /// The head as its holder sees it.
    fn held(head: &mut Self::Head) -> HeldHead<'_>;
    /// Applies what a wait decided to the head.
    fn change(head: &mut Self::Head, change: Box<dyn FnOnce(&mut RequestHead)>);
}

/// Requests, first filter first.
pub struct Decode;

/// Responses, last filter first.
pub struct Encode;

impl Direction for Decode {
    type Head = RequestHead;

    fn index(place: usize, _count: usize) -> usize {
        place
    }
    fn head(
        f: &mut dyn HttpFilter,
        cx: &mut FilterContext<'_>,
        head: &mut RequestHead,
        end: bool,
    ) -> HeadAction {
        f.decode_head(cx, head, end)
    }
    fn data(f: &mut dyn HttpFilter, cx: &mut FilterContext<'_>, data: &mut Chunk, end: bool) -> DataAction {
        f.decode_data(cx, data, end)
    }
    fn trailers(f: &mut dyn HttpFilter, cx: &mut FilterContext<'_>, trailers: &mut HeaderMap) -> DataAction {
        f.decode_trailers(cx, trailers)
    }
    fn held(head: &mut RequestHead) -> HeldHead<'_> {
        HeldHead::Request(head)
    }
    fn change(head: &mut RequestHead, change: Box<dyn FnOnce(&mut RequestHead)>) {
        change(head);
    }
}

impl Direction for Encode {
    type Head = ResponseHead;

    fn index(place: usize, count: usize) -> usize {
        count - 1 - place
    }
    fn head(
        f: &mut dyn HttpFilter,
        cx: &mut FilterContext<'_>,
        head: &mut ResponseHead,
        end: bool,
    ) -> HeadAction {
        f.encode_head(cx, head, end)
    }
    fn data(f: &mut dyn HttpFilter, cx: &mut FilterContext<'_>, data: &mut Chunk, end: bool) -> DataAction {
        f.encode_data(cx, data, end)
    }
    fn trailers(f: &mut dyn HttpFilter, cx: &mut FilterContext<'_>, trailers: &mut HeaderMap) -> DataAction {
        f.encode_trailers(cx, trailers)
    }
    fn held(head: &mut ResponseHead) -> HeldHead<'_> {
        HeldHead::Response(head)
    }
    fn change(_: &mut ResponseHead, _: Box<dyn FnOnce(&mut RequestHead)>) {}
}

/// How a message ends.
#[derive(Debug, Default)]
pub enum Ending {
    /// It goes on.
    #[default]
    Open,
    /// After its last body part, or its head.
    Plain,
    /// With trailers.
    Trailers(HeaderMap),
}

impl Ending {
    /// Whether the end is known.
    pub fn is_known(&self) -> bool {
        !matches!(self, Ending::Open)
    }
}

/// Why a chain stopped for good.
pub enum Interruption {
    /// A filter answers itself.
    Reply(LocalReply),
    /// More was held than the stream's buffer limit allows.
    TooLarge,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    holds_head: bool,
    pending: Option<Pending>,
    held: Chain,
    ending: Ending,
}

/// Body parts that have passed all filters. Mostly there is one at a time, which takes no allocation.
#[derive(Default)]
struct Outlet {
    first: Option<Chunk>,
    rest: VecDeque<Chunk>,
}

impl Outlet {
    fn push(&mut self, chunk: Chunk) {
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.rest.push_back(chunk);
        }
    }

    fn pop(&mut self) -> Option<Chunk> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// One direction of one stream.
pub struct Iteration<D: Direction> {
    gates: Vec<Gate>,
    /// Whether the head has no body and no trailers after it.
    head_ends: bool,
    head_passed: bool,
    outlet: Outlet,
    ending: Ending,
    held_bytes: usize,
    limit_bytes: usize,
    direction: std::marker::PhantomData<D>,
}

impl<D: Direction> Iteration<D> {
    /// A direction for `filters` filters that holds at most `limit_bytes`.
    pub fn new(filters: usize, limit_bytes: usize) -> Iteration<D> {
        let mut gates = Vec::new();
        gates.resize_with(filters, Gate::default);
        Iteration {
            gates,
            head_ends: false,
            head_passed: false,
            outlet: Outlet::default(),
            ending: Ending::Open,
            held_bytes: 0,
            limit_bytes,
            direction: std::marker::PhantomData,
        }
    }

    /// Replaces the limit on held bytes.
    pub fn set_limit_bytes(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// Whether the head has passed all filters.
    pub fn head_passed(&self) -> bool {
        self.head_passed
    }

    /// Whether a filter waits, so that nothing more should be read.
    pub fn is_waiting(&self) -> bool {
        self.gates.iter().any(|gate| gate.pending.is_some())
    }

    /// Whether more may be read while a filter waits: less is held than the limit allows.
    pub fn has_room(&self) -> bool {
        self.held_bytes < self.limit_bytes
    }

    /// Takes the next body part that passed all filters.
    pub fn take_data(&mut self) -> Option<Chunk> {
        self.outlet.pop()
    }

    /// Whether a body part would come out as it went in, at once: there are no filters.
    pub fn is_clear(&self) -> bool {
        self.gates.is_empty() && self.outlet.is_empty()
    }

    /// Whether body parts wait in the outlet.
    pub fn has_data(&self) -> bool {
        !self.outlet.is_empty()
    }

    /// Whether the head has passed all filters and nothing will follow it.
    pub fn ends_with_head(&self) -> bool {
        self.outlet.is_empty() && matches!(self.ending, Ending::Plain)
    }

    /// Takes how the message ends, once that has passed all filters and all data was taken.
    pub fn take_ending(&mut self) -> Ending {
        if self.outlet.is_empty() { std::mem::take(&mut self.ending) } else { Ending::Open }
    }

    /// Sends the head in at the first filter.
    pub fn push_head(
        &mut self,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
        end: bool,
    ) -> Result<(), Interruption> {
        self.head_ends = end;
        self.head_from(0, filters, cx, head)
    }

    /// Sends a body part in at the first filter. `head` is the message's head, for filters that
    /// held it.
    pub fn push_data(
        &mut self,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
        chunk: Chunk,
        end: bool,
    ) -> Result<(), Interruption> {
        self.data_from(0, filters, cx, head, chunk, end)
    }

    /// Sends trailers in at the first filter.
    pub fn push_trailers(
        &mut self,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
        trailers: HeaderMap,
    ) -> Result<(), Interruption> {
        self.trailers_from(0, filters, cx, head, trailers)
    }

    /// Polls the filters' waits; ready when one has ended and what it held has moved on. Must only
    /// be called while [`Iteration::is_waiting`].
    pub fn poll_pending(
        &mut self,
        task: &mut Context<'_>,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
    ) -> Poll<Result<(), Interruption>> {
        for place in 0..self.gates.len() {
            let Some(pending) = self.gates[place].pending.as_mut() else { continue };
            let Poll::Ready(verdict) = pending.as_mut().poll(task) else { continue };
            self.gates[place].pending = None;
            match verdict {
                Verdict::Continue => {}
                Verdict::Change(change) => D::change(head, change),
                Verdict::ChangeAndRematch(change) => {
                    D::change(head, change);
                    cx.clear_route_cache = true;
                }
                Verdict::Reply(reply) => return Poll::Ready(Err(Interruption::Reply(reply))),
            }
            return Poll::Ready(self.open(place, filters, cx, head));
        }
        Poll::Pending
    }

    fn head_from(
        &mut self,
        from: usize,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
    ) -> Result<(), Interruption> {
        for place in from..self.gates.len() {
            let end = self.head_ends;
            let action = self
                .with_filter(filters, place, cx, HeldHead::None, |filter, cx| D::head(filter, cx, head, end));
            let gate = &mut self.gates[place];
            match action {
                HeadAction::Continue => continue,
                HeadAction::Stop => {}
                HeadAction::Await(pending) => gate.pending = Some(pending),
                HeadAction::Reply(reply) => return Err(Interruption::Reply(reply)),
            }
            gate.closed = true;
            gate.holds_head = true;
            return Ok(());
        }
        self.head_passed = true;
        if self.head_ends {
            self.ending = Ending::Plain;
        }
        Ok(())
    }

    fn data_from(
        &mut self,
        from: usize,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
        mut chunk: Chunk,
        end: bool,
    ) -> Result<(), Interruption> {
        for place in from..self.gates.len() {
            if self.gates[place].pending.is_some() {
                return self.hold(place, chunk, if end { Ending::Plain } else { Ending::Open });
            }
            let held = self.held_head(place, head);
            match self
                .with_filter(filters, place, cx, held, |filter, cx| D::data(filter, cx, &mut chunk, end))
            {
                DataAction::Continue => {
                    if self.gates[place].closed {
                        self.open(place, filters, cx, head)?;
                    }
                }
                DataAction::Hold => {
                    return self.hold(place, chunk, if end { Ending::Plain } else { Ending::Open });
                }
                DataAction::Await(pending) => {
                    self.gates[place].pending = Some(pending);
                    return self.hold(place, chunk, if end { Ending::Plain } else { Ending::Open });
                }
                DataAction::Reply(reply) => return Err(Interruption::Reply(reply)),
            }
        }
        if !chunk.is_empty() {
            self.outlet.push(chunk);
        }
        if end {
            self.ending = Ending::Plain;
        }
        Ok(())
    }

    fn trailers_from(
        &mut self,
        from: usize,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
        mut trailers: HeaderMap,
    ) -> Result<(), Interruption> {
        for place in from..self.gates.len() {
            if self.gates[place].pending.is_some() {
                return self.hold(place, Chunk::new(), Ending::Trailers(trailers));
            }
            let held = self.held_head(place, head);
            match self
                .with_filter(filters, place, cx, held, |filter, cx| D::trailers(filter, cx, &mut trailers))
            {
                DataAction::Continue => {
                    if self.gates[place].closed {
                        self.open(place, filters, cx, head)?;
                    }
                }
                DataAction::Hold => return self.hold(place, Chunk::new(), Ending::Trailers(trailers)),
                DataAction::Await(pending) => {
                    self.gates[place].pending = Some(pending);
                    return self.hold(place, Chunk::new(), Ending::Trailers(trailers));
                }
                DataAction::Reply(reply) => return Err(Interruption::Reply(reply)),
            }
        }
        self.ending = Ending::Trailers(trailers);
        Ok(())
    }

    /// Copies what is held out of the receive buffers: it may stay for long, and those are few.
    /// What comes while a filter waits is not limited here: reading ends at the limit instead.
    fn hold(&mut self, place: usize, chunk: Chunk, ending: Ending) -> Result<(), Interruption> {
        let gate = &mut self.gates[place];
        gate.closed = true;
        self.held_bytes += chunk.len();
        if self.held_bytes > self.limit_bytes && gate.pending.is_none() {
            return Err(Interruption::TooLarge);
        }
        gate.held.push(chunk.into_unpooled());
        if ending.is_known() {
            gate.ending = ending;
        }
        Ok(())
    }

    /// Lets what is held at `place` go on to the next filter.
    fn open(
        &mut self,
        place: usize,
        filters: &mut [ActiveFilter],
        cx: &mut FilterContext<'_>,
        head: &mut D::Head,
    ) -> Result<(), Interruption> {
        let gate = &mut self.gates[place];
        gate.closed = false;
        let mut held = std::mem::take(&mut gate.held);
        let ending = std::mem::take(&mut gate.ending);
        self.held_bytes -= held.len_bytes();
        if std::mem::take(&mut gate.holds_head) {
            self.head_from(place + 1, filters, cx, head)?;
        }
        while let Some(chunk) = held.pop() {
            let last = held.is_empty() && matches!(ending, Ending::Plain);
            self.data_from(place + 1, filters, cx, head, chunk, last)?;
            if last {
                return Ok(());
            }
        }
        match ending {
            Ending::Open => Ok(()),
            Ending::Plain => self.data_from(place + 1, filters, cx, head, Chunk::new(), true),
            Ending::Trailers(trailers) => self.trailers_from(place + 1, filters, cx, head, trailers),
        }
    }

    /// The head for the filter at `place`, if that holds it.
    fn held_head<'h>(&self, place: usize, head: &'h mut D::Head) -> HeldHead<'h> {
        if self.gates[place].holds_head { D::held(head) } else { HeldHead::None }
    }

    /// Calls a hook of the filter at `place` with its own per-route configuration in the context.
    fn with_filter<R>(
        &mut self,
        filters: &mut [ActiveFilter],
        place: usize,
        cx: &mut FilterContext<'_>,
        held: HeldHead<'_>,
        call: impl FnOnce(&mut dyn HttpFilter, &mut FilterContext<'_>) -> R,
    ) -> R {
        let index = D::index(place, filters.len());
        let active = &mut filters[index];
        let mut own = FilterContext {
            info: cx.info,
            request: cx.request,
            route: cx.route,
            held,
            route_slot: active.route_slot,
            worker: cx.worker,
            now: cx.now,
            unix_now: cx.unix_now,
            random: cx.random,
            clear_route_cache: false,
            buffer_limit_bytes: None,
        };
        let result = call(&mut *active.filter, &mut own);
        let (cleared, limit) = (own.clear_route_cache, own.buffer_limit_bytes);
        cx.clear_route_cache |= cleared;
        self.limit_bytes = limit.unwrap_or(self.limit_bytes);
        result
    }
}

#[cfg(test)]
mod tests;
