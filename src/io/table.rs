//! All sockets of a worker: slots with generations, shared by every driver. Handles name a slot and
//! its generation; a slot is reused only after the driver has no operation left that refers to it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::DriverCounters;
use super::stream::{Fin, Phase, Stream};
use super::waiter::Waiter;

/// Accepted connections that may wait for the listener's owner before accepting pauses.
const ACCEPTED_MAX: usize = 128;
/// Slots a worker can have: the driver's tags hold 24 bits.
pub(super) const MAX_SLOTS: usize = 1 << 24;

/// Names a slot; stale once the slot has been released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A listening socket's slot.
#[derive(Debug)]
pub(super) struct ListenerSlot {
    pub(super) generation: u32,
    /// The owner is there; after that the driver may still hold the slot for a while.
    pub(super) open: bool,
    /// The slot may be reused.
    pub(super) free: bool,
    pub(super) fd: Option<OwnedFd>,
    accepted: VecDeque<SlotId>,
    /// The owner has asked for connections at least once.
    asked: bool,
    /// By the owner.
    paused: bool,
    /// After a failed accept, until a timer expires.
    pub(super) backing_off: bool,
    pub(super) waiter: Waiter,
    /// An error that ends the listener.
    pub(super) error: Option<i32>,
}

impl ListenerSlot {
    /// Whether the driver shall accept.
    pub(super) fn wanted(&self) -> bool {
        self.open
            && self.asked
            && !self.paused
            && !self.backing_off
            && self.error.is_none()
            && self.accepted.len() < ACCEPTED_MAX
    }

    /// Sets what the owner wants.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The owner waits for connections.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// The oldest accepted connection.
    pub(super) fn pop(&mut self) -> Option<SlotId> {
        self.accepted.pop_front()
    }
}

/// The sockets of a worker.
#[derive(Debug)]
pub(super) struct SocketTable {
    pub(super) streams: Vec<Stream>,
    free_streams: Vec<u32>,
    pub(super) listeners: Vec<ListenerSlot>,
    /// Streams with something to send, in the order in which they got it.
    pub(super) dirty: Vec<u32>,
    /// Listeners whose accept failed: a timer is to be set for each.
    pub(super) new_backoffs: Vec<SlotId>,
    next_generation: u32,
    pub(super) live_streams: usize,
    pub(super) live_listeners: usize,
    pub(super) counters: Arc<DriverCounters>,
}

impl SocketTable {
    /// No sockets. Generations begin at `first_generation`.
    pub(super) fn new(first_generation: u32, counters: Arc<DriverCounters>) -> SocketTable {
        SocketTable {
            streams: Vec::new(),
            free_streams: Vec::new(),
            listeners: Vec::new(),
            dirty: Vec::new(),
            new_backoffs: Vec::new(),
            next_generation: first_generation,
            live_streams: 0,
            live_listeners: 0,
            counters,
        }
    }

    /// The generation that the next socket gets.
    pub(super) fn next_generation(&self) -> u32 {
        self.next_generation
    }

    /// A slot for a new stream.
    pub(super) fn insert_stream(&mut self, fd: Option<OwnedFd>, phase: Phase) -> SlotId {
        let index = self.free_streams.pop().unwrap_or_else(|| {
            assert!(self.streams.len() < MAX_SLOTS, "too many sockets");
            self.streams.push(Stream::free());
            self.streams.len() as u32 - 1
        });
        let generation = self.take_generation();
        let stream = &mut self.streams[index as usize];
        stream.reset(generation, phase);
        stream.fd = fd;
        self.live_streams += 1;
        self.counters.live_sockets.set(self.live_streams as u64);
        SlotId { index, generation }
    }

    /// The slot may be reused: called by the driver once no operation refers to it.
    pub(super) fn release_stream(&mut self, index: u32) {
        self.streams[index as usize].reset(0, Phase::Free);
        self.free_streams.push(index);
        self.live_streams -= 1;
        self.counters.live_sockets.set(self.live_streams as u64);
    }

    /// The stream that a handle names.
    ///
    /// # Panics
    /// If the handle is stale: handles own their slot, so that is a defect of this module, or the
    /// handle belongs to a worker that has ended.
    #[inline]
    pub(super) fn stream(&mut self, id: SlotId) -> &mut Stream {
        let stream = &mut self.streams[id.index as usize];
        assert!(stream.generation == id.generation, "a socket of a worker that has ended");
        stream
    }

    /// Puts a stream on the list of those to be flushed.
    #[inline]
    pub(super) fn mark_dirty(&mut self, index: u32) {
        let tx = &mut self.streams[index as usize].tx;
        if !tx.dirty {
            tx.dirty = true;
            self.dirty.push(index);
        }
    }

    /// The connection stands.
    pub(super) fn connected(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        stream.phase = Phase::Open;
        stream.tx.waiter.wake();
        stream.rx.waiter.wake();
        if !stream.tx.is_queue_empty() || stream.tx.fin == Fin::Wanted {
            self.mark_dirty(index);
        }
    }

    /// The connection could not be made.
    pub(super) fn connect_failed(&mut self, index: u32, error: i32) {
        let stream = &mut self.streams[index as usize];
        stream.phase = Phase::Failed;
        stream.connect_error = Some(error);
        stream.rx.finish(Err(error));
        stream.tx.fail(error);
    }

    /// A slot for a listening socket.
    pub(super) fn insert_listener(&mut self, fd: Option<OwnedFd>) -> SlotId {
        let generation = self.take_generation();
        let slot = ListenerSlot {
            generation,
            open: true,
            free: false,
            fd,
            accepted: VecDeque::new(),
            asked: false,
            paused: false,
            backing_off: false,
            waiter: Waiter::default(),
            error: None,
        };
        self.live_listeners += 1;
        self.counters.live_listeners.set(self.live_listeners as u64);
        let index = match self.listeners.iter().position(|slot| slot.free) {
            Some(index) => {
                self.listeners[index] = slot;
                index
            }
            None => {
                self.listeners.push(slot);
                self.listeners.len() - 1
            }
        };
        SlotId { index: index as u32, generation }
    }

    /// The listener that a handle names.
    pub(super) fn listener(&mut self, id: SlotId) -> &mut ListenerSlot {
        let listener = &mut self.listeners[id.index as usize];
        assert!(listener.generation == id.generation, "a listener of a worker that has ended");
        listener
    }

    /// The slot may be reused: called by the driver once no operation refers to it.
    pub(super) fn release_listener(&mut self, index: u32) {
        let listener = &mut self.listeners[index as usize];
        listener.free = true;
        listener.waiter = Waiter::default();
        self.live_listeners -= 1;
        self.counters.live_listeners.set(self.live_listeners as u64);
    }

    /// A connection was accepted; returns its slot.
    pub(super) fn accepted(&mut self, listener: u32, fd: Option<OwnedFd>) -> SlotId {
        self.counters.accepts.add(1);
        let id = self.insert_stream(fd, Phase::Open);
        let listener = &mut self.listeners[listener as usize];
        listener.accepted.push_back(id);
        listener.waiter.wake();
        id
    }

    /// An accept failed. Errors of one connection are skipped; lack of descriptors or memory makes
    /// the listener back off; anything else ends it.
    pub(super) fn accept_failed(&mut self, index: u32, error: i32) {
        self.counters.accept_errors.add(1);
        let listener = &mut self.listeners[index as usize];
        match error {
            libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::EPERM => {}
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                if !std::mem::replace(&mut listener.backing_off, true) {
                    let generation = listener.generation;
                    self.new_backoffs.push(SlotId { index, generation });
                }
            }
            _ => {
                listener.error = Some(error);
                listener.waiter.wake();
            }
        }
    }

    /// The streams that have an owner.
    pub(super) fn open_streams(&self) -> Vec<SlotId> {
        let owned = |stream: &Stream| !matches!(stream.phase, Phase::Free | Phase::Closing);
        let slots = (0..).zip(&self.streams).filter(|(_, stream)| owned(stream));
        slots.map(|(index, stream)| SlotId { index, generation: stream.generation }).collect()
    }

    /// The listeners that have an owner.
    pub(super) fn open_listeners(&self) -> Vec<SlotId> {
        let slots = (0..).zip(&self.listeners).filter(|(_, slot)| slot.open);
        slots.map(|(index, slot)| SlotId { index, generation: slot.generation }).collect()
    }

    /// Whether no slot is in use.
    pub(super) fn is_empty(&self) -> bool {
        self.live_streams == 0 && self.live_listeners == 0
    }

    fn take_generation(&mut self) -> u32 {
        let generation = self.next_generation;
        // Zero marks free slots.
        self.next_generation = self.next_generation.wrapping_add(1).max(1);
        generation
    }
}
