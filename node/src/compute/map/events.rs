//! What reaches the loop of a map.

use super::{choose::Found, examine::Examined};
use crate::compute::{customer::audit::plan::ChannelPlan, windows::Drawn};
use alloy_primitives::B256;
use keystead_blobs::stream::{FromProvider, Source};
use keystead_lease::Provider;
use keystead_payment::{Budget, Standing, Terms};
use std::time::Instant;

/// Events that wait for the loop before their senders do.
pub(super) const EVENTS_MAX: usize = 256;

/// What is known of an audited channel besides where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checks {
    /// What the checks of a window would take now.
    pub(super) budget: Budget,
    /// The block at which that was so, or one before it.
    pub(super) block: u64,
}

/// Something that happened elsewhere.
#[derive(Debug)]
pub(super) enum Event {
    /// A line is open; the lease that the provider says it holds.
    Connected { provider: Provider, holding: Option<u64> },
    /// A line is lost; it is dialled again.
    Lost { provider: Provider, reason: String },
    /// The provider does not take the job or the channel.
    Unwilling { provider: Provider, reason: String },
    /// The provider said something; with a way to fetch from it.
    Heard { provider: Provider, message: FromProvider, source: Source },
    /// A report was fetched and checked.
    Examined { provider: Provider, lease: u64, outcome: Examined },
    /// How a provider's windows will be audited, or why they cannot be.
    Planned { provider: Provider, plan: Result<Box<ChannelPlan>, String> },
    /// A channel is open.
    Opened { provider: Provider, channel: B256 },
    /// A channel was not opened.
    NotOpened { provider: Provider, reason: String },
    /// Where a channel stood, and if its windows are audited what checks take. `at`: when that was asked for; a process that stands still may have the
    /// answer long before it reads it.
    Looked { provider: Provider, terms: Terms, standing: Standing, checks: Option<Checks>, at: Instant },
    /// A window was announced to the audit, or went on there.
    Window(Box<Drawn>),
    /// A channel was filled, or not.
    Filled { provider: Provider, problem: Option<String> },
    /// A transaction is in no block and may still come into one: only a later process can say what became of it.
    Stuck(String),
    /// Who could be taken on, or why that cannot be said.
    Offers(Result<Found, String>),
}
