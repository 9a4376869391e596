//! Ctrl-C, counted: once asks for the money back, twice leaves the order to its deadlines.

use eyre::{Context as _, Result};
use std::future::pending;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How often the person pressed Ctrl-C since [`Stops::listen`].
#[derive(Clone, Debug)]
pub(in crate::compute) struct Stops(watch::Receiver<u32>);

impl Stops {
    /// From now on Ctrl-C no longer ends the process by itself.
    pub(in crate::compute) fn listen() -> Result<Self> {
        let mut interrupts = signal(SignalKind::interrupt()).wrap_err("cannot listen for Ctrl-C")?;
        let (pressed, stops) = watch::channel(0_u32);
        tokio::spawn(async move {
            while interrupts.recv().await.is_some() && !pressed.is_closed() {
                pressed.send_modify(|times| *times = times.saturating_add(1));
            }
        });
        Ok(Self(stops))
    }

    /// Returns once Ctrl-C was pressed so often.
    pub(in crate::compute) async fn wait(&self, times: u32) {
        let mut stops = self.0.clone();
        if stops.wait_for(|pressed| *pressed >= times).await.is_err() {
            // The system does not tell of Ctrl-C any more: then nobody waits for it.
            pending::<()>().await;
        }
    }
}
