//! The provider's side: when a window may begin, which voucher is taken, which one is claimed.
//!
//! # Invariants
//! - Work without a voucher exists in one window only: the next one begins after the voucher of the last one is taken.
//! - A voucher that is taken adds at least the window's price, is signed by the signer, and continues the history.
//! - Every voucher that could still be the best one to claim, whatever the audits say, is in the record.
//!
//! Spec: specs/0009-channel.md section 11.

mod claim;
mod refusal;

pub use claim::{Claim, Ending, Prospect, Release};
pub use refusal::Refusal;

use crate::{
    channel::{Budget, Standing, Terms},
    limits::WINDOWS_WAITING_MAX,
    payer::Price,
    record::{self, Draft, Kind},
    voucher::{Domain, Signed, Voucher},
    window::Report,
};
use alloy_primitives::{Address, B256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use keystead_contracts::storage::channel::Status;
use std::time::Duration;

/// What a provider asks of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The account that earns.
    pub account: Address,
    /// The token in which the price is; zero for KST.
    pub token: Address,
    /// The price of work.
    pub price: Price,
    /// Longest time that one window takes to run and to be delivered.
    pub window: Duration,
    /// Time in which the audit closes every window, appeals included; zero where nothing is audited.
    pub audit: Duration,
    /// What the checks of a window take from the deposit; nothing where nothing is audited.
    pub budget: Budget,
    /// How long the watcher may be away.
    pub watch: Duration,
}

/// The provider's side of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payee {
    terms: Terms,
    policy: Policy,
    body: Body,
    /// Units of the window that is being run; a crash forgets it, since nothing was reported.
    running: Option<u32>,
}

/// What the record holds.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
struct Body {
    domain: Domain,
    channel_id: B256,
    /// The report that waits for its voucher: one, or none.
    reported: Vec<Report>,
    /// Vouchers that may still be claimed, by window without gaps; without audit only the newest.
    waiting: Vec<Signed>,
    /// Where the chain stands as far as this side has seen.
    window: u64,
    history: B256,
    claimed: u128,
    /// The first window that the audit found wrong; zero if none was.
    found_wrong: u64,
}

impl Payee {
    /// The provider's side of a channel that was just opened; its first record comes with it. For one that may have a record, use
    /// [`Payee::resume`].
    ///
    /// # Errors
    /// [`Refusal`]: no work is done for this channel.
    pub fn join(terms: Terms, policy: Policy, standing: &Standing) -> Result<Draft<Self>, Refusal> {
        check_terms(&terms, &policy)?;
        if standing.claimed != 0 || standing.window != 0 || standing.announced != 0 {
            return Err(Refusal::RecordMissing { window: standing.window.max(standing.announced) });
        }
        let body = Body {
            domain: terms.domain,
            channel_id: terms.channel_id,
            reported: Vec::new(),
            waiting: Vec::new(),
            window: 0,
            history: B256::ZERO,
            claimed: 0,
            found_wrong: 0,
        };
        Ok(Draft::new(record::encode(Kind::Payee, &body), Self { terms, policy, body, running: None }))
    }

    /// Goes on from the newest record on the disk.
    ///
    /// # Errors
    /// [`record::Error`]: the vouchers in it cannot be trusted; what is still readable may be claimed by hand.
    pub fn resume(terms: Terms, policy: Policy, bytes: &[u8]) -> Result<Self, record::Error> {
        let body: Body = record::decode(Kind::Payee, bytes)?;
        if body.channel_id != terms.channel_id || body.domain != terms.domain {
            return Err(record::Error::AnotherChannel { got: body.channel_id, expected: terms.channel_id });
        }
        let payee = Self { terms, policy, body, running: None };
        let body = &payee.body;
        let next = payee.last_window().checked_add(1);
        let owed = body
            .reported
            .iter()
            .all(|report| report.channel_id == terms.channel_id && Some(report.window) == next && report.units != 0);
        let bounded = body.reported.len() <= 1 && body.waiting.len() <= WINDOWS_WAITING_MAX;
        if !bounded || !owed || !body.is_a_chain(terms.audited) {
            return Err(record::Error::Malformed);
        }
        Ok(payee)
    }

    /// What was agreed at the opening.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What this provider asks.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The newest voucher that was taken and is not claimed in full.
    #[must_use]
    pub fn newest(&self) -> Option<&Signed> {
        self.body.waiting.last()
    }

    /// All that was earned by vouchers so far, held back or not.
    #[must_use]
    pub fn earned(&self) -> u128 {
        self.newest().map_or(self.body.claimed, |signed| signed.voucher.cumulative)
    }

    /// How many vouchers wait for a claim.
    #[must_use]
    pub const fn waiting_count(&self) -> usize {
        self.body.waiting.len()
    }

    /// The window that was reported and is not paid: send it again with its outputs, it is what the customer owes for.
    #[must_use]
    pub fn reported(&self) -> Option<&Report> {
        self.body.reported.first()
    }

    /// Whether a window of so many units may begin; if so, its work is the only work without a voucher.
    ///
    /// # Errors
    /// [`Refusal`]: do not work.
    pub fn begin(&mut self, units: u32, standing: &Standing) -> Result<(), Refusal> {
        if let Some(report) = self.body.reported.first() {
            return Err(Refusal::Unpaid { window: report.window });
        }
        if self.body.found_wrong != 0 {
            return Err(Refusal::FoundWrong { window: self.body.found_wrong });
        }
        if standing.status != Status::Open {
            return Err(Refusal::NotOpen { status: standing.status });
        }
        let max = self.policy.price.units_max.get();
        let price = self.policy.price.of(units).filter(|_| units != 0 && units <= max);
        let price = price.ok_or(Refusal::UnitsOutOfRange { got: units, max })?;
        let earned = self.earned().checked_add(price).ok_or(Refusal::Exhausted)?;
        let needed = earned.saturating_add(self.checks(units, standing));
        if needed > standing.usable() {
            return Err(Refusal::DepositTooSmall { needed, deposit: standing.usable() });
        }
        if self.terms.audited && self.body.waiting.len() >= WINDOWS_WAITING_MAX {
            return Err(Refusal::TooManyWaiting { waiting: self.body.waiting.len() });
        }
        let end = [self.policy.window, self.after_work()].iter().fold(standing.now, |t, d| t.saturating_add(*d));
        if end > self.terms.expires_at {
            return Err(Refusal::EndsTooSoon { needed_s: end.as_secs(), expires_s: self.terms.expires_at.as_secs() });
        }
        self.running = Some(units);
        Ok(())
    }

    /// The next window to be announced to the audit, if there is one: its voucher is on the disk, and those before it are announced.
    #[must_use]
    pub fn to_announce(&self, standing: &Standing) -> Option<&Signed> {
        self.unannounced(standing).next()
    }

    /// What checks may still take from the deposit: those of a window of so many units, and of each that is paid and not announced yet.
    fn checks(&self, units: u32, standing: &Standing) -> u128 {
        if !self.terms.audited {
            return 0;
        }
        self.unannounced(standing).fold(self.policy.budget.of(units), |sum, signed| {
            sum.saturating_add(self.policy.budget.of(signed.voucher.units))
        })
    }

    fn unannounced(&self, standing: &Standing) -> impl Iterator<Item = &Signed> {
        let (audited, announced) = (self.terms.audited, standing.announced);
        self.body.waiting.iter().filter(move |signed| audited && signed.voucher.window > announced)
    }

    /// The window that was begun ends with fewer units. What was asked at its begin is not asked again: the work is done.
    ///
    /// # Errors
    /// [`Refusal::NotRunning`], [`Refusal::UnitsOutOfRange`]: nothing changes.
    pub fn shorten(&mut self, units: u32) -> Result<(), Refusal> {
        let max = self.running.ok_or(Refusal::NotRunning)?;
        if units == 0 || units > max {
            return Err(Refusal::UnitsOutOfRange { got: units, max });
        }
        self.running = Some(units);
        Ok(())
    }

    /// The window that was begun is done: its report, which stays the same until it is paid. Save it, then send it.
    ///
    /// # Errors
    /// [`Refusal::NotRunning`], [`Refusal::Exhausted`].
    pub fn report(&mut self, root: B256) -> Result<Draft<Report>, Refusal> {
        let units = self.running.ok_or(Refusal::NotRunning)?;
        let window = self.last_window().checked_add(1).ok_or(Refusal::Exhausted)?;
        let report = Report { channel_id: self.terms.channel_id, window, units, root };
        self.running = None;
        self.body.reported = vec![report];
        Ok(self.draft(report))
    }

    /// Takes the voucher of the reported window: saved, it is earned. `None` if this very voucher was taken before.
    ///
    /// # Errors
    /// [`Refusal`]: nothing changes, the window stays unpaid. Cheap checks come first, the signature last.
    pub fn accept(&mut self, signed: &Signed, standing: &Standing) -> Result<Option<Draft<u64>>, Refusal> {
        if signed.voucher.channel_id != self.terms.channel_id {
            return Err(Refusal::AnotherChannel { got: signed.voucher.channel_id, expected: self.terms.channel_id });
        }
        if self.body.waiting.contains(signed) {
            return Ok(None);
        }
        self.check_voucher(&signed.voucher, standing)?;
        signed.verify(&self.terms.domain, self.terms.signer)?;
        self.body.reported.clear();
        if !self.terms.audited {
            // A newer voucher without hold-back is always the better one.
            self.body.waiting.clear();
        }
        self.body.waiting.push(*signed);
        Ok(Some(self.draft(signed.voucher.window)))
    }

    /// The customer refused the report: nothing is owed for it, and the next report takes its number. Whoever calls this decides how often it
    /// works for nothing. Spec: specs/0011-stream.md section 5.
    pub fn drop_report(&mut self) -> Draft<()> {
        self.body.reported.clear();
        self.draft(())
    }

    /// Learns from a final block how far the channel was claimed, and forgets the vouchers below.
    ///
    /// # Errors
    /// [`Refusal::Diverged`]: the chain says what this side did not sign up for. Stop and look.
    pub fn settle(&mut self, standing: &Standing) -> Result<Draft<()>, Refusal> {
        let known = self.body.history_at(standing.window);
        let history_fits = !self.terms.audited || known == Some(standing.history);
        let behind = standing.window < self.body.window || standing.claimed < self.body.claimed;
        if behind || standing.window > self.last_window() || !history_fits {
            return Err(Refusal::Diverged { window: standing.window, claimed: standing.claimed });
        }
        self.body.waiting.retain(|signed| signed.voucher.window > standing.window);
        self.body.window = standing.window;
        // Without audit the chain keeps no history, and an older voucher than the newest may have been claimed: then the newest,
        // which is still here, says how it goes on.
        self.body.history = known.unwrap_or(self.body.history);
        self.body.claimed = standing.claimed;
        Ok(self.draft(()))
    }

    /// Notes that the audit found a window of this channel wrong: no more work, since nothing after that window can be claimed. The
    /// first such window stays.
    pub fn found_wrong(&mut self, window: u64) -> Draft<()> {
        if self.body.found_wrong == 0 {
            self.body.found_wrong = window.max(1);
        }
        self.draft(())
    }

    /// How long before the deadline a window must be reported, so that its audit and a claim still fit.
    #[must_use]
    pub const fn after_work(&self) -> Duration {
        after_work(&self.terms, &self.policy)
    }

    fn last_window(&self) -> u64 {
        self.newest().map_or(self.body.window, |signed| signed.voucher.window)
    }

    fn check_voucher(&self, voucher: &Voucher, standing: &Standing) -> Result<(), Refusal> {
        let Some(report) = self.body.reported.first() else {
            return Err(Refusal::NothingOwed { window: voucher.window });
        };
        if (voucher.window, voucher.units, voucher.root) != (report.window, report.units, report.root) {
            return Err(Refusal::AnotherWindow { got: voucher.window, expected: report.window });
        }
        if voucher.history != self.body.history_after() {
            return Err(Refusal::AnotherHistory { window: voucher.window });
        }
        let price = self.policy.price.of(report.units).ok_or(Refusal::Exhausted)?;
        let owed = self.earned().checked_add(price).ok_or(Refusal::Exhausted)?;
        let added = match voucher.cumulative.checked_sub(self.earned()) {
            Some(added) if added >= price => added,
            _ => return Err(Refusal::Underpaid { got: voucher.cumulative, owed }),
        };
        // What leaves no room for its checks is never announced, and so never paid.
        let needed = voucher.cumulative.saturating_add(self.checks(report.units, standing));
        if needed > standing.usable() {
            return Err(Refusal::DepositTooSmall { needed, deposit: standing.usable() });
        }
        let max = if self.terms.audited { added } else { 0 };
        if voucher.held_back > max {
            return Err(Refusal::HeldBackTooLarge { got: voucher.held_back, max });
        }
        Ok(())
    }

    fn draft<T>(&self, message: T) -> Draft<T> {
        Draft::new(record::encode(Kind::Payee, &self.body), message)
    }
}

impl Body {
    /// The history that the next voucher must carry.
    fn history_after(&self) -> B256 {
        self.waiting.last().map_or(self.history, |signed| signed.voucher.history_after())
    }

    /// The history behind a window that this side knows.
    fn history_at(&self, window: u64) -> Option<B256> {
        if window == self.window {
            return Some(self.history);
        }
        let found = self.waiting.iter().find(|signed| signed.voucher.window == window);
        found.map(|signed| signed.voucher.history_after())
    }

    /// Whether the waiting vouchers follow each other and the claimed window.
    fn is_a_chain(&self, audited: bool) -> bool {
        if !audited {
            return self.waiting.len() <= 1;
        }
        let (mut window, mut history, mut cumulative) = (self.window, self.history, 0);
        self.waiting.iter().all(|Signed { voucher, .. }| {
            let follows = window.checked_add(1) == Some(voucher.window)
                && voucher.history == history
                && voucher.cumulative >= cumulative
                && voucher.held_back <= voucher.cumulative
                && voucher.channel_id == self.channel_id;
            (window, history, cumulative) = (voucher.window, voucher.history_after(), voucher.cumulative);
            follows
        })
    }
}

const fn after_work(terms: &Terms, policy: &Policy) -> Duration {
    if terms.audited { policy.audit.saturating_add(policy.watch) } else { policy.watch }
}

fn check_terms(terms: &Terms, policy: &Policy) -> Result<(), Refusal> {
    if terms.provider != policy.account {
        return Err(Refusal::AnotherProvider { got: terms.provider, expected: policy.account });
    }
    if terms.token != policy.token {
        return Err(Refusal::AnotherToken { got: terms.token, expected: policy.token });
    }
    let needed = after_work(terms, policy);
    if terms.challenge < needed {
        return Err(Refusal::ChallengeTooShort { got_s: terms.challenge.as_secs(), needed_s: needed.as_secs() });
    }
    Ok(())
}
