//! What blocks did to an account in tokens, line by line: pure.
//!
//! # Design
//! A token's own events say what it moved. Anybody can deploy a contract that says anything, so only such tokens count as the account paid, or was paid, in
//! through the market or through channels; which ones those are may be known only after their first movement.

use super::{Block, Kind, Line, Log, Receipt, spent};
use alloy_primitives::{Address, U256};
use keystead_contracts::{
    CHANNEL_ADDRESS, MARKET_ADDRESS,
    bindings::{channel::Channel, erc20::Erc20, market::Market},
};
use std::collections::{BTreeMap, BTreeSet};

/// What moved, by token.
#[derive(Debug, Default)]
pub(in crate::compute::statement) struct Tokens {
    lines: BTreeMap<Address, Vec<Line>>,
    /// Tokens of this account's own orders and channels.
    own: BTreeSet<Address>,
    count: usize,
}

impl Tokens {
    /// Takes in a block.
    pub(in crate::compute::statement) fn read(&mut self, account: Address, block: &Block, receipts: &[Receipt]) {
        for (transaction, receipt) in block.transactions.iter().zip(receipts) {
            if transaction.hash != receipt.transaction_hash || receipt.status != 1 {
                continue;
            }
            self.own.extend(own(account, &receipt.logs));
            if transaction.from == account && transaction.to == Some(CHANNEL_ADDRESS) {
                self.own.extend(topped_up(account, &receipt.logs));
            }
            for log in &receipt.logs {
                let Some((kind, about, in_wei, out_wei)) = moved(account, log, &receipt.logs) else { continue };
                let (number, time, transaction) = (block.number, block.timestamp, transaction.hash);
                let line = Line { block: number, time, transaction, kind, about, in_wei, out_wei };
                self.lines.entry(log.address).or_default().push(line);
                self.count = self.count.saturating_add(1);
            }
        }
    }

    /// Lines of all tokens, also of those that do not count.
    pub(in crate::compute::statement) const fn count(&self) -> usize {
        self.count
    }

    /// The lines of each token that counts.
    pub(in crate::compute::statement) fn own(self) -> BTreeMap<Address, Vec<Line>> {
        let Self { mut lines, own, .. } = self;
        own.into_iter().map(|token| (token, lines.remove(&token).unwrap_or_default())).collect()
    }
}

/// Tokens that the account paid in, or has something to come in, as the contracts say.
fn own(account: Address, logs: &[Log]) -> BTreeSet<Address> {
    let mut own = BTreeSet::new();
    for log in logs {
        if let Some(event) = log.read::<Channel::ChannelOpened>(CHANNEL_ADDRESS) {
            own.extend((event.customer == account).then_some(event.token));
        }
        if let Some(event) = log.read::<Channel::Credited>(CHANNEL_ADDRESS) {
            own.extend((event.account == account).then_some(event.token));
        }
        if let Some(event) = log.read::<Channel::Withdrawn>(CHANNEL_ADDRESS) {
            own.extend((event.account == account).then_some(event.token));
        }
        if let Some(event) = log.read::<Market::OrderInToken>(MARKET_ADDRESS) {
            let mut placed = logs.iter().filter_map(|log| log.read::<Market::OrderPlaced>(MARKET_ADDRESS));
            let is_own = placed.any(|order| order.orderId == event.orderId && order.customer == account);
            own.extend(is_own.then_some(event.token));
        }
        if let Some(event) = log.read::<Market::TokenCredited>(MARKET_ADDRESS) {
            own.extend((event.account == account).then_some(event.token));
        }
        if let Some(event) = log.read::<Market::TokenWithdrawn>(MARKET_ADDRESS) {
            own.extend((event.account == account).then_some(event.token));
        }
    }
    // That is KST.
    own.remove(&Address::ZERO);
    own
}

/// The token with which the account filled a channel again, by a call of its own: the contract's event names none.
fn topped_up(account: Address, logs: &[Log]) -> Option<Address> {
    logs.iter().find_map(|log| log.read::<Channel::ToppedUp>(CHANNEL_ADDRESS))?;
    logs.iter().find_map(|log| {
        let Erc20::Transfer { from, to, .. } = log.read(log.address)?;
        (from == account && to == CHANNEL_ADDRESS).then_some(log.address)
    })
}

/// What a token's event did to the account: why, about what, how much in, how much out.
fn moved(account: Address, log: &Log, logs: &[Log]) -> Option<(Kind, Option<String>, U256, U256)> {
    let Erc20::Transfer { from, to, value } = log.read(log.address)?;
    if from == to || value.is_zero() {
        return None;
    }
    if from == account {
        let (kind, about) = spent(Some(to), logs);
        return Some((kind, about, U256::ZERO, value));
    }
    let received = match from {
        MARKET_ADDRESS => (Kind::MarketWithdrawal, None),
        CHANNEL_ADDRESS => (Kind::ChannelWithdrawal, None),
        other => (Kind::Transfer, Some(other.to_string())),
    };
    (to == account).then_some((received.0, received.1, value, U256::ZERO))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use alloy_sol_types::SolEvent;
    use serde_json::{Value, json};

    const ME: Address = Address::repeat_byte(0x11);
    const OTHER: Address = Address::repeat_byte(0x22);
    const COIN: Address = Address::repeat_byte(0x70);
    const JUNK: Address = Address::repeat_byte(0x71);

    fn log(address: Address, event: &impl SolEvent) -> Value {
        let data = event.encode_log_data();
        json!({"address": address, "topics": data.topics(), "data": data.data})
    }

    fn transfer(token: Address, from: Address, to: Address, amount: u64) -> Value {
        log(token, &Erc20::Transfer { from, to, value: U256::from(amount) })
    }

    fn opened(token: Address, customer: Address, provider: Address) -> Value {
        let channel = B256::repeat_byte(9);
        let event = Channel::ChannelOpened {
            channelId: channel,
            customer,
            provider,
            signer: customer,
            token,
            deposit: 40,
            challengeSeconds: 1,
            expiresAt: alloy_primitives::Uint::from(2_u64),
            audited: false,
        };
        log(CHANNEL_ADDRESS, &event)
    }

    /// A line: kind, about, in, out.
    type Told = (Kind, Option<String>, u64, u64);

    /// Blocks of one transaction each, with these events; the lines of each token that counts.
    fn read(blocks: &[(u64, &[Value])]) -> BTreeMap<Address, Vec<Told>> {
        read_from(OTHER, OTHER, blocks)
    }

    /// The same, of transactions between these two.
    fn read_from(from: Address, to: Address, blocks: &[(u64, &[Value])]) -> BTreeMap<Address, Vec<Told>> {
        let mut tokens = Tokens::default();
        for (status, logs) in blocks {
            let hash = B256::repeat_byte(7);
            let transaction = json!({"hash": hash, "from": from, "to": to, "value": "0x0"});
            let block = json!({"number": "0x9", "timestamp": "0x64", "transactions": [transaction]});
            let receipt = json!({"transactionHash": hash, "status": format!("{status:#x}"), "gasUsed": "0xa",
                "effectiveGasPrice": "0x3", "contractAddress": null, "logs": logs});
            let block: Block = serde_json::from_value(block).unwrap();
            let receipts: Vec<Receipt> = serde_json::from_value(json!([receipt])).unwrap();
            tokens.read(ME, &block, &receipts);
        }
        let line = |line: Line| (line.kind, line.about, line.in_wei.to(), line.out_wei.to());
        tokens.own().into_iter().map(|(token, lines)| (token, lines.into_iter().map(line).collect())).collect()
    }

    #[test]
    fn tokens_of_ones_own_channels_and_orders_count_also_what_came_before_and_are_never_added() {
        let channel = Some(format!("channel {}", B256::repeat_byte(9)));
        let credited =
            Market::TokenCredited { orderId: U256::from(3), account: ME, token: JUNK, amount: U256::from(5) };
        let found = read(&[
            (1, &[transfer(COIN, OTHER, ME, 100)]),
            (1, &[transfer(COIN, ME, CHANNEL_ADDRESS, 40), opened(COIN, ME, OTHER)]),
            (1, &[transfer(COIN, CHANNEL_ADDRESS, ME, 15)]),
            (1, &[log(MARKET_ADDRESS, &credited)]),
            (1, &[transfer(JUNK, MARKET_ADDRESS, ME, 5)]),
            // Neither what failed nor what moved nothing.
            (0, &[transfer(COIN, OTHER, ME, 1)]),
            (1, &[transfer(COIN, ME, ME, 1), transfer(COIN, ME, OTHER, 0), transfer(COIN, OTHER, JUNK, 1)]),
        ]);
        let coin = vec![
            (Kind::Transfer, Some(OTHER.to_string()), 100, 0),
            (Kind::ChannelDeposit, channel, 0, 40),
            (Kind::ChannelWithdrawal, None, 15, 0),
        ];
        assert_eq!(found, BTreeMap::from([(COIN, coin), (JUNK, vec![(Kind::MarketWithdrawal, None, 5, 0)])]));
    }

    #[test]
    fn a_strangers_token_does_not_count_whatever_it_says() {
        let credited = |account, token| {
            let (id, amount) = (B256::ZERO, U256::from(1));
            Channel::Credited { channelId: id, account, token, amount }
        };
        let found = read(&[
            (1, &[transfer(JUNK, OTHER, ME, 1_000_000)]),
            // A channel that a stranger opened with me, and events of another contract.
            (1, &[opened(JUNK, OTHER, ME)]),
            (1, &[log(JUNK, &credited(ME, JUNK))]),
            // Somebody else's, and KST.
            (1, &[log(CHANNEL_ADDRESS, &credited(OTHER, JUNK))]),
            (1, &[log(CHANNEL_ADDRESS, &credited(ME, Address::ZERO))]),
        ]);
        assert!(found.is_empty(), "{found:?}");
        // Once I am paid in it, it does.
        let paid = read(&[(1, &[log(CHANNEL_ADDRESS, &credited(ME, JUNK))])]);
        assert_eq!(paid, BTreeMap::from([(JUNK, Vec::new())]));
    }

    #[test]
    fn a_channel_of_before_that_is_filled_again_counts_for_who_fills_it() {
        let channel = B256::repeat_byte(9);
        let filled = log(CHANNEL_ADDRESS, &Channel::ToppedUp { channelId: channel, amount: 7, deposit: 47 });
        let logs = [transfer(COIN, ME, CHANNEL_ADDRESS, 7), filled];
        let line = (Kind::ChannelDeposit, Some(format!("channel {channel}")), 0, 7);
        assert_eq!(read_from(ME, CHANNEL_ADDRESS, &[(1, &logs)]), BTreeMap::from([(COIN, vec![line])]));
        // A stranger fills its own, with a token that says that I paid.
        assert!(read_from(OTHER, CHANNEL_ADDRESS, &[(1, &logs)]).is_empty());
        assert!(read_from(ME, OTHER, &[(1, &logs)]).is_empty());
        let [paid, _] = logs;
        assert!(read_from(ME, CHANNEL_ADDRESS, &[(1, &[paid])]).is_empty(), "nothing was filled");
    }

    #[test]
    fn an_order_in_a_token_is_its_customers() {
        let order = |customer| {
            let placed = Market::OrderPlaced {
                orderId: U256::from(3),
                provider: OTHER,
                customer,
                jobHash: B256::ZERO,
                units: 1,
                priceWeiPerUnit: 7,
                leaseBy: alloy_primitives::Uint::from(2_u64),
                deliverSeconds: 1,
                checkSeconds: 1,
            };
            let escrow = transfer(COIN, customer, MARKET_ADDRESS, 7);
            let in_token = Market::OrderInToken { orderId: U256::from(3), token: COIN };
            [escrow, log(MARKET_ADDRESS, &placed), log(MARKET_ADDRESS, &in_token)]
        };
        let line = (Kind::Escrow, Some("order 3".to_owned()), 0, 7);
        assert_eq!(read(&[(1, &order(ME))]), BTreeMap::from([(COIN, vec![line])]));
        assert!(read(&[(1, &order(OTHER))]).is_empty());
    }
}
