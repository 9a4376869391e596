//! What a channel's customer is told of its lease while it is run.

use super::Actor;
use keystead_blobs::{Notes, Pace};
use std::sync::Arc;

/// What waits to be told, and how much of it this visit may still hear.
#[derive(Debug, Default)]
pub(super) struct Teller {
    notes: Arc<Notes>,
    pace: Pace,
}

impl Teller {
    /// Where whoever works puts notes.
    pub(super) fn notes(&self) -> Arc<Notes> {
        Arc::clone(&self.notes)
    }

    /// A new visit begins.
    pub(super) fn begin(&mut self) {
        self.pace = Pace::default();
    }
}

impl Actor {
    /// Tells the visitor what waits, as far as it may go at once; without a visitor it goes on waiting.
    pub(super) async fn tell_notes(&mut self) {
        while let Some(visit) = &mut self.visit
            && let Some(note) = self.teller.notes.take(&mut self.teller.pace)
        {
            if let Err(error) = visit.link.note(note).await {
                tracing::debug!(channel = %self.record.channel, %error, "the customer does not hear");
                return self.part();
            }
        }
    }
}
