//! What reaches the loop of a map.

use super::{choose::Found, examine::Examined};
use alloy_primitives::B256;
use keystead_blobs::stream::{FromProvider, Source};
use keystead_lease::Provider;
use keystead_payment::{Standing, Terms};

/// Events that wait for the loop before their senders do.
pub(super) const EVENTS_MAX: usize = 256;

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
    /// A channel is open.
    Opened { provider: Provider, channel: B256 },
    /// A channel was not opened.
    NotOpened { provider: Provider, reason: String },
    /// Where a channel stands now.
    Looked { provider: Provider, terms: Terms, standing: Standing },
    /// A channel was filled, or not.
    Filled { provider: Provider, problem: Option<String> },
    /// A transaction is in no block and may still come into one: only a later process can say what became of it.
    Stuck(String),
    /// Who could be taken on, or why that cannot be said.
    Offers(Result<Found, String>),
}
