//! Keeps each channel's actor alive: what ends abnormally begins again, and a channel that is over gives its place up.
//!
//! # Invariants
//! An actor begins again from its channel's files for as long as its channel lives, whatever became of those before it: windows that nobody attends to cost
//! their bond, and vouchers that nobody claims are lost. Only the pauses grow.

use super::{Desk, Seat};
use crate::compute::provider::stream::{
    actor::{Actor, is_final},
    window::release,
};
use alloy_primitives::B256;
use eyre::{Result, eyre};
use keystead_market::Currency;
use keystead_payment::{Release, Standing};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::{JoinSet, block_in_place},
    time::{Instant, sleep},
};

/// An actor that ends abnormally begins again after so long, and as long after a try that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// So often in a row; then the fault is taken to stay, and the pauses grow.
const FALLS_MAX: u32 = 5;
/// The first pause after that; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// Well below the hour that a watcher may be away by default.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// An actor that ran for so long had no fault that stays: its fall is the first one.
const CALM: Duration = Duration::from_secs(3_600);

impl Desk {
    /// Runs a channel's actor; after an abnormal end another one, from what is on the disk, until the channel is over.
    pub(super) async fn keep_up(self: Arc<Self>, channel: B256, mut actor: Actor) {
        let mut stopping = self.book.stopping.subscribe();
        let mut falls = 0_u32;
        loop {
            // With this task goes the actor.
            let mut running = JoinSet::new();
            let began = Instant::now();
            running.spawn(actor.run());
            let Some(Err(error)) = running.join_next().await else { return };
            falls = fallen(falls, began.elapsed());
            let seconds = pause(falls).as_secs();
            tracing::error!(%channel, %error, falls, seconds, "a channel ended abnormally, beginning again after a pause");
            if falls > FALLS_MAX {
                // What it may never do keeps nothing from the others; when it is back it says again what it needs.
                self.promises.forget(channel);
            }
            tokio::select! {
                again = self.again(channel, falls) => match again {
                    Some(again) => actor = again,
                    None => return,
                },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// A new actor for a channel that has a seat; tried until it is there. `None` if the channel is over: its place is free then.
    async fn again(self: &Arc<Self>, channel: B256, falls: u32) -> Option<Actor> {
        let mut wait = pause(falls);
        let mut failed = false;
        loop {
            sleep(wait).await;
            // A node that does not answer, or a disk that is full, is no fault of the channel's.
            wait = AGAIN;
            // Where no actor comes back, nobody else sees that the channel is over.
            if failed || falls > FALLS_MAX {
                match self.let_go(channel).await {
                    Ok(true) => return None,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::debug!(%channel, error = format!("{error:#}"), "it is not known whether a channel is over");
                    }
                }
            }
            match self.anew(channel).await {
                Ok(actor) => return Some(actor),
                Err(error) => {
                    failed = true;
                    tracing::warn!(%channel, error = format!("{error:#}"), "a channel cannot be taken up again, trying again");
                }
            }
        }
    }

    async fn anew(self: &Arc<Self>, channel: B256) -> Result<Actor> {
        let record = block_in_place(|| self.records.load(channel))?;
        let (ready, _) = self.ready(record).await?;
        let seat = self.seats().get(&channel).cloned();
        let Seat { store, shelf, .. } = seat.ok_or_else(|| eyre!("the channel has no seat"))?;
        Ok(self.sit(ready, store, shelf))
    }

    /// Frees the place of a channel that needs this provider no more: its actor cannot do it.
    async fn let_go(&self, channel: B256) -> Result<bool> {
        let (terms, standing) = self.channels.look(channel).await?;
        if !self.is_over(channel, &standing).await? {
            return Ok(false);
        }
        // Before its files go: what fails is tried again.
        self.take_home(channel, Currency::token(terms.token)).await?;
        self.forget(channel);
        Ok(true)
    }

    /// Whether a channel is final, and no window of it in the audit: nothing can be claimed and nothing be lost any more.
    async fn is_over(&self, channel: B256, standing: &Standing) -> Result<bool> {
        if !is_final(standing) {
            return Ok(false);
        }
        let shelf = self.seats().get(&channel).and_then(|seat| seat.shelf.clone());
        let Some(shelf) = shelf else { return Ok(true) };
        // What was not announced before the end never will be.
        for number in shelf.numbers().into_iter().filter(|number| *number <= standing.announced) {
            let window = self.book.windows.window(shelf.audit_id(number)).await?;
            if release(window.status) == Release::Pending {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Falls in a row, with one of an actor that ran for so long.
fn fallen(falls: u32, ran: Duration) -> u32 {
    if ran < CALM { falls.saturating_add(1) } else { 1 }
}

/// The pause after so many falls in a row.
fn pause(falls: u32) -> Duration {
    match falls.saturating_sub(FALLS_MAX) {
        0 => AGAIN,
        more => PAUSE_MIN.saturating_mul(2_u32.saturating_pow(more.saturating_sub(1))).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_that_falls_again_and_again_begins_again_after_growing_pauses_for_ever() {
        let seconds = |falls| pause(falls).as_secs();
        assert_eq!([1, FALLS_MAX].map(seconds), [5, 5]);
        assert_eq!([6, 7, 8, 9, 10, 11].map(seconds), [60, 120, 240, 480, 960, 1_800]);
        assert_eq!(seconds(u32::MAX), 1_800);
    }

    #[test]
    fn falls_count_only_in_a_row() {
        assert_eq!(fallen(0, Duration::ZERO), 1);
        assert_eq!(fallen(5, CALM.saturating_sub(Duration::from_secs(1))), 6);
        assert_eq!(fallen(6, CALM), 1);
        assert_eq!(fallen(u32::MAX, Duration::ZERO), u32::MAX);
    }
}
