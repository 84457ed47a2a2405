//! The three charts of a report: latency by percentile, throughput and latency over time.

use crate::compare::Group;
use crate::document::{Document, SlotFacts, Times};

use super::chart::{Chart, Line};
use super::scale::Scale;

/// A percentile of a slot, and what it is called.
struct SlotTime {
    name: &'static str,
    of: fn(&SlotFacts) -> u64,
}

/// What is drawn of a single run, the lowest line first.
const SLOT_TIMES: [SlotTime; 5] = [
    SlotTime { name: "p50", of: |slot| slot.p50_ns },
    SlotTime { name: "p90", of: |slot| slot.p90_ns },
    SlotTime { name: "p99", of: |slot| slot.p99_ns },
    SlotTime { name: "p99.9", of: |slot| slot.p99_9_ns },
    SlotTime { name: "max", of: |slot| slot.max_ns },
];

/// The colour of failures.
const BAD: usize = 5;

/// Writes all three. A single run is drawn in detail, several have a line each.
pub fn write(groups: &[Group<'_>], page: &mut String) {
    let colored = groups.iter().enumerate();
    let runs: Vec<(usize, &Document)> =
        colored.flat_map(|(color, group)| group.rounds.iter().map(move |run| (color, *run))).collect();
    let (curves, rates, times) = match &runs[..] {
        [(_, run)] => (curves_of(run), rates_of(run), times_of(run)),
        several => {
            let each = |points: fn(&Document) -> Vec<(f64, f64)>| -> Vec<Line> {
                several.iter().map(|(color, run)| line(&run.title, *color, points(run))).collect()
            };
            let p99 = |run: &Document| latency_over_time(run, |slot| slot.p99_ns);
            (each(|run| curve(&run.latency)), each(answered_over_time), each(p99))
        }
    };
    let last = if runs.len() == 1 { "Latency over time" } else { "99th percentile over time" };
    Chart { title: "Latency by percentile", x: Scale::Nines, y: Scale::LogTime, lines: curves }.write(page);
    Chart { title: "Requests per second over time", x: Scale::Seconds, y: Scale::Count, lines: rates }
        .write(page);
    Chart { title: last, x: Scale::Seconds, y: Scale::LogTime, lines: times }.write(page);
}

fn line(name: &str, color: usize, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.to_owned(), color, points }
}

fn curves_of(run: &Document) -> Vec<Line> {
    match &run.service_time {
        Some(times) => {
            vec![line("from the schedule", 0, curve(&run.latency)), line("from sending", 1, curve(times))]
        }
        None => vec![line("latency", 0, curve(&run.latency))],
    }
}

fn rates_of(run: &Document) -> Vec<Line> {
    let mut lines = vec![line("answered", 0, answered_over_time(run))];
    if run.failed > 0 {
        lines.push(line("failed", BAD, over_time(run, |slot| slot.failed)));
    }
    lines
}

fn times_of(run: &Document) -> Vec<Line> {
    let lines = SLOT_TIMES.iter().enumerate();
    lines.map(|(color, time)| line(time.name, color, latency_over_time(run, time.of))).collect()
}

fn curve(times: &Times) -> Vec<(f64, f64)> {
    // The last point is the maximum: as many nines as there are values to tell.
    let last = 1.0 - 0.5 / times.count.max(1) as f64;
    times.curve.iter().map(|(quantile, nanos)| (quantile.min(last), *nanos as f64)).collect()
}

fn answered_over_time(run: &Document) -> Vec<(f64, f64)> {
    over_time(run, |slot| slot.answered)
}

/// A count per second.
fn over_time(run: &Document, count: impl Fn(&SlotFacts) -> u64) -> Vec<(f64, f64)> {
    let interval = run.series.interval_s;
    let slots = run.series.slots.iter().enumerate();
    slots
        .filter_map(|(index, slot)| {
            let begun = index as f64 * interval;
            let covered = (run.elapsed_s - begun).min(interval);
            // What is left of the last slot may be too short to make a rate of.
            (covered > interval / 4.0).then(|| (begun + covered / 2.0, count(slot) as f64 / covered))
        })
        .collect()
}

fn latency_over_time(run: &Document, time: impl Fn(&SlotFacts) -> u64) -> Vec<(f64, f64)> {
    let slots = run.series.slots.iter().enumerate().filter(|(_, slot)| slot.answered > 0);
    slots.map(|(index, slot)| ((index as f64 + 0.5) * run.series.interval_s, time(slot) as f64)).collect()
}
