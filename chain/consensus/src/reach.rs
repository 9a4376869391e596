//! With how many other validators this one is connected, for whoever watches it.
//!
//! # Design
//! The engine's network tells it in its metrics alone: one sample per connected peer, which goes when the connection ends. They are read twice a
//! second, so whoever asks often costs nothing.

use commonware_runtime::{Clock as _, Metrics as _, tokio as runtime};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How often the number is brought up to date.
const INTERVAL: Duration = Duration::from_millis(500);
/// End of the name of the samples that stand for one connected peer each.
const CONNECTED: &str = "_tracker_directory_connected";

/// Keeps the number true for as long as the engine runs.
pub(crate) async fn watch(context: runtime::Context, connected: Arc<AtomicUsize>) {
    loop {
        connected.store(count(&context.encode()), Ordering::Relaxed);
        context.sleep(INTERVAL).await;
    }
}

/// The samples of connected peers in a page of metrics.
fn count(page: &str) -> usize {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split_once('{')).filter(|(name, _)| name.ends_with(CONNECTED)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connected_peers_are_counted_and_nothing_else() {
        let page = "# HELP validator_network_tracker_directory_connected Unix timestamp\n# TYPE validator_network_tracker_directory_connected gauge\n\
                    validator_network_tracker_directory_connected{peer=\"aa\"} 1796000000000\n\
                    validator_network_tracker_directory_connected{peer=\"bb\"} 1796000000001\n\
                    validator_network_tracker_tracked 3\nvalidator_network_dialer_connected_total 7\n";
        assert_eq!(count(page), 2);
        assert_eq!(count("validator_network_tracker_tracked 3\n"), 0);
        assert_eq!(count(""), 0);
    }
}
