//! What a checker that found a unit wrong gives to those who look at the unit after it: all that it got itself.
//!
//! # Design
//! A cheat can serve whoever is drawn first and nobody after that. Who accused it loses a seat if nobody else can look, so it keeps what it fetched until the
//! window is closed, also across restarts, and serves it at its own registered address by the rule by which the provider serves: to whom the chain puts
//! on duty.
//!
//! # Invariants
//! Nothing is given for the round of the checker's own finding or an earlier one, and nothing that the checker computed itself.
//!
//! Spec: specs/0008-audit.md §10, specs/0005-transfer.md §8.

use super::{agent::Agent, source::Admitted};
use keystead_blobs::{BlobStore, Offer, Refusal, RefusalCode};
use std::sync::Arc;

impl Agent {
    /// What a later checker of a unit may have of this one.
    ///
    /// # Errors
    /// The refusal for the checker.
    pub(crate) fn offer(&self, admitted: &Admitted) -> Result<Offer, Refusal> {
        let earlier = self.earlier(admitted.which);
        let mut accusing = earlier.iter().filter(|course| course.record().says_wrong(admitted.exact, &admitted.case));
        let offer = accusing.find_map(|course| self.shelf.offer(course.which));
        offer.ok_or_else(|| {
            Refusal::new(
                RefusalCode::NotAssigned,
                "this account did not find the unit wrong, or has nothing of it any more",
            )
        })
    }

    /// Where the blobs of its checks lie.
    pub(crate) fn store(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.shelf.store)
    }
}
