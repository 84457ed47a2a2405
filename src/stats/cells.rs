//! The memory behind statistics: pages of atomic cells, one set of pages per shard.
//!
//! A cell's index is unique in the process, so several registries (tests have many) can share the
//! cells of threads that have no shard. A shard's cells are written by one thread only, with a
//! relaxed load and a relaxed store; the shared cells are written by any thread, atomically.
//! Nothing here knows names.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::stats::bins::{BINS_PER_DECADE, Bin, DECADES};

const PAGE_CELLS: usize = 2048;
const PAGES: usize = 2048;
/// Cells a process can have (4 million); what is registered beyond that is not counted.
const MAX_CELLS: u32 = (PAGE_CELLS * PAGES) as u32;
/// The cell that nobody reads.
pub(super) const NOWHERE: u32 = 0;
const HISTOGRAM_PAGE: usize = 256;
const HISTOGRAM_PAGES: usize = 1024;
const MAX_HISTOGRAMS: u32 = (HISTOGRAM_PAGE * HISTOGRAM_PAGES) as u32;

type Page = Box<[AtomicU64; PAGE_CELLS]>;
type HistogramPage = Box<[OnceLock<Box<HistogramCells>>; HISTOGRAM_PAGE]>;

/// One thread's cells. Made by [`crate::stats::Registry::new_shard`].
#[derive(Debug)]
pub struct Shard {
    pages: [OnceLock<Page>; PAGES],
    histograms: [OnceLock<HistogramPage>; HISTOGRAM_PAGES],
}

/// The cells of one histogram in one shard.
#[derive(Debug)]
pub(super) struct HistogramCells {
    pub(super) sum: AtomicU64,
    pub(super) decades: [OnceLock<Box<[AtomicU64; BINS_PER_DECADE]>>; DECADES],
}

/// Cells of all threads that installed no shard: the control thread's, and tests'.
static SHARED: Shard = Shard::new();
static CELLS: Indices = Indices::new(MAX_CELLS);
static HISTOGRAMS: Indices = Indices::new(MAX_HISTOGRAMS);

thread_local! {
    static INSTALLED: Cell<Option<&'static Shard>> = const { Cell::new(None) };
}

/// Makes `shard` the one that this thread writes to, from now until it ends or installs another.
/// No other thread may have it installed at the same time: counts would be lost.
pub fn install_shard(shard: &'static Shard) {
    INSTALLED.set(Some(shard));
}

impl Shard {
    pub(super) fn boxed() -> Box<Shard> {
        Box::new(Shard::new())
    }

    const fn new() -> Shard {
        Shard {
            pages: [const { OnceLock::new() }; PAGES],
            histograms: [const { OnceLock::new() }; HISTOGRAM_PAGES],
        }
    }

    #[inline]
    fn cell(&self, index: u32) -> &AtomicU64 {
        let page = self.pages[index as usize / PAGE_CELLS % PAGES].get_or_init(new_page);
        &page[index as usize % PAGE_CELLS]
    }

    fn histogram(&self, index: u32) -> &HistogramCells {
        let page = self.histograms[index as usize / HISTOGRAM_PAGE % HISTOGRAM_PAGES]
            .get_or_init(|| Box::new([const { OnceLock::new() }; HISTOGRAM_PAGE]));
        page[index as usize % HISTOGRAM_PAGE].get_or_init(|| {
            Box::new(HistogramCells { sum: AtomicU64::new(0), decades: [const { OnceLock::new() }; DECADES] })
        })
    }

    /// The cell's value; reading never creates a page.
    pub(super) fn value(&self, index: u32) -> u64 {
        let page = self.pages.get(index as usize / PAGE_CELLS).and_then(OnceLock::get);
        page.map_or(0, |page| page[index as usize % PAGE_CELLS].load(Relaxed))
    }

    /// The histogram's cells, if this shard recorded anything into it.
    pub(super) fn histogram_cells(&self, index: u32) -> Option<&HistogramCells> {
        let page = self.histograms.get(index as usize / HISTOGRAM_PAGE)?.get()?;
        page[index as usize % HISTOGRAM_PAGE].get().map(Box::as_ref)
    }

    /// Zeroes a cell that no thread writes to any more.
    pub(super) fn clear(&self, index: u32) {
        if let Some(page) = self.pages.get(index as usize / PAGE_CELLS).and_then(OnceLock::get) {
            page[index as usize % PAGE_CELLS].store(0, Relaxed);
        }
    }

    /// Empties a histogram that no thread writes to any more.
    pub(super) fn clear_histogram(&self, index: u32) {
        let Some(cells) = self.histogram_cells(index) else { return };
        cells.sum.store(0, Relaxed);
        for decade in cells.decades.iter().filter_map(OnceLock::get) {
            decade.iter().for_each(|cell| cell.store(0, Relaxed));
        }
    }
}

/// Cells of threads without a shard.
pub(super) fn shared() -> &'static Shard {
    &SHARED
}

/// Adds to a counter.
#[inline]
pub(super) fn add(index: u32, amount: u64) {
    match INSTALLED.get() {
        Some(shard) => {
            let cell = shard.cell(index);
            cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
        }
        None => drop(SHARED.cell(index).fetch_add(amount, Relaxed)),
    }
}

/// Adds to a gauge. A gauge's cell holds `value << 1 | 1`: the low bit says that it was ever written.
#[inline]
pub(super) fn add_gauge(index: u32, delta: i64) {
    let step = (delta as u64) << 1;
    match INSTALLED.get() {
        Some(shard) => {
            let cell = shard.cell(index);
            cell.store(cell.load(Relaxed).wrapping_add(step) | 1, Relaxed);
        }
        None => {
            SHARED.cell(index).fetch_add(step, Relaxed);
            SHARED.cell(index).fetch_or(1, Relaxed);
        }
    }
}

/// Sets this thread's part of a gauge.
pub(super) fn set_gauge(index: u32, value: i64) {
    let shard = INSTALLED.get().unwrap_or(&SHARED);
    shard.cell(index).store((value as u64) << 1 | 1, Relaxed);
}

/// Records one value into a histogram.
#[inline]
pub(super) fn record(index: u32, value: u64) {
    let bin = Bin::of(value);
    let (shard, exclusive) = match INSTALLED.get() {
        Some(shard) => (shard, true),
        None => (&SHARED, false),
    };
    let cells = shard.histogram(index);
    let decade =
        cells.decades[bin.decade()].get_or_init(|| Box::new([const { AtomicU64::new(0) }; BINS_PER_DECADE]));
    for (cell, amount) in [(&decade[bin.slot()], 1), (&cells.sum, value)] {
        if exclusive {
            cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
        } else {
            cell.fetch_add(amount, Relaxed);
        }
    }
}

/// A new cell; index 0, which nobody reads, when there are no more.
pub(super) fn allocate_cell() -> u32 {
    CELLS.allocate()
}

/// A new cell without touching the lock of the free list, for workers.
pub(super) fn allocate_cell_lock_free() -> u32 {
    CELLS.allocate_fresh()
}

/// A new histogram; index 0, which nobody reads, when there are no more.
pub(super) fn allocate_histogram() -> u32 {
    HISTOGRAMS.allocate()
}

/// Gives back cells and histograms that were cleared in every shard.
pub(super) fn free(cells: &[u32], histograms: &[u32]) {
    CELLS.free(cells);
    HISTOGRAMS.free(histograms);
}

#[cold]
fn new_page() -> Page {
    Box::new([const { AtomicU64::new(0) }; PAGE_CELLS])
}

/// Hands out indices from 1. Those given back are handed out again, oldest first, but only once a
/// sixteenth of all is waiting: a thread may still write through a handle for a while after the
/// scope is gone, and must not write into somebody else's statistic.
struct Indices {
    next: AtomicU32,
    limit: u32,
    returned: Mutex<VecDeque<u32>>,
}

impl Indices {
    const fn new(limit: u32) -> Indices {
        Indices { next: AtomicU32::new(1), limit, returned: Mutex::new(VecDeque::new()) }
    }

    fn allocate(&self) -> u32 {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = if returned.len() > (self.limit / 16) as usize { returned.pop_front() } else { None };
        rested.unwrap_or_else(|| self.allocate_fresh())
    }

    fn allocate_fresh(&self) -> u32 {
        let next = self.next.fetch_update(Relaxed, Relaxed, |next| (next < self.limit).then_some(next + 1));
        next.unwrap_or(NOWHERE)
    }

    fn free(&self, indices: &[u32]) {
        let used = indices.iter().filter(|index| **index != NOWHERE);
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).extend(used);
    }
}
