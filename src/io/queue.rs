//! A queue that is empty or holds one item most of the time: it has memory of its own, recycled per thread, only while
//! it holds several. Does nothing but keep the order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::thread::LocalKey;

use super::stream::Segment;
use crate::buf::Chunk;

/// Rings that are kept for the next queues that need one, per thread and kind of item.
const KEPT_RINGS: usize = 512;
/// Rings that grew beyond this are freed.
const KEPT_CAPACITY: usize = 64;

/// Items in order.
#[derive(Debug)]
pub(super) enum Queue<T: Queued> {
    Empty,
    One(T),
    /// Two or more; or fewer, on the way from there to none.
    Many(Ring<T>),
}

/// The memory of a queue of several items.
type Ring<T> = Box<VecDeque<T>>;
/// Those that nobody uses.
pub(super) type FreeRings<T> = RefCell<Vec<Ring<T>>>;

/// What can be queued.
pub(super) trait Queued: Sized + 'static {
    /// Where this thread keeps rings of it.
    fn free_rings() -> &'static LocalKey<FreeRings<Self>>;
}

thread_local! {
    static CHUNKS: FreeRings<Chunk> = const { RefCell::new(Vec::new()) };
    static SEGMENTS: FreeRings<Segment> = const { RefCell::new(Vec::new()) };
}

impl Queued for Chunk {
    fn free_rings() -> &'static LocalKey<FreeRings<Chunk>> {
        &CHUNKS
    }
}

impl Queued for Segment {
    fn free_rings() -> &'static LocalKey<FreeRings<Segment>> {
        &SEGMENTS
    }
}

impl<T: Queued> Queue<T> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Queue::Empty)
    }

    #[inline]
    pub(super) fn push_back(&mut self, item: T) {
        match self {
            Queue::Empty => *self = Queue::One(item),
            Queue::One(_) => self.spread().push_back(item),
            Queue::Many(ring) => ring.push_back(item),
        }
    }

    pub(super) fn push_front(&mut self, item: T) {
        match self {
            Queue::Empty => *self = Queue::One(item),
            Queue::One(_) => self.spread().push_front(item),
            Queue::Many(ring) => ring.push_front(item),
        }
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.pop(VecDeque::pop_front)
    }

    #[inline]
    pub(super) fn pop_back(&mut self) -> Option<T> {
        self.pop(VecDeque::pop_back)
    }

    /// The only item, if there is exactly one.
    #[inline]
    pub(super) fn pop_only(&mut self) -> Option<T> {
        let is_only = match self {
            Queue::Empty => false,
            Queue::One(_) => true,
            Queue::Many(ring) => ring.len() == 1,
        };
        if is_only { self.pop_front() } else { None }
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        match self {
            Queue::Empty => None,
            Queue::One(item) => Some(item),
            Queue::Many(ring) => ring.front_mut(),
        }
    }

    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        match self {
            Queue::Empty => None,
            Queue::One(item) => Some(item),
            Queue::Many(ring) => ring.back_mut(),
        }
    }

    /// Drops all items.
    pub(super) fn clear(&mut self) {
        if let Queue::Many(ring) = std::mem::replace(self, Queue::Empty) {
            keep(ring);
        }
    }

    #[inline]
    fn pop(&mut self, end: impl FnOnce(&mut VecDeque<T>) -> Option<T>) -> Option<T> {
        if let Queue::Many(ring) = self {
            let item = end(ring);
            if ring.is_empty() {
                self.clear();
            }
            return item;
        }
        match std::mem::replace(self, Queue::Empty) {
            Queue::One(item) => Some(item),
            Queue::Empty | Queue::Many(_) => None,
        }
    }

    /// Makes room for several items.
    fn spread(&mut self) -> &mut VecDeque<T> {
        let mut ring =
            T::free_rings().try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        ring.extend(self.pop_front());
        *self = Queue::Many(ring);
        match self {
            Queue::Many(ring) => ring,
            Queue::Empty | Queue::One(_) => unreachable!("just made"),
        }
    }
}

/// Keeps a ring for others.
fn keep<T: Queued>(mut ring: Ring<T>) {
    ring.clear();
    if ring.capacity() <= KEPT_CAPACITY {
        let _ = T::free_rings().try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT_RINGS {
                free.push(ring);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn chunk(number: u64) -> Chunk {
        Chunk::copy_from(&number.to_le_bytes())
    }

    #[test]
    fn agrees_with_a_list_on_random_histories() {
        let mut rng = Rng::from_seed(7);
        let (mut queue, mut model) = (Queue::Empty, VecDeque::new());
        for number in 0..20_000 {
            let same =
                |ours: Option<Chunk>, theirs: Option<Chunk>| assert_eq!(ours.as_deref(), theirs.as_deref());
            match rng.below(9) {
                0..3 => {
                    queue.push_back(chunk(number));
                    model.push_back(chunk(number));
                }
                3 => {
                    queue.push_front(chunk(number));
                    model.push_front(chunk(number));
                }
                4..6 => same(queue.pop_front(), model.pop_front()),
                6 => same(queue.pop_back(), model.pop_back()),
                7 if model.len() == 1 => same(queue.pop_only(), model.pop_front()),
                7 => assert!(queue.pop_only().is_none()),
                _ if rng.below(20) == 0 => {
                    queue.clear();
                    model.clear();
                }
                _ => {
                    assert_eq!(queue.front_mut().as_deref().map(|c| &c[..]), model.front().map(|c| &c[..]));
                    assert_eq!(queue.back_mut().as_deref().map(|c| &c[..]), model.back().map(|c| &c[..]));
                }
            }
            assert_eq!(queue.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn memory_is_reused_once_a_queue_is_empty() {
        let mut queue = Queue::Empty;
        queue.push_back(chunk(1));
        assert!(matches!(queue, Queue::One(_)), "no memory for one");
        queue.push_back(chunk(2));
        let address = |queue: &Queue<Chunk>| match queue {
            Queue::Many(ring) => std::ptr::from_ref(&**ring).addr(),
            Queue::Empty | Queue::One(_) => 0,
        };
        let before = address(&queue);
        while queue.pop_front().is_some() {}
        assert!(matches!(queue, Queue::Empty));
        let mut other = Queue::Empty;
        other.push_back(chunk(3));
        other.push_back(chunk(4));
        assert_eq!((address(&other), before == 0), (before, false));
    }
}
