//! Who takes part, what lies in their channels, what is promised, and what is handed out.

use super::{Conductor, REGISTER, purse::Purse};
use crate::compute::{
    amount::duration,
    channels::Opening,
    event_log::Happened,
    map::{
        bank::Ask,
        choose::{Candidate, Found},
        events::Checks,
        farewell::{self, is_final},
        happened,
        journal::Entry,
        line::{COMMANDS_MAX, Command, Line, Way},
        show::Row,
        state::words,
        stored::Stored,
    },
};
use alloy_primitives::{Address as Account, B256, Bytes};
use eyre::{Context as _, Result, eyre};
use keystead_blobs::{
    Address, BlobStore, Hash, NodeId, Parties,
    stream::{Item, LeaseOffer, RefuseCode, pack},
};
use keystead_contracts::storage::channel::Status;
use keystead_lease::{End as LeaseEnd, Lease, Out, Provider, STEPS_MAX};
use keystead_payment::{Draft, Payer, Received, Report, Standing, Terms, Voucher};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// A provider that has been away for so long is replaced; if it comes back it has work as before.
const REPLACE_AFTER: Duration = Duration::from_secs(60);
/// The pause after a channel that could not be filled, and after one that was asked to be finished.
const FILL_AGAIN: Duration = Duration::from_secs(5);
const FINISH_AGAIN: Duration = Duration::from_secs(10);
/// How far the audits are is counted so often at most.
const AUDITS: Duration = Duration::from_secs(1);
/// Steps that the first deposit pays.
pub(super) const DEPOSIT_STEPS: u128 = 256;
/// A look at a channel that is older says nothing any more: nothing is promised on it.
pub(super) const FRESH_MAX: Duration = Duration::from_secs(30);

impl Conductor<'_> {
    /// Goes on with what an earlier process began, or begins.
    pub(super) async fn take_up(&mut self) -> Result<()> {
        self.keep_promise().await?;
        let partners: Vec<_> = self.state.providers().map(|(p, partner)| (p, partner.clone())).collect();
        for (provider, partner) in partners {
            if let Some(opening) = partner.opening {
                self.ask(Ask::Resume { provider, opening }).await;
            } else if let Some(channel) = partner.channel {
                self.ask(Ask::Watch { provider, channel }).await;
            }
        }
        self.attend_all();
        self.refill();
        Ok(())
    }

    async fn ask(&self, ask: Ask) {
        // The bank ends after the loop.
        let _ = self.asks.send(ask).await;
    }

    /// Not now if the bank is busy: whoever asks asks again.
    pub(super) fn try_ask(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }

    /// Asks for providers while there are fewer than wanted, and something is left to do.
    pub(super) fn refill(&mut self) {
        if self.state.table.units_left() == 0 || self.stopping.is_some() {
            return;
        }
        // Of an earlier process, or closed while nothing was left to do.
        self.open_channels();
        let working = self.working();
        let due = self.looked.is_none_or(|looked| looked.elapsed() > REGISTER);
        let count = self.wanted().saturating_sub(working);
        if count == 0 || !due {
            return;
        }
        // Who was too dear may not be any more: what was done for less leaves more for the rest.
        let dear = self.still_dear().map(|(account, _)| account);
        let tried = self.state.partners.iter().map(|partner| partner.account).chain(dear).collect();
        if self.try_ask(Ask::Offers { count, tried }) {
            self.looked = Some(Instant::now());
        }
    }

    /// Providers that work, or may soon: none that is left out, has been away for long, or waits for the end of an old channel.
    pub(super) fn working(&self) -> usize {
        let works = |provider: Provider| {
            let Some(live) = self.live.get(&provider) else { return true };
            let is_open = |(_, standing, _): &(Terms, Standing, Instant)| standing.status == Status::Open;
            let has_channel = live.payer.is_some() || live.channel.as_ref().is_none_or(is_open);
            has_channel && live.away_since.is_none_or(|since| since.elapsed() < REPLACE_AFTER)
        };
        self.state.providers().filter(|(p, _)| self.state.table.out(*p).is_none() && works(*p)).count()
    }

    pub(super) const fn wanted(&self) -> usize {
        let named = self.options.provider.len();
        if named > 0 { named } else { self.options.providers as usize }
    }

    pub(super) fn offers(&mut self, found: Result<Found, String>) -> Result<()> {
        let Found { offers, nobody, fee_per_gas_max_wei } = match found {
            Ok(found) => found,
            Err(reason) => {
                self.show.event("register", None, &reason, Value::Null);
                return Ok(());
            }
        };
        let is_new = |offer: &Candidate| {
            self.state.partners.iter().all(|p| p.account != offer.account && p.node_id != offer.node_id)
        };
        let mut new: Vec<Candidate> = offers.into_iter().filter(is_new).collect();
        let working = self.working();
        new.retain(|offer| reachable(offer).is_some());
        let segments = u128::from(self.prepared.spec.segment_count.max(1));
        let step_wei = |offer: &Candidate| offer.price_per_unit.div_ceil(segments);
        // Before anything is paid for a channel of a map that costs more than it may.
        let is_anew = self.may_ask_anew() && !new.is_empty() && !new.iter().any(|offer| self.affords(step_wei(offer)));
        if is_anew {
            self.ask_anew();
        }
        let (mut new, dear): (Vec<_>, Vec<_>) = new.into_iter().partition(|offer| self.affords(step_wei(offer)));
        for offer in dear {
            self.pass_over(offer.account, step_wei(&offer));
        }
        new.truncate(self.wanted().saturating_sub(working));
        let joined = new.len();
        for offer in new {
            let price_wei = step_wei(&offer);
            self.dear.remove(&offer.account);
            self.record(&Entry::Joined { account: offer.account, node_id: offer.node_id, price_wei })?;
            let detail = format!("{} a step", self.shown(price_wei));
            self.show.once(&Happened { detail: &detail, ..happened::joined(offer.account, price_wei) });
        }
        if joined > 0 {
            self.say_price(fee_per_gas_max_wei)?;
        }
        self.open_channels();
        let has_nobody =
            !self.state.table.has_providers() && self.failed.is_none() && self.state.table.units_left() > 0;
        // Who was too dear when this was asked, and is not now, was not asked for.
        if has_nobody && !self.forget_the_affordable() {
            let lost = self.lost.take().unwrap_or_default();
            self.fail(match self.cheapest_dear() {
                Some(step_wei) => self.too_dear(step_wei),
                None if self.state.partners.is_empty() => nobody,
                None => {
                    let is_caught = self.state.providers().any(|(provider, _)| self.state.is_discarded(provider));
                    nobody_left(&lost, is_caught, !self.options.provider.is_empty())
                }
            });
        }
        Ok(())
    }

    /// Asks for the channels of providers that have none, while something is left to do.
    pub(super) fn open_channels(&mut self) {
        if self.state.table.units_left() == 0 {
            return;
        }
        let missing: Vec<(Provider, u128)> = self
            .state
            .providers()
            .filter(|(p, partner)| {
                partner.channel.is_none()
                    && partner.opening.is_none()
                    && self.state.table.out(*p).is_none()
                    && !self.unopened.contains(p)
            })
            .map(|(p, partner)| (p, partner.price_wei))
            .collect();
        for (provider, price_wei) in missing {
            if self.options.audit.is_wanted() {
                if self.try_ask(Ask::Plan { provider, account: self.name(provider), price_wei }) {
                    self.unopened.insert(provider);
                }
                continue;
            }
            let steps = u128::from(self.state.table.steps_waiting()).clamp(1, DEPOSIT_STEPS);
            let opening = Opening {
                provider: self.name(provider),
                signer: self.signer.address(),
                challenge_seconds: self.options.challenge_seconds,
                life_seconds: self.options.life_seconds,
                deposit_wei: price_wei.saturating_mul(steps),
                currency: self.money.currency(),
                audit: None,
            };
            if self.try_ask(Ask::Open { provider, opening: Box::new(opening), approved: self.approved() }) {
                // Asked for once; the answer is an event.
                self.unopened.insert(provider);
            }
        }
    }

    pub(super) fn opened(&mut self, provider: Provider, channel: B256) -> Result<()> {
        self.record(&Entry::Opened { provider, channel })?;
        tokio::task::block_in_place(|| self.journal.sync())?;
        self.unopened.remove(&provider);
        let opened = happened::opened(self.name(provider), channel);
        self.show.once(&Happened { detail: &channel.to_string(), ..opened });
        self.try_ask(Ask::Watch { provider, channel });
        Ok(())
    }

    pub(super) fn not_opened(&mut self, provider: Provider, reason: &str) -> Result<()> {
        self.record(&Entry::NotOpened { provider })?;
        self.show.event("no-channel", Some(self.name(provider)), reason, Value::Null);
        self.show.say(&format!("No channel for provider {}: {reason}", self.name(provider)));
        self.lost = Some(format!("{}: {reason}", self.name(provider)));
        self.leave_out(provider, Out::Unwilling)
    }

    /// Where a channel stands; the first look at one makes its payer and its line.
    pub(super) fn looked(
        &mut self,
        provider: Provider,
        (terms, checks): (Terms, Option<Checks>),
        (standing, at): (Standing, Instant),
    ) -> Result<()> {
        if self.channel(provider) != Some(terms.channel_id) {
            // A look at a channel that is over.
            return Ok(());
        }
        let live = self.live.entry(provider).or_default();
        live.channel = Some((terms, standing, at));
        live.checks = checks;
        self.await_announcements(terms.channel_id, &standing);
        if is_final(&standing) {
            self.give_up_the_unannounced()?;
        }
        let live = self.live.entry(provider).or_default();
        let is_new = live.payer.is_none();
        match standing.status {
            Status::Open if is_new => self.begin_channel(provider, terms, standing),
            Status::Open => Ok(()),
            // It ended while no process of this map was there: a new one takes its place.
            Status::Closed | Status::Finished | Status::Expired if is_new => {
                self.try_ask(Ask::Forget { provider });
                self.record(&Entry::Closed { provider, claimed_wei: standing.claimed })?;
                let closed = happened::closed(self.name(provider), Some(terms.channel_id), standing.claimed);
                self.show.note(&closed);
                self.live.entry(provider).or_default().channel = None;
                self.open_channels();
                Ok(())
            }
            // An earlier process asked for its end: the new one comes after it.
            _ if is_new => {
                self.tell_ending(provider, &standing);
                let live = self.live.entry(provider).or_default();
                let is_recent = live.finished.is_some_and(|at| at.elapsed() < FINISH_AGAIN);
                if standing.now > standing.deadline && !is_recent {
                    live.finished = Some(Instant::now());
                    self.try_ask(Ask::Finish { provider, channel: terms.channel_id });
                }
                Ok(())
            }
            // The provider wants no more of it.
            _ => self.leave_out(provider, Out::Unwilling),
        }
    }

    /// Says once that a provider waits for the end of its old channel.
    fn tell_ending(&mut self, provider: Provider, standing: &Standing) {
        let is_wanted = self.state.table.units_left() > 0 && self.state.table.out(provider).is_none();
        if is_wanted && !std::mem::replace(&mut self.live.entry(provider).or_default().said_ending, true) {
            self.show.say(&ending(self.name(provider), standing, !self.options.provider.is_empty()));
        }
    }

    fn begin_channel(&mut self, provider: Provider, terms: Terms, standing: Standing) -> Result<()> {
        let Some(partner) = self.state.partner(provider) else { return Ok(()) };
        let price = partner.price().ok_or_else(|| eyre!("a provider asks nothing"))?;
        let payer = match &partner.payer {
            Some(record) => Payer::resume(terms, price, record).wrap_err("a channel's record cannot be trusted")?,
            // Nothing was promised in it: the first promise writes the first record.
            None => Payer::open(terms, price, &standing).wrap_err("a channel has no record")?.saved(),
        };
        let offer = (partner.account, partner.node_id);
        self.live.entry(provider).or_default().payer = Some(payer);
        self.dial(provider, offer.0, terms.channel_id)
    }

    /// Begins a provider's line. Its address is read from the register, by the line itself.
    fn dial(&mut self, provider: Provider, account: Account, channel: B256) -> Result<()> {
        if self.state.table.out(provider).is_some() || self.live.get(&provider).is_some_and(|l| l.commands.is_some()) {
            return Ok(());
        }
        let node_id = self.state.partner(provider).map(|partner| partner.node_id).unwrap_or_default();
        let node = NodeId::from_bytes(&node_id.0).wrap_err("a provider's node id is none")?;
        let parties = Parties { customer: self.endpoint.id(), provider: node };
        let hello = Way::hello(&self.signer, &self.prepared.spec, channel, parties).wrap_err("cannot sign")?;
        let store = Arc::new(Stored::over(Arc::clone(&self.shared))) as Arc<dyn BlobStore>;
        let (endpoint, market) = (self.endpoint.clone(), self.market.clone());
        let way = Way { account, node, endpoint, hello, store, market };
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (shared, events) = (self.served.clone(), self.events.clone());
        let line = Line { provider, way, shared, commands, events, pack: None, quota: Default::default() };
        self.lines.spawn(line.run());
        let live = self.live.entry(provider).or_default();
        (live.commands, live.away_since) = (Some(sender), Some(Instant::now()));
        Ok(())
    }

    /// Every provider that can take work gets some, as far as its channel and the person's limit pay for it.
    pub(super) fn hand_out(&mut self) -> Result<()> {
        if self.stopping.is_some() {
            return Ok(());
        }
        let ready: Vec<Provider> =
            self.live.iter().filter(|(_, live)| live.is_connected && !live.is_draining).map(|(p, _)| *p).collect();
        let mut poor: Option<u128> = None;
        for provider in ready {
            if self.state.table.lease_of(provider).is_some() || !self.is_funded(provider) {
                continue;
            }
            let (limit_wei, needed_wei) = (self.limit_wei(), self.needed_wei(provider));
            if limit_wei.is_some_and(|limit| needed_wei > limit) {
                poor = Some(poor.map_or(needed_wei, |least_wei| least_wei.min(needed_wei)));
                continue;
            }
            let now = self.now();
            if let Some(lease) = self.state.table.grant(provider, now) {
                self.journal.append(&Entry::Leased { lease: lease.clone() })?;
                self.show.note(&happened::leased(self.name(provider), &lease));
                self.send(&lease)?;
            }
        }
        self.give_up_the_unfilled();
        if let Some(needed_wei) = poor.filter(|_| self.state.table.live().next().is_none() && self.failed.is_none()) {
            if self.waits_for_checks() {
                return Ok(());
            }
            let (promised, checks) = (self.shown(self.state.promised_wei()), self.state.checks_wei());
            let checks =
                if checks > 0 { format!(" and {} taken for checks", self.shown(checks)) } else { String::new() };
            let what = if self.options.max_price.is_some() {
                "--max-price"
            } else {
                "the price that was said before anything was paid"
            };
            self.fail(format!(
                "{what} is reached: {promised} are promised{checks}, and units are left. The next window needs {needed_wei} ({}). What is done is kept: run the same command again with a higher --max-price",
                self.shown(needed_wei)
            ));
        }
        Ok(())
    }

    /// Nobody works, and no channel of those who could can be filled.
    fn give_up_the_unfilled(&mut self) {
        let is_done = self.state.table.units_left() == 0;
        if is_done || self.failed.is_some() || !self.pending.is_empty() || self.state.table.live().next().is_some() {
            return;
        }
        let mut ready = self.live.values().filter(|live| live.is_connected && !live.is_draining).peekable();
        if ready.peek().is_none() || ready.any(|live| live.unfilled.is_none()) {
            return;
        }
        let problem = self.live.values().find_map(|live| live.unfilled.as_ref().map(|(problem, _)| problem.clone()));
        self.fail(format!(
            "no channel can be filled: {}. When that is mended, run the same command again",
            problem.unwrap_or_default()
        ));
    }

    /// Whether a whole window, or all that is left, fits into the free part of the channel; fills it when it is half used.
    fn is_funded(&mut self, provider: Provider) -> bool {
        let Some(partner) = self.state.partner(provider) else { return false };
        let (price_wei, channel) = (partner.price_wei, partner.channel);
        let (steps_left, budget, approved) = (self.state.table.steps_waiting(), self.budget(provider), self.approved());
        let Some(live) = self.live.get_mut(&provider) else { return false };
        let (Some(payer), Some((_, standing, at)), Some(channel)) = (&live.payer, &live.channel, channel) else {
            return false;
        };
        if standing.status != Status::Open || at.elapsed() > FRESH_MAX {
            return false;
        }
        let purse = Purse {
            usable_wei: standing.usable(),
            promised_wei: payer.promised(),
            unannounced_wei: self.state.unannounced_wei(channel, standing.announced),
            price_wei,
            steps_left,
            budget,
        };
        let lacking_wei = purse.lacking_wei();
        let is_recent = live.unfilled.as_ref().is_some_and(|(_, at)| at.elapsed() < FILL_AGAIN);
        if lacking_wei > 0 && !live.is_filling && !is_recent {
            let asked = self.asks.try_send(Ask::Fill { provider, channel, amount_wei: lacking_wei, approved });
            live.is_filling = asked.is_ok();
        }
        purse.is_enough()
    }

    /// What so many steps of a provider cost, with their checks.
    fn window_wei(&self, provider: Provider, steps: u32) -> u128 {
        let price_wei = self.state.partner(provider).map_or(0, |partner| partner.price_wei);
        price_wei.saturating_mul(u128::from(steps)).saturating_add(self.budget(provider).of(steps))
    }

    /// What could become promised by what is leased, with what checks take.
    pub(super) fn leased_wei(&self) -> u128 {
        let live = self.state.table.live();
        live.fold(0_u128, |sum, lease| sum.saturating_add(self.window_wei(lease.provider, lease.steps())))
    }

    /// What is promised, and could become promised by what is leased and by the next window, with what checks take: what was said is for this.
    fn needed_wei(&self, provider: Provider) -> u128 {
        let steps = u32::try_from(self.state.table.steps_waiting()).unwrap_or(u32::MAX).min(STEPS_MAX);
        self.spent_wei().saturating_add(self.leased_wei()).saturating_add(self.window_wei(provider, steps))
    }

    fn send(&self, lease: &Lease) -> Result<()> {
        let given = self.live.get(&lease.provider).map(|live| &live.given);
        let mut parts = Vec::new();
        let mut items = Vec::with_capacity(lease.items.len());
        for item in &lease.items {
            let has = item.first > 0 && given.and_then(|given| given.get(&item.unit)) == Some(&item.first);
            if !has {
                parts.push(match self.state.newest(item.unit) {
                    Some(place) => self.outputs.read(place)?,
                    None => self.prepared.units.get(item.unit as usize).cloned().unwrap_or_default(),
                });
            }
            items.push(Item { unit: item.unit, first: item.first, count: item.count, given: u8::from(has) });
        }
        let pack = pack::encode(&parts);
        let offer = LeaseOffer {
            number: lease.number,
            milliseconds: u64::try_from(lease.limit.as_millis()).unwrap_or(u64::MAX).max(1),
            pack: Hash::of(&pack).into(),
            pack_bytes: u64::try_from(pack.len())?,
            items,
        };
        self.say(lease.provider, Command::Lease { offer, pack });
        Ok(())
    }

    /// The next voucher of a channel, not signed yet; whether its newest look is new enough was decided before (`take_due`).
    pub(super) fn pay(&mut self, provider: Provider, received: &Received) -> Result<Draft<Voucher>, String> {
        let live = self.live.entry(provider).or_default();
        let (Some(payer), Some((_, standing, _))) = (&mut live.payer, &live.channel) else {
            return Err("the channel is not known".to_owned());
        };
        payer.pay(received, standing).map_err(|refusal| refusal.to_string())
    }

    pub(super) fn refuse_money(&mut self, provider: Provider, lease: u64, reason: String) -> Result<()> {
        self.show.event("not-paid", Some(self.name(provider)), &reason, happened::of_lease(Some(lease)));
        self.lost = Some(format!("{}: {reason}", self.name(provider)));
        self.say(provider, Command::Refuse { lease, code: RefuseCode::Money, reason });
        self.end(provider, lease, LeaseEnd::Cancelled)?;
        self.leave_out(provider, Out::Unwilling)
    }

    /// A report that was paid came again.
    pub(super) fn pay_again(&mut self, provider: Provider, lease: u64, report: &Report) -> Result<()> {
        let last = self.live.get(&provider).and_then(|live| live.payer.as_ref()?.last().copied());
        match last {
            Some(voucher)
                if (voucher.window, voucher.units, voucher.root) == (report.window, report.units, report.root) =>
            {
                let signed = self.sign(voucher)?;
                self.say(provider, Command::Voucher { lease, signed });
            }
            _ => self.say(
                provider,
                Command::Refuse { lease, code: RefuseCode::Ended, reason: "another report was paid".to_owned() },
            ),
        }
        Ok(())
    }

    pub(super) fn sign(&self, voucher: Voucher) -> Result<Bytes> {
        farewell::sign(&self.signer, self.market.account.chain_id(), voucher)
    }

    /// There is no more work for this one. What was promised last goes before: it may have died before it had that.
    pub(super) fn part_from(&self, provider: Provider) -> Result<()> {
        let is_wrong = self.state.table.out(provider) == Some(Out::Wrong);
        let payer = self.live.get(&provider).and_then(|live| live.payer.as_ref()).filter(|_| !is_wrong);
        let last = payer.and_then(|payer| payer.last().copied());
        if let (Some(voucher), Some(lease)) = (last, self.state.settled.get(&provider).copied()) {
            let signed = self.sign(voucher)?;
            self.say(provider, Command::Voucher { lease, signed });
        }
        self.say(provider, Command::Bye);
        Ok(())
    }

    /// The payer's record that says that this channel pays no more.
    pub(super) fn found_wrong(&mut self, provider: Provider) -> Bytes {
        let payer = self.live.get_mut(&provider).and_then(|live| live.payer.as_mut());
        payer.map_or_else(Bytes::new, |payer| {
            let window = payer.last().map_or(1, |voucher| voucher.window.saturating_add(1));
            let draft = payer.found_wrong(window);
            let record = Bytes::copy_from_slice(draft.record());
            draft.saved();
            record
        })
    }

    pub(super) fn display(&mut self) {
        let rows = self.state.providers().map(|(provider, partner)| {
            let live = self.live.get(&provider);
            let lease = self.state.table.lease_of(provider);
            let stand = match (self.state.table.out(provider), live) {
                (Some(out), _) => words(out).to_owned(),
                (None, Some(live)) if !live.is_connected => "not reached".to_owned(),
                (None, Some(live)) if live.is_draining => "in use by its owner".to_owned(),
                (None, Some(live)) => match (live.examining, lease) {
                    (Some(_), _) => "its report is checked".to_owned(),
                    (None, Some(lease)) => format!("{} of {} steps", live.beat, lease.steps()),
                    (None, None) => "waits for work".to_owned(),
                },
                (None, None) => "channel is opened".to_owned(),
            };
            Row {
                account: partner.account,
                steps: partner.steps,
                paid: self.shown(partner.price_wei.saturating_mul(u128::from(partner.steps))),
                stand,
            }
        });
        let units = u64::from(self.prepared.spec.unit_count);
        let done = units.saturating_sub(u64::from(self.state.table.units_left()));
        let rows: Vec<_> = rows.collect();
        let now = Instant::now();
        let seen = self.audits_seen.take().filter(|(at, _)| is_recent(*at, now));
        let (at, audits) = seen.unwrap_or_else(|| (now, self.audits()));
        self.tell_audits(&audits);
        self.show.progress((done, units), &rows, &audits);
        self.audits_seen = Some((at, audits));
    }
}

/// Whether how far the audits are was counted so short a time ago that it is not counted again: that goes through every window of the map.
fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < AUDITS
}

/// What a person reads when there is nobody to go on with; `lost`: who was left out last, if that is known.
fn nobody_left(lost: &str, is_caught: bool, is_named: bool) -> String {
    let last = if lost.is_empty() { String::new() } else { format!(". The last was {lost}") };
    let other = if is_named { ", and name another one with --provider, or nobody" } else { "" };
    let caught = format!("{other}: who delivered what was wrong, or not audited, is not asked again");
    let caught = if is_caught { caught.as_str() } else { "" };
    format!(
        "every provider was left out, and there is no other that fits{last}. When that is mended, run the same command again{caught}"
    )
}

/// What a person reads of a channel that an earlier process asked to be closed.
fn ending(provider: Account, standing: &Standing, is_named: bool) -> String {
    let left = standing.deadline.saturating_sub(standing.now);
    let waits = if left.is_zero() {
        "any moment".to_owned()
    } else {
        format!("in {} at the latest (Unix second {})", duration(left), standing.deadline.as_secs())
    };
    let what = if is_named {
        "Name another one with --provider, too, or nobody at all, to go on before that"
    } else {
        "Until then another one works in its place, if there is one"
    };
    format!(
        "Provider {provider} gets no work before its old channel has ended, which an earlier process asked for: {waits}. {what}."
    )
}

/// An endpoint that names the node of the register.
fn reachable(offer: &Candidate) -> Option<Address> {
    let address: Address = offer.endpoint.parse().ok()?;
    (address.id().as_bytes() == &offer.node_id.0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_again_after_a_second_and_not_at_each_event() {
        let at = Instant::now();
        let after = |milliseconds| at.checked_add(Duration::from_millis(milliseconds)).unwrap_or(at);
        assert!(is_recent(at, at) && is_recent(at, after(999)));
        assert!(!is_recent(at, after(1_000)));
    }

    #[test]
    fn when_nobody_is_left_it_is_said_what_helps() {
        let mended = nobody_left("X, which takes no more work of this job", false, true);
        assert!(mended.contains("The last was X, ") && mended.ends_with("run the same command again"), "{mended}");
        let caught = nobody_left("", true, true);
        assert!(!caught.contains("The last was") && caught.contains("with --provider"), "{caught}");
        assert!(!nobody_left("", true, false).contains("--provider"));
    }

    #[test]
    fn who_waits_for_the_end_of_a_channel_reads_until_when_and_what_to_do() {
        let standing = Standing {
            now: Duration::from_secs(1_200),
            status: Status::Closing,
            deadline: Duration::from_secs(30_000),
            deposit: 9,
            claimed: 0,
            window: 0,
            history: B256::ZERO,
            announced: 0,
            budgeted: 0,
        };
        let said = ending(Account::ZERO, &standing, true);
        assert!(
            said.contains("in 480 min 0 s at the latest (Unix second 30000)") && said.contains("--provider"),
            "{said}"
        );
        let over = Standing { now: standing.deadline, ..standing };
        let said = ending(Account::ZERO, &over, false);
        assert!(said.contains("any moment") && said.contains("another one works"), "{said}");
    }
}
