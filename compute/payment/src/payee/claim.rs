//! Which voucher is the best one to claim, given what the audit has released.

use super::Payee;
use crate::voucher::Signed;
use alloy_primitives::{B256, Bytes};
use alloy_sol_types::SolCall;
use keystead_contracts::bindings::channel::{Channel, IChannel};

/// What the audit says of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Not over, or not known.
    Pending,
    /// Over, and nothing was found wrong.
    Released,
    /// Found wrong.
    Convicted,
}

impl Release {
    /// From the answer of the audit's `released`.
    #[must_use]
    pub const fn of(answer: (bool, bool)) -> Self {
        match answer {
            (_, true) => Self::Convicted,
            (true, false) => Self::Released,
            (false, false) => Self::Pending,
        }
    }
}

/// Whether a claim ends the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The channel goes on.
    GoesOn,
    /// The rest goes to the customer in the same transaction.
    Closes,
}

/// A voucher to claim, and the windows between the last claimed one and its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The voucher.
    pub signed: Signed,
    /// Units and root of each window in between, in order.
    pub skipped: Vec<(u32, B256)>,
    /// What is then claimed in all.
    pub amount: u128,
}

impl Claim {
    /// The call of the contract.
    #[must_use]
    pub fn call_data(&self, ending: Ending) -> Bytes {
        let voucher = IChannel::Voucher::from(self.signed.voucher);
        let signature = Bytes::copy_from_slice(self.signed.signature.0.as_slice());
        let skipped = self.skipped.iter().map(|&(units, root)| IChannel::Window { units, root }).collect();
        match ending {
            Ending::GoesOn => Channel::claimCall { voucher, signature, skipped }.abi_encode().into(),
            Ending::Closes => Channel::claimAndCloseCall { voucher, signature, skipped }.abi_encode().into(),
        }
    }
}

/// What can be claimed now, and what may still come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// The best claim, if any would pay something.
    pub claim: Option<Claim>,
    /// Windows whose audit is not over, as long as none before them was found wrong.
    pub pending: usize,
    /// The first window that was found wrong.
    pub convicted: Option<u64>,
}

impl Payee {
    /// What can be claimed now. `release` answers for a window by its number, as of the same final block as this side's last
    /// [`Payee::settle`]; it is not asked in a channel without audit.
    pub fn prospect(&self, release: impl Fn(u64) -> Release) -> Prospect {
        let mut prospect = Prospect { claim: None, pending: 0, convicted: None };
        let mut best = self.body.claimed;
        let mut reached = true;
        for (index, signed) in self.body.waiting.iter().enumerate() {
            let voucher = &signed.voucher;
            let answer = if self.terms.audited { release(voucher.window) } else { Release::Released };
            let amount = match answer {
                Release::Convicted => {
                    prospect.convicted = Some(voucher.window);
                    break;
                }
                Release::Released => voucher.cumulative,
                Release::Pending => voucher.cumulative.saturating_sub(voucher.held_back),
            };
            if reached && amount > best {
                best = amount;
                prospect.claim = Some(self.claim(index, amount));
            }
            if answer == Release::Pending {
                // No claim passes a window whose audit is open.
                reached = false;
                prospect.pending = prospect.pending.saturating_add(1);
            }
        }
        prospect
    }

    fn claim(&self, index: usize, amount: u128) -> Claim {
        let windows = &self.body.waiting;
        let skipped = windows.iter().take(index).map(|signed| (signed.voucher.units, signed.voucher.root)).collect();
        Claim { signed: windows[index], skipped, amount }
    }
}
