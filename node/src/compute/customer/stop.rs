//! Ctrl-C, counted: once stops the order, which pays for what is done, twice leaves it to the next process, or to its deadlines. A map stops handing out work, and leaves its channels to the next
//! process.

use eyre::{Context as _, Result};
use std::future::pending;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// How often the person pressed Ctrl-C since [`Stops::listen`].
#[derive(Clone, Debug)]
pub(in crate::compute) struct Stops(watch::Receiver<u32>);

impl Stops {
    /// From now on Ctrl-C no longer ends the process by itself.
    pub(in crate::compute) fn listen() -> Result<Self> {
        let (pressed, stops) = watch::channel(0_u32);
        tokio::spawn(count(interrupts()?, pressed));
        Ok(Self(stops))
    }

    /// The same, and a request to stop from elsewhere (SIGTERM) counts as Ctrl-C does.
    pub(in crate::compute) fn listen_to_both() -> Result<Self> {
        let terminations = signal(SignalKind::terminate()).wrap_err("cannot listen for a request to stop")?;
        let (pressed, stops) = watch::channel(0_u32);
        tokio::spawn(count(terminations, pressed.clone()));
        tokio::spawn(count(interrupts()?, pressed));
        Ok(Self(stops))
    }

    /// How often it was pressed up to now.
    pub(in crate::compute) fn pressed(&self) -> u32 {
        *self.0.borrow()
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

fn interrupts() -> Result<Signal> {
    signal(SignalKind::interrupt()).wrap_err("cannot listen for Ctrl-C")
}

/// Until nobody asks any more.
async fn count(mut signals: Signal, pressed: watch::Sender<u32>) {
    while signals.recv().await.is_some() && !pressed.is_closed() {
        pressed.send_modify(|times| *times = times.saturating_add(1));
    }
}
