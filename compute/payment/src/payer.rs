//! The customer's side: which voucher is signed for which window, and that no window gets two.
//!
//! # Invariants
//! - What was handed out for a window number is in the record before it is handed out; a number in the record gets the same voucher
//!   for ever. So two different vouchers for one number cannot exist, wherever the process dies.
//! - A failed check or a conviction is in the record, too, and stops all further vouchers.
//!
//! Spec: specs/0009-channel.md section 11.

use crate::{
    channel::{Standing, Terms},
    record::{self, Draft, Kind},
    voucher::{Domain, Voucher},
    window::{Received, Report},
};
use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use keystead_contracts::storage::channel::Status;
use std::num::{NonZeroU32, NonZeroU128};

/// What was agreed with the provider, off the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// For one unit, in wei or the smallest units of the token. Free work needs no channel.
    pub per_unit: NonZeroU128,
    /// Most units in one window; the larger, the more each side risks. A commitment has at most 65,536.
    pub units_max: NonZeroU32,
}

impl Price {
    /// The price of a window, if it is a number.
    #[must_use]
    pub fn of(&self, units: u32) -> Option<u128> {
        self.per_unit.get().checked_mul(units.into())
    }
}

/// Why a payer signs nothing. None of these loses what was signed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The report is about another channel: drop it.
    #[error("a report for another channel: got={got} expected={expected}")]
    AnotherChannel {
        /// The channel in the report.
        got: B256,
        /// This channel.
        expected: B256,
    },
    /// Windows come without gaps: ask for the one that is next.
    #[error("a report for another window: got={got} expected={expected}")]
    AnotherWindow {
        /// The window reported.
        got: u64,
        /// The window that is next.
        expected: u64,
    },
    /// Another report for a window that was paid: the provider contradicts itself. Stop working with it.
    #[error("a second, different report for a paid window: window={window}")]
    Conflict {
        /// The window.
        window: u64,
    },
    /// No unit, or more than was agreed.
    #[error("units in a window out of range: got={got} min=1 max={max}")]
    UnitsOutOfRange {
        /// Units reported.
        got: u32,
        /// Most that were agreed on.
        max: u32,
    },
    /// A check of this channel's work failed, or its audit convicted: nothing more is paid. Close.
    #[error("an earlier window was found wrong: window={window}")]
    FoundWrong {
        /// The window.
        window: u64,
    },
    /// The channel was paid from before and its record is gone. Close it: what was signed is not known any more.
    #[error("the channel was used before and there is no record of it: claimed_window={window}")]
    RecordMissing {
        /// The last window that was claimed.
        window: u64,
    },
    /// The channel is not open: nothing is promised that may come too late.
    #[error("the channel is not open: status={status:?}")]
    NotOpen {
        /// Its status.
        status: Status,
    },
    /// The channel's time is over.
    #[error("the channel has expired: now_s={now_s} expires_s={expires_s}")]
    Expired {
        /// The block's time in Unix seconds.
        now_s: u64,
        /// Last second of the channel's life.
        expires_s: u64,
    },
    /// Pay more in first.
    #[error("the deposit is too small: needed={needed} deposit={deposit}")]
    DepositTooSmall {
        /// What the voucher would promise in all.
        needed: u128,
        /// What was paid in.
        deposit: u128,
    },
    /// A number ran out: open another channel.
    #[error("the channel cannot count any further: window={window}")]
    Exhausted {
        /// The last window.
        window: u64,
    },
}

/// The customer's side of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payer {
    terms: Terms,
    price: Price,
    body: Body,
}

/// What the record holds.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
struct Body {
    domain: Domain,
    channel_id: B256,
    /// The newest voucher that was handed out: one, or none.
    last: Vec<Voucher>,
    /// The first window that was found wrong; zero if none was.
    found_wrong: u64,
}

impl Payer {
    /// The customer's side of a channel that this program has just opened; its first record comes with it. A channel of ours that has
    /// no record is never opened again here: it may have lost vouchers that were signed, so it is closed.
    ///
    /// # Errors
    /// [`Refusal::RecordMissing`]: vouchers of this channel are known to exist. Close it.
    pub fn open(terms: Terms, price: Price, standing: &Standing) -> Result<Draft<Self>, Refusal> {
        if standing.claimed != 0 || standing.window != 0 {
            return Err(Refusal::RecordMissing { window: standing.window });
        }
        let body = Body { domain: terms.domain, channel_id: terms.channel_id, last: Vec::new(), found_wrong: 0 };
        Ok(Draft::new(record::encode(Kind::Payer, &body), Self { terms, price, body }))
    }

    /// Goes on from the newest record on the disk.
    ///
    /// # Errors
    /// [`record::Error`]: nothing may be signed for this channel any more.
    pub fn resume(terms: Terms, price: Price, bytes: &[u8]) -> Result<Self, record::Error> {
        let body: Body = record::decode(Kind::Payer, bytes)?;
        if body.channel_id != terms.channel_id || body.domain != terms.domain {
            return Err(record::Error::AnotherChannel { got: body.channel_id, expected: terms.channel_id });
        }
        let foreign = body.last.iter().any(|voucher| voucher.channel_id != terms.channel_id || voucher.window == 0);
        if body.last.len() > 1 || foreign {
            return Err(record::Error::Malformed);
        }
        Ok(Self { terms, price, body })
    }

    /// What was agreed at the opening.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The newest voucher that was handed out.
    #[must_use]
    pub fn last(&self) -> Option<&Voucher> {
        self.body.last.first()
    }

    /// All that was promised so far.
    #[must_use]
    pub fn promised(&self) -> u128 {
        self.last().map_or(0, |voucher| voucher.cumulative)
    }

    /// The voucher for a window whose outputs are here and were not found wrong: a new one for the next window, the very same one for the
    /// last window. Sign it with the channel's signer after the record is saved.
    ///
    /// # Errors
    /// [`Refusal`]: nothing changes.
    pub fn pay(&mut self, received: &Received, standing: &Standing) -> Result<Draft<Voucher>, Refusal> {
        let report = received.report();
        if report.channel_id != self.terms.channel_id {
            return Err(Refusal::AnotherChannel { got: report.channel_id, expected: self.terms.channel_id });
        }
        if let Some(last) = self.body.last.first().copied()
            && last.window == report.window
        {
            return if (last.units, last.root) == (report.units, report.root) {
                Ok(self.draft(last))
            } else {
                Err(Refusal::Conflict { window: report.window })
            };
        }
        self.check_open(standing)?;
        let voucher = self.next(report, standing.usable())?;
        self.body.last = vec![voucher];
        Ok(self.draft(voucher))
    }

    /// Notes that a window of this channel was found wrong, by the customer's own check or by the audit: from now on nothing new is
    /// signed. The first such window stays.
    pub fn found_wrong(&mut self, window: u64) -> Draft<()> {
        if self.body.found_wrong == 0 {
            self.body.found_wrong = window.max(1);
        }
        Draft::new(record::encode(Kind::Payer, &self.body), ())
    }

    fn check_open(&self, standing: &Standing) -> Result<(), Refusal> {
        if self.body.found_wrong != 0 {
            return Err(Refusal::FoundWrong { window: self.body.found_wrong });
        }
        if standing.status != Status::Open {
            return Err(Refusal::NotOpen { status: standing.status });
        }
        if standing.now > self.terms.expires_at {
            return Err(Refusal::Expired { now_s: standing.now.as_secs(), expires_s: self.terms.expires_at.as_secs() });
        }
        Ok(())
    }

    fn next(&self, report: &Report, deposit: u128) -> Result<Voucher, Refusal> {
        let last = self.last();
        let window = last.map_or(0, |voucher| voucher.window);
        let expected = window.checked_add(1).ok_or(Refusal::Exhausted { window })?;
        if report.window != expected {
            return Err(Refusal::AnotherWindow { got: report.window, expected });
        }
        let max = self.price.units_max.get();
        if report.units == 0 || report.units > max {
            return Err(Refusal::UnitsOutOfRange { got: report.units, max });
        }
        let price = self.price.of(report.units).ok_or(Refusal::Exhausted { window })?;
        let cumulative = self.promised().checked_add(price).ok_or(Refusal::Exhausted { window })?;
        if cumulative > deposit {
            return Err(Refusal::DepositTooSmall { needed: cumulative, deposit });
        }
        Ok(Voucher {
            channel_id: self.terms.channel_id,
            window: expected,
            units: report.units,
            cumulative,
            held_back: if self.terms.audited { price } else { 0 },
            root: report.root,
            history: last.map_or(B256::ZERO, Voucher::history_after),
        })
    }

    fn draft(&self, voucher: Voucher) -> Draft<Voucher> {
        Draft::new(record::encode(Kind::Payer, &self.body), voucher)
    }
}
