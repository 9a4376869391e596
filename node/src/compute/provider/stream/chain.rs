//! What the chain says about a channel, asked again and again beside its actor.

use crate::compute::channels::Channels;
use alloy_primitives::B256;
use keystead_payment::Standing;
use std::time::Duration;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep},
};

/// How often the chain is asked.
const POLL: Duration = Duration::from_secs(1);
/// A look that is older says nothing any more: then nothing begins and nothing is taken.
const FRESH_MAX: Duration = Duration::from_secs(30);

/// The newest look at a channel; ends with its owner.
#[derive(Debug)]
pub(super) struct Outlook {
    looks: watch::Receiver<Option<(Standing, Instant)>>,
    poller: AbortHandle,
}

impl Outlook {
    pub(super) fn watch(channels: Channels, channel: B256, first: Option<Standing>) -> Self {
        let (sender, looks) = watch::channel(first.map(|standing| (standing, Instant::now())));
        let poll = async move {
            loop {
                match channels.look(channel).await {
                    // Nobody listens any more when the actor is gone, which also ends this task.
                    Ok((_, standing)) => drop(sender.send_replace(Some((standing, Instant::now())))),
                    Err(error) => tracing::debug!(%channel, error = format!("{error:#}"), "cannot look at a channel"),
                }
                sleep(POLL).await;
            }
        };
        Self { looks, poller: tokio::spawn(poll).abort_handle() }
    }

    /// Where the channel stands, unless that is not known well enough.
    pub(super) fn standing(&self) -> Option<Standing> {
        let look = *self.looks.borrow();
        look.filter(|(_, at)| at.elapsed() <= FRESH_MAX).map(|(standing, _)| standing)
    }
}

impl Drop for Outlook {
    fn drop(&mut self) {
        self.poller.abort();
    }
}
