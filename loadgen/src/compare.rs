//! `loadgen compare`: recorded runs side by side. Runs of one title are rounds of the same thing; their median is
//! shown, with the least and the most.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::CompareArgs;
use crate::document::{Document, PERCENTILES, readable};
use crate::drive::{check_writable, save};
use crate::failure::Failure;
use crate::html;

/// Rounds of one thing.
#[derive(Debug)]
pub struct Group<'a> {
    /// What they are called.
    pub title: &'a str,
    /// The documents' numbers and the documents.
    pub rounds: Vec<&'a Document>,
}

/// A figure that is compared.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// What it is called.
    pub name: &'static str,
    /// Whether less is better; `None` where neither is.
    pub less_is_better: Option<bool>,
    value: fn(&Document, f64) -> f64,
    argument: f64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Plain,
    Nanos,
    Micros,
    Percent,
}

/// Least, median and most of a metric over the rounds of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub max: f64,
}

/// Reads, prints, and writes the page if one is asked for.
pub fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    args.html.iter().try_for_each(|path| check_writable(path))?;
    let read: Result<Vec<Document>, String> = args.files.iter().map(|path| read(path)).collect();
    let documents = read.map_err(Failure::Arguments)?;
    print!("{}", table(&documents));
    if let Some(path) = &args.html {
        save(path, &html::page(&documents))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A run that was given no title is called after its file: its URL is most likely that of the others, too.
fn read(path: &Path) -> Result<Document, String> {
    let mut document = Document::read(path)?;
    if document.title == document.plan.url {
        document.title = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    }
    Ok(document)
}

/// Documents by title, in the order in which titles first occur.
pub fn groups(documents: &[Document]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for document in documents {
        match groups.iter_mut().find(|group| group.title == document.title) {
            Some(group) => group.rounds.push(document),
            None => groups.push(Group { title: &document.title, rounds: vec![document] }),
        }
    }
    groups
}

/// What is compared, in the order in which it is shown.
pub fn metrics() -> Vec<Metric> {
    let plain = |name, less_is_better, value| Metric {
        name,
        less_is_better,
        value,
        argument: 0.0,
        unit: Unit::Plain,
    };
    let mut metrics = vec![
        plain("requests/s", Some(false), |run, _| run.requests_per_second),
        plain("answered", None, |run, _| run.answered as f64),
        plain("failed", Some(true), |run, _| run.failed as f64),
    ];
    let names = ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"];
    for (name, percentile) in names.into_iter().zip(PERCENTILES) {
        let value = |run: &Document, percentile| run.latency.at(percentile) as f64;
        metrics.push(Metric {
            name,
            less_is_better: Some(true),
            value,
            argument: percentile,
            unit: Unit::Nanos,
        });
    }
    let mut more = |name, less_is_better, unit, value| {
        metrics.push(Metric { name, less_is_better, value, argument: 0.0, unit });
    };
    more("max", Some(true), Unit::Nanos, |run, _| run.latency.max_ns as f64);
    more("mean", Some(true), Unit::Nanos, |run, _| run.latency.mean_ns);
    more("server CPU/request", Some(true), Unit::Micros, |run, _| {
        run.server.as_ref().map_or(f64::NAN, |server| server.cpu_us_per_request)
    });
    more("generator CPU/request", None, Unit::Micros, |run, _| run.generator.cpu_us_per_request);
    more("generator busy", None, Unit::Percent, |run, _| run.generator.busy_share * 100.0);
    metrics
}

impl Metric {
    /// Over the rounds of a group; `None` if they do not have it.
    pub fn spread(&self, group: &Group<'_>) -> Option<Spread> {
        let mut values: Vec<f64> = group.rounds.iter().map(|run| (self.value)(run, self.argument)).collect();
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { min: first, median, max: last })
    }

    /// A value as people read it.
    pub fn readable(&self, value: f64) -> String {
        match self.unit {
            Unit::Plain => format!("{value:.0}"),
            Unit::Nanos => readable(Duration::from_nanos(value as u64)),
            Unit::Micros => format!("{value:.2} µs"),
            Unit::Percent => format!("{value:.0} %"),
        }
    }
}

fn table(documents: &[Document]) -> String {
    let groups = groups(documents);
    let mut rows: Vec<Vec<String>> = vec![vec![String::new()]];
    for (index, group) in groups.iter().enumerate() {
        let rounds =
            if group.rounds.len() > 1 { format!(" ({} rounds)", group.rounds.len()) } else { String::new() };
        rows[0].push(format!("{}{rounds}", group.title));
        if index > 0 {
            rows[0].push("ratio".to_owned());
        }
    }
    for metric in metrics() {
        let spreads: Vec<Option<Spread>> = groups.iter().map(|group| metric.spread(group)).collect();
        if spreads.iter().all(|spread| spread.is_none_or(|spread| spread.max == 0.0)) {
            continue;
        }
        let mut row = vec![metric.name.to_owned()];
        for (index, (spread, group)) in spreads.iter().zip(&groups).enumerate() {
            row.push(
                spread.map_or_else(|| "-".to_owned(), |spread| cell(&metric, spread, group.rounds.len())),
            );
            if index > 0 {
                row.push(
                    ratio(spreads[0], *spread).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                );
            }
        }
        rows.push(row);
    }
    aligned(&rows)
}

fn cell(metric: &Metric, spread: Spread, rounds: usize) -> String {
    let median = metric.readable(spread.median);
    if rounds < 2 {
        return median;
    }
    format!("{median} ({} to {})", metric.readable(spread.min), metric.readable(spread.max))
}

/// Of the medians.
pub fn ratio(first: Option<Spread>, other: Option<Spread>) -> Option<f64> {
    let (first, other) = (first?.median, other?.median);
    (first != 0.0).then_some(other / first)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            text += &if column == 0 { format!("{cell}{padding}") } else { format!("  {padding}{cell}") };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(title: &str, rate: f64) -> Document {
        let report = ringway::load::Report::new(Duration::from_secs(1));
        let target = ringway::io::Address::Ip(([127, 0, 0, 1], 80).into());
        let plan = ringway::load::Plan::closed_loop(target, "a", "/", 4, Duration::from_secs(2));
        let facts = crate::document::PlanFacts::new("http://a/".into(), &plan, 1);
        let machine = crate::machine::Machine::here(ringway::io::DriverKind::Epoll);
        let mut document = Document::new(title.into(), String::new(), facts, machine, &report, None);
        document.requests_per_second = rate;
        document
    }

    #[test]
    fn rounds_are_grouped_and_their_medians_compared() {
        let documents =
            [("a", 10.0), ("b", 30.0), ("a", 20.0), ("a", 90.0)].map(|(title, rate)| document(title, rate));
        let groups = groups(&documents);
        assert_eq!(
            groups.iter().map(|group| (group.title, group.rounds.len())).collect::<Vec<_>>(),
            [("a", 3), ("b", 1)]
        );
        let rate = metrics()[0];
        let spreads: Vec<_> = groups.iter().map(|group| rate.spread(group)).collect();
        assert_eq!(spreads[0], Some(Spread { min: 10.0, median: 20.0, max: 90.0 }));
        assert_eq!(ratio(spreads[0], spreads[1]), Some(1.5));
    }

    #[test]
    fn runs_without_titles_are_called_after_their_files() {
        let directory = std::env::temp_dir().join(format!("loadgen-compare-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let title = |name: &str, title: &str| {
            let path = directory.join(name);
            std::fs::write(&path, document(title, 1.0).to_json()).expect("a file");
            read(&path).expect("a run").title
        };
        assert_eq!(title("before.json", "http://a/"), "before");
        assert_eq!(title("after.json", "http://a/"), "after");
        assert_eq!(title("third.json", "mine"), "mine");
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn the_table_is_aligned_and_leaves_out_what_nobody_has() {
        let text = table(&[document("first", 10.0), document("second", 15.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("ratio") && lines[1].ends_with("1.50"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
        assert!(!text.contains("server CPU") && !text.contains("failed"), "{text}");
    }
}
