//! What a map costs at most, said before anything is paid and kept: the price, checks, gas apart in KST, and what may lie in channels meanwhile.

use super::{Conductor, money::DEPOSIT_STEPS, purse::checks_ahead_wei};
use crate::compute::{
    amount::{counted, kst},
    map::{
        happened,
        journal::Entry,
        promise::{Promise, Spent},
        setup::WINDOW_SECONDS_AUDITED,
    },
    money::Money,
};
use alloy_primitives::{Address, U256};
use eyre::Result;
use keystead_lease::{Out, Provider, STEPS_MAX};
use keystead_market::Currency;
use keystead_payment::Budget;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Gas of a map's customer whatever it has of channels: taking home what comes back, with what estimates are rounded up by.
const GAS: u64 = 100_000;
/// Likewise in a token, with an approval and its end. Tokens that need more are rare (`contracts/snapshots/Channel.json`).
const GAS_IN_TOKEN: u64 = 250_000;
/// Gas of a channel: its opening, and its end where its provider does not close it.
const CHANNEL_GAS: u64 = 420_000;
/// The same of one whose windows are audited.
const CHANNEL_GAS_AUDITED: u64 = 560_000;
/// Parts per million in a whole.
const PPM: u128 = 1_000_000;
/// Providers that are remembered as too dear: beyond these nobody is told of them.
const DEAR_MAX: usize = 1_024;
/// How long nobody may work, while those who could are too dear, before the command ends and says so.
const STUCK_MAX: Duration = Duration::from_secs(600);
/// Windows of a provider that are not over beside those of which its pace tells: the first ones are small.
const WINDOWS_MORE: u64 = 2;

/// What checks cost, and may take from channels until that is known, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChecksMost {
    /// As many as are expected.
    expected_wei: u128,
    /// Taken in windows of the largest size.
    pub(super) usual_wei: u128,
    /// The most that is out at once, whatever the size of windows: what lies in the budgets of those that are not over, and what those before cost. Where
    /// more would be out, nothing is handed out until a window is over.
    most_wei: u128,
    /// What lies in a channel for them beforehand.
    ahead_wei: u128,
}

impl ChecksMost {
    /// For so many steps, of which so many windows are open at once.
    pub(super) fn of(budget: Budget, steps: u64, open: u64) -> Self {
        let whole = u32::try_from(steps).unwrap_or(u32::MAX);
        let largest = whole.min(STEPS_MAX);
        let windows = steps.div_ceil(u64::from(STEPS_MAX));
        let usual_wei = budget.of(largest).saturating_mul(windows.into());
        let open_wei = budget.of(largest).saturating_mul(open.min(steps).into());
        let each_wei = budget.of(1).saturating_mul(steps.into());
        // What is over cost about what is expected: a window of all steps has room for half as many again, and for a dispute.
        let most_wei = budget.of(whole).saturating_add(usual_wei.max(open_wei)).min(each_wei).max(usual_wei);
        let share = u128::from(budget.rate_ppm).saturating_mul(budget.checkers.into());
        let expected = u128::from(steps).saturating_mul(share).div_ceil(PPM);
        Self {
            expected_wei: expected.saturating_mul(budget.fee_wei),
            usual_wei,
            most_wei,
            ahead_wei: checks_ahead_wei(budget, steps.max(1)),
        }
    }
}

/// Windows of a provider that are open at once, where each takes its whole time and is then checked for so long.
fn open_at_once(life: Duration, window_seconds: u32) -> u64 {
    life.as_secs().div_ceil(u64::from(window_seconds.max(1))).saturating_add(WINDOWS_MORE)
}

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
    /// What lies in channels: of a token the most that they may take in all, of KST what the first deposits are.
    deposits: U256,
    fee_per_gas_max_wei: u128,
    /// Of an audited map.
    checks: Option<ChecksMost>,
    promise: Option<Promise>,
}

impl Quote<'_> {
    fn lines(&self) -> Vec<String> {
        let Self { money, steps, price, providers, deposits, checks, promise, .. } = *self;
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
        if let Some(ChecksMost { expected_wei, usual_wei, most_wei, .. }) = checks {
            lines.push(format!(
                "  Checks beside it: about {} in the end; until that is known {} are taken for them as a rule, {} at most where steps are slow, and what they do not cost comes back",
                kst(U256::from(expected_wei)),
                kst(U256::from(usual_wei)),
                kst(U256::from(most_wei))
            ));
        }
        lines.push(self.gas());
        lines.push(if money.currency() == Currency::KST {
            format!(
                "  Channels begin with {} as deposits, and are filled again as they are used; what is not earned of them comes back",
                money.show(deposits)
            )
        } else {
            format!("  Channels may take up to {} as deposits; what is not earned of them comes back", money.show(deposits))
        });
        lines.extend(promise.map(|promise| said(money, &promise)));
        lines
    }

    fn gas(&self) -> String {
        let Self { money, providers, fee_per_gas_max_wei, checks, price, steps, .. } = *self;
        let count = counted(u64::try_from(providers).unwrap_or(u64::MAX), "channel");
        let each = if checks.is_some() { CHANNEL_GAS_AUDITED } else { CHANNEL_GAS };
        let is_in_kst = money.currency() == Currency::KST;
        let fixed = if is_in_kst { GAS } else { GAS_IN_TOKEN };
        let gas = U256::from(fixed).saturating_add(U256::from(each).saturating_mul(U256::from(providers)));
        let gas_wei = gas.saturating_mul(U256::from(fee_per_gas_max_wei));
        let gas = kst(gas_wei);
        if !is_in_kst {
            return format!(
                "  Gas beside it: at most {gas} for the approval and {count}, a little more where one is filled again"
            );
        }
        let work_wei = U256::from(price).saturating_mul(U256::from(steps)).saturating_add(gas_wei);
        let all = |checks_wei: u128| kst(work_wei.saturating_add(U256::from(checks_wei)));
        let rule = checks.map_or_else(String::new, |checks| format!(", about {} in the end", all(checks.expected_wei)));
        format!(
            "  Gas beside it: at most {gas} for {count}, a little more where one is filled again; all in at most {}{rule}",
            all(checks.map_or(0, |checks| checks.most_wei))
        )
    }
}

/// What the map keeps to, as a person reads it.
fn said(money: &Money, promise: &Promise) -> String {
    let most = money.show(U256::from(promise.most_wei));
    if promise.asked_wei.is_some() {
        return format!(
            "  Never more than {most} is promised, your --max-price, also if work is thrown away and done again"
        );
    }
    format!(
        "  Work that is thrown away since its provider is caught is paid again: never more than {most} is promised in all"
    )
}

/// What was said, beside what was promised, for the last words.
pub(in crate::compute::map) fn compared(money: &Money, promise: &Promise, promised_wei: u128) -> String {
    let show = |wei: u128| money.show(U256::from(wei));
    let (work, most) = (show(promise.work_wei), show(promise.most_wei));
    let promised = show(promised_wei);
    if promised_wei <= promise.work_wei {
        return format!("At most {work} was said before anything was paid; it was {promised}.");
    }
    format!(
        "At most {work} was said before anything was paid, and never more than {most} where work is thrown away; it was {promised}."
    )
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

    /// What is spent, and what waits.
    pub(super) fn spent(&self) -> Spent {
        let lost_wei = self.state.lost_wei();
        Spent {
            kept_wei: self.state.promised_wei().saturating_sub(lost_wei),
            beside_wei: lost_wei.saturating_add(self.state.checks_wei()),
            leased_wei: self.leased_wei(),
            steps_leased: self.state.table.live().fold(0_u64, |sum, lease| sum.saturating_add(lease.steps().into())),
            steps_waiting: self.state.table.steps_waiting(),
        }
    }

    /// What this map keeps to: what was said, or before that the person's limit, if there is one.
    fn promise(&self) -> Option<Promise> {
        self.state.promise.or_else(|| self.options.max_price.map(Promise::asked))
    }

    /// The most that may be promised and taken for checks; none while nothing was said.
    pub(super) fn limit_wei(&self) -> Option<u128> {
        self.promise().map(|promise| promise.most_wei)
    }

    /// Whether somebody at this price of a step can be taken on.
    pub(super) fn affords(&self, step_wei: u128) -> bool {
        self.promise().is_none_or(|promise| promise.pays(self.spent(), step_wei))
    }

    /// Goes on with what was said to the person who began it. Another limit than then counts from now on; where the process before had said nothing yet, or
    /// was an older program, it is said now. Those without a channel for whom it does not pay get none.
    pub(super) async fn keep_promise(&mut self) -> Result<()> {
        if let Some(renewed) = self.state.promise.and_then(|said| said.renewed(self.options.max_price)) {
            self.record(&Entry::Promised(renewed))?;
            self.show.say(&format!("From now on --max-price counts: {} at most.", self.shown(renewed.most_wei)));
            let spent_wei = self.spent().wei();
            if spent_wei > renewed.most_wei {
                self.show.say(&format!(
                    "  More than that is promised, or being done, already ({}): nothing more is handed out.",
                    self.shown(spent_wei)
                ));
            }
        }
        // A process that ended while the price was said anew.
        if self.is_untouched() && self.without_channel().iter().any(|(.., step_wei)| !self.affords(*step_wei)) {
            self.state.promise = None;
        }
        if self.state.promise.is_none() && self.state.table.has_providers() {
            let fee_per_gas_max_wei = self.market.account.fee_per_gas_max().await?;
            self.say_price(fee_per_gas_max_wei)?;
        }
        for (provider, account, step_wei) in self.without_channel() {
            if !self.affords(step_wei) {
                self.pass_over(account, step_wei);
                self.leave_out(provider, Out::Unwilling)?;
            }
        }
        Ok(())
    }

    /// Those who take part and have no channel, nor one on its way, and what they ask for a step.
    fn without_channel(&self) -> Vec<(Provider, Address, u128)> {
        let all = self.state.providers().filter(|(provider, partner)| {
            partner.channel.is_none() && partner.opening.is_none() && self.state.table.out(*provider).is_none()
        });
        all.map(|(provider, partner)| (provider, partner.account, partner.price_wei)).collect()
    }

    /// Whether a price was said of which nothing was promised, and that is no limit of the person's.
    fn is_untouched(&self) -> bool {
        let is_said = self.state.promise.is_some_and(|promise| promise.asked_wei.is_none());
        is_said && self.options.max_price.is_none() && self.spent().wei() == 0
    }

    /// Somebody is dearer than what was said allows: said once.
    pub(super) fn pass_over(&mut self, account: Address, step_wei: u128) {
        if self.dear.len() >= DEAR_MAX || self.dear.insert(account, step_wei).is_some() {
            return;
        }
        self.show.note(&happened::too_dear(account, step_wei));
        let what = if self.options.max_price.is_some() { "--max-price" } else { "the price that was said before" };
        self.show.say(&format!(
            "Provider {account} is not taken: it asks {} a step, more than {what} allows for what is left. A higher --max-price lets it in.",
            self.shown(step_wei)
        ));
    }

    /// The price, to programs and to the person; also when others have come. What is said first is kept. Windows of an audited map have a price once it is
    /// known how they are checked.
    pub(super) fn say_price(&mut self, fee_per_gas_max_wei: u128) -> Result<()> {
        self.fee_per_gas_max_wei = fee_per_gas_max_wei;
        if self.options.audit.is_wanted() {
            return Ok(());
        }
        self.quote(None)
    }

    /// Likewise of an audited map, as the windows of one provider are checked, at the dearest price.
    /// `life`: until a window is over.
    pub(super) fn say_audited_price(&mut self, budget: Budget, step_wei: u128, life: Duration) -> Result<()> {
        if self.state.promise.is_some() {
            return Ok(());
        }
        // A fee is a share of the price of the step that it is for.
        let (dearest, providers) = self.asked();
        let fee_wei = budget.fee_wei.saturating_mul(dearest.max(step_wei)).div_ceil(step_wei.max(1));
        let each = open_at_once(life, self.options.window_seconds.unwrap_or(WINDOW_SECONDS_AUDITED));
        let open = u64::try_from(self.wanted().max(providers)).unwrap_or(u64::MAX).saturating_mul(each);
        self.quote(Some(ChecksMost::of(Budget { fee_wei, ..budget }, self.state.table.steps_waiting(), open)))
    }

    /// Whether the price may be said anew: nothing was promised at it, and nobody works.
    pub(super) fn may_ask_anew(&self) -> bool {
        self.is_untouched() && self.working() == 0
    }

    /// The price is said anew, with whom takes part now. The old one stands in the journal until the new one does.
    pub(super) fn ask_anew(&mut self) {
        self.state.promise = None;
        self.show.say("Nobody of those whose price was said works, and nothing was promised to them: it is said anew, with others.");
    }

    /// Those who are too dear for what is left, now.
    pub(super) fn still_dear(&self) -> impl Iterator<Item = (Address, u128)> + '_ {
        let is_open = self.may_ask_anew();
        let promise = self.promise().filter(|_| !is_open);
        let spent = self.spent();
        let all = self.dear.iter().map(|(account, step_wei)| (*account, *step_wei));
        all.filter(move |(_, step_wei)| promise.is_some_and(|promise| !promise.pays(spent, *step_wei)))
    }

    /// Forgets those who are not too dear any more; whether there were some. They are asked for again at once.
    pub(super) fn forget_the_affordable(&mut self) -> bool {
        let still: BTreeMap<Address, u128> = self.still_dear().collect();
        let is_fewer = still.len() < self.dear.len();
        if is_fewer {
            (self.dear, self.looked) = (still, None);
        }
        is_fewer
    }

    /// Nobody works, since nobody who takes part is reached, and whoever could take their place is too dear: the person reads what helps, and after a while
    /// the command ends with that.
    pub(super) fn look_for_stuck(&mut self) {
        let is_busy = self.failed.is_some()
            || self.stopping.is_some()
            || self.dear.is_empty()
            || self.state.table.units_left() == 0
            || self.state.table.live().next().is_some()
            || self.working() > 0;
        let cheapest = if is_busy { None } else { self.cheapest_dear() };
        let Some(step_wei) = cheapest else {
            self.stuck_since = None;
            return;
        };
        match self.stuck_since {
            None => {
                self.stuck_since = Some(Instant::now());
                self.show.say(&format!(
                    "Nobody works now, since nobody who takes part is reached; {}. The command waits for {} min.",
                    self.too_dear(step_wei),
                    STUCK_MAX.as_secs().div_euclid(60)
                ));
            }
            Some(since) if since.elapsed() > STUCK_MAX => self.fail(self.too_dear(step_wei)),
            Some(_) => {}
        }
    }

    fn quote(&mut self, checks: Option<ChecksMost>) -> Result<()> {
        let (price, providers) = self.asked();
        let steps = self.state.table.steps_waiting();
        if self.state.promise.is_none() {
            let checks_wei = checks.map_or(0, |checks| checks.most_wei);
            let promise = Promise::of(self.spent(), price, checks_wei, self.options.max_price);
            self.record(&Entry::Promised(promise))?;
            // On the disk before the first channel is.
            tokio::task::block_in_place(|| self.journal.sync())?;
        }
        let promise = self.state.promise;
        self.show.note(&happened::priced(price, steps, providers, promise.map(|promise| promise.most_wei)));
        let deposits = if self.money.currency() == Currency::KST {
            let steps_wei = price.saturating_mul(u128::from(steps).min(DEPOSIT_STEPS));
            let each_wei = steps_wei.saturating_add(checks.map_or(0, |checks| checks.ahead_wei));
            U256::from(each_wei).saturating_mul(U256::from(providers))
        } else {
            self.approved()
        };
        let fee_per_gas_max_wei = self.fee_per_gas_max_wei;
        let money = &self.money;
        let quote = Quote { money, steps, price, providers, deposits, fee_per_gas_max_wei, checks, promise };
        quote.lines().iter().for_each(|line| self.show.say(line));
        Ok(())
    }

    /// The lowest price of a step of those who were passed over.
    pub(super) fn cheapest_dear(&self) -> Option<u128> {
        self.still_dear().map(|(_, step_wei)| step_wei).min()
    }

    /// What to do about a limit that does not pay for what is left, at the price of the cheapest that could be taken on.
    pub(super) fn too_dear(&self, step_wei: u128) -> String {
        let spent = self.spent();
        let all_wei = spent.all_wei(step_wei);
        let checks = if self.options.audit.is_wanted() {
            ", and what its checks take on top, of which most comes back,"
        } else {
            ""
        };
        let (step, all) = (self.shown(step_wei), self.shown(all_wei));
        let steps = counted(spent.steps_waiting, "step");
        match self.options.max_price {
            Some(limit) if limit.saturating_sub(spent.wei()) < step_wei => format!(
                "--max-price is below the price of a step: the cheapest provider asks {step}. With --max-price {all_wei} ({all}){checks} it does all"
            ),
            Some(_) => format!(
                "--max-price does not pay for the whole job: {steps} are to be done, and the cheapest provider asks {step} for each. With --max-price {all_wei} ({all}){checks} it does all"
            ),
            None => format!(
                "what was said before anything was paid, at most {}, does not pay for what is left: {steps}, for each of which the cheapest provider that is there asks {step}. What is done is kept: with --max-price {all_wei} ({all}){checks} the same command goes on",
                self.shown(self.promise().map_or(0, |promise| promise.bound_wei(spent, step_wei)))
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const SPENT: Spent = Spent { kept_wei: 0, beside_wei: 0, leased_wei: 0, steps_leased: 0, steps_waiting: 40 };

    #[test]
    fn a_price_in_a_token_is_firm_and_gas_stands_apart_in_kst() {
        let contract = Address::repeat_byte(7);
        let money = Money::unnamed(Currency::token(contract));
        let (steps, price, providers, deposits) = (40, 1_003, 2, U256::from(80_240));
        let (fee_per_gas_max_wei, checks, promise) = (1_000_000_000, None, None);
        let quote = Quote { money: &money, steps, price, providers, deposits, fee_per_gas_max_wei, checks, promise };
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

    #[test]
    fn a_price_in_kst_has_gas_and_checks_in_its_sum_and_says_what_it_never_exceeds() {
        let money = Money::kst();
        let price = 1_000_000_000_000_000;
        let promise = Some(Promise::of(SPENT, price, 0, None));
        let (steps, providers, deposits) = (40, 2, U256::from(price).saturating_mul(U256::from(80)));
        let (fee_per_gas_max_wei, checks) = (1_000_000_000, None);
        let quote = Quote { money: &money, steps, price, providers, deposits, fee_per_gas_max_wei, checks, promise };
        let text = quote.lines().join("\n");
        assert!(text.starts_with("Price: at most 0.04 KST (40 steps x 0.001 KST), from 2 providers\n"), "{text}");
        assert!(
            text.contains("at most 0.00094 KST for 2 channels") && text.contains("all in at most 0.04094 KST"),
            "{text}"
        );
        assert!(text.contains("begin with 0.08 KST") && text.contains("never more than 0.08 KST"), "{text}");
        let asked = Some(Promise::asked(price.saturating_mul(50)));
        let text = Quote { promise: asked, ..quote }.lines().join("\n");
        assert!(text.contains("Never more than 0.05 KST is promised, your --max-price"), "{text}");
        let budget = Budget { rate_ppm: 30_000, checkers: 1, fee_wei: price };
        let checks = ChecksMost::of(budget, 40, 4);
        // 2 fees are expected; 42 are taken for one window of 40 steps; with four at once, and what is over, five times that.
        let [expected_wei, usual_wei, most_wei, ahead_wei] = [2, 42, 210, 84].map(|fees| price.saturating_mul(fees));
        assert_eq!(checks, ChecksMost { expected_wei, usual_wei, most_wei, ahead_wei });
        let text = Quote { checks: Some(checks), ..quote }.lines().join("\n");
        assert!(text.contains("about 0.002 KST in the end; until that is known 0.042 KST are taken"), "{text}");
        assert!(text.contains("0.21 KST at most where steps are slow"), "{text}");
        assert!(text.contains("all in at most 0.25122 KST, about 0.04322 KST in the end"), "{text}");
    }

    #[test]
    fn checks_never_have_more_out_than_their_windows_need_and_always_room_for_those_that_are_open() {
        let budget = Budget { rate_ppm: 30_000, checkers: 1, fee_wei: 1 };
        let most = |steps: u64, open: u64| ChecksMost::of(budget, steps, open).most_wei;
        // 6,400 steps: 43 fees for each of 100 windows of 64, 41 for each step alone, 328 for what all of them cost.
        assert_eq!((most(6_400, 10), most(6_400, 1_000)), (4_628, 43_328));
        assert_eq!((most(6_400, u64::MAX), most(40, u64::MAX), most(1, 9)), (262_400, 1_640, 41));
        for (steps, open) in [(0, 0), (0, 5), (1, 0), (63, 1), (65, 2), (1_000, 7), (100_000, 3)] {
            let checks = ChecksMost::of(budget, steps, open);
            assert!(checks.usual_wei <= checks.most_wei && checks.expected_wei <= checks.usual_wei, "{steps} {open}");
        }
        assert_eq!(open_at_once(Duration::from_secs(3_600), 300), 14);
        assert_eq!(open_at_once(Duration::from_secs(1), 0), 3);
    }

    #[test]
    fn the_last_words_stand_beside_what_was_said() {
        let promise = Promise::of(SPENT, 10, 0, None);
        let below = compared(&Money::kst(), &promise, 400);
        assert!(below.starts_with("At most ") && !below.contains("thrown away"), "{below}");
        assert!(compared(&Money::kst(), &promise, 401).contains("thrown away"));
    }
}
