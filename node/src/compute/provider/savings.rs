//! The share of what this provider earns that goes into its bond (`--bond-from-earnings`), exact through every crash.
//!
//! # Design
//! What was earned is read from the chain, not from this process's memory: everything in KST that market, channels and audit paid out to the account, block by
//! block, less what came back to it as a customer. The journal says up to which block it was counted, so that every payout counts once, also one that an
//! earlier process took in its last moment. A deposit is signed, with its nonce, and is in the journal before it is offered: a transaction of that nonce is in a
//! block at most once, so after a crash the chain says whether the money went, and the same bytes are offered again if not.
//!
//! # Invariants
//! What is in the bond by this is `floor(percent * earned / 100)` or less, never more. The journal has a fixed size, however much was earned.
//!
//! What the contracts owe when the journal begins, and what this account itself put down for accusations, appeals and panels, is taken for money that comes
//! back: it is no income when it does. Whoever loses such a deposit has earned so much less.
//!
//! # Not here
//! Tokens: a bond is one in KST. The rest of a deposit for checks that this account made as a customer counts as earned: the audit's event does not tell it
//! from fees. One key in two folders saves twice, as each has a journal of its own.

use crate::compute::{
    account::{Account, Log, Signed},
    files,
    windows::accusation_wei,
};
use alloy_primitives::{Address, B256, Bytes, U256, uint};
use alloy_sol_types::SolEvent;
use eyre::{Context as _, Result, bail};
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS, CHANNEL_ADDRESS, MARKET_ADDRESS,
    bindings::{audit::Audit, bond::Bond, channel::Channel, market::Market, panels::Panels, referee::Referee},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, MutexGuard};

/// The journal, in the provider's folder.
pub(super) const FILE: &str = "savings.json";
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 10_000;
const HUNDRED: U256 = uint!(100_U256);

/// What was earned, what of it is owed to the bond, and the deposit that is under way. Sums saturate: there is not so much KST.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    /// The first block of the chain that this is about.
    genesis: B256,
    /// Share of what is earned from `next` on.
    percent: u8,
    /// The first block that is not counted.
    next: u64,
    /// All that was earned since the journal began.
    earned_wei: U256,
    /// Money of this account itself that the contracts hold, and that was not found in a withdrawal yet: it is no income when it comes.
    refunds_wei: U256,
    /// What the bond has to get, in hundredths of a wei, so that nothing is lost however payouts fall together.
    owed_hundredths: U256,
    /// All that went into the bond.
    bonded_wei: U256,
    /// Signed, and not known to be in a block.
    pending: Option<Deposit>,
}

/// A signed transaction into the bond.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deposit {
    amount_wei: U256,
    nonce: u64,
    hash: B256,
    raw: Bytes,
}

/// What became of a deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in a block, and in the bond.
    Bonded,
    /// It is in a block and failed, or another transaction has its nonce: it never comes.
    Nothing,
    /// Neither is known yet.
    Open,
}

/// What some blocks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Income {
    withdrawn_wei: U256,
    refunds_wei: U256,
}

/// How a process begins.
#[derive(Clone, Copy, Debug)]
struct Start {
    genesis: B256,
    head: u64,
    percent: u8,
    /// What the contracts owed the account before.
    owed_wei: U256,
}

/// Chain and disk, as savings see them.
pub(super) trait World: Send + Sync {
    /// Height of the newest block.
    fn head(&self) -> impl Future<Output = Result<u64>> + Send;
    /// What came to the account in blocks `first..=last`.
    fn income(&self, first: u64, last: u64) -> impl Future<Output = Result<Income>> + Send;
    /// While it is held, nobody else takes a nonce of the account.
    fn turn(&self) -> impl Future<Output = MutexGuard<'_, ()>> + Send;
    /// Signs a deposit with the next nonce, without offering it.
    fn sign(&self, amount_wei: U256) -> impl Future<Output = Result<Deposit>> + Send;
    /// Offers a deposit, as often as it is called, and waits until it is in a block.
    fn offer(&self, deposit: &Deposit) -> impl Future<Output = Result<()>> + Send;
    /// What became of a deposit.
    fn fate(&self, deposit: &Deposit) -> impl Future<Output = Result<Fate>> + Send;
    /// Has the journal on the disk when it returns.
    fn write(&self, journal: &Journal) -> Result<()>;
}

/// The savings of one provider.
#[derive(Debug)]
pub(super) struct Savings<W> {
    world: W,
    /// Held while the chain is asked: two at once would sign two deposits for one share.
    journal: Mutex<Journal>,
}

/// Those of a provider's account.
pub(super) type OnChain = Savings<Chain>;

impl Journal {
    fn share_wei(&self) -> U256 {
        self.owed_hundredths.checked_div(HUNDRED).unwrap_or_default()
    }

    /// With what the blocks before `next` say.
    fn with(&self, income: Income, next: u64) -> Self {
        let refunds_wei = self.refunds_wei.saturating_add(income.refunds_wei);
        let earned_wei = income.withdrawn_wei.saturating_sub(refunds_wei);
        let hundredths = earned_wei.saturating_mul(U256::from(self.percent));
        Self {
            next,
            refunds_wei: refunds_wei.saturating_sub(income.withdrawn_wei),
            earned_wei: self.earned_wei.saturating_add(earned_wei),
            owed_hundredths: self.owed_hundredths.saturating_add(hundredths),
            ..self.clone()
        }
    }

    fn after(&self, deposit: &Deposit) -> Self {
        Self {
            pending: None,
            bonded_wei: self.bonded_wei.saturating_add(deposit.amount_wei),
            owed_hundredths: self.owed_hundredths.saturating_sub(deposit.amount_wei.saturating_mul(HUNDRED)),
            ..self.clone()
        }
    }
}

impl Savings<Chain> {
    /// As an earlier process left them; none for who never saved and does not now.
    ///
    /// # Errors
    /// The node's, the disk's, and a damaged journal.
    pub(super) async fn open(account: &Arc<Account>, folder: &Path, percent: u8) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let found = read(&path)?;
        if found.is_none() && percent == 0 {
            return Ok(None);
        }
        let chain = Chain { account: Arc::clone(account), path };
        // Before the height: what is credited between the two is taken for earned, and counts when it comes.
        let (owed_wei, genesis) = (chain.owed().await?, account.genesis().await?);
        let start = Start { genesis, head: account.height().await?, percent, owed_wei };
        Self::begin(chain, found, start).await.map(Some)
    }
}

impl<W: World> Savings<W> {
    async fn begin(world: W, found: Option<Journal>, start: Start) -> Result<Self> {
        let next = start.head.saturating_add(1);
        let fits = |journal: &Journal| journal.genesis == start.genesis;
        let is_other = found.as_ref().is_some_and(|journal| !fits(journal));
        if is_other {
            tracing::warn!("the savings in this folder are those of another chain: they begin anew");
        }
        let journal = match found.filter(fits) {
            Some(journal) => {
                if journal.next > next {
                    // To begin anew would count what was counted, and forget the deposit that is under way.
                    tracing::warn!(
                        counted = journal.next.saturating_sub(1),
                        head = start.head,
                        "the node is behind what the savings counted, which waits for it; if the chain itself began anew, move {FILE} away"
                    );
                }
                journal
            }
            None => {
                let Start { genesis, percent, owed_wei, .. } = start;
                let journal = Journal { genesis, percent, next, refunds_wei: owed_wei, ..Journal::default() };
                world.write(&journal)?;
                journal
            }
        };
        let has_changed = journal.percent != start.percent;
        let savings = Self { world, journal: Mutex::new(journal) };
        if has_changed {
            // What came until now came under the old share.
            let mut journal = savings.journal.lock().await;
            savings.count(&mut journal).await?;
            let changed = Journal { percent: start.percent, ..journal.clone() };
            savings.keep(&mut journal, changed)?;
        }
        Ok(savings)
    }

    /// Counts what was earned, and brings the bond what it is owed; how much went there, wei.
    ///
    /// # Errors
    /// The node's and the disk's. Nothing is forgotten: calling it again goes on.
    pub(super) async fn bring_up(&self) -> Result<U256> {
        let mut journal = self.journal.lock().await;
        let before = journal.bonded_wei;
        // First: a node that has these blocks has the receipt of a deposit in them. One that lacks them would say that it never came.
        self.count(&mut journal).await?;
        if journal.pending.is_some() {
            let turn = self.world.turn().await;
            self.finish(&mut journal).await?;
            drop(turn);
        }
        let share_wei = journal.share_wei();
        if !share_wei.is_zero() {
            let turn = self.world.turn().await;
            let deposit = self.world.sign(share_wei).await?;
            let signed = Journal { pending: Some(deposit), ..journal.clone() };
            self.keep(&mut journal, signed)?;
            self.finish(&mut journal).await?;
            drop(turn);
        }
        Ok(journal.bonded_wei.saturating_sub(before))
    }

    /// Learns what became of the deposit that is under way, and offers it if nothing did.
    async fn finish(&self, journal: &mut Journal) -> Result<()> {
        let Some(deposit) = journal.pending.clone() else { return Ok(()) };
        let mut fate = self.world.fate(&deposit).await?;
        if fate == Fate::Open {
            self.world.offer(&deposit).await.wrap_err("a share of the income is on its way into the bond")?;
            fate = self.world.fate(&deposit).await?;
        }
        let next = match fate {
            Fate::Bonded => journal.after(&deposit),
            Fate::Nothing => Journal { pending: None, ..journal.clone() },
            Fate::Open => bail!("the deposit {} is in no block yet: it is asked for again", deposit.hash),
        };
        self.keep(journal, next)
    }

    async fn count(&self, journal: &mut Journal) -> Result<()> {
        let head = self.world.head().await?;
        while journal.next <= head {
            let last = head.min(journal.next.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let first = journal.next;
            let income = self.world.income(first, last).await.wrap_err_with(|| {
                format!(
                    "cannot count what was earned: if the node has these blocks no more, take another one (--rpc), or move {FILE} away and begin anew: first={first} last={last}"
                )
            })?;
            let counted = journal.with(income, last.saturating_add(1));
            // Blocks in which there was nothing may be looked at again: the disk rests.
            if income != Income::default() || last < head {
                self.keep(journal, counted)?;
            } else {
                *journal = counted;
            }
        }
        Ok(())
    }

    /// On the disk first: what memory says was never more than what the disk does.
    fn keep(&self, journal: &mut Journal, next: Journal) -> Result<()> {
        self.world.write(&next)?;
        *journal = next;
        Ok(())
    }
}

/// What `--status` says of the savings in a provider's folder; none if it never saved.
pub(super) fn status(folder: &Path) -> Result<Option<Value>> {
    let journal = read(&folder.join(FILE))?;
    Ok(journal.map(|journal| {
        json!({
            "percent": journal.percent,
            "earned_wei": journal.earned_wei.to_string(),
            "bonded_wei": journal.bonded_wei.to_string(),
            "owed_wei": journal.share_wei().to_string(),
            "deposit_under_way": journal.pending.is_some(),
        })
    }))
}

fn read(path: &Path) -> Result<Option<Journal>> {
    let Some(text) = files::read(path)? else { return Ok(None) };
    let journal = serde_json::from_str(&text).wrap_err_with(|| {
        format!(
            "the journal of what is saved for the bond is damaged: move it away, and deposit what is missing by hand (`keystead bond deposit`): {}",
            path.display()
        )
    })?;
    Ok(Some(journal))
}

/// The account's chain, and the provider's folder.
#[derive(Debug)]
pub(super) struct Chain {
    account: Arc<Account>,
    path: PathBuf,
}

impl Chain {
    /// What the contracts owe the account.
    async fn owed(&self) -> Result<U256> {
        let (account, me) = (&self.account, self.account.address());
        let market = account.read(MARKET_ADDRESS, &Market::creditCall { account: me }).await?;
        let audit = account.read(AUDIT_ADDRESS, &Audit::creditCall { account: me }).await?;
        let channel = Channel::creditCall { account: me, token: Address::ZERO };
        let channel = account.read(CHANNEL_ADDRESS, &channel).await?;
        Ok(market.saturating_add(audit).saturating_add(channel))
    }

    /// What the account put down in the audit: for accusations and appeals, and for further panels.
    async fn put_down(&self, first: u64, last: u64) -> Result<U256> {
        let (account, mine) = (&self.account, self.account.address().into_word());
        let mut sum = U256::ZERO;
        let topics = json!([Referee::Challenged::SIGNATURE_HASH, null, mine]);
        for log in account.logs(AUDIT_ADDRESS, first, last, topics).await? {
            let Some(challenged) = event::<Referee::Challenged>(&log, AUDIT_ADDRESS) else { continue };
            let window = account.read(AUDIT_ADDRESS, &Audit::windowOfCall { windowId: challenged.windowId }).await?;
            sum = sum.saturating_add(accusation_wei(U256::from(window.feeWei)));
        }
        let topics = json!([Panels::Funded::SIGNATURE_HASH, null, mine]);
        for log in account.logs(AUDIT_ADDRESS, first, last, topics).await? {
            let funded = event::<Panels::Funded>(&log, AUDIT_ADDRESS);
            sum = sum.saturating_add(funded.map_or(U256::ZERO, |funded| funded.amountWei));
        }
        Ok(sum)
    }

    /// What was credited to the account in an order, or a channel, whose provider is another.
    async fn refunds(&self, first: u64, last: u64) -> Result<U256> {
        let (account, me) = (&self.account, self.account.address());
        let mut sum = U256::ZERO;
        let topics = json!([Market::Credited::SIGNATURE_HASH, null, me.into_word()]);
        for log in account.logs(MARKET_ADDRESS, first, last, topics).await? {
            let Some(credited) = event::<Market::Credited>(&log, MARKET_ADDRESS) else { continue };
            let call = Market::orderCall { orderId: credited.orderId };
            if account.read(MARKET_ADDRESS, &call).await?.provider != me {
                sum = sum.saturating_add(credited.amountWei);
            }
        }
        let kst = Address::ZERO.into_word();
        let topics = json!([Channel::Credited::SIGNATURE_HASH, null, me.into_word(), kst]);
        for log in account.logs(CHANNEL_ADDRESS, first, last, topics).await? {
            let Some(credited) = event::<Channel::Credited>(&log, CHANNEL_ADDRESS) else { continue };
            let call = Channel::channelCall { channelId: credited.channelId };
            if account.read(CHANNEL_ADDRESS, &call).await?.provider != me {
                sum = sum.saturating_add(credited.amount);
            }
        }
        Ok(sum)
    }

    async fn withdrawn(&self, first: u64, last: u64) -> Result<U256> {
        let (account, me) = (&self.account, self.account.address());
        let mine = me.into_word();
        let mut sum = U256::ZERO;
        let topics = json!([Market::Withdrawn::SIGNATURE_HASH, mine]);
        for log in account.logs(MARKET_ADDRESS, first, last, topics).await? {
            let event = event::<Market::Withdrawn>(&log, MARKET_ADDRESS).filter(|event| event.to == me);
            sum = sum.saturating_add(event.map_or(U256::ZERO, |event| event.amountWei));
        }
        let topics = json!([Audit::Withdrawn::SIGNATURE_HASH, mine]);
        for log in account.logs(AUDIT_ADDRESS, first, last, topics).await? {
            let event = event::<Audit::Withdrawn>(&log, AUDIT_ADDRESS).filter(|event| event.to == me);
            sum = sum.saturating_add(event.map_or(U256::ZERO, |event| event.amountWei));
        }
        let topics = json!([Channel::Withdrawn::SIGNATURE_HASH, mine, Address::ZERO.into_word()]);
        for log in account.logs(CHANNEL_ADDRESS, first, last, topics).await? {
            let event = event::<Channel::Withdrawn>(&log, CHANNEL_ADDRESS).filter(|event| event.to == me);
            sum = sum.saturating_add(event.map_or(U256::ZERO, |event| event.amount));
        }
        Ok(sum)
    }
}

impl World for Chain {
    async fn head(&self) -> Result<u64> {
        self.account.height().await
    }

    async fn income(&self, first: u64, last: u64) -> Result<Income> {
        let withdrawn_wei = self.withdrawn(first, last).await?;
        let refunds_wei = self.refunds(first, last).await?.saturating_add(self.put_down(first, last).await?);
        Ok(Income { withdrawn_wei, refunds_wei })
    }

    async fn turn(&self) -> MutexGuard<'_, ()> {
        self.account.turn().await
    }

    async fn sign(&self, amount_wei: U256) -> Result<Deposit> {
        let signed = self.account.sign_call(BOND_ADDRESS, &Bond::depositCall {}, amount_wei).await?;
        let Signed { raw, hash, nonce, .. } = signed;
        Ok(Deposit { amount_wei, nonce, hash, raw })
    }

    async fn offer(&self, deposit: &Deposit) -> Result<()> {
        if let Err(error) = self.account.broadcast(&deposit.raw).await
            && !self.account.is_known(deposit.hash).await?
        {
            return Err(error);
        }
        self.account.included(deposit.hash).await.map(drop)
    }

    async fn fate(&self, deposit: &Deposit) -> Result<Fate> {
        // Before the receipt: a nonce that is used by then was used by this transaction, or by another for ever.
        let is_used = self.account.nonce().await? > deposit.nonce;
        Ok(match self.account.receipt(deposit.hash).await? {
            Some(receipt) if receipt.succeeded() => Fate::Bonded,
            Some(_) => Fate::Nothing,
            None if is_used => Fate::Nothing,
            None => Fate::Open,
        })
    }

    fn write(&self, journal: &Journal) -> Result<()> {
        files::replace(&self.path, &serde_json::to_vec(journal)?)
    }
}

fn event<E: SolEvent>(log: &Log, by: Address) -> Option<E> {
    if log.address != by {
        return None;
    }
    E::decode_raw_log(log.topics.iter().copied(), &log.data).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use std::{
        collections::BTreeMap,
        sync::{Mutex as Lock, PoisonError},
    };

    /// Where a process ends: at this step, before it has an effect or after that.
    #[derive(Clone, Copy, Debug)]
    struct Cut {
        steps: u32,
        has_effect: bool,
    }

    /// What outlives a process.
    #[derive(Debug, Default)]
    struct Outside {
        height: u64,
        income: BTreeMap<u64, Income>,
        /// What is in blocks, by nonce; none is a transaction of somebody else with the same key.
        used: Vec<Option<Deposit>>,
        signed: u64,
        /// The node takes a transaction, and forgets it.
        forgets: bool,
        file: Option<Vec<u8>>,
        cut: Option<Cut>,
    }

    #[derive(Clone, Debug, Default)]
    struct Fake {
        outside: Arc<Lock<Outside>>,
        turn: Arc<Mutex<()>>,
    }

    impl Fake {
        fn look<T>(&self, look: impl FnOnce(&mut Outside) -> T) -> T {
            look(&mut self.outside.lock().unwrap_or_else(PoisonError::into_inner))
        }

        /// A step of the process, which may be its last one.
        fn step<T>(&self, act: impl FnOnce(&mut Outside) -> T) -> Result<T> {
            self.look(|outside| match outside.cut {
                Some(Cut { steps: 0, has_effect }) => {
                    outside.cut = None;
                    if has_effect {
                        act(outside);
                    }
                    bail!("the process ends here")
                }
                Some(cut) => {
                    outside.cut = Some(Cut { steps: cut.steps - 1, ..cut });
                    Ok(act(outside))
                }
                None => Ok(act(outside)),
            })
        }

        fn earn(&self, wei: u64) {
            self.comes(Income { withdrawn_wei: U256::from(wei), refunds_wei: U256::ZERO });
        }

        fn comes(&self, income: Income) {
            self.look(|outside| {
                outside.height += 1;
                outside.income.insert(outside.height, income);
            });
        }

        /// The next process.
        async fn open(&self, percent: u8) -> Result<Savings<Self>> {
            let (file, head) = self.look(|outside| (outside.file.clone(), outside.height));
            let found = file.map(|file| serde_json::from_slice(&file).unwrap());
            Savings::begin(self.clone(), found, Start { genesis: B256::ZERO, head, percent, owed_wei: U256::ZERO })
                .await
        }

        fn bonded(&self) -> u64 {
            let sum =
                |outside: &mut Outside| outside.used.iter().flatten().map(|deposit| deposit.amount_wei).sum::<U256>();
            self.look(sum).to()
        }
    }

    impl World for Fake {
        async fn head(&self) -> Result<u64> {
            self.step(|outside| outside.height)
        }

        async fn income(&self, first: u64, last: u64) -> Result<Income> {
            self.step(|outside| {
                outside.income.range(first..=last).fold(Income::default(), |sum, (_, income)| Income {
                    withdrawn_wei: sum.withdrawn_wei + income.withdrawn_wei,
                    refunds_wei: sum.refunds_wei + income.refunds_wei,
                })
            })
        }

        async fn turn(&self) -> MutexGuard<'_, ()> {
            self.turn.lock().await
        }

        async fn sign(&self, amount_wei: U256) -> Result<Deposit> {
            self.step(|outside| {
                outside.signed += 1;
                let hash = B256::from(U256::from(outside.signed));
                Deposit { amount_wei, nonce: outside.used.len() as u64, hash, raw: Bytes::new() }
            })
        }

        async fn offer(&self, deposit: &Deposit) -> Result<()> {
            self.step(|outside| {
                if outside.used.len() as u64 == deposit.nonce && !outside.forgets {
                    outside.used.push(Some(deposit.clone()));
                }
            })
        }

        async fn fate(&self, deposit: &Deposit) -> Result<Fate> {
            self.step(|outside| match outside.used.get(usize::try_from(deposit.nonce).unwrap()) {
                Some(Some(there)) if there.hash == deposit.hash => Fate::Bonded,
                Some(_) => Fate::Nothing,
                None => Fate::Open,
            })
        }

        fn write(&self, journal: &Journal) -> Result<()> {
            self.step(|outside| outside.file = Some(serde_json::to_vec(journal).unwrap()))
        }
    }

    /// More than a process takes for one share.
    const STEPS: u32 = 16;

    #[tokio::test]
    async fn a_process_that_ends_at_any_step_leaves_exactly_the_share_to_the_next() {
        for has_effect in [false, true] {
            let mut whole = 0;
            for steps in 0..STEPS {
                let fake = Fake::default();
                fake.earn(1_000_000);
                let savings = fake.open(33).await.unwrap();
                // 33 % of 1,012 are 333.96.
                fake.earn(7);
                fake.earn(1_005);
                fake.look(|outside| outside.cut = Some(Cut { steps, has_effect }));
                whole += u32::from(savings.bring_up().await.is_ok());
                fake.look(|outside| outside.cut = None);
                // Nobody else has the same key, so nothing is in a block twice; and a process may begin again and again.
                for _ in 0..3 {
                    let savings = fake.open(33).await.unwrap();
                    savings.bring_up().await.unwrap();
                    assert_eq!(fake.bonded(), 333, "{steps} {has_effect}");
                }
                // The 0.96 are not forgotten: 33 % of 1,020 are 336.6.
                fake.earn(8);
                let savings = fake.open(33).await.unwrap();
                assert_eq!(savings.bring_up().await.unwrap(), U256::from(3));
                assert_eq!(fake.bonded(), 336, "{steps} {has_effect}");
            }
            assert!((1..STEPS).contains(&whole), "some cuts came in the middle and some after the end: {whole}");
        }
    }

    /// A process whose last act was to write down a deposit that it signed.
    async fn after_its_intent() -> Fake {
        let fake = Fake::default();
        let savings = fake.open(50).await.unwrap();
        fake.earn(100);
        // Head, income, the count, the signature, and the intent is on the disk.
        fake.look(|outside| outside.cut = Some(Cut { steps: 4, has_effect: true }));
        drop(savings.bring_up().await.unwrap_err());
        let journal: Journal = fake.look(|outside| serde_json::from_slice(outside.file.as_ref().unwrap()).unwrap());
        assert!(journal.pending.is_some() && fake.bonded() == 0);
        fake
    }

    #[tokio::test]
    async fn a_deposit_whose_nonce_another_transaction_took_is_signed_anew_and_comes_once() {
        let fake = after_its_intent().await;
        fake.look(|outside| outside.used.push(None));
        let savings = fake.open(50).await.unwrap();
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(50));
        assert_eq!((fake.bonded(), fake.look(|outside| outside.signed)), (50, 2));
    }

    #[tokio::test]
    async fn a_deposit_that_the_node_forgot_is_offered_again_as_it_was() {
        let fake = after_its_intent().await;
        fake.look(|outside| outside.forgets = true);
        let savings = fake.open(50).await.unwrap();
        for _ in 0..2 {
            assert!(savings.bring_up().await.unwrap_err().to_string().contains("in no block yet"));
        }
        fake.look(|outside| outside.forgets = false);
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(50));
        assert_eq!((fake.bonded(), fake.look(|outside| outside.signed)), (50, 1), "the same transaction");
    }

    #[tokio::test]
    async fn what_comes_back_to_a_customer_is_no_income_and_another_share_holds_from_its_start_on() {
        let fake = Fake::default();
        let savings = fake.open(50).await.unwrap();
        let wei = |withdrawn: u64, refunds: u64| Income {
            withdrawn_wei: U256::from(withdrawn),
            refunds_wei: U256::from(refunds),
        };
        fake.comes(wei(0, 40));
        assert_eq!(savings.bring_up().await.unwrap(), U256::ZERO);
        fake.comes(wei(140, 0));
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(50));
        // What came while nobody looked came under the old share; from now on it is none, and then all.
        fake.earn(10);
        let savings = fake.open(0).await.unwrap();
        fake.earn(1_000);
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(5));
        let savings = fake.open(100).await.unwrap();
        fake.earn(3);
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(3));
        assert_eq!(fake.bonded(), 58);
    }

    #[tokio::test]
    async fn a_node_that_is_behind_has_nothing_counted_again_and_no_deposit_forgotten() {
        let fake = after_its_intent().await;
        let counted = fake.look(|outside| outside.height);
        // The process begins at a node that lacks the last blocks.
        fake.look(|outside| outside.height = 0);
        let savings = fake.open(50).await.unwrap();
        fake.look(|outside| outside.height = counted);
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(50));
        assert_eq!((fake.bonded(), fake.look(|outside| outside.signed)), (50, 1), "the deposit from before, once");
    }

    #[tokio::test]
    async fn what_was_owed_before_the_savings_began_is_no_income_when_it_comes() {
        let fake = Fake::default();
        let start = Start { genesis: B256::ZERO, head: 0, percent: 50, owed_wei: U256::from(1_000) };
        let savings = Savings::begin(fake.clone(), None, start).await.unwrap();
        fake.earn(1_000);
        assert_eq!(savings.bring_up().await.unwrap(), U256::ZERO);
        fake.earn(10);
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(5));
        // A process that goes on takes nothing of what is owed now for old.
        let found = fake.look(|outside| serde_json::from_slice(outside.file.as_ref().unwrap()).unwrap());
        let savings = Savings::begin(fake.clone(), Some(found), Start { head: 2, ..start }).await.unwrap();
        fake.earn(10);
        assert_eq!(savings.bring_up().await.unwrap(), U256::from(5));
    }

    #[tokio::test]
    async fn a_folder_of_another_chain_begins_anew_and_a_damaged_journal_says_what_to_do() {
        let fake = Fake::default();
        fake.earn(1);
        fake.open(50).await.unwrap();
        let journal: Journal = fake.look(|outside| serde_json::from_slice(outside.file.as_ref().unwrap()).unwrap());
        assert_eq!((journal.next, journal.percent), (2, 50), "what was earned before does not count");
        let start = Start { genesis: B256::repeat_byte(1), head: 9, percent: 50, owed_wei: U256::from(7) };
        let savings = Savings::begin(fake.clone(), Some(journal.clone()), start).await.unwrap();
        let now = savings.journal.lock().await.clone();
        assert_eq!((now.genesis, now.next, now.refunds_wei), (start.genesis, 10, U256::from(7)));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(status(folder.path()).unwrap(), None);
        files::replace(&folder.path().join(FILE), &serde_json::to_vec(&journal).unwrap()).unwrap();
        let said = status(folder.path()).unwrap().unwrap();
        assert_eq!((&said["percent"], &said["owed_wei"]), (&json!(50), &json!("0")));
        files::replace(&folder.path().join(FILE), b"{").unwrap();
        let error = status(folder.path()).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("keystead bond deposit"), "{error}");
    }
}
