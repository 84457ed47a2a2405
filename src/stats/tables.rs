//! The registry's tables: which name has which cell, who holds it, and what the cells add up to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::stats::bins::Bin;
use crate::stats::cells::{self, Shard};
use crate::stats::codes::CodeTable;
use crate::stats::handles::Unit;
use crate::stats::histogram::Distribution;
use crate::stats::lazy::LazyTable;
use crate::stats::options::StatsOptions;
use crate::stats::snapshot::{CounterValue, GaugeValue, HistogramValue, Snapshot, TextValue};

/// Which table a name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram(Unit),
}

/// On whose behalf a name is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder {
    /// It stays for good.
    Registry,
    /// A scope that did not hold it before.
    Scope,
    /// A scope that holds it already.
    Again,
}

/// All names and where their cells are.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) shards: Vec<&'static Shard>,
    pub(super) options: Arc<StatsOptions>,
    counters: Names,
    gauges: Names,
    histograms: Names,
    codes: BTreeMap<Arc<str>, (Holders, Arc<CodeTable>)>,
    lazy: BTreeMap<Arc<str>, (Holders, Arc<LazyTable>)>,
    texts: BTreeMap<Arc<str>, (Holders, Arc<str>)>,
    /// Gauges of 64 bits, more than a cell has, that the control thread sets.
    numbers: BTreeMap<Arc<str>, (Holders, u64)>,
    /// By cell: what a counter showed when it was last reset.
    bases: HashMap<u32, u64>,
    /// By histogram index.
    details: HashMap<u32, Details>,
}

type Names = BTreeMap<Arc<str>, (Holders, u32)>;

/// Who keeps a name listed.
#[derive(Debug, Default)]
struct Holders {
    forever: bool,
    scopes: u32,
}

/// What a histogram has beside its cells.
#[derive(Debug, Default)]
struct Details {
    unit: Unit,
    /// As it was when the last interval ended.
    last: Distribution,
    interval: Option<Arc<Distribution>>,
}

impl Kind {
    /// The same table whatever the unit.
    pub(super) fn without_unit(self) -> Kind {
        match self {
            Kind::Histogram(_) => Kind::Histogram(Unit::Unspecified),
            other => other,
        }
    }
}

impl Holders {
    fn add(&mut self, holder: Holder) {
        match holder {
            Holder::Registry => self.forever = true,
            Holder::Scope => self.scopes += 1,
            Holder::Again => {}
        }
    }

    /// Takes one scope away; whether nobody is left.
    fn remove_scope(&mut self) -> bool {
        self.scopes = self.scopes.saturating_sub(1);
        self.scopes == 0 && !self.forever
    }
}

impl Tables {
    pub(super) fn new(options: StatsOptions) -> Tables {
        let mut tables = Tables::default();
        tables.options = Arc::new(options);
        tables
    }

    /// The cell (or histogram index) of a name, which is new if nobody asked before; nowhere for a
    /// name that is not to be kept.
    pub(super) fn hold(&mut self, kind: Kind, name: &str, holder: Holder) -> u32 {
        if !self.options.keeps(name) {
            return cells::NOWHERE;
        }
        let table = self.table(kind);
        if let Some((holders, index)) = table.get_mut(name) {
            holders.add(holder);
            return *index;
        }
        let index = match kind {
            Kind::Counter | Kind::Gauge => cells::allocate_cell(),
            Kind::Histogram(_) => cells::allocate_histogram(),
        };
        let mut holders = Holders::default();
        holders.add(holder);
        table.insert(name.into(), (holders, index));
        if let Kind::Histogram(unit) = kind {
            self.details.insert(index, Details { unit, ..Details::default() });
        }
        index
    }

    /// The response-code counters under a prefix.
    pub(super) fn hold_codes(&mut self, prefix: &str, holder: Holder) -> Arc<CodeTable> {
        let new = || (Holders::default(), Arc::new(CodeTable::new(prefix)));
        let (holders, table) = self.codes.entry(prefix.into()).or_insert_with(new);
        holders.add(holder);
        table.clone()
    }

    /// The lazy counters under a prefix.
    pub(super) fn hold_lazy(
        &mut self,
        prefix: &str,
        names: Vec<&'static str>,
        holder: Holder,
    ) -> Arc<LazyTable> {
        let new = || (Holders::default(), Arc::new(LazyTable::new(prefix, names)));
        let (holders, table) = self.lazy.entry(prefix.into()).or_insert_with(new);
        holders.add(holder);
        table.clone()
    }

    /// A scope lets go of a name.
    pub(super) fn release(&mut self, kind: Kind, name: &str) {
        let table = self.table(kind);
        let gone = table.get_mut(name).is_some_and(|(holders, _)| holders.remove_scope());
        if let Some((_, index)) = gone.then(|| table.remove(name)).flatten() {
            self.give_back(kind, index);
        }
    }

    /// A scope lets go of response-code counters.
    pub(super) fn release_codes(&mut self, prefix: &str) {
        let gone = self.codes.get_mut(prefix).is_some_and(|(holders, _)| holders.remove_scope());
        if let Some((_, table)) = gone.then(|| self.codes.remove(prefix)).flatten() {
            table.in_use(|_, index| self.give_back(Kind::Counter, index));
        }
    }

    pub(super) fn set_text(&mut self, name: &str, text: &str, holder: Holder) {
        if self.options.keeps(name) {
            let (holders, value) = self.texts.entry(name.into()).or_default();
            holders.add(holder);
            *value = text.into();
        }
    }

    pub(super) fn set_number(&mut self, name: &str, number: u64, holder: Holder) {
        if self.options.keeps(name) {
            let (holders, value) = self.numbers.entry(name.into()).or_default();
            holders.add(holder);
            *value = number;
        }
    }

    /// A scope lets go of a text.
    pub(super) fn release_text(&mut self, name: &str) {
        if self.texts.get_mut(name).is_some_and(|(holders, _)| holders.remove_scope()) {
            self.texts.remove(name);
        }
    }

    /// A scope lets go of a number.
    pub(super) fn release_number(&mut self, name: &str) {
        if self.numbers.get_mut(name).is_some_and(|(holders, _)| holders.remove_scope()) {
            self.numbers.remove(name);
        }
    }

    /// A scope lets go of lazy counters.
    pub(super) fn release_lazy(&mut self, prefix: &str) {
        let gone = self.lazy.get_mut(prefix).is_some_and(|(holders, _)| holders.remove_scope());
        if let Some((_, table)) = gone.then(|| self.lazy.remove(prefix)).flatten() {
            table.in_use(|_, index| self.give_back(Kind::Counter, index));
        }
    }

    pub(super) fn counter_value(&self, name: &str) -> Option<u64> {
        if let Some((_, index)) = self.counters.get(name) {
            return Some(self.counter(*index).0);
        }
        let mut found = None;
        let mut see = |other: String, index| {
            if other == name {
                found = Some(self.counter(index).0);
            }
        };
        for (_, table) in self.codes.values().filter(|(_, table)| name.starts_with(&*table.prefix)) {
            table.in_use(&mut see);
        }
        for (_, table) in self.lazy.values().filter(|(_, table)| name.starts_with(&*table.prefix)) {
            table.in_use(&mut see);
        }
        found
    }

    pub(super) fn gauge_value(&self, name: &str) -> Option<i64> {
        self.gauges.get(name).map(|(_, index)| self.gauge(*index).0)
    }

    pub(super) fn snapshot(&self, wanted: &dyn Fn(&str) -> bool) -> Snapshot {
        let mut counters = Vec::new();
        let mut count = |name: &Arc<str>, index: u32| {
            let (value, used) = self.counter(index);
            counters.push(CounterValue { name: name.clone(), value, used });
        };
        self.counters
            .iter()
            .filter(|(name, _)| wanted(name))
            .for_each(|(name, (_, index))| count(name, *index));
        self.in_use(|name, index| {
            if wanted(&name) && self.options.keeps(&name) {
                count(&name.into(), index);
            }
        });
        counters.sort_by(|one, two| one.name.cmp(&two.name));
        let gauges = self.gauges.iter().filter(|(name, _)| wanted(name)).map(|(name, (_, index))| {
            let (value, used) = self.gauge(*index);
            GaugeValue { name: name.clone(), value: value.into(), used }
        });
        let numbers = self.numbers.iter().filter(|(name, _)| wanted(name)).map(|(name, (_, value))| {
            GaugeValue { name: name.clone(), value: (*value).into(), used: *value != 0 }
        });
        let mut gauges: Vec<_> = gauges.chain(numbers).collect();
        gauges.sort_by(|one, two| one.name.cmp(&two.name));
        let histograms = self.histograms.iter().filter(|(name, _)| wanted(name)).map(|(name, (_, index))| {
            let details = self.details.get(index);
            let cumulative = self.distribution(*index);
            HistogramValue {
                name: name.clone(),
                unit: details.map_or(Unit::Unspecified, |details| details.unit),
                used: cumulative.count() > 0,
                interval: details.and_then(|details| details.interval.clone()),
                cumulative,
            }
        });
        let texts = self.texts.iter().filter(|(name, _)| wanted(name));
        let texts = texts.map(|(name, (_, text))| TextValue { name: name.clone(), text: text.clone() });
        Snapshot { gauges, histograms: histograms.collect(), texts: texts.collect(), counters }
    }

    pub(super) fn reset_counters(&mut self) {
        let mut indices: Vec<u32> = self.counters.values().map(|(_, index)| *index).collect();
        self.in_use(|_, index| indices.push(index));
        for index in indices {
            let raw = self.sum(index);
            if raw != 0 {
                self.bases.insert(index, raw);
            }
        }
    }

    pub(super) fn end_interval(&mut self) {
        let indices: Vec<u32> = self.details.keys().copied().collect();
        for index in indices {
            let now = self.distribution(index);
            if let Some(details) = self.details.get_mut(&index) {
                details.interval = Some(Arc::new(now.since(&details.last)));
                details.last = now;
            }
        }
    }

    /// Full name and cell of every counter that is listed only since it was counted.
    fn in_use(&self, mut see: impl FnMut(String, u32)) {
        self.codes.values().for_each(|(_, table)| table.in_use(&mut see));
        self.lazy.values().for_each(|(_, table)| table.in_use(&mut see));
    }

    fn table(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Counter => &mut self.counters,
            Kind::Gauge => &mut self.gauges,
            Kind::Histogram(_) => &mut self.histograms,
        }
    }

    fn all_shards(&self) -> impl Iterator<Item = &'static Shard> {
        self.shards.iter().copied().chain([cells::shared()])
    }

    fn sum(&self, index: u32) -> u64 {
        self.all_shards().fold(0, |sum, shard| sum.wrapping_add(shard.value(index)))
    }

    /// Value since the last reset, and whether it was ever written.
    fn counter(&self, index: u32) -> (u64, bool) {
        let raw = self.sum(index);
        (raw.wrapping_sub(self.bases.get(&index).copied().unwrap_or(0)), raw != 0)
    }

    /// Value, and whether it was ever written.
    fn gauge(&self, index: u32) -> (i64, bool) {
        self.all_shards().map(|shard| shard.value(index)).fold((0, false), |(sum, used), cell| {
            (i64::wrapping_add(sum, cell as i64 >> 1), used || cell != 0)
        })
    }

    fn distribution(&self, index: u32) -> Distribution {
        let mut merged = Distribution::default();
        for cells in self.all_shards().filter_map(|shard| shard.histogram_cells(index)) {
            merged.add_sum(cells.sum.load(Relaxed));
            for (decade, slots) in cells.decades.iter().enumerate() {
                for (slot, cell) in slots.get().into_iter().flat_map(|slots| slots.iter().enumerate()) {
                    merged.add(Bin::at(decade, slot), cell.load(Relaxed));
                }
            }
        }
        merged
    }

    fn give_back(&mut self, kind: Kind, index: u32) {
        match kind {
            Kind::Counter | Kind::Gauge => {
                self.bases.remove(&index);
                self.all_shards().for_each(|shard| shard.clear(index));
                cells::free(&[index], &[]);
            }
            Kind::Histogram(_) => {
                self.details.remove(&index);
                self.all_shards().for_each(|shard| shard.clear_histogram(index));
                cells::free(&[], &[index]);
            }
        }
    }
}

/// A test's registry leaves its cells to the next one.
impl Drop for Tables {
    fn drop(&mut self) {
        for names in [std::mem::take(&mut self.counters), std::mem::take(&mut self.gauges)] {
            names.values().for_each(|(_, index)| self.give_back(Kind::Counter, *index));
        }
        let histograms = std::mem::take(&mut self.histograms);
        histograms.values().for_each(|(_, index)| self.give_back(Kind::Histogram(Unit::Unspecified), *index));
        for (_, table) in std::mem::take(&mut self.codes).into_values() {
            table.in_use(|_, index| self.give_back(Kind::Counter, index));
        }
        for (_, table) in std::mem::take(&mut self.lazy).into_values() {
            table.in_use(|_, index| self.give_back(Kind::Counter, index));
        }
    }
}
