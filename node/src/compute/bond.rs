//! The bond: what stands behind this account's work and its seats; `keystead bond`.
//!
//! # Design
//! A command of its own, not options of `provide`: bonding moves the account's money at one moment that a person chooses, with a provider running or not.
//! `provide` only saves a share of what it earns, if it was told to (`--bond-from-earnings`), so that somebody without money begins all the same.
//!
//! Spec: specs/0008-audit.md §4.

use crate::{
    cli::{Bond as Options, BondCall},
    compute::{
        account::{Account, Log},
        amount::kst,
        provider::Capability,
        wallet,
    },
};
use alloy_primitives::{Address, U256, uint};
use alloy_sol_types::SolEvent as _;
use eyre::{Result, bail, ensure};
use keystead_contracts::{
    BOND_ADDRESS,
    bindings::bond::{Bond, IBond},
};
use serde_json::json;
use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

/// Bond of one seat, wei.
pub(crate) const SEAT_WEI: U256 = uint!(100_000_000_000_000_000_000_U256);
/// Blocks between the borders at which seats come and go.
const EPOCH_BLOCKS: u64 = 256;
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 10_000;
/// Most places that one call gives up.
const UNSEAT_MAX: usize = 64;

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
            let seat = self.account.read(BOND_ADDRESS, &Bond::seatAtCall { position }).await?;
            if seat.account == self.account.address() && seat.untilEpoch == u32::MAX {
                held.push(position);
            }
        }
        Ok(held)
    }
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
}
