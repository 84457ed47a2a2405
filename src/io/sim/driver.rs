//! The simulated driver: moves bytes between the socket table and the simulated network, in an order
//! and with delays that follow from the world's seed.
//!
//! Behaves as Linux TCP where the proxy could tell: a connection stands before it is accepted, closing with
//! unread data resets, a reset may overtake data that was not read, writing to a closed peer works once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::clock::VirtualClock;
use super::network::{End, Item, Link, LinkId, Side};
use super::options::LinkOptions;
use super::trace::Trace;
use crate::base::clock::Instant;
use crate::base::rng::Rng;
use crate::buf::{BLOCK_BYTES, Chunk, Pool};
use crate::io::driver::CloseMode;
use crate::io::stream::{Fin, Phase, Segment};
use crate::io::table::{SlotId, SocketTable};
use crate::io::{Address, ListenOptions, SocketOptions};

/// Events handled in one turn at most; fewer at random.
const EVENTS_MAX: u64 = 6;
/// How long a turn takes at most.
const TURN_MAX_NANOS: u64 = 20_000;
/// Larger received pieces stay in a block of the pool, as with the real drivers.
const COPY_OUT_BYTES: usize = 4_096;
/// The first port given to connecting sockets and to listeners that ask for any.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// The driver of one world.
pub(in crate::io) struct SimDriver {
    pool: Rc<Pool>,
    clock: Rc<VirtualClock>,
    trace: Rc<Trace>,
    rng: Rng,
    events: BinaryHeap<Reverse<Scheduled>>,
    links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    next_port: u16,
    /// By stream slot.
    sockets: Vec<Option<(LinkId, Side)>>,
    /// By listener slot.
    listeners: Vec<Option<Bound>>,
    default_link: LinkOptions,
    /// By the address that is connected to.
    link_options: BTreeMap<Address, LinkOptions>,
    batch: Vec<Segment>,
}

/// A listener.
struct Bound {
    address: Address,
    reuse_port: bool,
    /// Connections that wait to be accepted.
    waiting: VecDeque<LinkId>,
    generation: u32,
}

/// An event and when it happens; equal times are ordered by chance.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    at: Instant,
    chance: u32,
    event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next thing that this side sent arrives.
    Arrive(LinkId, Side),
    /// This side may read.
    Read(LinkId, Side),
    /// This side may send again.
    Send(LinkId, Side),
    /// A listener may accept.
    Accept(u32),
}

impl SimDriver {
    /// An empty network.
    pub(super) fn new(
        seed: u64,
        pool: Rc<Pool>,
        clock: Rc<VirtualClock>,
        trace: Rc<Trace>,
        default_link: LinkOptions,
    ) -> SimDriver {
        SimDriver {
            pool,
            clock,
            trace,
            rng: Rng::from_seed(seed ^ 0x6e65_7477),
            events: BinaryHeap::new(),
            links: BTreeMap::new(),
            next_link: 1,
            next_port: FIRST_EPHEMERAL_PORT,
            sockets: Vec::new(),
            listeners: Vec::new(),
            default_link,
            link_options: BTreeMap::new(),
            batch: Vec::new(),
        }
    }

    /// See [`set_link`](super::set_link).
    pub(super) fn set_link(&mut self, to: Address, options: LinkOptions) {
        self.link_options.insert(to, options);
    }

    /// See [`sever`](super::sever).
    pub(super) fn sever(&mut self, index: u32) {
        if let Some((id, _)) = self.socket(index)
            && let Some(link) = self.links.get_mut(&id)
        {
            link.severed = true;
            self.trace.record(self.clock.now(), "sever", id, 0);
        }
    }

    /// The trace, for remarks.
    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Makes a listener.
    ///
    /// # Errors
    /// If the address is in use.
    pub(in crate::io) fn bind(
        &mut self,
        table: &mut SocketTable,
        options: &ListenOptions,
    ) -> io::Result<SlotId> {
        let mut address = options.address.clone();
        if let Address::Ip(ip) = &mut address
            && ip.port() == 0
        {
            ip.set_port(self.take_port());
        }
        let is_taken = |bound: &Bound| bound.address == address && !(bound.reuse_port && options.reuse_port);
        if self.listeners.iter().flatten().any(is_taken) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = table.insert_listener(None);
        let index = id.index as usize;
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, || None);
        }
        let (reuse_port, generation) = (options.reuse_port, id.generation);
        self.listeners[index] = Some(Bound { address, reuse_port, waiting: VecDeque::new(), generation });
        Ok(id)
    }

    /// Where a listener listens.
    pub(in crate::io) fn listener_address(&self, index: u32) -> io::Result<Address> {
        let bound = self.listeners.get(index as usize).and_then(Option::as_ref);
        bound.map(|bound| bound.address.clone()).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The other side's address.
    pub(in crate::io) fn peer_address(&self, index: u32) -> io::Result<Address> {
        self.address_of(index, Side::other)
    }

    /// This side's address.
    pub(in crate::io) fn local_address(&self, index: u32) -> io::Result<Address> {
        self.address_of(index, |side| side)
    }

    pub(in crate::io) fn connect(
        &mut self,
        _table: &mut SocketTable,
        index: u32,
        address: &Address,
        options: &SocketOptions,
    ) -> Result<(), i32> {
        let from = match address {
            Address::Ip(to) => {
                let chosen = options.source_address.unwrap_or_else(|| SocketAddr::new(to.ip(), 0));
                let port = if chosen.port() == 0 { self.take_port() } else { chosen.port() };
                Address::Ip(SocketAddr::new(chosen.ip(), port))
            }
            Address::Unix(_) => Address::unix(""),
        };
        let link_options = self.link_options.get(address).unwrap_or(&self.default_link).clone();
        let lost = self.rng.below(100) < link_options.lost_connects_percent.into();
        let id = self.next_link;
        self.next_link += 1;
        let mut link = Link::new(index, from, address.clone(), link_options);
        link.severed = lost;
        self.links.insert(id, link);
        self.attach(index, id, Side::Connecting);
        self.post(id, Side::Connecting, Item::Connect);
        Ok(())
    }

    pub(in crate::io) fn update_receive(&mut self, table: &mut SocketTable, index: u32) {
        if let Some((id, side)) = self.socket(index)
            && table.streams[index as usize].rx.wanted
        {
            self.schedule_now(Event::Read(id, side));
        }
    }

    pub(in crate::io) fn watch_failure(&mut self, _table: &mut SocketTable, index: u32) {
        if let Some((id, side)) = self.socket(index) {
            self.schedule_now(Event::Read(id, side));
        }
    }

    pub(in crate::io) fn close(&mut self, table: &mut SocketTable, index: u32, mode: CloseMode) {
        table.release_stream(index);
        let Some((id, side)) = self.sockets.get_mut(index as usize).and_then(Option::take) else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        let is_unread = !link.to(side).received.is_empty();
        let was_reset = link.to(side).end == Some(Err(()));
        link.to(side).received.clear();
        link.set_end(side, End::Closed);
        self.trace.record(self.clock.now(), "close", id, side as u64);
        if link.is_forgotten() {
            self.links.remove(&id);
        } else if !was_reset {
            self.end_sending(id, side, mode == CloseMode::Reset || is_unread);
        }
    }

    pub(in crate::io) fn update_accept(&mut self, table: &mut SocketTable, index: u32) {
        let is_waiting = |bound: &Bound| !bound.waiting.is_empty();
        if self.listeners[index as usize].as_ref().is_some_and(is_waiting)
            && table.listeners[index as usize].wanted()
        {
            self.schedule_now(Event::Accept(index));
        }
    }

    /// Descriptors of real listeners have no place here.
    pub(in crate::io) fn listen(&mut self, _table: &mut SocketTable, _index: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::io) fn close_listener(&mut self, table: &mut SocketTable, index: u32) {
        let bound = self.listeners.get_mut(index as usize).and_then(Option::take);
        for id in bound.into_iter().flat_map(|bound| bound.waiting) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.set_end(Side::Accepting, End::Closed);
            self.end_sending(id, Side::Accepting, true);
        }
        table.release_listener(index);
    }

    pub(in crate::io) fn turn(&mut self, table: &mut SocketTable, wait: Duration) -> io::Result<usize> {
        self.clock.advance(Duration::from_nanos(self.rng.below(TURN_MAX_NANOS)));
        for index in std::mem::take(&mut table.dirty) {
            table.streams[index as usize].tx.dirty = false;
            self.send(table, index);
        }
        let done = self.handle_due(table);
        if done > 0 || !table.dirty.is_empty() {
            return Ok(done);
        }
        let until_next = self.events.peek().map_or(wait, |next| wait.min(next.0.at.since(self.clock.now())));
        self.clock.advance(until_next);
        Ok(self.handle_due(table))
    }

    fn handle_due(&mut self, table: &mut SocketTable) -> usize {
        let most = 1 + self.rng.below(EVENTS_MAX) as usize;
        for done in 0..most {
            if self.events.peek().is_none_or(|next| next.0.at > self.clock.now()) {
                return done;
            }
            let Some(Reverse(scheduled)) = self.events.pop() else { return done };
            match scheduled.event {
                Event::Arrive(id, from) => self.arrive(table, id, from),
                Event::Read(id, side) => self.read(table, id, side),
                Event::Send(id, side) => {
                    if let Some(End::Open(slot)) = self.links.get(&id).map(|link| link.end(side)) {
                        table.mark_dirty(slot);
                    }
                }
                Event::Accept(index) => self.accept(table, index),
            }
        }
        most
    }

    /// The oldest thing that `from` sent is there.
    fn arrive(&mut self, table: &mut SocketTable, id: LinkId, from: Side) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let to = from.other();
        let receiver = link.end(to);
        let pipe = link.from(from);
        let Some(item) = pipe.on_the_way.pop_front() else { return };
        let now = self.clock.now();
        match item {
            Item::Connect => self.arrive_connect(id),
            Item::Established => {
                self.trace.record(now, "established", id, 0);
                if let End::Open(slot) = receiver {
                    table.connected(slot);
                }
            }
            Item::Refused => {
                self.trace.record(now, "refused", id, 0);
                if let End::Open(slot) = receiver {
                    table.connect_failed(slot, libc::ECONNREFUSED);
                }
            }
            Item::Data(bytes) => {
                self.trace.record(now, "data", id, bytes.len() as u64);
                pipe.on_the_way_bytes -= bytes.len();
                if matches!(receiver, End::Open(_) | End::Waiting) {
                    pipe.received.extend(bytes);
                    self.schedule_now(Event::Read(id, to));
                } else {
                    // Nobody is there to read it.
                    self.post(id, to, Item::Reset);
                }
            }
            Item::Fin => {
                self.trace.record(now, "fin", id, from as u64);
                pipe.end.get_or_insert(Ok(()));
                self.schedule_now(Event::Read(id, to));
            }
            Item::Reset => {
                self.trace.record(now, "reset", id, from as u64);
                pipe.end = Some(Err(()));
                if self.rng.below(2) == 0 {
                    pipe.received.clear();
                }
                self.schedule_now(Event::Read(id, to));
                if let End::Open(slot) = receiver
                    && !table.streams[slot as usize].tx.is_queue_empty()
                {
                    table.mark_dirty(slot);
                }
            }
        }
    }

    fn arrive_connect(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let address = link.address(Side::Accepting).clone();
        let listening = |(_, bound): &(usize, &Option<Bound>)| {
            bound.as_ref().is_some_and(|bound| bound.address == address)
        };
        let candidates: Vec<usize> =
            self.listeners.iter().enumerate().filter(listening).map(|(index, _)| index).collect();
        if candidates.is_empty() {
            link.set_end(Side::Accepting, End::Closed);
            return self.post(id, Side::Accepting, Item::Refused);
        }
        let index = candidates[self.rng.below(candidates.len() as u64) as usize];
        link.set_end(Side::Accepting, End::Waiting);
        self.post(id, Side::Accepting, Item::Established);
        if let Some(bound) = &mut self.listeners[index] {
            bound.waiting.push_back(id);
        }
        self.schedule_now(Event::Accept(index as u32));
    }

    fn accept(&mut self, table: &mut SocketTable, index: u32) {
        let Some(bound) = &mut self.listeners[index as usize] else { return };
        let listener = &table.listeners[index as usize];
        if !listener.wanted() || listener.generation != bound.generation {
            return;
        }
        let Some(id) = bound.waiting.pop_front() else { return };
        let Some(link) = self.links.get_mut(&id) else { return self.update_accept(table, index) };
        if self.rng.below(100) < link.options.failed_accepts_percent.into() {
            bound.waiting.push_front(id);
            self.trace.record(self.clock.now(), "accept fails", id, 0);
            return table.accept_failed(index, libc::EMFILE);
        }
        let slot = table.accepted(index, None).index;
        link.set_end(Side::Accepting, End::Open(slot));
        self.attach(slot, id, Side::Accepting);
        self.trace.record(self.clock.now(), "accept", id, slot.into());
        self.update_accept(table, index);
    }

    /// Hands over some of what has arrived.
    fn read(&mut self, table: &mut SocketTable, id: LinkId, side: Side) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let End::Open(slot) = link.end(side) else { return };
        let stream = &mut table.streams[slot as usize];
        if stream.rx.failure_wanted && link.to(side).end == Some(Err(())) && stream.phase == Phase::Open {
            return stream.failed_after_end(libc::ECONNRESET);
        }
        if !stream.rx.wanted || stream.phase != Phase::Open {
            return;
        }
        let ((least, most), cuts) = (link.options.delay, link.options.cuts);
        let pipe = link.to(side);
        if !pipe.received.is_empty() {
            let available = pipe.received.len().min(BLOCK_BYTES);
            let len = cut(&mut self.rng, cuts, 4, available);
            let mut bytes = Vec::with_capacity(len);
            let (first, second) = pipe.received.as_slices();
            let from_first = len.min(first.len());
            bytes.extend_from_slice(&first[..from_first]);
            bytes.extend_from_slice(&second[..len - from_first]);
            pipe.received.drain(..len);
            let in_block = if len > COPY_OUT_BYTES { self.pool.copy_to_block(&bytes) } else { None };
            let chunk = in_block.unwrap_or_else(|| Chunk::copy_from(&bytes));
            self.trace.record(self.clock.now(), "read", id, len as u64);
            if stream.rx.push(chunk) {
                table.counters.rx_paused.add(1);
            }
            // The sender learns of the space after a while.
            let at = self.clock.now() + random_delay(&mut self.rng, least, most);
            self.schedule(at, Event::Send(id, side.other()));
            return self.schedule_now(Event::Read(id, side));
        }
        match pipe.end {
            None => {}
            Some(Ok(())) => stream.rx.finish(Ok(())),
            Some(Err(())) => {
                stream.rx.finish(Err(libc::ECONNRESET));
                stream.tx.fail(libc::ECONNRESET);
            }
        }
    }

    /// Takes some of what a socket has queued.
    fn send(&mut self, table: &mut SocketTable, index: u32) {
        let Some((id, side)) = self.socket(index) else { return };
        let stream = &mut table.streams[index as usize];
        let Some(link) = self.links.get_mut(&id) else { return };
        if stream.phase != Phase::Open {
            return;
        }
        if link.to(side).end == Some(Err(())) {
            return stream.tx.fail(libc::ECONNRESET);
        }
        if stream.tx.is_queue_empty() {
            if stream.tx.fin == Fin::Wanted {
                stream.tx.fin = Fin::Sent;
                self.end_sending(id, side, false);
            }
            return;
        }
        let window_bytes = link.options.window_bytes.max(1);
        let space = link.from(side).space(window_bytes);
        if space == 0 {
            return; // a `Send` event comes with the space
        }
        stream.tx.take_batch(&mut self.batch);
        let total: usize = self.batch.iter().map(|segment| segment.bytes().len()).sum();
        let sent = cut(&mut self.rng, link.options.cuts, 4, total.min(space));
        let mut bytes = Vec::with_capacity(total);
        self.batch.iter().for_each(|segment| bytes.extend_from_slice(segment.bytes()));
        bytes.truncate(sent);
        let mut left = sent;
        let is_whole = |segment: &&Segment| {
            let fits = segment.bytes().len() <= left;
            left -= if fits { segment.bytes().len() } else { 0 };
            fits
        };
        let whole = self.batch.iter().take_while(is_whole).count();
        self.batch.drain(..whole).for_each(Segment::recycle);
        stream.tx.put_back(&mut self.batch, left);
        stream.tx.sent(sent);
        table.mark_dirty(index);
        self.post_bytes(id, side, bytes);
    }

    fn post_bytes(&mut self, id: LinkId, side: Side, mut bytes: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.from(side).on_the_way_bytes += bytes.len();
        let (most, cuts) = (link.options.segment_bytes.max(1), link.options.cuts);
        while !bytes.is_empty() {
            let len = cut(&mut self.rng, cuts, 3, most);
            let rest = bytes.split_off(len.min(bytes.len()));
            self.post(id, side, Item::Data(bytes));
            bytes = rest;
        }
    }

    /// The side sends nothing more: FIN after what it has sent, or a reset, which may overtake data.
    fn end_sending(&mut self, id: LinkId, side: Side, with_reset: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let pipe = link.from(side);
        let was_ended = std::mem::replace(&mut pipe.ended, true);
        if with_reset {
            if self.rng.below(2) == 0 {
                let is_data = |item: &Item| matches!(item, Item::Data(_));
                // Their events find what comes after them.
                pipe.on_the_way.retain(|item| !is_data(item));
                pipe.on_the_way_bytes = 0;
            }
            self.post(id, side, Item::Reset);
        } else if !was_ended {
            self.post(id, side, Item::Fin);
        }
    }

    fn post(&mut self, id: LinkId, side: Side, item: Item) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.severed {
            return;
        }
        let (least, most) = link.options.delay;
        let at = self.clock.now() + random_delay(&mut self.rng, least, most);
        let pipe = link.from(side);
        pipe.last_arrival = pipe.last_arrival.max(at);
        let at = pipe.last_arrival;
        pipe.on_the_way.push_back(item);
        self.schedule(at, Event::Arrive(id, side));
    }

    fn schedule_now(&mut self, event: Event) {
        self.schedule(self.clock.now(), event);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        let chance = self.rng.next_u64() as u32;
        self.events.push(Reverse(Scheduled { at, chance, event }));
    }

    fn attach(&mut self, index: u32, id: LinkId, side: Side) {
        let index = index as usize;
        if self.sockets.len() <= index {
            self.sockets.resize(index + 1, None);
        }
        self.sockets[index] = Some((id, side));
    }

    fn socket(&self, index: u32) -> Option<(LinkId, Side)> {
        self.sockets.get(index as usize).copied().flatten()
    }

    fn address_of(&self, index: u32, which: impl FnOnce(Side) -> Side) -> io::Result<Address> {
        let found = self.socket(index).and_then(|(id, side)| Some((self.links.get(&id)?, side)));
        let (link, side) = found.ok_or(io::ErrorKind::NotConnected)?;
        Ok(link.address(which(side)).clone())
    }

    fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        port
    }
}

fn random_delay(rng: &mut Rng, least: Duration, most: Duration) -> Duration {
    least + Duration::from_nanos(rng.below(most.saturating_sub(least).as_nanos() as u64 + 1))
}

/// `most`, or once in `odds` times, if there are cuts, something from 1 to `most`.
fn cut(rng: &mut Rng, cuts: bool, odds: u64, most: usize) -> usize {
    if cuts && rng.below(odds) == 0 { 1 + rng.below(most as u64) as usize } else { most }
}
