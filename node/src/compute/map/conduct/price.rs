//! What a map in a token costs, said before anything is paid: the price in the token, gas apart in KST, and what may lie in channels meanwhile.

use super::Conductor;
use crate::compute::{
    amount::{counted, kst},
    map::happened,
    money::Money,
};
use alloy_primitives::U256;
use keystead_market::Currency;

/// Gas of a map's customer whatever it has of channels: an approval and its end, and taking home what comes back, with what estimates are rounded up by.
/// Tokens that need more are rare (`contracts/snapshots/Channel.json`).
const GAS: u64 = 250_000;
/// Gas of a channel: its opening, and its end where its provider does not close it.
const CHANNEL_GAS: u64 = 420_000;

/// What is known of the price before the first channel is opened.
#[derive(Clone, Copy, Debug)]
struct Quote<'a> {
    money: &'a Money,
    /// Steps that nobody does yet.
    steps: u64,
    /// Of a step, at the dearest of who takes part.
    price: u128,
    /// Who takes part.
    providers: usize,
    /// Most that channels may take in all.
    approved: U256,
    fee_per_gas_max_wei: u128,
}

impl Quote<'_> {
    fn lines(&self) -> Vec<String> {
        let Self { money, steps, price, providers, approved, fee_per_gas_max_wei } = *self;
        let total = U256::from(price).saturating_mul(U256::from(steps));
        let count = u64::try_from(providers).unwrap_or(u64::MAX);
        let mut lines = vec![format!(
            "Price: at most {} ({} x {}), from {}",
            money.show(total),
            counted(steps, "step"),
            money.show(U256::from(price)),
            counted(count, "provider")
        )];
        lines.extend(money.fine_print(total));
        let channels = U256::from(CHANNEL_GAS).saturating_mul(U256::from(providers));
        let gas_wei = U256::from(GAS).saturating_add(channels).saturating_mul(U256::from(fee_per_gas_max_wei));
        lines.push(format!(
            "  Gas beside it: at most {} for the approval and {}, a little more where one is filled again",
            kst(gas_wei),
            counted(count, "channel")
        ));
        lines.push(format!(
            "  Channels may take up to {} as deposits; what is not earned of them comes back",
            money.show(approved)
        ));
        lines
    }
}

impl Conductor<'_> {
    /// An amount with its unit.
    pub(super) fn shown(&self, amount: u128) -> String {
        self.money.show(U256::from(amount))
    }

    /// What the contract is approved to take, where it may not take enough yet: what every provider that is wanted would be paid if each did all that is
    /// left, at the dearest price. So deposits and what fills them again need one approval, as long as nobody has to be replaced. Nothing in KST.
    pub(super) fn approved(&self) -> U256 {
        if self.money.currency() == Currency::KST {
            return U256::ZERO;
        }
        let (price, providers) = self.asked();
        let all = U256::from(price).saturating_mul(U256::from(self.state.table.steps_waiting()));
        all.saturating_mul(U256::from(self.wanted().max(providers)))
    }

    /// The dearest price of a step of those who take part, and how many they are.
    fn asked(&self) -> (u128, usize) {
        let mut in_it = 0_usize;
        let mut dearest = 0;
        for (provider, partner) in self.state.providers() {
            if self.state.table.out(provider).is_none() {
                in_it = in_it.saturating_add(1);
                dearest = partner.price_wei.max(dearest);
            }
        }
        (dearest, in_it)
    }

    /// The price, to programs and to who pays in a token; also when others have come.
    pub(super) fn say_price(&self, fee_per_gas_max_wei: u128) {
        let (price, providers) = self.asked();
        let (steps, approved) = (self.state.table.steps_waiting(), self.approved());
        self.show.note(&happened::priced(price, steps, providers));
        if self.money.currency() == Currency::KST {
            return;
        }
        let quote = Quote { money: &self.money, steps, price, providers, approved, fee_per_gas_max_wei };
        quote.lines().iter().for_each(|line| self.show.say(line));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use alloy_primitives::Address;

    #[test]
    fn a_price_in_a_token_is_firm_and_gas_stands_apart_in_kst() {
        let contract = Address::repeat_byte(7);
        let money = Money::unnamed(Currency::token(contract));
        let (steps, price, providers, approved) = (40, 1_003, 2, U256::from(80_240));
        let quote = Quote { money: &money, steps, price, providers, approved, fee_per_gas_max_wei: 1_000_000_000 };
        let lines = quote.lines();
        let units = format!("smallest units of {contract}");
        assert_eq!(lines[0], format!("Price: at most 40120 {units} (40 steps x 1003 {units}), from 2 providers"));
        assert_eq!(lines[1], format!("  in the token {contract}: exactly 40120 of its smallest units"));
        assert!(lines[2].contains("at most 0.00109 KST") && !lines[2].contains("units of"), "{}", lines[2]);
        assert!(lines[3].contains(&format!("up to 80240 {units}")) && lines.len() == 4, "{}", lines[3]);
        let one = Quote { providers: 1, ..quote }.lines();
        assert!(one[0].ends_with("from 1 provider") && one[2].contains("and 1 channel, "), "{}\n{}", one[0], one[2]);
        let last = Quote { steps: 1, ..quote }.lines();
        assert!(last[0].contains("(1 step x "), "{}", last[0]);
    }
}
