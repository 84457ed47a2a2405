//! The macro that turns a list of stat names into a struct of handles.

/// Declares a struct whose fields are handles, named as the stats are:
///
/// ```
/// use ringway::stats::{Registry, stats_group};
///
/// stats_group! {
///     /// What the echo filter counts.
///     pub struct EchoStats {
///         counters: [requests, bytes_total],
///         gauges: [active],
///         histograms: [length_ms Milliseconds],
///     }
/// }
///
/// let registry = Registry::new();
/// let stats = EchoStats::register(&registry, "echo.main.");
/// stats.requests.inc();
/// stats.length_ms.record(12);
/// assert_eq!(registry.counter_value("echo.main.requests"), Some(1));
/// ```
///
/// The three lists are optional but keep this order. The prefix is put before each name as it is:
/// end it with a dot. Registering the same prefix twice gives the same handles. Given a
/// [`Scope`](crate::stats::Scope) instead of a registry, the names vanish from listings when the
/// scope (and every other scope that registered them) is dropped. `EchoStats::default()` counts nothing.
#[macro_export]
macro_rules! stats_group {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $group:ident {
            $(counters: [$($counter:ident),* $(,)?] $(,)?)?
            $(gauges: [$($gauge:ident),* $(,)?] $(,)?)?
            $(histograms: [$($histogram:ident $unit:ident),* $(,)?] $(,)?)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default)]
        $visibility struct $group {
            $($(#[doc = concat!("Counter `", stringify!($counter), "`.")]
                pub $counter: $crate::stats::Counter,)*)?
            $($(#[doc = concat!("Gauge `", stringify!($gauge), "`.")]
                pub $gauge: $crate::stats::Gauge,)*)?
            $($(#[doc = concat!("Histogram `", stringify!($histogram), "`.")]
                pub $histogram: $crate::stats::Histogram,)*)?
        }

        impl $group {
            /// Registers every stat of the group as `prefix` followed by its name.
            $visibility fn register(source: &impl $crate::stats::StatSource, prefix: &str) -> Self {
                let mut name = ::std::string::String::from(prefix);
                let mut full = |short: &str| -> ::std::string::String {
                    name.truncate(prefix.len());
                    name.push_str(short);
                    name.clone()
                };
                let _ = &mut full;
                $group {
                    $($($counter: source.counter(&full(stringify!($counter))),)*)?
                    $($($gauge: source.gauge(&full(stringify!($gauge))),)*)?
                    $($($histogram: source.histogram(
                        &full(stringify!($histogram)), $crate::stats::Unit::$unit),)*)?
                }
            }
        }
    };
}

pub use stats_group;
