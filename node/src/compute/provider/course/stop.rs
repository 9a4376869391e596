//! How an order ends before its work does: a customer that cancels what is not leased yet, and one that stops what is.
//!
//! # Design
//! What counts is the chain: it is looked at while units run, too. From the moment at which it says *stopped*, the unit under way is finished, if there is
//! time, and no other is begun; then the first units that are done are committed to. The message *cancel* ends an order that nobody leased, and nothing else.
//!
//! # Invariants
//! A part is on the disk before it is committed to, with the lists that its result root names, and no output joins it later.
//!
//! Spec: specs/0004-market.md §4.7, specs/0005-transfer.md §4.

use super::{
    super::{
        book::Book,
        record::{Cause, Failed},
    },
    Course, TooLate,
    run::put_lists,
};
use crate::compute::{
    lifecycle::{Stand, is_cut},
    market::Order,
};
use eyre::Result;
use keystead_contracts::storage::Status;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

/// How often the chain is asked while units run: a customer that stops its order pays for what is done until then.
const STOP_POLL: Duration = Duration::from_secs(2);
/// The same for an order of which no unit is under way, as one that waits for the machine: many of them must not keep the node busy.
const STOP_POLL_IDLE: Duration = Duration::from_secs(10);

/// Something of a course is so until this is dropped.
pub(super) struct Until<'a>(&'a AtomicBool);

impl<'a> Until<'a> {
    /// A unit is under way.
    pub(super) fn at_work(course: &'a Course) -> Self {
        Self::dropped(&course.at_work)
    }

    /// The order has the machine.
    pub(super) fn runs(course: &'a Course) -> Self {
        Self::dropped(&course.runs)
    }

    fn dropped(is: &'a AtomicBool) -> Self {
        is.store(true, Ordering::Relaxed);
        Self(is)
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Course {
    /// The customer wants an order no longer that nobody leased: it is declined. After the lease a message ends nothing: what is done would be lost to its
    /// provider, and a customer would have work for nothing by asking for it until its end.
    ///
    /// # Errors
    /// Why it goes on.
    pub(in crate::compute::provider) fn cancel(&self, book: &Book) -> Result<(), TooLate> {
        let reason = "the customer cancelled".to_owned();
        let failed = Failed { cause: Cause::Cancelled, unit: None, reason };
        let first = {
            let mut record = self.locked();
            if record.failed.is_none() && record.all_outputs().is_some() {
                return Err(TooLate::Done);
            }
            if record.failed.is_none() && self.leased.load(Ordering::Relaxed) {
                return Err(TooLate::Leased);
            }
            record.fail(&failed)
        };
        if first {
            self.failing(book, failed);
        }
        Ok(())
    }

    /// Whether the order is leased now; from then on no message cancels it. False if one did before.
    pub(super) fn leases(&self) -> bool {
        let record = self.locked();
        if record.failed.is_some() {
            return false;
        }
        self.leased.store(true, Ordering::Relaxed);
        true
    }

    /// Takes from the chain what a run and a conversation go by.
    pub(super) fn heed(&self, book: &Book, stand: &Stand) -> Result<()> {
        if stand.status == Status::Ordered {
            return Ok(());
        }
        let revived = {
            let mut record = self.locked();
            self.leased.store(true, Ordering::Relaxed);
            matches!(stand.status, Status::Leased | Status::Committed) && record.revive()
        };
        self.heed_stop(stand);
        if revived {
            tracing::info!(order = %self.order, "the order was leased before its customer cancelled it: it goes on");
            self.stage.send_modify(|stage| stage.failed = None);
            book.save(&self.record())?;
        }
        Ok(())
    }

    fn heed_stop(&self, stand: &Stand) {
        if stand.stopped && !self.stopped.swap(true, Ordering::Relaxed) {
            let done = self.locked().prefix();
            tracing::info!(order = %self.order, done, "the customer stopped the order: no further unit is begun");
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Runs what is left of the units, or what of it a stop leaves time for.
    pub(super) async fn run_until_stopped(&self, book: &Book, order: &Order) -> Result<()> {
        tokio::select! {
            ran = self.run(book, order) => ran,
            // Dropping the run kills its worker, if it had the machine.
            () = self.until_cut(book) => book.save(&self.record()),
        }
    }

    /// Looks at the chain while units run. Returns once the order is stopped and nothing is to be waited for: no unit of it is under way and one is done, or
    /// the time to commit is nearly over.
    async fn until_cut(&self, book: &Book) {
        let mut looked = Instant::now();
        loop {
            sleep(STOP_POLL).await;
            let is_awaited = self.at_work.load(Ordering::Relaxed) || self.is_stopped();
            if !is_awaited && looked.elapsed() < STOP_POLL_IDLE {
                continue;
            }
            looked = Instant::now();
            match self.stand(book).await {
                Ok((stand, now)) if stand.stopped => {
                    self.heed_stop(&stand);
                    let is_idle = !self.at_work.load(Ordering::Relaxed);
                    if is_cut(&stand, now) || is_idle && self.locked().prefix() > 0 {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(order = %self.order, error = format!("{error:#}"), "cannot look for a stop");
                }
            }
        }
    }

    /// Where the order stands, and the chain's time.
    async fn stand(&self, book: &Book) -> Result<(Stand, u64)> {
        let order = book.market.order(self.order).await?;
        let (_, now) = book.market.account.head().await?;
        Ok((order.stand, now))
    }

    /// Commits to the units that are done.
    pub(super) async fn commit_part(&self, book: &Book, order: &Order) -> Result<()> {
        let units = block_in_place(|| self.close_part(book))?;
        let commitment = self.commitment()?;
        book.save(&self.record())?;
        book.market.commit_part(order.id, commitment, units).await?;
        tracing::info!(order = %order.id, %commitment, units, of = order.units, "what was done of a stopped order is committed");
        Ok(())
    }

    /// From now on what is done is the result; how many units that is.
    fn close_part(&self, book: &Book) -> Result<u32> {
        let _shelf = book.shelf();
        let (units, result) = {
            let mut record = self.locked();
            (record.close_part(), record.result())
        };
        if let Some((names, traces)) = result {
            put_lists(book, &names, &traces)?;
        }
        Ok(units)
    }
}
