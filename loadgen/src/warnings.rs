//! What a reader of a run's figures should know before believing them: above all, whether the generator was the
//! bottleneck rather than the server.

use std::time::Duration;

use crate::document::{Document, readable};

/// A thread that used more of its CPU than this had none to spare.
const BUSY_SHARE: f64 = 0.9;
/// An open loop that answers fewer of its requests than this share has not kept its rate.
const RATE_KEPT: f64 = 0.98;
/// A 99th percentile of lag above this much, and above this share of the median latency, distorts latencies.
const LAG: Duration = Duration::from_millis(1);
const LAG_SHARE: f64 = 0.1;
/// Of the requests that had to wait for a connection, this share is worth a word.
const WAITED_SHARE: f64 = 0.01;

/// Warnings about a run.
pub fn of(document: &Document) -> Vec<String> {
    let mut warnings = Vec::new();
    let busy = document.generator.busy_share;
    if busy > BUSY_SHARE {
        warnings.push(format!(
            "the generator itself was the bottleneck: its busiest thread used {:.0} % of a CPU; give it more \
             threads or CPUs, or believe only the server's figures",
            busy * 100.0
        ));
    }
    if let Some(rate) = document.plan.rate {
        if document.requests_per_second < rate * RATE_KEPT {
            warnings.push(format!(
                "{:.0} requests a second were answered of the {rate:.0} that were due",
                document.requests_per_second
            ));
        }
        let lag = document.schedule_lag.as_ref().map_or(0, |lag| lag.at(99.0));
        if lag as f64 > (LAG.as_nanos() as f64).max(document.latency.at(50.0) as f64 * LAG_SHARE) {
            warnings.push(format!(
                "the generator was behind its schedule by {} at the 99th percentile, which is part of the latencies",
                readable(Duration::from_nanos(lag))
            ));
        }
        let requests = document.answered + document.failed;
        if document.waited_for_connection as f64 > requests as f64 * WAITED_SHARE {
            warnings.push(format!(
                "{} requests were due while all connections were busy and waited for one; their wait is part of the \
                 latencies (more connections let them overlap)",
                document.waited_for_connection
            ));
        }
    }
    warnings
}
