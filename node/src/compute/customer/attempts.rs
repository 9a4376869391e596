//! One job, ordered from one provider after the other until one of them does it.

use super::{
    audit::plan::Unfit,
    conclude::{Conclusion, why},
    folder::Folder,
    follow::{End, Following, Job},
    gas::Gas,
    happened::{self, Ended},
    place::{Placed, Sent, place},
    plan::Prepared,
    result::{self, status_name},
    setup::{AuditChanged, Buyer, Offer, patiently, price, rule, take_refund},
    show::Show,
    state::{Attempt, Failed, State},
    stop::Stops,
    talk::Line,
};
use crate::{
    client::RpcFailure,
    compute::{
        account::Poor,
        amount::counted,
        lifecycle::{Refunded, is_tried_elsewhere},
        matching::links::Links,
        revert::moves_another_amount,
        token::NotKept,
    },
};
use alloy_primitives::U256;
use eyre::{Context as _, Result, bail, ensure, eyre};
use keystead_blobs::{BlobStore, Capacity, DiskStore, Durability};
use keystead_contracts::storage::Status;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// So often an order's transaction may come to nothing (its nonce taken, its provider's offer changed) in one process.
const NEVER_MAX: u32 = 3;

/// Everything that the job's orders share.
pub(super) struct Attempts<'a> {
    buyer: Buyer<'a>,
    folder: &'a Folder,
    store: Arc<dyn BlobStore>,
    show: Show,
    begin: Instant,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(buyer: Buyer<'a>, folder: &'a Folder, show: Show) -> Result<Self> {
        let store = DiskStore::open(&folder.blobs(), Capacity::default(), Durability::Settled);
        let store: Arc<dyn BlobStore> = Arc::new(store.wrap_err("cannot keep outputs in the folder")?);
        Ok(Self { buyer, folder, store, show, begin: Instant::now() })
    }

    /// What is about to be ordered, and for how much.
    pub(super) fn introduce(&self, offer: &Offer) {
        let Prepared { spec, recipe, .. } = self.buyer.prepared;
        let units = counted(spec.unit_count.into(), "unit");
        self.show.say(&format!("{}: {units} ({})", recipe.title, spec.runtime));
        happened::plan(self.show.log(), self.buyer);
        self.say_price(offer);
    }

    fn say_price(&self, offer: &Offer) {
        price(self.buyer, offer).iter().for_each(|line| self.show.say(line));
        happened::price(self.show.log(), offer);
    }

    /// The order that was introduced, as far as it can be made before the market is approved; says what it costs in gas at most.
    pub(super) async fn draft(&self, offer: &Offer) -> Result<Attempt> {
        let (attempt, gas) = self.buyer.draft(offer).await?;
        self.say_gas(offer, gas);
        Ok(attempt)
    }

    fn say_gas(&self, offer: &Offer, gas: Gas) {
        let lines = gas.lines(self.buyer.money, offer.choice.total_wei, offer.audit.as_ref());
        lines.iter().for_each(|line| self.show.say(line));
    }

    /// Orders for the first time.
    pub(super) async fn begin(self, state: State) -> Result<Ended> {
        Box::pin(self.pursue(state, Sent::No)).await
    }

    /// Goes on with the order of an earlier process.
    pub(super) async fn go_on(self, state: State) -> Result<Ended> {
        happened::resumed(self.show.log(), self.buyer, &state.attempt);
        match state.attempt.order {
            Some(order) => {
                self.show.say(&format!("Order {order} of this folder is still under way: going on with it."));
            }
            None => self.show.say("The order of this folder was begun: going on with it."),
        }
        if state.attempt.stopping {
            self.show.say("It is to be stopped, as it was asked for by Ctrl-C.");
        }
        if state.rule() != rule(self.buyer.options) {
            let stored = state.rule();
            self.show.say(&format!(
                "It is checked as it was begun (at least {} units and {} ppm of all), not as --sample and --sample-rate say now.",
                stored.units_min, stored.rate_ppm
            ));
        }
        if state.attempt.canary.is_none() && self.buyer.options.audit.canary.is_some() {
            self.show.say("It has no canary, as it was begun without one, whatever --canary says now.");
        }
        Box::pin(self.pursue(state, Sent::Perhaps)).await
    }

    async fn pursue(mut self, mut state: State, sent: Sent) -> Result<Ended> {
        let last = self.last(&mut state, sent).await;
        self.show.end();
        let (end, note) = last?;
        let Self { buyer, folder, show, begin, .. } = self;
        Conclusion { buyer, folder, log: show.log(), state: &state, end: &end, begin, note }.conclude().await
    }

    /// The end of the order that is the last one, and why no further provider is asked.
    async fn last(&mut self, state: &mut State, mut sent: Sent) -> Result<(End, Option<String>)> {
        let stops = Stops::listen()?;
        loop {
            let order = match state.attempt.order {
                Some(order) => order,
                None => self.place(state, sent, &stops).await?,
            };
            happened::ordered(self.show.log(), order, &state.attempt);
            let end = self.follow(state, order, &stops).await?;
            match self.next(state, &end, &stops).await? {
                Next::Ordered => sent = Sent::No,
                Next::Nobody(note) => return Ok((end, note)),
            }
        }
    }

    /// Until the order has its number.
    async fn place(&self, state: &mut State, mut sent: Sent, stops: &Stops) -> Result<U256> {
        for _ in 0..NEVER_MAX {
            let placed = tokio::select! {
                placed = self.send(state, sent) => placed?,
                () = stops.wait(2) => bail!("interrupted twice"),
            };
            let (reason, is_futile) = match placed {
                Placed::Order { order, block } => {
                    state.attempt.order = Some(order);
                    state.attempt.since_block = block;
                    self.folder.save(state)?;
                    let held = self.buyer.money.show_with(state.attempt.escrow_wei(), state.attempt.deposit_wei());
                    self.show.say(&format!("Order {order} placed; {held} are in escrow."));
                    return Ok(order);
                }
                Placed::Never(reason) => (reason, false),
                Placed::Futile(reason) => (reason, true),
            };
            self.never(state, &reason).await?;
            ensure!(!is_futile, "no order can be paid in this token: name another one with --token, or pay in KST");
            self.show.say("Placing a new one.");
            let tried: Vec<_> = state.failed.iter().map(|failed| failed.provider).collect();
            let offer = self.buyer.offer(&tried).await??;
            self.say_price(&offer);
            let attempt = self.draft(&offer).await;
            state.attempt = attempt.wrap_err("the order was not placed")?;
            self.folder.save(state)?;
            sent = Sent::No;
        }
        Err(eyre!("the order's transaction came to nothing {NEVER_MAX} times: does another program use this account?"))
    }

    /// Sends the order's transaction; approved and signed before, if it is not yet.
    async fn send(&self, state: &mut State, sent: Sent) -> Result<Placed> {
        if state.attempt.is_signed() {
            return place(self.buyer.market, &state.attempt, sent).await;
        }
        match self.buyer.fund(&state.attempt).await {
            Ok(attempt) => state.attempt = attempt,
            Err(error) if moves_another_amount(&error) => return Ok(Placed::Futile(format!("{error:#}"))),
            Err(error) if is_answer(&error) => return Ok(Placed::Never(format!("{error:#}"))),
            Err(error) => return Err(error),
        }
        // Before it is sent: from here on a process that starts again can only send the very same transaction.
        self.folder.save(state)?;
        place(self.buyer.market, &state.attempt, Sent::No).await
    }

    /// The order is not placed and never will be: nothing of it stays, neither an approval nor, if nothing else is under way, the order in the folder.
    async fn never(&self, state: &State, reason: &str) -> Result<()> {
        if state.attempt.is_signed() {
            let hash = state.attempt.hash;
            self.show.say(&format!("The order's transaction {hash} places no order: {reason}."));
        } else {
            self.show.say(&format!("The order cannot be placed: {reason}."));
        }
        happened::not_ordered(self.show.log(), &state.attempt, reason);
        match self.buyer.revoke(&state.attempt).await {
            // A token that does not let an approval be taken back has its reason; the market takes it for an order of this account alone.
            Err(error) if is_answer(&error) => self.show.say(&format!("The approval of the market stays: {error:#}")),
            other => other?,
        }
        if state.failed.is_empty() {
            // Nothing is under way any more; the folder says so until the new order is stored.
            self.folder.forget()?;
        }
        Ok(())
    }

    /// Follows the order; Ctrl-C cancels it before its lease and stops it afterwards, and then sees it to its end.
    async fn follow(&mut self, state: &mut State, order: U256, stops: &Stops) -> Result<End> {
        let Buyer { options, market, prepared, money, .. } = self.buyer;
        let reach = Duration::from_secs(u64::from(options.reach_seconds));
        let log = Arc::clone(self.show.log());
        let (folder, keep_outputs) = (self.folder, options.keep_outputs);
        let job = Job { market, prepared, folder, money, keep_outputs, reach, log: &log };
        let store = Arc::clone(&self.store);
        let (to, kept) = (state.attempt.choice()?, (store, self.folder));
        let links = Links::open(options.demands.records.as_deref());
        let mut line = Line::open(&market.account, order, prepared, to, kept, links).await?;
        // Since the order was signed the provider may have moved.
        if let Ok(endpoint) = market.endpoint_of(state.attempt.provider).await {
            line.redirect(&endpoint);
        }
        let was_stopping = state.attempt.stopping;
        let mut following = Following::new(job, order, state, line);
        let show = &mut self.show;
        let undisturbed = tokio::select! {
            end = following.run(show) => Some(end),
            () = stops.wait(1) => None,
        };
        let end = match undisturbed {
            Some(end) => end,
            // An earlier process was told to stop it: there is nothing more to ask for.
            None if was_stopping => Err(eyre!("interrupted while the order is being stopped")),
            None => {
                show.say("Stopping. Ctrl-C again leaves at once; the same command goes on with it.");
                let giving_up = async {
                    following.give_up()?;
                    following.hint().await;
                    following.run(show).await
                };
                tokio::select! {
                    end = giving_up => end,
                    () = stops.wait(2) => Err(eyre!("interrupted twice")),
                }
            }
        };
        following.line.close().await;
        end
    }

    /// The job goes on elsewhere; the proof of what this provider did stays. Without it the job is as good.
    async fn keep_conviction(&self, state: &State, end: &End) {
        if !result::has_certificates(self.buyer.market.account.client()).await {
            return;
        }
        let path = self.folder.conviction(end.order.id);
        let own = result::Own::of(&self.buyer.prepared.spec, state);
        match result::certificate(&path, self.buyer.market, &end.order, end.block, own).await {
            Ok(()) => self.show.say(&format!("Proof of the conviction: {}", path.display())),
            Err(error) => {
                tracing::warn!(order = %end.order.id, error = format!("{error:#}"), "no proof of the conviction");
            }
        }
    }

    /// After a refund: orders from the next provider, if there is one.
    async fn next(&self, state: &mut State, end: &End, stops: &Stops) -> Result<Next> {
        let status = end.order.status();
        if !status.is_refunded() {
            return Ok(Next::Nobody(None));
        }
        let tried = state.tried();
        let refunded = Refunded {
            status,
            stopped: end.stopped,
            named: self.buyer.options.provider.is_some(),
            attempts: u32::try_from(tried.len()).unwrap_or(u32::MAX),
            attempts_max: self.buyer.options.attempts,
        };
        if !is_tried_elsewhere(refunded) {
            return Ok(Next::Nobody(None));
        }
        let owed = take_refund(self.buyer.market, end.order.currency).await?;
        if let Some(reason) = owed {
            // The next order's escrow cannot come from it.
            self.show.say(&format!("The market still owes the refund of order {}: {reason:#}.", end.order.id));
        }
        if status == Status::Convicted {
            self.keep_conviction(state, end).await;
        }
        let look = || self.buyer.offer(&tried);
        let offer = match patiently("read the register of providers", look).await? {
            Ok(offer) => offer,
            Err(nobody) => return Ok(Next::Nobody(Some(nobody.to_string()))),
        };
        let drafted = tokio::select! {
            drafted = patiently("place an order", || self.buyer.draft(&offer)) => drafted,
            () = stops.wait(1) => return Ok(Next::Nobody(Some("you stopped it".to_owned()))),
        };
        let (attempt, gas) = match drafted {
            Ok(drafted) => drafted,
            Err(error) if is_answer(&error) => return Ok(Next::Nobody(Some(format!("{error:#}")))),
            Err(error) => return Err(error),
        };
        let (status, why) = (status_name(status), why(state, status).to_owned());
        happened::over(&end.order, &why).iter().for_each(|happened| self.show.log().tell_once(happened));
        let (count, max) = (refunded.attempts.saturating_add(1), refunded.attempts_max);
        self.show.say(&format!(
            "Order {} is {status}: {why}. {} are back; ordering from another provider ({count} of at most {max}).",
            end.order.id,
            self.buyer.money.show(end.order.escrow_wei)
        ));
        self.say_price(&offer);
        self.say_gas(&offer, gas);
        state.failed.push(Failed { order: end.order.id, provider: end.order.provider, status, why });
        state.attempt = attempt;
        self.folder.save(state)?;
        Ok(Next::Ordered)
    }
}

/// What follows a refund.
enum Next {
    /// A new order is stored, and signed if it can be.
    Ordered,
    /// It ends here; with the reason, if there would have been a next one.
    Nobody(Option<String>),
}

/// The chain's or our own word, which would be the same a second later; not a fault on the way to the node.
fn is_answer(error: &eyre::Report) -> bool {
    error.downcast_ref::<Poor>().is_some()
        || error.downcast_ref::<RpcFailure>().is_some()
        || error.downcast_ref::<super::terms::OutOfBounds>().is_some()
        || error.downcast_ref::<Unfit>().is_some()
        || error.downcast_ref::<AuditChanged>().is_some()
        || error.downcast_ref::<NotKept>().is_some()
}
