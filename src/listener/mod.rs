//! Listeners: accept connections, choose a filter chain for each, hand it over
//! (`accept -> inspect -> match_filter_chain -> handshake`). Knows nothing of HTTP.

mod accept;
mod accept_target;
mod active;
mod addresses;
mod chain_match;
mod compile;
mod connection;
mod inspect;

pub use accept::serve;
pub use accept_target::AcceptTarget;
pub use active::ActiveListener;
pub use addresses::{listen_options, to_io_address};
pub use compile::{ChainPlace, CompiledFilterChain, CompiledListener, ReusedChains, compile};
