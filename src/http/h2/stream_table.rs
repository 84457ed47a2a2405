//! The streams of a connection by identifier: open addressing over slots that double as needed.
//!
//! Identifiers of one connection are all odd or all even and go up, so that the lower bits spread them perfectly; a stream
//! that stays for long is probed around. Never grows with the span of identifiers, only with the number of streams.

use super::stream::{Stream, recycle_stream, take_stream};

/// Streams by identifier.
#[derive(Debug, Default)]
pub struct StreamTable {
    /// Zero where no stream is. As many as `streams`, a power of two or none.
    ids: Vec<u32>,
    streams: Vec<Option<Box<Stream>>>,
    count: usize,
}

/// Slots at first.
const MIN_SLOTS: usize = 8;
/// More slots than these are given back when no stream is left.
const KEPT_SLOTS: usize = 256;

impl StreamTable {
    /// How many streams there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The stream with this identifier.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&Stream> {
        self.streams[self.find(id)?].as_deref()
    }

    /// The stream with this identifier.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let slot = self.find(id)?;
        self.streams[slot].as_deref_mut()
    }

    /// Adds a stream; `id` is not zero and not in use.
    #[inline]
    pub fn insert(&mut self, id: u32) -> &mut Stream {
        if (self.count + 1) * 2 > self.ids.len() {
            self.grow();
        }
        let slot = self.free_slot(id);
        self.ids[slot] = id;
        self.count += 1;
        self.streams[slot].insert(take_stream())
    }

    /// Removes a stream and recycles its memory.
    #[inline]
    pub fn remove(&mut self, id: u32) {
        let Some(mut gap) = self.find(id) else { return };
        if let Some(stream) = self.streams[gap].take() {
            recycle_stream(stream);
        }
        self.ids[gap] = 0;
        self.count -= 1;
        // Moves those up that were put behind the gap because it was taken.
        let mask = self.ids.len() - 1;
        let mut slot = gap;
        loop {
            slot = (slot + 1) & mask;
            let id = self.ids[slot];
            if id == 0 {
                break;
            }
            let distance_from_home = slot.wrapping_sub(home(id)) & mask;
            let distance_from_gap = slot.wrapping_sub(gap) & mask;
            if distance_from_home >= distance_from_gap {
                self.ids.swap(gap, slot);
                self.streams.swap(gap, slot);
                gap = slot;
            }
        }
        if self.count == 0 && self.ids.len() > KEPT_SLOTS {
            *self = StreamTable::default();
        }
    }

    /// All streams, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter_map(|stream| stream.as_deref())
    }

    /// All streams, in no particular order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        let streams = self.streams.iter_mut().map(|stream| stream.as_deref_mut());
        self.ids.iter().zip(streams).filter_map(|(id, stream)| Some((*id, stream?)))
    }

    /// Heap memory held, streams themselves included.
    pub fn heap_bytes(&self) -> usize {
        self.ids.capacity() * (size_of::<u32>() + size_of::<usize>()) + self.count * size_of::<Stream>()
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        let mask = self.ids.len().checked_sub(1)?;
        let mut slot = home(id) & mask;
        loop {
            match self.ids[slot] {
                0 => return None,
                found if found == id => return Some(slot),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    #[inline]
    fn free_slot(&self, id: u32) -> usize {
        let mask = self.ids.len() - 1;
        let mut slot = home(id) & mask;
        while self.ids[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        slot
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.ids.len() * 2).max(MIN_SLOTS);
        let ids = std::mem::replace(&mut self.ids, vec![0; slots]);
        let mut new_streams = Vec::new();
        new_streams.resize_with(slots, || None);
        let streams = std::mem::replace(&mut self.streams, new_streams);
        for (id, stream) in ids.into_iter().zip(streams).filter(|(id, _)| *id != 0) {
            let slot = self.free_slot(id);
            self.ids[slot] = id;
            self.streams[slot] = stream;
        }
    }
}

/// Where a stream would like to be; the lower bits count.
#[inline]
fn home(id: u32) -> usize {
    (id >> 1) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_that_stays_does_not_make_the_table_grow() {
        let mut table = StreamTable::default();
        table.insert(1);
        for index in 1..100_000u32 {
            table.insert(index * 2 + 1);
            if index > 10 {
                table.remove((index - 10) * 2 + 1);
            }
        }
        assert!(table.ids.len() <= 32, "{}", table.ids.len());
        assert!(table.get(1).is_some());
    }

    #[test]
    fn memory_of_many_streams_is_given_back() {
        let mut table = StreamTable::default();
        assert_eq!(table.heap_bytes(), 0);
        (1..2_000).step_by(2).for_each(|id| {
            table.insert(id);
        });
        (1..2_000).step_by(2).for_each(|id| table.remove(id));
        assert_eq!((table.len(), table.heap_bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(ops in prop::collection::vec((any::<bool>(), 0u32..40, prop::sample::select(vec![0u32, 64, 4096])), 0..300)) {
            let (mut table, mut model) = (StreamTable::default(), BTreeSet::new());
            for (adds, low, high) in ops {
                let id = (low + high) * 2 + 1;
                if adds && !model.contains(&id) {
                    table.insert(id).send.credit_bytes = id.into();
                    model.insert(id);
                } else if !adds {
                    table.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!(table.len(), model.len());
                for id in (0..40).flat_map(|low| [low * 2 + 1, (low + 64) * 2 + 1, (low + 4096) * 2 + 1]) {
                    let found = table.get(id).map(|stream| stream.send.credit_bytes);
                    prop_assert_eq!(found, model.contains(&id).then_some(id.into()));
                }
            }
            let mut listed: Vec<_> = table.iter_mut().map(|(id, _)| id).collect();
            listed.sort_unstable();
            prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
        }
    }
}
