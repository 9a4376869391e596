//! What a window brings: its voucher, or nothing.
//!
//! # Invariants
//! What the disk did not take has not happened: payee and record go on as they were, and a voucher is tried again.

use super::Actor;
use crate::compute::provider::stream::{
    held::{Held, Waiting},
    record::{Record, Reported},
};
use alloy_primitives::B256;
use eyre::{Result, eyre};
use keystead_blobs::{BlobStore as _, Hash, stream::RefuseCode};
use keystead_payment::{Payee, Signed, payee::Refusal};
use std::collections::BTreeSet;
use tokio::{task::block_in_place, time::Instant};

/// Windows of work in a row that may be refused before this provider works no more for a channel.
const REFUSALS_MAX: u32 = 3;

impl Actor {
    /// Both as they are, for when the disk does not take what becomes of them.
    pub(super) fn keep(&self) -> (Payee, Record) {
        (self.payee.clone(), self.record.clone())
    }

    /// Writes the record; if the disk does not take it, everything is as before.
    pub(super) fn save_or(&mut self, (payee, record): (Payee, Record)) -> Result<()> {
        let saved = block_in_place(|| self.desk.records.save(&self.record));
        if saved.is_err() {
            (self.payee, self.record) = (payee, record);
        }
        saved
    }

    /// What was reported counts as delivered: so often may it be fetched.
    pub(super) fn note_delivery(&self) {
        if let Some(reported) = &self.record.reported {
            let delivered = reported.names.iter().copied().chain([reported.pack]);
            block_in_place(|| self.served.deliver(reported.lease, delivered));
        }
    }

    /// A voucher: on the disk it is earned. One that could not be taken for a reason of this machine's own is tried again.
    pub(super) async fn take(&mut self) -> Result<()> {
        let Some((lease, signed)) = self.untaken.clone() else { return Ok(()) };
        let is_awaited = matches!(&self.held, Held::Reported(waiting) if waiting.lease == lease);
        let Some(signed) = Signed::from_bytes(&signed).ok().filter(|_| is_awaited) else {
            self.untaken = None;
            return Ok(());
        };
        let standing = match self.outlook.standing() {
            Some(standing) => standing,
            None => self.desk.channels.look(self.record.channel).await?.1,
        };
        let before = self.keep();
        let taken = match self.payee.accept(&signed, &standing) {
            Err(Refusal::DepositTooSmall { .. }) => {
                let (_, standing) = self.desk.channels.look(self.record.channel).await?;
                self.payee.accept(&signed, &standing)
            }
            other => other,
        };
        let draft = match taken {
            Ok(Some(draft)) => draft,
            Ok(None) => {
                self.untaken = None;
                return Ok(());
            }
            Err(refusal) => {
                self.untaken = None;
                return Err(eyre!(refusal).wrap_err("a voucher is not taken"));
            }
        };
        self.record.payee = draft.record().to_vec().into();
        self.record.refusals = 0;
        let reported = self.record.reported.take();
        // Before the voucher: what is paid can be announced, and opened.
        let kept = match (&self.audit, &reported) {
            (Some(audit), Some(reported)) => block_in_place(|| audit.shelf.keep(signed.voucher.window, reported)),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            (self.payee, self.record) = before;
            return Err(error);
        }
        self.save_or(before)?;
        self.untaken = None;
        let window = draft.saved();
        tracing::debug!(channel = %self.record.channel, window, earned = self.payee.earned(), "voucher taken");
        self.settle(reported);
        Ok(())
    }

    /// What a paid window leaves here: the states that go on.
    fn settle(&mut self, reported: Option<Reported>) {
        let Held::Reported(Waiting { last, .. }) = std::mem::replace(&mut self.held, Held::Nothing) else { return };
        self.idle_since = Instant::now();
        let mut over = reported.map(|reported| reported.blobs()).unwrap_or_default();
        for (unit, done, name) in last {
            let goes_on = done < self.spec.segment_count && self.spec.segment_count > 1;
            let before = if goes_on { self.made.insert(unit, (done, name)) } else { self.made.remove(&unit) };
            over.extend(before.map(|(_, name)| name));
        }
        self.discard(over);
        self.note_promise();
    }

    /// Deletes blobs that nothing here needs.
    pub(super) fn discard(&self, names: impl IntoIterator<Item = B256>) {
        let needed = self.needed();
        for name in names {
            if !needed.contains(&name)
                && let Err(error) = block_in_place(|| self.store.delete(Hash::from(name)))
            {
                tracing::debug!(%error, "a blob that nobody needs stays on disk");
            }
        }
    }

    /// Deletes all blobs that nothing here needs. Of a lease that ended without a report, and of a process before, nobody knows all names.
    pub(super) fn sweep(&self) {
        let needed = self.needed();
        match block_in_place(|| self.store.retain(|name| needed.contains(&B256::from(name)))) {
            Ok(0) => {}
            Ok(deleted) => tracing::debug!(channel = %self.record.channel, deleted, "blobs of ended leases deleted"),
            Err(error) => tracing::debug!(%error, "blobs that nobody needs stay on disk"),
        }
    }

    /// Blobs that something here needs: all work, the states that go on, a report that is not paid, a window whose audit is not over.
    fn needed(&self) -> BTreeSet<B256> {
        let shared = [self.spec.program_hash, self.spec.common_hash];
        let shared = shared.into_iter().chain(self.spec.checker.map(|checker| checker.program_hash));
        let made = self.made.values().map(|(_, name)| *name);
        let reported = self.record.reported.iter().flat_map(Reported::blobs);
        let windows = self.audit.iter().flat_map(|audit| audit.shelf.needed());
        shared.chain(made).chain(reported).chain(windows).collect()
    }

    pub(super) fn refused(&mut self, lease: u64, code: RefuseCode) -> Result<()> {
        match &self.held {
            // It is somebody else's now: nothing of it is wanted any more.
            Held::Working(working) if working.offer.number == lease => {
                let (pack, done) = (working.offer.pack, *working.done.borrow());
                self.held = Held::Nothing;
                self.idle_since = Instant::now();
                self.discard([pack]);
                if done > 0 {
                    self.sweep();
                    self.count_refusal(false);
                    block_in_place(|| self.desk.records.save(&self.record))?;
                }
                Ok(())
            }
            Held::Reported(waiting) if waiting.lease == lease => {
                let before = self.keep();
                let draft = self.payee.drop_report();
                self.record.payee = draft.record().to_vec().into();
                let reported = self.record.reported.take();
                self.count_refusal(
                    code != RefuseCode::Ended && reported.as_ref().is_some_and(|reported| reported.in_time),
                );
                self.save_or(before)?;
                draft.saved();
                self.held = Held::Nothing;
                self.idle_since = Instant::now();
                self.discard(reported.map(|reported| reported.blobs()).unwrap_or_default());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Work that was done for nothing; an unfair refusal, or too many in a row, end the channel.
    const fn count_refusal(&mut self, unfair: bool) {
        self.record.refusals = self.record.refusals.saturating_add(1);
        self.record.ends |= unfair || self.record.refusals >= REFUSALS_MAX;
    }
}
