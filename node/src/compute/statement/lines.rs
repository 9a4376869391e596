//! What one block did to an account's balance, line by line: pure.

pub(super) mod tokens;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolEvent;
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS, CHANNEL_ADDRESS, MARKET_ADDRESS,
    bindings::{audit::Audit, bond::Bond, channel::Channel, market::Market},
};
use serde::{Deserialize, Serialize};

/// Why a balance changed. The names are part of the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Gas of a transaction, also of one that failed.
    Fee,
    /// Price of an order, and its deposit for checks.
    Escrow,
    /// Into the bond.
    Bond,
    /// With an accusation, an appeal or a canary.
    Dispute,
    /// Into a payment channel.
    ChannelDeposit,
    /// Out of the market: pay and refunds.
    MarketWithdrawal,
    /// Out of the audit: fees for checks, and deposits that came back.
    AuditWithdrawal,
    /// Out of payment channels.
    ChannelWithdrawal,
    /// Out of the bond.
    BondWithdrawal,
    /// To or from another account.
    Transfer,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::MarketWithdrawal,
        Self::ChannelWithdrawal,
        Self::AuditWithdrawal,
        Self::BondWithdrawal,
        Self::Transfer,
        Self::Escrow,
        Self::ChannelDeposit,
        Self::Bond,
        Self::Dispute,
        Self::Fee,
    ];

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Fee => "gas",
            Self::Escrow => "orders: price and deposit for checks",
            Self::Bond => "put into the bond",
            Self::Dispute => "accusations, appeals, canaries",
            Self::ChannelDeposit => "put into payment channels",
            Self::MarketWithdrawal => "taken from the market: pay and refunds",
            Self::AuditWithdrawal => "taken from the audit: fees and deposits",
            Self::ChannelWithdrawal => "taken from payment channels",
            Self::BondWithdrawal => "taken from the bond",
            Self::Transfer => "transfers",
        }
    }
}

/// One movement, in wei, or in the smallest units of its token. Exactly one of the amounts is not zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) block: u64,
    pub(super) time: u64,
    pub(super) transaction: B256,
    pub(super) kind: Kind,
    /// The order, the channel or the other party, if there is one.
    pub(super) about: Option<String>,
    #[serde(serialize_with = "decimal")]
    pub(super) in_wei: U256,
    #[serde(serialize_with = "decimal")]
    pub(super) out_wei: U256,
}

fn decimal<S: serde::Serializer>(wei: &U256, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(wei)
}

/// A block as a node answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Block {
    #[serde(deserialize_with = "quantity")]
    pub(super) number: u64,
    #[serde(deserialize_with = "quantity")]
    pub(super) timestamp: u64,
    pub(super) transactions: Vec<Transaction>,
}

/// A transaction in it.
#[derive(Debug, Deserialize)]
pub(super) struct Transaction {
    hash: B256,
    from: Address,
    to: Option<Address>,
    value: U256,
}

/// What it did.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    transaction_hash: B256,
    #[serde(deserialize_with = "quantity")]
    status: u64,
    gas_used: U256,
    effective_gas_price: U256,
    contract_address: Option<Address>,
    logs: Vec<Log>,
}

/// An event.
#[derive(Debug, Deserialize)]
pub(super) struct Log {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

impl Log {
    fn read<E: SolEvent>(&self, by: Address) -> Option<E> {
        if self.address != by {
            return None;
        }
        E::decode_raw_log(self.topics.iter().copied(), &self.data).ok()
    }
}

fn quantity<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = U256::deserialize(from)?;
    u64::try_from(number).map_err(serde::de::Error::custom)
}

/// Everything in a block that moved the account's balance and that a transaction or an event tells of.
pub(super) fn of(account: Address, block: &Block, receipts: &[Receipt]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (transaction, receipt) in block.transactions.iter().zip(receipts) {
        if transaction.hash != receipt.transaction_hash {
            // Then the node is at fault, and what is missing shows as unexplained.
            continue;
        }
        let mut add = |kind, about: Option<String>, in_wei: U256, out_wei: U256| {
            if in_wei != out_wei {
                let (block, time) = (block.number, block.timestamp);
                lines.push(Line { block, time, transaction: transaction.hash, kind, about, in_wei, out_wei });
            }
        };
        if transaction.from == account {
            add(Kind::Fee, None, U256::ZERO, receipt.gas_used.saturating_mul(receipt.effective_gas_price));
        }
        if receipt.status != 1 {
            continue;
        }
        let to = transaction.to.or(receipt.contract_address);
        if transaction.from == account && to != Some(account) {
            let (kind, about) = spent(to, &receipt.logs);
            add(kind, about, U256::ZERO, transaction.value);
        }
        if transaction.from != account && to == Some(account) {
            add(Kind::Transfer, Some(transaction.from.to_string()), transaction.value, U256::ZERO);
        }
        for (kind, amount) in receipt.logs.iter().filter_map(|log| received(account, log)) {
            add(kind, None, amount, U256::ZERO);
        }
    }
    lines
}

/// What money went for that was sent along with a call.
fn spent(to: Option<Address>, logs: &[Log]) -> (Kind, Option<String>) {
    match to {
        Some(MARKET_ADDRESS) => {
            let order = logs.iter().find_map(|log| log.read::<Market::OrderPlaced>(MARKET_ADDRESS));
            (Kind::Escrow, order.map(|placed| format!("order {}", placed.orderId)))
        }
        Some(BOND_ADDRESS) => (Kind::Bond, None),
        Some(AUDIT_ADDRESS) => (Kind::Dispute, None),
        Some(CHANNEL_ADDRESS) => {
            let opened = logs.iter().find_map(|log| log.read::<Channel::ChannelOpened>(CHANNEL_ADDRESS));
            let topped = logs.iter().find_map(|log| log.read::<Channel::ToppedUp>(CHANNEL_ADDRESS));
            let channel = opened.map(|event| event.channelId).or_else(|| topped.map(|event| event.channelId));
            (Kind::ChannelDeposit, channel.map(|channel| format!("channel {channel}")))
        }
        other => (Kind::Transfer, other.map(|other| other.to_string())),
    }
}

/// What a contract paid out to the account.
fn received(account: Address, log: &Log) -> Option<(Kind, U256)> {
    if let Some(event) = log.read::<Market::Withdrawn>(MARKET_ADDRESS) {
        return (event.to == account).then_some((Kind::MarketWithdrawal, event.amountWei));
    }
    if let Some(event) = log.read::<Audit::Withdrawn>(AUDIT_ADDRESS) {
        return (event.to == account).then_some((Kind::AuditWithdrawal, event.amountWei));
    }
    if let Some(event) = log.read::<Bond::Left>(BOND_ADDRESS) {
        return (event.to == account).then_some((Kind::BondWithdrawal, event.amountWei));
    }
    let event = log.read::<Channel::Withdrawn>(CHANNEL_ADDRESS)?;
    // A token's amounts are in no balance.
    (event.to == account && event.token.is_zero()).then_some((Kind::ChannelWithdrawal, event.amount))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    const ME: Address = Address::repeat_byte(0x11);
    const OTHER: Address = Address::repeat_byte(0x22);

    fn log(address: Address, event: &impl SolEvent) -> serde_json::Value {
        let data = event.encode_log_data();
        json!({"address": address, "topics": data.topics(), "data": data.data})
    }

    /// One transaction in block 9 with its receipt; what it did to me, as (kind, in, out).
    fn did(
        from: Address,
        to: Option<Address>,
        value: u64,
        status: u64,
        logs: &[serde_json::Value],
    ) -> Vec<(Kind, u64, u64)> {
        let hash = B256::repeat_byte(7);
        let transaction = json!({"hash": hash, "from": from, "to": to, "value": U256::from(value)});
        let block = json!({"number": "0x9", "timestamp": "0x64", "transactions": [transaction]});
        let receipt = json!({"transactionHash": hash, "status": format!("{status:#x}"), "gasUsed": "0xa",
            "effectiveGasPrice": "0x3", "contractAddress": null, "logs": logs});
        let block: Block = serde_json::from_value(block).unwrap();
        let receipts: Vec<Receipt> = serde_json::from_value(json!([receipt])).unwrap();
        let lines = of(ME, &block, &receipts);
        lines.into_iter().map(|line| (line.kind, line.in_wei.to(), line.out_wei.to())).collect()
    }

    #[test]
    fn a_failed_transaction_costs_its_gas_and_nothing_else() {
        assert_eq!(did(ME, Some(OTHER), 5, 0, &[]), [(Kind::Fee, 0, 30)]);
        assert_eq!(did(OTHER, Some(ME), 5, 0, &[]), []);
    }

    #[test]
    fn money_sent_is_named_by_where_it_went() {
        for (to, kind) in [
            (MARKET_ADDRESS, Kind::Escrow),
            (BOND_ADDRESS, Kind::Bond),
            (AUDIT_ADDRESS, Kind::Dispute),
            (CHANNEL_ADDRESS, Kind::ChannelDeposit),
            (OTHER, Kind::Transfer),
        ] {
            assert_eq!(did(ME, Some(to), 5, 1, &[]), [(Kind::Fee, 0, 30), (kind, 0, 5)], "{to}");
        }
        assert_eq!(did(ME, Some(ME), 5, 1, &[]), [(Kind::Fee, 0, 30)], "to oneself");
        assert_eq!(did(OTHER, Some(ME), 5, 1, &[]), [(Kind::Transfer, 5, 0)]);
    }

    #[test]
    fn money_that_contracts_pay_out_counts_for_whom_it_went_to_alone_and_only_from_their_address() {
        let amount = U256::from(8);
        let market = Market::Withdrawn { account: OTHER, to: ME, amountWei: amount };
        let audit = Audit::Withdrawn { account: ME, to: ME, amountWei: amount };
        let bond = Bond::Left { account: ME, to: ME, amountWei: amount };
        let channel = |token| Channel::Withdrawn { account: ME, token, to: ME, amount };
        let call = |log| did(OTHER, Some(OTHER), 0, 1, &[log]);
        assert_eq!(call(log(MARKET_ADDRESS, &market)), [(Kind::MarketWithdrawal, 8, 0)]);
        assert_eq!(call(log(AUDIT_ADDRESS, &audit)), [(Kind::AuditWithdrawal, 8, 0)]);
        assert_eq!(call(log(BOND_ADDRESS, &bond)), [(Kind::BondWithdrawal, 8, 0)]);
        assert_eq!(call(log(CHANNEL_ADDRESS, &channel(Address::ZERO))), [(Kind::ChannelWithdrawal, 8, 0)]);
        assert_eq!(call(log(CHANNEL_ADDRESS, &channel(OTHER))), [], "a token");
        assert_eq!(call(log(OTHER, &market)), [], "another contract says so");
        let away = Market::Withdrawn { account: ME, to: OTHER, amountWei: amount };
        assert_eq!(call(log(MARKET_ADDRESS, &away)), []);
    }
}
