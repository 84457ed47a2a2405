//! Watching a run while it lasts: a live line on a terminal, a plain line every few seconds elsewhere, and Ctrl-C, which
//! ends the run early (a second one ends the program).

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringway::load::{Control, Snapshot};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::document::readable;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Time over which the live rate is taken.
const RATE_SPAN: Duration = Duration::from_millis(500);
/// Time between plain lines.
const LINE: Duration = Duration::from_secs(2);
/// What a shell reports for a program that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs `work` on a thread of its own and shows how it goes. `planned` is how long it will take, if that is known.
///
/// # Errors
/// A sentence, if there is no thread or it panicked.
pub fn watch<T: Send + 'static>(
    control: &Arc<Control>,
    planned: Option<Duration>,
    quiet: bool,
    mut look: impl FnMut(&Snapshot),
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let interrupted = interrupt_flag();
    let runner = std::thread::Builder::new()
        .name("run".into())
        .spawn(work)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let mut display = Display::new(planned, quiet);
    while !runner.is_finished() {
        std::thread::sleep(LOOK);
        if interrupted.load(Relaxed) {
            control.stop();
        }
        let snapshot = control.snapshot();
        look(&snapshot);
        display.show(&snapshot);
    }
    display.bar.finish_and_clear();
    runner.join().map_err(|_| "the load generator panicked".to_owned())
}

/// Set by the first SIGINT or SIGTERM; the second one ends the program.
fn interrupt_flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Without a handler the signal ends the program, which is no worse than not starting.
            let second =
                signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&flag));
            if second.is_ok() {
                let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
            }
        }
        flag
    })
}

struct Display {
    bar: ProgressBar,
    quiet: bool,
    is_terminal: bool,
    planned: Option<Duration>,
    began: Instant,
    /// When the rate was taken last, with what had been answered, and the rate.
    rated: (Instant, u64, f64),
    last_line: Instant,
}

impl Display {
    fn new(planned: Option<Duration>, quiet: bool) -> Display {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = match (quiet || !is_terminal, planned) {
            (true, _) => ProgressBar::hidden(),
            (false, Some(total)) => ProgressBar::new(total.as_millis() as u64),
            (false, None) => ProgressBar::new_spinner(),
        };
        let template = if planned.is_some() { "[{bar:24}] {msg}" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Display { bar, quiet, is_terminal, planned, began: now, rated: (now, 0, 0.0), last_line: now }
    }

    fn show(&mut self, snapshot: &Snapshot) {
        if self.quiet {
            return;
        }
        let (rated_at, answered, _) = self.rated;
        let span = rated_at.elapsed();
        if span >= RATE_SPAN {
            let rate = snapshot.answered.saturating_sub(answered) as f64 / span.as_secs_f64();
            self.rated = (Instant::now(), snapshot.answered, rate);
        }
        let elapsed = self.began.elapsed();
        if self.is_terminal {
            if self.planned.is_some() {
                self.bar.set_position(elapsed.as_millis() as u64);
            }
            self.bar.set_message(self.line(snapshot));
            self.bar.tick();
        } else if self.last_line.elapsed() >= LINE {
            self.last_line = Instant::now();
            eprintln!("{:>5.0} s  {}", elapsed.as_secs_f64(), self.line(snapshot));
        }
    }

    fn line(&self, snapshot: &Snapshot) -> String {
        if !snapshot.measuring {
            return format!("{} connections, not measuring yet", snapshot.connections);
        }
        let mut line = format!(
            "{} answered, {:.0}/s, {} failed, {} connections",
            snapshot.answered, self.rated.2, snapshot.failed, snapshot.connections
        );
        if snapshot.p50 > Duration::ZERO {
            line += &format!(", p50 {}, p99 {}", readable(snapshot.p50), readable(snapshot.p99));
        }
        line
    }
}
