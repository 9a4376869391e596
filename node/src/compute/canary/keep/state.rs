//! What was counted and spent, and whether a canary is owed: `keep.json`, and a pure rule.
//!
//! # Invariants
//! An order is in the file before its process begins, and leaves it together with what it cost. So whoever goes on after a crash has every order that may
//! have been placed, and counts none twice. Spec: specs/0008-audit.md §12.2.

use super::jobs;
use crate::compute::files;
use alloy_primitives::{Address, B256, U256};
use eyre::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the file's format.
const VERSION: u32 = 1;
/// Largest file that is read, bytes: the words of a line may be escaped, and the rest has a few hundred.
const BYTES_MAX: usize = 64 << 10;
const PPM: u128 = 1_000_000;

/// Whose canaries, on which chain. Another one's counts and money are another folder's.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) chain_id: u64,
    pub(super) genesis: B256,
    pub(super) customer: Address,
}

/// An order that was begun and is not known to be over.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Order {
    /// Counts from 1; the name of its folder.
    pub(super) number: u64,
    /// As drawn: a process that goes on says the same.
    pub(super) words: Vec<String>,
    /// What it may cost.
    pub(super) limit_wei: U256,
    /// A block before its first transaction.
    pub(super) from_block: u64,
}

/// The file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    identity: Identity,
    /// The first block that was counted.
    from_block: u64,
    /// The first one that was not.
    pub(super) next_block: u64,
    /// Checks of round 0 that were committed to, of everybody.
    checks: u64,
    /// Canaries that were told, of everybody.
    told: u64,
    /// Orders that were begun.
    orders: u64,
    /// Of these, who came to nothing.
    failed: u64,
    /// By orders that are over.
    spent_wei: U256,
    under_way: Option<Order>,
}

/// What the person asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) rate_ppm: u32,
    pub(super) max_total_wei: U256,
    pub(super) max_price_wei: Option<U256>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No canary is owed.
    Wait,
    /// One is under way.
    GoOn,
    /// One is owed, and may cost so much.
    Order {
        /// More than nothing.
        limit_wei: U256,
    },
    /// One is owed, and nothing is left for it.
    Spent,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was placed, and is over; what it cost.
    Over {
        /// Without gas.
        cost_wei: U256,
        /// Its units were committed to and checked, whatever came of it, and its provider did not leave the canary out.
        is_done: bool,
    },
    /// Nothing was placed, and never will be.
    Nothing,
}

impl Rule {
    /// Whether the total, and not what one order may cost, was the limit of an order.
    pub(super) fn is_total(&self, limit_wei: U256) -> bool {
        self.max_price_wei.is_none_or(|price_wei| limit_wei < price_wei)
    }
}

impl State {
    /// Nothing is counted before `next_block`.
    pub(super) const fn new(identity: Identity, next_block: u64) -> Self {
        Self {
            version: VERSION,
            identity,
            from_block: next_block,
            next_block,
            checks: 0,
            told: 0,
            orders: 0,
            failed: 0,
            spent_wei: U256::ZERO,
            under_way: None,
        }
    }

    /// Reads the file of this account on this chain; `None` if there is none.
    ///
    /// # Errors
    /// It is damaged, of another version, or of another account or chain.
    pub(super) fn load(path: &Path, identity: &Identity) -> Result<Option<Self>> {
        let text = files::read(path)?;
        let read = text.map(|text| Self::parse(&text).and_then(|state| state.of(identity)));
        read.transpose().wrap_err_with(|| format!("cannot use {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        ensure!(text.len() <= BYTES_MAX, "it is too large: bytes={} max={BYTES_MAX}", text.len());
        let Version { version } = serde_json::from_str(text).wrap_err("it is damaged")?;
        ensure!(
            version == VERSION,
            "it has version {version}, this program reads {VERSION}: go on with the program that wrote it, or begin in another --dir"
        );
        let state: Self = serde_json::from_str(text).wrap_err("it is damaged")?;
        let counts = state.from_block <= state.next_block && state.failed <= state.orders;
        let under_way = state.under_way.as_ref();
        let follows = under_way.is_none_or(|order| order.number == state.orders && !order.limit_wei.is_zero());
        ensure!(counts && follows, "it is damaged: begin in another --dir");
        if let Some(order) = under_way {
            jobs::check_again(&order.words).wrap_err("the order under way is none: begin in another --dir")?;
        }
        Ok(state)
    }

    fn of(self, asked: &Identity) -> Result<Self> {
        let Identity { chain_id, customer, .. } = self.identity;
        ensure!(
            self.identity == *asked,
            "it is of account {customer} on chain {chain_id}, this is account {} on chain {}{}: check the wallet and --rpc, or begin in another --dir",
            asked.customer,
            asked.chain_id,
            if chain_id == asked.chain_id { ", or a chain with another beginning" } else { "" }
        );
        Ok(self)
    }

    /// On the disk when it returns.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).wrap_err("what was counted cannot be written down")?;
        files::replace(path, &text)
    }

    /// Checks and canaries of the blocks before `next_block` that were not counted yet.
    pub(super) const fn count(&mut self, (checks, told): (u64, u64), next_block: u64) {
        self.checks = self.checks.saturating_add(checks);
        self.told = self.told.saturating_add(told);
        self.next_block = next_block;
    }

    /// Whole canaries that are missing among the checks that were counted.
    pub(super) fn owed(&self, rate_ppm: u32) -> u64 {
        let wanted = u128::from(self.checks).saturating_mul(rate_ppm.into()) / PPM;
        u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(self.told)
    }

    /// The rule.
    pub(super) fn step(&self, rule: &Rule) -> Step {
        if self.under_way.is_some() {
            return Step::GoOn;
        }
        if self.owed(rule.rate_ppm) == 0 {
            return Step::Wait;
        }
        let limit_wei = self.limit_wei(rule);
        if limit_wei.is_zero() { Step::Spent } else { Step::Order { limit_wei } }
    }

    /// What an order may cost.
    fn limit_wei(&self, rule: &Rule) -> U256 {
        let left_wei = rule.max_total_wei.saturating_sub(self.spent_wei);
        rule.max_price_wei.map_or(left_wei, |price_wei| left_wei.min(price_wei))
    }

    /// What the order under way may cost, of which nothing was placed, as is asked for now; `None` if nothing is left for it.
    pub(super) fn limit_again(&mut self, rule: &Rule) -> Option<U256> {
        let limit_wei = self.limit_wei(rule);
        let order = self.under_way.as_mut().filter(|_| !limit_wei.is_zero())?;
        order.limit_wei = limit_wei;
        Some(limit_wei)
    }

    /// Begins an order. The file must be written before its process is started.
    pub(super) fn begin(&mut self, words: Vec<String>, limit_wei: U256) {
        self.orders = self.orders.saturating_add(1);
        // Counted blocks are final ones: nothing of the order is in them.
        self.under_way = Some(Order { number: self.orders, words, limit_wei, from_block: self.next_block });
    }

    pub(super) const fn under_way(&self) -> Option<&Order> {
        self.under_way.as_ref()
    }

    /// The order under way is over.
    pub(super) fn end(&mut self, ending: Ending) {
        let is_done = match ending {
            Ending::Over { cost_wei, is_done } => {
                self.spent_wei = self.spent_wei.saturating_add(cost_wei);
                is_done
            }
            Ending::Nothing => false,
        };
        if self.under_way.take().is_some() && !is_done {
            self.failed = self.failed.saturating_add(1);
        }
    }

    pub(super) const fn spent_wei(&self) -> U256 {
        self.spent_wei
    }

    /// Where it stands.
    pub(super) const fn tally(&self) -> Tally {
        let Self { from_block, checks, told, orders, failed, .. } = *self;
        Tally { from_block, checks, told, orders, failed }
    }
}

/// What a person reads of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) from_block: u64,
    pub(super) checks: u64,
    pub(super) told: u64,
    pub(super) orders: u64,
    pub(super) failed: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const IDENTITY: Identity =
        Identity { chain_id: 7, genesis: B256::repeat_byte(1), customer: Address::repeat_byte(2) };

    fn wei(wei: u64) -> U256 {
        U256::from(wei)
    }

    fn rule(total: u64) -> Rule {
        Rule { rate_ppm: 10_000, max_total_wei: wei(total), max_price_wei: None }
    }

    fn words() -> Vec<String> {
        let provider = Address::repeat_byte(7).to_string();
        ["align", "--audit", "--provider", &provider].map(str::to_owned).into()
    }

    fn counted(checks: u64, told: u64) -> State {
        let mut state = State::new(IDENTITY, 10);
        state.count((checks, told), 20);
        state
    }

    fn text(state: &State) -> String {
        serde_json::to_string(state).unwrap()
    }

    #[test]
    fn a_canary_is_owed_for_every_whole_hundred_of_checks_that_none_was_told_for() {
        let order = Step::Order { limit_wei: wei(50) };
        for (checks, told, step) in [
            (0, 0, Step::Wait),
            (99, 0, Step::Wait),
            (100, 0, order),
            (199, 1, Step::Wait),
            (200, 1, order),
            (200, 3, Step::Wait),
            (u64::MAX, 0, order),
        ] {
            assert_eq!(counted(checks, told).step(&rule(50)), step, "{checks} checks, {told} told");
        }
        assert_eq!((counted(350, 1).owed(10_000), counted(3, 1).owed(1_000_000)), (2, 2));
        assert_eq!(counted(u64::MAX, 1).owed(1_000_000), u64::MAX - 1);
        assert_eq!(counted(u64::MAX, u64::MAX).step(&rule(50)), Step::Wait);
    }

    #[test]
    fn an_order_at_a_time_and_each_with_what_is_left() {
        let mut state = counted(500, 0);
        state.begin(words(), wei(50));
        assert_eq!((state.step(&rule(50)), state.under_way().unwrap().number), (Step::GoOn, 1));
        assert_eq!(state.under_way().unwrap().from_block, 20);
        state.end(Ending::Over { cost_wei: wei(20), is_done: true });
        assert_eq!(state.step(&rule(50)), Step::Order { limit_wei: wei(30) });
        let capped = Rule { max_price_wei: Some(wei(8)), ..rule(50) };
        assert_eq!(state.step(&capped), Step::Order { limit_wei: wei(8) });
        assert!(!capped.is_total(wei(8)) && capped.is_total(wei(7)) && rule(50).is_total(wei(30)));
        state.begin(words(), wei(30));
        state.end(Ending::Nothing);
        assert_eq!(state.step(&rule(50)), Step::Order { limit_wei: wei(30) }, "what came to nothing costs nothing");
        state.begin(words(), wei(30));
        state.end(Ending::Over { cost_wei: wei(30), is_done: false });
        assert_eq!((state.step(&rule(50)), state.spent_wei()), (Step::Spent, wei(50)));
        assert_eq!(state.step(&rule(51)), Step::Order { limit_wei: wei(1) });
        assert_eq!(state.step(&rule(10)), Step::Spent, "less than was spent");
        let tally = Tally { from_block: 10, checks: 500, told: 0, orders: 3, failed: 2 };
        assert_eq!(state.tally(), tally);
        // Ended once more, as nothing is under way: nothing is counted.
        state.end(Ending::Nothing);
        assert_eq!(state.tally(), tally);
    }

    #[test]
    fn what_an_order_may_cost_that_was_never_placed_is_what_is_asked_for_now() {
        let mut state = counted(500, 0);
        assert_eq!(state.limit_again(&rule(50)), None, "there is no order");
        state.begin(words(), wei(20));
        state.end(Ending::Over { cost_wei: wei(20), is_done: true });
        state.begin(words(), wei(30));
        for (rule, limit) in [(rule(25), 5), (rule(90), 70), (Rule { max_price_wei: Some(wei(8)), ..rule(90) }, 8)] {
            assert_eq!(state.limit_again(&rule), Some(wei(limit)));
            assert_eq!(state.under_way().unwrap().limit_wei, wei(limit));
        }
        assert_eq!(state.limit_again(&rule(20)), None, "all of it is spent");
        assert_eq!(State::parse(&text(&state)).unwrap(), state, "and the file stays whole");
    }

    #[test]
    fn a_process_that_goes_on_has_the_counts_the_money_and_the_very_same_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keep.json");
        assert_eq!(State::load(&path, &IDENTITY).unwrap(), None);
        let mut state = counted(500, 2);
        state.begin(words(), wei(50));
        state.save(&path).unwrap();
        let mut again = State::load(&path, &IDENTITY).unwrap().unwrap();
        assert_eq!(again, state);
        assert_eq!(again.step(&rule(50)), Step::GoOn);
        again.end(Ending::Over { cost_wei: U256::MAX, is_done: true });
        again.save(&path).unwrap();
        assert_eq!(State::load(&path, &IDENTITY).unwrap().unwrap().step(&rule(50)), Step::Spent);
    }

    #[test]
    fn another_accounts_and_another_chains_folder_is_refused() {
        let state = State::new(IDENTITY, 0);
        for (other, words) in [
            (Identity { customer: Address::repeat_byte(9), ..IDENTITY }, "check the wallet"),
            (Identity { chain_id: 8, ..IDENTITY }, "on chain 7, this is"),
            (Identity { genesis: B256::repeat_byte(9), ..IDENTITY }, "another beginning"),
        ] {
            let said = state.clone().of(&other).unwrap_err().to_string();
            assert!(said.contains(words) && said.contains("another --dir"), "no {words:?} in: {said}");
        }
    }

    #[test]
    fn a_hostile_file_is_refused_with_its_reason() {
        let mut state = counted(500, 2);
        state.begin(words(), wei(50));
        let text = text(&state);
        assert_eq!(State::parse(&text).unwrap(), state);
        let longest = format!("{text}{}", " ".repeat(BYTES_MAX - text.len()));
        assert!(State::parse(&longest).is_ok());
        let table = [
            (format!("{longest} "), "too large"),
            (text.replace("\"version\":1", "\"version\":2"), "version 2"),
            (text.replace("\"version\":1,", "\"version\":1,\"more\":1,"), "damaged"),
            (text.replace("\"checks\":500", "\"checks\":-1"), "damaged"),
            (text.replace("\"nextBlock\":20", "\"nextBlock\":9"), "damaged"),
            (text.replace("\"failed\":0", "\"failed\":2"), "damaged"),
            (text.replace("\"number\":1", "\"number\":2"), "damaged"),
            (text.replace("\"--audit\"", "\"--private\""), "leave --private out"),
            (text.replace("\"--audit\"", "\"--audit\",\"--key\",\"/etc/x\""), "leave --key out"),
            (text[..text.len() / 2].to_owned(), "damaged"),
            (String::new(), "damaged"),
        ];
        for (text, words) in table {
            let said = format!("{:#}", State::parse(&text).unwrap_err());
            assert!(said.contains(words), "no {words:?} in: {said}");
        }
    }
}
