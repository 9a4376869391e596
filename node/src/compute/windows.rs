//! Windows of audits, as one account reads them on the chain and acts on them: the contracts `Audit`, `Referee` and `Beacon`. Customer, provider
//! and checker all read them here.
//!
//! # Design
//! Everything here is one call or one filter. What to do is decided elsewhere, by rules that are tested without a chain.
//! The referee's functions are called at the audit's address. Spec: specs/0008-audit.md.

use crate::compute::account::{Account, Log, Receipt};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent};
use eyre::{Context as _, Result, bail, eyre};
use keystead_contracts::{
    AUDIT_ADDRESS, BEACON_ADDRESS, CHANNEL_ADDRESS, MARKET_ADDRESS,
    bindings::{
        audit::{Audit, IAuditTypes},
        beacon::Beacon,
        market::IAuditTypes::Terms as MarketTerms,
        referee::{IAuditTypes as RefereeTypes, Referee},
    },
    limits::{ASKS_MAX, BISECT, PANEL_FEES},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The unit proof with openings of one segment, as the contract takes it.
pub(crate) type Proof = RefereeTypes::Proof;

/// Stands for a segment that an accuser still looks for.
pub(crate) const SEEKING: u32 = u32::MAX;
/// Slots of a round.
pub(crate) const SLOTS: u8 = 16;
/// What the preimage of a window's number begins with.
const WINDOW_DOMAIN: &[u8] = b"keystead/window/v1";
/// What the transactions of a window's life take together, from the opening to the close.
const SENT: Duration = Duration::from_secs(300);
/// The rounds of checkers; what follows is the referees'.
pub(crate) const CHECK_ROUNDS: u8 = 2;

/// The window of an order. Spec: specs/0008-audit.md §5.
pub(crate) fn window_of(order: U256) -> B256 {
    window_id(MARKET_ADDRESS, order, 0)
}

/// A window of the channel with this number.
pub(crate) fn window_of_channel(number: u64, window: u64) -> B256 {
    window_id(CHANNEL_ADDRESS, U256::from(number), window)
}

fn window_id(source: Address, number: U256, window: u64) -> B256 {
    keccak256([WINDOW_DOMAIN, source.as_slice(), &number.to_be_bytes::<32>(), &window.to_be_bytes()].concat())
}

/// How long a window lives at most from its draw, and the time that transactions take. Spec: specs/0008-audit.md §14.
pub(crate) fn life_max(terms: &MarketTerms) -> Duration {
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let round = seconds(terms.checkSeconds).saturating_add(seconds(terms.revealSeconds));
    let search = BISECT.saturating_mul(ASKS_MAX.saturating_mul(2));
    let parts = [round.saturating_mul(5), seconds(terms.checkSeconds / 2), search, seconds(terms.appealSeconds), SENT];
    parts.iter().fold(Duration::ZERO, |sum, part| sum.saturating_add(*part))
}

/// Which check: of a unit, in a round, by a slot.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Which {
    pub(crate) window: B256,
    pub(crate) unit: u32,
    pub(crate) round: u8,
    pub(crate) slot: u8,
}

impl Which {
    const fn key(self) -> IAuditTypes::Key {
        let Self { window, unit, round, slot } = self;
        IAuditTypes::Key { windowId: window, unit, round, slot }
    }

    /// What a checker commits to. Spec: specs/0008-audit.md §7.
    pub(crate) fn commitment(self, account: Address, sealed: Sealed) -> B256 {
        let Self { window, unit, round, slot } = self;
        let head = [window.as_slice(), &unit.to_be_bytes(), &[round, slot]].concat();
        let Sealed { finding, own, nonce } = sealed;
        keccak256([&head, account.as_slice(), &[finding], own.as_slice(), nonce.as_slice()].concat())
    }
}

/// What stands in a check's commitment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// Inconclusive of class exact, else zero.
    pub(crate) finding: u8,
    pub(crate) own: B256,
    pub(crate) nonce: B256,
}

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    None,
    Checking,
    Condemned,
    Cleared,
    Verified,
    Unpaid,
    Unchecked,
    Wrong,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Checking,
        Self::Condemned,
        Self::Cleared,
        Self::Verified,
        Self::Unpaid,
        Self::Unchecked,
        Self::Wrong,
    ];

    /// Whether nothing more comes of the unit, but for a canary.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Verified | Self::Unpaid | Self::Unchecked | Self::Wrong)
    }
}

/// What a checker found, with the contract's numbers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Finding {
    Compare = 0,
    Right = 1,
    Unpaid = 2,
    Wrong = 3,
    Inconclusive = 4,
}

/// A check that was revealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revealed {
    pub(crate) account: Address,
    /// As the contract numbers a [`Finding`].
    pub(crate) finding: u8,
    pub(crate) own: B256,
}

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowStatus {
    /// Nothing was committed yet.
    None,
    /// Units are drawn and checked.
    Open,
    /// Over, paid but for the unpaid units.
    Closed,
    /// Over, refunded.
    Convicted,
}

/// A window as stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) id: B256,
    pub(crate) status: WindowStatus,
    /// A unit was found wrong; it closes as convicted.
    pub(crate) convicted: bool,
    pub(crate) provider: Address,
    pub(crate) customer: Address,
    pub(crate) class: u8,
    pub(crate) checkers: u8,
    pub(crate) units: u32,
    pub(crate) rate_ppm: u32,
    pub(crate) pending: u32,
    pub(crate) unpaid: u32,
    pub(crate) verified: u32,
    /// What a check earns.
    pub(crate) fee_wei: U256,
    pub(crate) check_seconds: u64,
    pub(crate) reveal_seconds: u64,
    pub(crate) segments: u32,
    pub(crate) commitment: B256,
    /// Zero, or the hash of the named checkers.
    pub(crate) named: B256,
    /// Of a channel's window: the name of its list of steps. Of an order's: the hash of a canary, or of nothing.
    pub(crate) steps: B256,
    /// The unit that its customer revealed to be wrong on purpose.
    pub(crate) canary_unit: Option<u32>,
}

impl Window {
    /// There is one.
    pub(crate) const fn exists(&self) -> bool {
        !matches!(self.status, WindowStatus::None)
    }

    /// Closed or convicted: final.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.status, WindowStatus::Closed | WindowStatus::Convicted)
    }

    /// Named checkers are on duty: nobody can accuse.
    pub(crate) fn is_named(&self) -> bool {
        !self.named.is_zero()
    }

    /// What who accuses a unit puts down.
    pub(crate) fn accusation_wei(&self) -> U256 {
        accusation_wei(self.fee_wei)
    }
}

/// What who accuses a unit, or appeals, puts down: it pays the referees, and comes back if they find the same.
pub(crate) fn accusation_wei(fee_wei: U256) -> U256 {
    fee_wei.saturating_mul(U256::from(PANEL_FEES))
}

/// A window with the draw of its units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) window: Window,
    /// Of round 0.
    pub(crate) draw: Round,
}

impl Drawn {
    /// The last second in which a unit can be accused; `None` while nothing is drawn: then the time has not begun.
    pub(crate) const fn accuse_by(&self) -> Option<u64> {
        if self.draw.drawn_at == 0 {
            return None;
        }
        let Window { check_seconds, reveal_seconds, .. } = self.window;
        Some(self.draw.drawn_at.saturating_add(check_seconds).saturating_add(reveal_seconds))
    }

    /// The second after which it can be closed, if no unit is pending.
    pub(crate) const fn close_after(&self) -> Option<u64> {
        match self.accuse_by() {
            Some(by) => Some(by.saturating_add(self.window.reveal_seconds / 2)),
            None => None,
        }
    }
}

/// A unit as stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) stage: Stage,
    pub(crate) round: u8,
    pub(crate) opened: bool,
    /// Whether round 0 has half a time to check more, since an input was asked for.
    pub(crate) extended: bool,
    /// Slots that committed, 16 bits a round.
    pub(crate) committed_mask: u64,
    pub(crate) revealed_mask: u64,
    /// Zero if no appeal is possible.
    pub(crate) appeal_by: u64,
    pub(crate) segment: u32,
    /// Zero if nobody asked for an input, or who asked committed before an answer.
    pub(crate) asked_at: u64,
    /// The slot that asked.
    pub(crate) asked_by: u8,
    pub(crate) handed: bool,
    /// Who accused or appealed; zero if nobody did.
    pub(crate) party: Address,
    pub(crate) value: B256,
}

impl Case {
    /// How many slots of a round committed.
    pub(crate) const fn committed(&self, round: u8) -> u32 {
        slots(self.committed_mask, round).count_ones()
    }

    /// A unit at a stage of a round, with nothing else.
    #[cfg(test)]
    pub(crate) const fn of(stage: Stage, round: u8) -> Self {
        let (opened, extended, handed, party, value) = (false, false, false, Address::ZERO, B256::ZERO);
        let (committed_mask, revealed_mask, appeal_by) = (0, 0, 0);
        let (segment, asked_at, asked_by) = (0, 0, 0);
        Self {
            stage,
            round,
            opened,
            extended,
            committed_mask,
            revealed_mask,
            appeal_by,
            segment,
            asked_at,
            asked_by,
            handed,
            party,
            value,
        }
    }

    #[cfg(test)]
    pub(crate) const fn with_committed(mut self, round: u8, slot: u8) -> Self {
        self.committed_mask |= 1 << if round == 0 { slot } else { slot.saturating_add(16) };
        self
    }

    /// Whether a slot committed.
    pub(crate) const fn has_committed(&self, round: u8, slot: u8) -> bool {
        slot < SLOTS && slots(self.committed_mask, round) & (1 << slot) != 0
    }

    /// Whether a slot revealed.
    pub(crate) const fn has_revealed(&self, round: u8, slot: u8) -> bool {
        slot < SLOTS && slots(self.revealed_mask, round) & (1 << slot) != 0
    }
}

const fn slots(mask: u64, round: u8) -> u64 {
    match round {
        0 => mask & 0xffff,
        1 => (mask >> 16) & 0xffff,
        _ => 0,
    }
}

/// Last seconds of a unit's round. All zero while it is not drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) check_by: u64,
    pub(crate) open_by: u64,
    pub(crate) reveal_by: u64,
}

impl Times {
    pub(crate) const fn is_drawn(self) -> bool {
        self.check_by != 0
    }
}

/// The draw of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) draw_height: u64,
    pub(crate) drawn_at: u64,
    /// Of the list of seats.
    pub(crate) epoch: u32,
    pub(crate) places: u32,
    /// Zero while it is not drawn.
    pub(crate) randomness: B256,
}

/// Who holds a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) account: Address,
    pub(crate) eligible: bool,
    pub(crate) on_duty: bool,
}

/// What the provider opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    /// The state before the segment; zero for the first.
    pub(crate) before: B256,
    /// The result, or the state after the segment.
    pub(crate) value: B256,
    pub(crate) transaction: B256,
}

/// The contracts, as calls of one account.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub(crate) account: Arc<Account>,
}

impl Windows {
    pub(crate) async fn read<C: SolCall>(&self, call: &C) -> Result<C::Return> {
        self.account.read(AUDIT_ADDRESS, call).await
    }

    pub(crate) async fn send<C: SolCall>(&self, call: &C, value: U256) -> Result<Receipt> {
        self.account.send_beside(AUDIT_ADDRESS, call, value).await
    }

    pub(crate) async fn window(&self, id: B256) -> Result<Window> {
        let found = self.read(&Audit::windowOfCall { windowId: id }).await?;
        let status = match found.status {
            0 => WindowStatus::None,
            1 => WindowStatus::Open,
            2 => WindowStatus::Closed,
            3 => WindowStatus::Convicted,
            unknown => bail!("the audit answers with an unknown status: {unknown}"),
        };
        Ok(Window {
            id,
            status,
            convicted: found.convicted,
            provider: found.provider,
            customer: found.customer,
            class: found.class,
            checkers: found.checkers,
            units: found.units,
            rate_ppm: found.ratePpm,
            pending: found.pending,
            unpaid: found.unpaid,
            verified: found.verified,
            fee_wei: U256::from(found.feeWei),
            check_seconds: found.checkSeconds.into(),
            reveal_seconds: found.revealSeconds.into(),
            segments: found.segments,
            commitment: found.commitment,
            named: found.named,
            steps: found.canary,
            canary_unit: found.canaryUnit.checked_sub(1),
        })
    }

    /// A window with the draw of its units.
    pub(crate) async fn drawn(&self, id: B256) -> Result<Drawn> {
        Ok(Drawn { window: self.window(id).await?, draw: self.round(id, 0, 0).await? })
    }

    /// The rate at which a provider's next window is checked.
    pub(crate) async fn effective_rate_ppm(&self, provider: Address, terms: &MarketTerms) -> Result<u32> {
        let MarketTerms { class, bondWei, ratePpm, .. } = *terms;
        self.read(&Audit::effectiveRatePpmCall { provider, class, bondWei, ratePpm }).await
    }

    /// Whether the audit would take a call now.
    pub(crate) async fn would_take<C: SolCall>(&self, call: &C) -> bool {
        self.read(call).await.is_ok()
    }

    pub(crate) async fn case(&self, id: B256, unit: u32) -> Result<Case> {
        let found = self.read(&Audit::caseOfCall { windowId: id, unit }).await?;
        let stage = Stage::ALL.get(usize::from(found.stage)).copied();
        let stage = stage.ok_or_else(|| eyre!("the audit answers with an unknown stage: {}", found.stage))?;
        Ok(Case {
            stage,
            round: found.round,
            opened: found.opened,
            extended: found.extended,
            committed_mask: found.committed.into(),
            revealed_mask: found.revealed.into(),
            appeal_by: found.appealBy.to(),
            segment: found.segment,
            asked_at: found.askedAt.to(),
            asked_by: found.askedBy,
            handed: found.handed,
            party: found.party,
            value: found.value,
        })
    }

    /// Who committed in a slot, and to what; zeros if nobody did.
    pub(crate) async fn check(&self, which: Which) -> Result<(Address, B256)> {
        let found = self.read(&Audit::checkOfCall { key: which.key() }).await?;
        Ok((found.account, found.word))
    }

    /// Who revealed in a slot, its finding, and its own output's name.
    pub(crate) async fn revealed(&self, which: Which) -> Result<Revealed> {
        let found = self.read(&Audit::checkOfCall { key: which.key() }).await?;
        Ok(Revealed { account: found.account, finding: found.finding, own: found.word })
    }

    pub(crate) async fn round(&self, id: B256, unit: u32, round: u8) -> Result<Round> {
        let found = self.read(&Audit::roundOfCall { windowId: id, unit, round }).await?;
        let (draw_height, drawn_at) = (found.drawHeight.to(), found.drawnAt.to());
        let (epoch, places) = (found.epoch, found.places);
        Ok(Round { draw_height, drawn_at, epoch, places, randomness: found.randomness })
    }

    pub(crate) async fn times(&self, id: B256, unit: u32, round: u8) -> Result<Times> {
        let found = self.read(&Audit::timesCall { windowId: id, unit, round }).await?;
        let seconds = |time: U256| time.saturating_to::<u64>();
        let (check_by, open_by) = (seconds(found.checkBy), seconds(found.openBy));
        Ok(Times { check_by, open_by, reveal_by: seconds(found.revealBy) })
    }

    /// Who holds a slot of a round that is drawn. `named` are the named checkers of a private job.
    pub(crate) async fn slot(&self, which: Which, named: Vec<Address>) -> Result<Slot> {
        let found = self.read(&Audit::slotCall { key: which.key(), named }).await?;
        Ok(Slot { account: found.account, eligible: found.eligible, on_duty: found.onDuty })
    }

    /// The segment of a unit that was drawn.
    async fn segment(&self, id: B256, unit: u32) -> Result<u32> {
        self.read(&Audit::segmentOfCall { windowId: id, unit }).await
    }

    /// The segment that a unit's present round is about: the drawn one, or for referees the disputed one.
    pub(crate) async fn segment_of(&self, id: B256, unit: u32, case: &Case) -> Result<u32> {
        if case.round < CHECK_ROUNDS { self.segment(id, unit).await } else { Ok(case.segment) }
    }

    /// The beacon's randomness of a height; `None` while it is not on the chain, or when it is no longer kept.
    pub(crate) async fn randomness(&self, height: u64) -> Result<Option<B256>> {
        let height = U256::from(height);
        if !self.account.read(BEACON_ADDRESS, &Beacon::hasCall { height }).await? {
            return Ok(None);
        }
        self.account.read(BEACON_ADDRESS, &Beacon::randomnessCall { height }).await.map(Some)
    }

    pub(crate) async fn touch(&self, id: B256, unit: u32, round: u8) -> Result<Receipt> {
        self.send(&Audit::touchCall { windowId: id, unit, round }, U256::ZERO).await
    }

    pub(crate) async fn commit(&self, which: Which, hash: B256, named: Vec<Address>) -> Result<Receipt> {
        self.send(&Audit::commitCheckCall { key: which.key(), hash, named }, U256::ZERO).await
    }

    pub(crate) async fn reveal(&self, which: Which, finding: Finding, sealed: Sealed) -> Result<Receipt> {
        let Sealed { own, nonce, .. } = sealed;
        self.send(&Audit::revealCall { key: which.key(), finding: finding as u8, own, nonce }, U256::ZERO).await
    }

    pub(crate) async fn ask_input(&self, which: Which) -> Result<Receipt> {
        let Which { window, unit, slot, .. } = which;
        self.send(&Audit::askInputCall { windowId: window, unit, slotNumber: slot }, U256::ZERO).await
    }

    /// Where a unit's input is served: the customer's answer to who asked, or its word without a question.
    pub(crate) async fn hand_key(&self, id: B256, unit: u32, key: &[u8]) -> Result<Receipt> {
        let call = Referee::handKeyCall { windowId: id, unit, key: Bytes::copy_from_slice(key) };
        self.send(&call, U256::ZERO).await
    }

    pub(crate) async fn close(&self, id: B256) -> Result<Receipt> {
        self.send(&Audit::closeCall { windowId: id }, U256::ZERO).await
    }

    pub(crate) async fn open_unit(&self, id: B256, unit: u32, proof: Proof) -> Result<Receipt> {
        self.send(&Referee::openUnitCall { windowId: id, unit, proof }, U256::ZERO).await
    }

    pub(crate) async fn answer(&self, id: B256, unit: u32, proof: Proof) -> Result<Receipt> {
        self.send(&Referee::answerCall { windowId: id, unit, proof }, U256::ZERO).await
    }

    pub(crate) async fn withhold(&self, id: B256, unit: u32) -> Result<Receipt> {
        self.send(&Referee::withholdCall { windowId: id, unit }, U256::ZERO).await
    }

    pub(crate) async fn conclude(&self, id: B256, unit: u32) -> Result<Receipt> {
        self.send(&Referee::concludeCall { windowId: id, unit }, U256::ZERO).await
    }

    pub(crate) async fn end_search(&self, id: B256, unit: u32) -> Result<Receipt> {
        self.send(&Referee::endSearchCall { windowId: id, unit }, U256::ZERO).await
    }

    /// Accuses a unit of being wrong in one segment, with the bond that pays the referees.
    pub(crate) async fn accuse(&self, window: &Window, unit: u32, segment: u32) -> Result<Receipt> {
        let call = Referee::challengeCall { windowId: window.id, unit, segment };
        self.send(&call, window.accusation_wei()).await
    }

    /// Puts what two rounds decided before the referees, with the bond that pays them.
    pub(crate) async fn appeal(&self, window: &Window, unit: u32) -> Result<Receipt> {
        // An appeal is about the drawn segment, whatever is named here.
        self.accuse(window, unit, 0).await
    }

    /// What the audit owes this account.
    pub(crate) async fn credit(&self) -> Result<U256> {
        self.read(&Audit::creditCall { account: self.account.address() }).await
    }

    /// Takes what the audit owes this account, if anything; how much it was.
    pub(crate) async fn withdraw(&self) -> Result<U256> {
        let credit = self.credit().await?;
        if !credit.is_zero() {
            self.send(&Audit::withdrawCall {}, U256::ZERO).await?;
        }
        Ok(credit)
    }

    /// Events of the audit in blocks `first..=last`, with these topics.
    pub(crate) async fn logs(&self, first: u64, last: u64, topics: Value) -> Result<Vec<Log>> {
        self.account.logs(AUDIT_ADDRESS, first, last, topics).await
    }

    /// Units of a window that something was said about in blocks `first..=last`, in no order.
    pub(crate) async fn units_touched(&self, id: B256, first: u64, last: u64) -> Result<Vec<u32>> {
        let kinds = [
            Audit::CheckCommitted::SIGNATURE_HASH,
            Audit::InputAsked::SIGNATURE_HASH,
            Referee::Challenged::SIGNATURE_HASH,
        ];
        let logs = self.logs(first, last, json!([kinds, id])).await?;
        // The unit is the first word of each.
        let unit = |log: &Log| log.data.get(28..32).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        Ok(logs.iter().filter_map(unit).collect())
    }

    /// The output of a unit of several segments, as its provider opened it: only the call itself has it.
    pub(crate) async fn opened_output(&self, opened: Opened) -> Result<B256> {
        let input = self.account.input_of(opened.transaction).await?;
        let call = Referee::openUnitCall::abi_decode(&input).wrap_err("the unit was opened by another contract")?;
        Ok(call.proof.output)
    }

    /// A kind of event of one window, from a block on, oldest first.
    pub(crate) async fn of_window<E: SolEvent>(&self, id: B256, from: u64) -> Result<Vec<(E, Log)>> {
        let (head, _) = self.account.head().await?;
        let logs = self.logs(from, head, json!([E::SIGNATURE_HASH, id])).await?;
        Ok(logs.into_iter().filter_map(|log| Some((event::<E>(&log)?, log))).collect())
    }
}

/// An event of the audit's; `None` if it is another.
pub(crate) fn event<E: SolEvent>(log: &Log) -> Option<E> {
    let event = E::decode_raw_log(log.topics.iter().copied(), &log.data).ok()?;
    (log.address == AUDIT_ADDRESS).then_some(event)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Drawn at second 100; checks until 120, reveals until 130.
    pub(crate) const fn drawn() -> Drawn {
        let window = Window {
            id: B256::ZERO,
            status: WindowStatus::Open,
            convicted: false,
            provider: Address::ZERO,
            customer: Address::ZERO,
            class: 1,
            checkers: 1,
            units: 10,
            rate_ppm: 1_000_000,
            pending: 0,
            unpaid: 0,
            verified: 0,
            fee_wei: U256::from_limbs([3, 0, 0, 0]),
            check_seconds: 20,
            reveal_seconds: 10,
            segments: 1,
            commitment: B256::ZERO,
            named: B256::ZERO,
            steps: B256::ZERO,
            canary_unit: None,
        };
        Drawn { window, draw: Round { draw_height: 9, drawn_at: 100, epoch: 1, places: 1, randomness: B256::ZERO } }
    }

    #[test]
    fn the_times_of_a_window_follow_its_draw() {
        let drawn = drawn();
        let undrawn = Drawn { draw: Round { drawn_at: 0, ..drawn.draw }, ..drawn };
        assert_eq!((undrawn.accuse_by(), undrawn.close_after()), (None, None));
        assert_eq!((drawn.accuse_by(), drawn.close_after()), (Some(130), Some(135)));
        assert_eq!(drawn.window.accusation_wei(), U256::from(93));
    }

    #[test]
    fn the_window_of_an_order_is_that_of_the_contract() {
        let vector: Value = serde_json::from_str(include_str!("../../../specs/vectors/audit.json")).unwrap();
        let number = vector["number"].as_u64().unwrap();
        assert_eq!(window_of(U256::from(number)), vector["window_id"].as_str().unwrap().parse::<B256>().unwrap());
    }

    #[test]
    fn a_window_and_a_commitment_have_the_contracts_preimages() {
        // keccak256 of "keystead/window/v1", the market's address, order 1 and window 0: 18 + 20 + 32 + 8 bytes.
        let mut preimage = b"keystead/window/v1".to_vec();
        preimage.extend(MARKET_ADDRESS);
        preimage.extend(U256::from(1).to_be_bytes::<32>());
        preimage.extend([0; 8]);
        assert_eq!(preimage.len(), 78);
        assert_eq!(window_of(U256::from(1)), keccak256(&preimage));
        let which = Which { window: B256::repeat_byte(1), unit: 2, round: 1, slot: 3 };
        let sealed = Sealed { finding: 4, own: B256::repeat_byte(5), nonce: B256::repeat_byte(6) };
        let mut preimage = vec![1; 32];
        preimage.extend([0, 0, 0, 2, 1, 3]);
        preimage.extend([7; 20]);
        preimage.push(4);
        preimage.extend([5; 32]);
        preimage.extend([6; 32]);
        assert_eq!(which.commitment(Address::repeat_byte(7), sealed), keccak256(preimage));
    }

    #[test]
    fn masks_hold_sixteen_slots_a_round() {
        let mut case = Case::of(Stage::Checking, 1);
        case.committed_mask = 0b101 | (0b1 << 16) | (0xffff << 32);
        case.revealed_mask = 1 << 18;
        assert_eq!([0, 1, 2, 3].map(|round| case.committed(round)), [2, 1, 0, 0]);
        assert!(case.has_revealed(1, 2) && !case.has_revealed(1, 1) && !case.has_revealed(0, 2));
        assert!(!case.has_revealed(1, 16));
        assert!(case.has_committed(0, 2) && case.has_committed(1, 0) && !case.has_committed(0, 1));
        assert!(!case.has_committed(0, 16) && !case.has_committed(2, 0));
    }
}
