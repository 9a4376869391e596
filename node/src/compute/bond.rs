//! The bond: what stands behind this account's work and its seats; `keystead bond`.
//!
//! # Design
//! A command of its own, not options of `provide`: bonding moves the account's money at one moment that a person chooses, with a provider running or not.
//! `provide` only saves a share of what it earns, if it was told to (`--bond-from-earnings`), so that somebody without money begins all the same; and it
//! makes the list of seats shorter where most of it are holes, each account in proportion to its seats ([`turn`]), since a seat earns nothing more by a
//! list without holes and so nobody would.
//!
//! Spec: specs/0008-audit.md §4.

use crate::{
    cli::{Bond as Options, BondCall},
    compute::{
        account::{Account, Log},
        amount::{counted, kst},
        provider::Capability,
        revert::cannot_be_shorter,
        wallet,
    },
};
use alloy_primitives::{Address, U256, uint};
use alloy_sol_types::SolEvent as _;
use eyre::{Context as _, Result, bail, ensure};
use keystead_contracts::{
    BOND_ADDRESS,
    bindings::bond::{Bond, IBond},
    storage::seats::{SEAT_LIST_SLOT, SeatList},
};
use serde_json::json;
use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

/// Bond of one seat, wei.
pub(crate) const SEAT_WEI: U256 = uint!(100_000_000_000_000_000_000_U256);
/// Blocks between the borders at which seats come and go.
pub(crate) const EPOCH_BLOCKS: u64 = 256;
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 10_000;
/// Most places that one call gives up.
const UNSEAT_MAX: usize = 64;
/// Steps by which an account makes the list of seats shorter in an epoch that is its turn. Each is a transaction of about 100,000 gas.
const TIDY_STEPS: u32 = 4;

/// The contract, as calls of one account.
#[derive(Clone, Debug)]
pub(crate) struct Bonds {
    pub(crate) account: Arc<Account>,
}

impl Bonds {
    pub(crate) async fn account_of(&self, account: Address) -> Result<IBond::Account> {
        self.account.read(BOND_ADDRESS, &Bond::accountOfCall { account }).await
    }

    /// What this account can lock behind an order, wei.
    pub(crate) async fn free_wei(&self) -> Result<U256> {
        self.free_wei_of(self.account.address()).await
    }

    /// What an account can lock behind an order, wei.
    pub(crate) async fn free_wei_of(&self, account: Address) -> Result<U256> {
        Ok(U256::from(self.account_of(account).await?.freeWei))
    }

    pub(crate) async fn deposit(&self, amount_wei: U256) -> Result<()> {
        self.account.send(BOND_ADDRESS, &Bond::depositCall {}, amount_wei).await.map(drop)
    }

    pub(crate) async fn seat(&self, count: u32, standing: Standing) -> Result<()> {
        let Standing { hardware, abilities } = standing;
        self.account.send(BOND_ADDRESS, &Bond::seatCall { count, hardware, abilities }, U256::ZERO).await.map(drop)
    }

    /// Places at which an account was seated in blocks `first..=last`; some of them may be given up since.
    pub(crate) async fn seated(&self, account: Address, first: u64, last: u64) -> Result<BTreeSet<u32>> {
        let mut places = BTreeSet::new();
        let mut next = first;
        while next <= last {
            let end = last.min(next.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let topics = json!([Bond::Seated::SIGNATURE_HASH, account.into_word()]);
            let logs = self.account.logs(BOND_ADDRESS, next, end, topics).await?;
            places.extend(logs.iter().filter_map(place));
            next = end.saturating_add(1);
        }
        Ok(places)
    }

    /// The places that this account holds and did not give up.
    async fn held(&self) -> Result<Vec<u32>> {
        let (head, _) = self.account.head().await?;
        let mut held = Vec::new();
        for position in self.seated(self.account.address(), 0, head).await? {
            if self.holds(position).await? {
                held.push(position);
            }
        }
        Ok(held)
    }

    /// Whether this account holds a place and did not give it up.
    async fn holds(&self, position: u32) -> Result<bool> {
        let seat = self.account.read(BOND_ADDRESS, &Bond::seatAtCall { position }).await?;
        Ok(seat.account == self.account.address() && seat.untilEpoch == u32::MAX)
    }

    /// Those of these places at which this account sat in an epoch.
    pub(crate) async fn held_in(&self, epoch: u32, places: BTreeSet<u32>) -> Result<BTreeSet<u32>> {
        let mut held = BTreeSet::new();
        for position in places {
            let seat = self.account.read(BOND_ADDRESS, &Bond::seatAtCall { position }).await?;
            if sat(&seat, self.account.address(), epoch) {
                held.insert(position);
            }
        }
        Ok(held)
    }

    async fn list(&self) -> Result<SeatList> {
        let word = self.account.word(BOND_ADDRESS, SEAT_LIST_SLOT).await?;
        SeatList::decode(word).wrap_err("the node's list of seats is none")
    }

    /// Whether the list of seats could be made shorter now.
    async fn can_be_shorter(&self) -> Result<bool> {
        match self.account.read(BOND_ADDRESS, &Bond::compactCall {}).await {
            Ok(_) => Ok(true),
            Err(error) if cannot_be_shorter(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the list of seats shorter, by so many steps at most; how many it took. Each moves the list's last seat into an old hole, or cuts an old hole off
    /// its end, and is a transaction.
    pub(crate) async fn compact(&self, most: u32) -> Result<u32> {
        for done in 0..most {
            match self.account.send(BOND_ADDRESS, &Bond::compactCall {}, U256::ZERO).await {
                Ok(_) => {}
                Err(error) if cannot_be_shorter(&error) => return Ok(done),
                Err(error) => return Err(error),
            }
        }
        Ok(most)
    }

    /// Makes the list of seats shorter by some steps, if most of it are holes and this epoch is this account's turn; how many it took.
    pub(crate) async fn tidy(&self, epoch: u64) -> Result<u32> {
        match turn(self.list().await?, epoch) {
            Some(position) if self.holds(position).await? => self.compact(TIDY_STEPS).await,
            _ => Ok(0),
        }
    }
}

/// The place whose account makes a list shorter in an epoch; none while that does not pay off. Places take turns, so that one account at a time pays for
/// a step, and who has more seats pays for more; nobody does in the turn of a hole.
fn turn(list: SeatList, epoch: u64) -> Option<u32> {
    let position = epoch.checked_rem(u64::from(list.places))?;
    u32::try_from(position).ok().filter(|_| list.is_sparse())
}

/// Whether a place was an account's in an epoch.
fn sat(seat: &IBond::Seat, account: Address, epoch: u32) -> bool {
    seat.account == account && (seat.fromEpoch..seat.untilEpoch).contains(&epoch)
}

fn place(log: &Log) -> Option<u32> {
    let event = Bond::Seated::decode_raw_log(log.topics.iter().copied(), &log.data).ok()?;
    (log.address == BOND_ADDRESS).then_some(event.position)
}

/// What a seat says about its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The hardware class; other hardware judges in round 1.
    pub(crate) hardware: u16,
    /// 1 `wasm/1`, 2 `wgsl/1` exact, 4 `wgsl/1` float, 8 CPU reference.
    pub(crate) abilities: u8,
}

/// `keystead bond`.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let wallet = wallet::existing(&options.wallet, options.dir.as_deref())?;
    let account = Arc::new(wallet.connect(&options.wallet, &options.rpc).await?);
    let bonds = Bonds { account };
    match &options.call {
        BondCall::Show => {}
        BondCall::Deposit { amount } => bonds.deposit(*amount).await?,
        BondCall::Seat { count, hardware } => {
            let Some(dir) = &options.dir else { bail!("name the provider's folder: --dir DIR") };
            let stated = Capability::read(dir)?.standing();
            let standing = Standing { hardware: hardware.unwrap_or(stated.hardware), ..stated };
            if let Some(warning) = other_hardware(standing.hardware, stated.hardware) {
                show(&warning);
            }
            bonds.seat(*count, standing).await?;
            show(&format!(
                "{count} seats from the next epoch on ({EPOCH_BLOCKS} blocks each): {}, hardware class {:#06x}. They check while `keystead provide` runs.",
                abilities(standing.abilities),
                standing.hardware
            ));
        }
        BondCall::Unseat { count } => unseat(&bonds, *count as usize).await?,
        BondCall::Leave { amount } => {
            let amount_wei = *amount;
            bonds.account.send(BOND_ADDRESS, &Bond::requestLeaveCall { amountWei: amount_wei }, U256::ZERO).await?;
        }
        BondCall::Compact { steps } => show(&shortened(bonds.compact(*steps).await?, *steps)),
        BondCall::Withdraw => drop(bonds.account.send(BOND_ADDRESS, &Bond::withdrawCall {}, U256::ZERO).await?),
    }
    table(&bonds).await?;
    Ok(ExitCode::SUCCESS)
}

async fn unseat(bonds: &Bonds, count: usize) -> Result<()> {
    let held = bonds.held().await?;
    ensure!(count <= held.len(), "this account holds {} seats, {count} cannot be given up", held.len());
    let newest: Vec<u32> = held.into_iter().rev().take(count).collect();
    for positions in newest.chunks(UNSEAT_MAX) {
        let call = Bond::unseatCall { positions: positions.to_vec() };
        bonds.account.send(BOND_ADDRESS, &call, U256::ZERO).await?;
    }
    Ok(())
}

/// What is said of seats that state another hardware class than the self-test found.
fn other_hardware(stated: u16, found: u16) -> Option<String> {
    (stated != found).then(|| {
        format!(
            "Warning: the seats will state hardware class {stated:#06x}, and the self-test of this machine found {found:#06x}. A unit that was found wrong is              run again by another class, so a false number lets one kind of machine confirm its own mistake, and who confirms it loses its seats.              Leave --hardware out to state what was found."
        )
    })
}

/// What became of the list of seats.
fn shortened(steps: u32, most: u32) -> String {
    let taken = counted(steps.into(), "step");
    match steps {
        0 => "Nothing to do: no hole of the list of seats is 14 days old.".to_owned(),
        _ if steps < most => format!("The list of seats is {taken} shorter. Nothing more can be done now."),
        _ => format!("The list of seats is {taken} shorter. There may be more to do: run it again."),
    }
}

async fn table(bonds: &Bonds) -> Result<()> {
    let me = bonds.account.address();
    let found = bonds.account_of(me).await?;
    let (height, now) = bonds.account.head().await?;
    let wei = |amount: u128| kst(U256::from(amount));
    show(&format!("Bond of {me}"));
    show(&format!("  free     {}  can be locked behind audited orders, seated or asked back", wei(found.freeWei)));
    show(&format!("  locked   {}  behind orders whose audit is not closed", wei(found.lockedWei)));
    show(&format!("  seated   {}  {} seats of {} each", wei(found.seatedWei), found.seats, kst(SEAT_WEI)));
    let leave_at: u64 = found.leaveAt.to();
    let when = if leave_at == 0 {
        "nothing was asked back".to_owned()
    } else if now >= leave_at {
        "can be taken: keystead bond withdraw".to_owned()
    } else {
        format!("can be taken in {} h, at Unix second {leave_at}", leave_at.saturating_sub(now).div_ceil(3_600))
    };
    show(&format!("  leaving  {}  {when}", wei(found.leavingWei)));
    if U256::from(found.seatedWei) < SEAT_WEI.saturating_mul(U256::from(found.seats)) {
        show("  A slash took of what stands behind the seats: none of them is drawn until a deposit fills it up.");
    }
    let epoch = height.checked_div(EPOCH_BLOCKS).unwrap_or_default();
    if u64::from(found.suspendedUntil) > epoch {
        show(&format!(
            "  Suspended until epoch {} (now {epoch}): too many commitments were not revealed.",
            found.suspendedUntil
        ));
    }
    if bonds.can_be_shorter().await? {
        show(
            "  The list of seats has a hole that is 14 days old: keystead bond compact makes it shorter, at the cost of gas.",
        );
    }
    Ok(())
}

fn abilities(bits: u8) -> String {
    let words = [(1, "wasm/1"), (2, "wgsl/1 exact"), (4, "wgsl/1 float"), (8, "CPU reference")];
    let words: Vec<&str> = words.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| word).collect();
    words.join(", ")
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn show(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_costs_what_the_contract_says_and_abilities_have_words() {
        assert_eq!(kst(SEAT_WEI), "100 KST");
        assert_eq!(abilities(9), "wasm/1, CPU reference");
        assert_eq!(abilities(6), "wgsl/1 exact, wgsl/1 float");
    }

    #[test]
    fn seats_that_state_other_hardware_than_was_found_are_warned_of() {
        assert_eq!(other_hardware(0x1a2b, 0x1a2b), None);
        let said = other_hardware(7, 0x1a2b).unwrap_or_default();
        assert!(said.contains("class 0x0007") && said.contains("found 0x1a2b"), "{said}");
    }

    #[test]
    fn a_place_is_an_accounts_from_the_first_epoch_of_its_seat_to_the_last() {
        let (me, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let seat = |account| IBond::Seat { account, hardware: 7, abilities: 1, fromEpoch: 3, untilEpoch: 5 };
        assert_eq!([2, 3, 4, 5].map(|epoch| sat(&seat(me), me, epoch)), [false, true, true, false]);
        assert!(!sat(&seat(other), me, 3), "given up, and taken by another");
        assert!(sat(&IBond::Seat { untilEpoch: u32::MAX, ..seat(me) }, me, 9));
    }

    #[test]
    fn places_take_turns_to_make_a_list_shorter_that_is_mostly_holes() {
        let sparse = SeatList { places: 5, holes_max: 3 };
        assert_eq!([0, 1, 4, 5, 13].map(|epoch| turn(sparse, epoch)), [0, 1, 4, 0, 3].map(Some));
        // Half of it may be holes: every unit still finds its checkers.
        assert_eq!(turn(SeatList { places: 6, holes_max: 3 }, 1), None);
        assert_eq!(turn(SeatList { places: 0, holes_max: 0 }, 1), None);
        assert_eq!(turn(SeatList { places: 0, holes_max: 3 }, 1), None, "all of them were cut off");
    }

    #[test]
    fn what_became_of_the_list_is_said_with_what_to_do() {
        assert_eq!(shortened(0, 16), "Nothing to do: no hole of the list of seats is 14 days old.");
        assert_eq!(shortened(1, 16), "The list of seats is 1 step shorter. Nothing more can be done now.");
        assert_eq!(shortened(16, 16), "The list of seats is 16 steps shorter. There may be more to do: run it again.");
    }
}
