//! The end that a person wants before the work's end: before the lease the order is cancelled, after it stopped, and what is done is paid.
//!
//! # Invariants
//! That it is wanted is on the disk before anything is done about it, so that whoever goes on with the order goes on with its end.
//!
//! Spec: specs/0004-market.md §4.7 and §10.6.

use super::{Following, Show, Trouble};
use crate::compute::{amount::counted, market::Order};
use alloy_primitives::U256;
use eyre::Result;
use keystead_contracts::{limits::STOP_SECONDS, storage::Status};
use std::time::Duration;
use tokio::time::timeout;

/// How long a provider may take to hear that an order need not be leased; then the contract's call is made without it.
const HINT_MAX: Duration = Duration::from_secs(5);

/// What a person was told about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// What stopping will cost.
    Stopping,
    /// The provider has its time.
    Stopped,
    /// How much is done.
    Done,
    /// All of it is.
    TooLate,
}

impl Following<'_> {
    /// The person wants no more of it than is done.
    ///
    /// # Errors
    /// It could not be written down; then nothing is done about it.
    pub(in crate::compute::customer) fn give_up(&mut self) -> Result<()> {
        self.state.attempt.give_up();
        self.job.folder.save(self.state)
    }

    /// Tells the provider of an order that nobody leased yet not to do so. The contract's calls decide, and this saves the provider a lease at most: so nobody
    /// waits for one that is slow to answer, and may be leasing meanwhile.
    pub(in crate::compute::customer) async fn hint(&self) {
        let order = self.job.market.order(self.order).await;
        if order.is_ok_and(|order| order.status() == Status::Ordered)
            && timeout(HINT_MAX, self.line.cancel()).await.is_err()
        {
            tracing::debug!(order = %self.order, "the provider does not answer a cancellation");
        }
    }

    /// Says once what the next step of the end costs, or gives.
    pub(super) fn tell_stop(&mut self, order: &Order, show: &Show) -> Result<(), Trouble> {
        let is_wanted = self.state.attempt.stopping;
        let news = match (order.status(), order.stand.stopped) {
            (Status::Leased, false) if is_wanted => Told::Stopping,
            (Status::Leased, true) => Told::Stopped,
            (Status::Committed | Status::Delivered, true) => Told::Done,
            (Status::Committed | Status::Delivered, false) if is_wanted => Told::TooLate,
            _ => return Ok(()),
        };
        if self.told == Some(news) {
            return Ok(());
        }
        self.told = Some(news);
        show.say(&self.words(news, order));
        if news == Told::TooLate || news == Told::Done && !order.is_part() {
            self.state.attempt.forget_stop();
            return self.save();
        }
        Ok(())
    }

    fn words(&self, news: Told, order: &Order) -> String {
        let (id, money) = (order.id, self.job.money);
        let (unit, all) = (money.show(order.price_wei_per_unit()), money.show(order.escrow_wei));
        let (done, units) = (order.committed_units(), counted(order.units.into(), "unit"));
        match news {
            Told::Stopping => format!(
                "Stopping order {id}: each unit that its provider has done by then is paid, {unit} a unit, so at most {all} for {units}; the rest comes back."
            ),
            Told::Stopped => format!(
                "Order {id} is stopped: its provider has {STOP_SECONDS} s at most to commit to what is done. Ctrl-C again leaves at once; the same command goes on."
            ),
            Told::Done if order.is_part() => {
                let paid = money.show(order.price_wei_per_unit().saturating_mul(U256::from(done)));
                format!("{done} of {units} are done: {paid} at most are paid for them, once they are here and checked.")
            }
            Told::Done => format!("All {units} were done when the order was stopped: going on with it."),
            Told::TooLate => {
                format!("Too late to stop: the provider has committed to all {units}. Going on with the order.")
            }
        }
    }
}
