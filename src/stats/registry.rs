//! The names of statistics, and reading their values.
//!
//! Used by the control thread and by whoever builds configuration; never on the request path.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stats::cells::Shard;
use crate::stats::codes::CodeTable;
use crate::stats::handles::{Counter, Gauge, Histogram, Unit};
use crate::stats::lazy::LazyTable;
use crate::stats::options::StatsOptions;
use crate::stats::snapshot::Snapshot;
use crate::stats::tables::{Holder, Kind, Tables};

/// Names of all statistics of a process (or of one test). Cloning gives another handle to it.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tables: Arc<Mutex<Tables>>,
}

/// Statistics that vanish from listings when this (and all its clones) is dropped, unless another
/// scope or the registry itself holds the same names. Whoever writes to them must hold the scope:
/// cells are used again for other names afterwards.
#[derive(Debug, Clone)]
pub struct Scope {
    held: Arc<Held>,
}

/// Where names can be registered: a [`Registry`] (for good) or a [`Scope`]. The same name and kind
/// always gives the same handle.
pub trait StatSource {
    /// The counter called `name`.
    fn counter(&self, name: &str) -> Counter;
    /// The gauge called `name`.
    fn gauge(&self, name: &str) -> Gauge;
    /// The histogram called `name`; `unit` counts only when it is new.
    fn histogram(&self, name: &str, unit: Unit) -> Histogram;
    /// The response-code counters under `prefix`; see [`crate::stats::ResponseCodeStats`].
    fn codes(&self, prefix: &str) -> Arc<CodeTable>;
    /// The counters under `prefix` for each of `names`; see [`crate::stats::LazyCounters`].
    fn lazy(&self, prefix: &str, names: Vec<&'static str>) -> Arc<LazyTable>;
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// An empty registry that follows a configuration.
    pub fn with_options(options: StatsOptions) -> Registry {
        let tables = Tables::new(options);
        Registry { tables: Arc::new(Mutex::new(tables)) }
    }

    /// The configuration that the registry follows.
    pub fn options(&self) -> Arc<StatsOptions> {
        self.lock().options.clone()
    }

    /// The counter called `name`.
    pub fn counter(&self, name: &str) -> Counter {
        Counter(self.lock().hold(Kind::Counter, name, Holder::Registry))
    }

    /// The gauge called `name`.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge(self.lock().hold(Kind::Gauge, name, Holder::Registry))
    }

    /// The histogram called `name`; `unit` counts only when it is new.
    pub fn histogram(&self, name: &str, unit: Unit) -> Histogram {
        Histogram(self.lock().hold(Kind::Histogram(unit), name, Holder::Registry))
    }

    /// Sets a text readout, e.g. a version.
    pub fn set_text(&self, name: &str, text: &str) {
        self.lock().set_text(name, text, Holder::Registry);
    }

    /// A scope for statistics that come and go with a piece of configuration.
    pub fn scope(&self) -> Scope {
        Scope { held: Arc::new(Held { registry: self.clone(), names: Mutex::default() }) }
    }

    /// A shard for one worker thread, to be given to [`crate::stats::install_shard`] there. Its
    /// memory is never freed: make as many as there are workers.
    pub fn new_shard(&self) -> &'static Shard {
        let shard: &'static Shard = Box::leak(Shard::boxed());
        self.lock().shards.push(shard);
        shard
    }

    /// All statistics whose name passes `wanted`, each list sorted by name.
    pub fn snapshot(&self, wanted: impl Fn(&str) -> bool) -> Snapshot {
        self.lock().snapshot(&wanted)
    }

    /// The counter's value; none if there is no such counter.
    pub fn counter_value(&self, name: &str) -> Option<u64> {
        self.lock().counter_value(name)
    }

    /// The gauge's value; none if there is no such gauge.
    pub fn gauge_value(&self, name: &str) -> Option<i64> {
        self.lock().gauge_value(name)
    }

    /// Sets all counters to zero, as seen from now on. Workers notice nothing.
    pub fn reset_counters(&self) {
        self.lock().reset_counters();
    }

    /// Ends the current interval of every histogram: what was recorded since the last call becomes
    /// the interval that listings show. The server calls it every `stats_flush_interval`.
    pub fn end_interval(&self) {
        self.lock().end_interval();
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatSource for Registry {
    fn counter(&self, name: &str) -> Counter {
        Registry::counter(self, name)
    }

    fn gauge(&self, name: &str) -> Gauge {
        Registry::gauge(self, name)
    }

    fn histogram(&self, name: &str, unit: Unit) -> Histogram {
        Registry::histogram(self, name, unit)
    }

    fn codes(&self, prefix: &str) -> Arc<CodeTable> {
        self.lock().hold_codes(prefix, Holder::Registry)
    }

    fn lazy(&self, prefix: &str, names: Vec<&'static str>) -> Arc<LazyTable> {
        self.lock().hold_lazy(prefix, names, Holder::Registry)
    }
}

impl Scope {
    /// Sets a text readout.
    pub fn set_text(&self, name: &str, text: &str) {
        let holder = self.held.note(HeldKind::Text, name);
        self.held.registry.lock().set_text(name, text, holder);
    }

    /// Sets a gauge of 64 bits that nothing is ever added to, such as a hash. It must have no other kind of
    /// gauge beside it.
    pub fn set_number(&self, name: &str, number: u64) {
        let holder = self.held.note(HeldKind::Number, name);
        self.held.registry.lock().set_number(name, number, holder);
    }
}

impl StatSource for Scope {
    fn counter(&self, name: &str) -> Counter {
        Counter(self.held.hold(Kind::Counter, name))
    }

    fn gauge(&self, name: &str) -> Gauge {
        Gauge(self.held.hold(Kind::Gauge, name))
    }

    fn histogram(&self, name: &str, unit: Unit) -> Histogram {
        Histogram(self.held.hold(Kind::Histogram(unit), name))
    }

    fn codes(&self, prefix: &str) -> Arc<CodeTable> {
        let holder = self.held.note(HeldKind::Codes, prefix);
        self.held.registry.lock().hold_codes(prefix, holder)
    }

    fn lazy(&self, prefix: &str, names: Vec<&'static str>) -> Arc<LazyTable> {
        let holder = self.held.note(HeldKind::Lazy, prefix);
        self.held.registry.lock().hold_lazy(prefix, names, holder)
    }
}

/// What a scope holds, each name once.
#[derive(Debug)]
struct Held {
    registry: Registry,
    names: Mutex<HashSet<(HeldKind, Box<str>)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum HeldKind {
    Table(Kind),
    Codes,
    Text,
    Number,
    Lazy,
}

impl Held {
    fn hold(&self, kind: Kind, name: &str) -> u32 {
        let holder = self.note(HeldKind::Table(kind.without_unit()), name);
        self.registry.lock().hold(kind, name, holder)
    }

    fn note(&self, kind: HeldKind, name: &str) -> Holder {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.insert((kind, name.into())) { Holder::Scope } else { Holder::Again }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut tables = self.registry.lock();
        let names = self.names.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (kind, name) in names.iter() {
            match kind {
                HeldKind::Table(kind) => tables.release(*kind, name),
                HeldKind::Codes => tables.release_codes(name),
                HeldKind::Text => tables.release_text(name),
                HeldKind::Number => tables.release_number(name),
                HeldKind::Lazy => tables.release_lazy(name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::stats::{ResponseCodeStats, install_shard};

    #[test]
    fn threads_with_and_without_shards_add_up() {
        let registry = Registry::new();
        let (counter, gauge) = (registry.counter("c"), registry.gauge("g"));
        let histogram = registry.histogram("h", Unit::Milliseconds);
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for at in 0..6 {
                let (registry, start) = (&registry, &start);
                scope.spawn(move || {
                    if at % 2 == 0 {
                        install_shard(registry.new_shard());
                    }
                    start.wait();
                    for value in 0..10_000 {
                        counter.inc();
                        gauge.inc();
                        histogram.record(value);
                    }
                    (0..9_000).for_each(|_| gauge.dec());
                });
            }
        });
        assert_eq!(registry.counter_value("c"), Some(60_000));
        assert_eq!(registry.gauge_value("g"), Some(6_000));
        let snapshot = registry.snapshot(|_| true);
        assert_eq!(snapshot.histograms[0].cumulative.count(), 60_000);
        assert_eq!(snapshot.histograms[0].cumulative.sum(), 6 * 9_999 * 10_000 / 2);
    }

    #[test]
    fn the_same_name_is_the_same_stat_and_kinds_do_not_clash() {
        let registry = Registry::new();
        assert_eq!(registry.counter("x"), registry.counter("x"));
        assert_ne!(registry.counter("x"), registry.counter("y"));
        registry.gauge("x").set(7);
        assert_eq!((registry.counter_value("x"), registry.gauge_value("x")), (Some(0), Some(7)));
        assert_eq!(registry.counter_value("z"), None);
    }

    #[test]
    fn used_means_ever_written() {
        let registry = Registry::new();
        let (idle, busy) = (registry.gauge("idle"), registry.gauge("busy"));
        busy.inc();
        busy.dec();
        registry.counter("never");
        registry.counter("reset").inc();
        registry.reset_counters();
        let snapshot = registry.snapshot(|_| true);
        let gauges: Vec<_> = snapshot.gauges.iter().map(|gauge| (gauge.value, gauge.used)).collect();
        assert_eq!(gauges, [(0, true), (0, false)]);
        let counters: Vec<_> =
            snapshot.counters.iter().map(|counter| (counter.value, counter.used)).collect();
        assert_eq!(counters, [(0, false), (0, true)]);
        idle.set(0);
        assert!(registry.snapshot(|name| name == "idle").gauges[0].used);
    }

    #[test]
    fn a_reset_counter_counts_on_from_zero() {
        let registry = Registry::new();
        let counter = registry.counter("c");
        counter.add(5);
        registry.reset_counters();
        assert_eq!(registry.counter_value("c"), Some(0));
        counter.add(2);
        assert_eq!(registry.counter_value("c"), Some(2));
        registry.reset_counters();
        counter.inc();
        assert_eq!(registry.counter_value("c"), Some(1));
    }

    #[test]
    fn scopes_take_their_names_with_them_and_shared_names_stay() {
        let registry = Registry::new();
        let (one, two) = (registry.scope(), registry.scope());
        one.counter("mine").add(3);
        one.counter("mine");
        one.counter("both").inc();
        two.counter("both").inc();
        registry.counter("pinned").inc();
        one.counter("pinned");
        let codes = ResponseCodeStats::register(&one, "up.");
        codes.record(404);
        let names = |registry: &Registry| -> Vec<String> {
            registry.snapshot(|_| true).counters.iter().map(|counter| counter.name.to_string()).collect()
        };
        let with_codes = [
            "both",
            "mine",
            "pinned",
            "up.upstream_rq_404",
            "up.upstream_rq_4xx",
            "up.upstream_rq_completed",
        ];
        assert_eq!(names(&registry), with_codes);
        let clone = one.clone();
        drop(one);
        assert_eq!(names(&registry).len(), 6);
        drop(clone);
        assert_eq!(names(&registry), ["both", "pinned"]);
        assert_eq!(registry.counter_value("both"), Some(2));
        drop(two);
        assert_eq!(names(&registry), ["pinned"]);
        assert_eq!(registry.counter_value("mine"), None);
        assert_eq!(registry.scope().counter("mine"), registry.counter("mine"));
        assert_eq!(registry.counter_value("mine"), Some(0), "cells come back empty");
    }

    #[test]
    fn texts_and_numbers_go_with_their_scope() {
        let registry = Registry::new();
        let scope = registry.scope();
        registry.gauge("b").set(3);
        scope.set_text("cds.version_text", "1");
        scope.set_text("cds.version_text", "2");
        scope.set_number("cds.version", u64::MAX);
        let snapshot = registry.snapshot(|_| true);
        assert_eq!(&*snapshot.texts[0].text, "2");
        let gauges: Vec<_> = snapshot.gauges.iter().map(|gauge| (&*gauge.name, gauge.value)).collect();
        assert_eq!(gauges, [("b", 3), ("cds.version", i128::from(u64::MAX))]);
        drop(scope);
        let snapshot = registry.snapshot(|_| true);
        assert_eq!((snapshot.texts.len(), snapshot.gauges.len()), (0, 1));
    }

    #[test]
    fn names_that_are_not_kept_count_nothing() {
        let keep: crate::stats::NameMatcher = Box::new(|name| name.starts_with("server."));
        let registry = Registry::with_options(StatsOptions { keep: Some(keep), ..StatsOptions::default() });
        registry.counter("cluster.x.upstream_rq_total").inc();
        registry.histogram("cluster.x.time", Unit::Milliseconds).record(1);
        ResponseCodeStats::register(&registry, "cluster.x.").record(200);
        registry.counter("server.restarts").inc();
        let snapshot = registry.snapshot(|_| true);
        assert_eq!((snapshot.counters.len(), snapshot.histograms.len()), (1, 0));
    }

    #[test]
    fn codes_are_listed_once_they_occur() {
        let registry = Registry::new();
        let codes = ResponseCodeStats::register(&registry, "cluster.x.");
        assert!(registry.snapshot(|_| true).counters.is_empty());
        for status in [200, 200, 503, 99, 600] {
            codes.record(status);
        }
        let again = ResponseCodeStats::register(&registry, "cluster.x.");
        again.record(200);
        assert_eq!(registry.counter_value("cluster.x.upstream_rq_200"), Some(3));
        assert_eq!(registry.counter_value("cluster.x.upstream_rq_2xx"), Some(3));
        assert_eq!(registry.counter_value("cluster.x.upstream_rq_5xx"), Some(1));
        assert_eq!(registry.counter_value("cluster.x.upstream_rq_completed"), Some(6));
        assert_eq!(registry.counter_value("cluster.x.upstream_rq_404"), None);
    }

    #[test]
    fn intervals_hold_what_came_since_the_last_one() {
        let registry = Registry::new();
        let histogram = registry.histogram("h", Unit::Milliseconds);
        let intervals = |registry: &Registry| {
            let snapshot = registry.snapshot(|_| true);
            let histogram = &snapshot.histograms[0];
            (histogram.interval.as_ref().map(|interval| interval.count()), histogram.cumulative.count())
        };
        histogram.record(5);
        assert_eq!(intervals(&registry), (None, 1));
        registry.end_interval();
        histogram.record(6);
        histogram.record(7);
        assert_eq!(intervals(&registry), (Some(1), 3));
        registry.end_interval();
        assert_eq!(intervals(&registry), (Some(2), 3));
    }
}
