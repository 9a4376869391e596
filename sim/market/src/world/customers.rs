//! Customers that cheat, among the honest ones of a world: what it costs them, and what it costs honest providers.
//!
//! # Design
//! Every quarter of a second one of them orders, from a provider that the market gives to anybody; and one in fifty of the windows that were done belongs to one who does not
//! want to pay. Everything random about them comes from a generator of their own. Beside each measured mean stands what the formula says of it.
//! What a provider must not lose is counted as it happens in the world. Who gives way in a flood and who wins before a panel is played. That nobody leases before the
//! inputs are whole, and that silence pays at the deadline, are rules of this model: those counts show that it keeps to them, and no more.
//!
//! | attack | what is played | formula |
//! |---|---|---|
//! | withheld input | the customer sends a part of the inputs and stays away | half of the mean of all inputs is fetched in vain |
//! | wrong input hash | one of 64 groups of bytes is wrong, and what follows is not fetched | 65/128 of the mean of all inputs |
//! | dust orders | one unit at the listed price; less is refused by the contract | price less work, less gas, and the gas of opening at the rate of draws |
//! | order floods | 1,000 orders without inputs at a provider with 64 places, and up to eight honest ones among them | all but 64 give way, none of them honest |
//! | refused pay | half say nothing: paid at the deadline; half accuse right units | a panel rules for the provider as the binomials say |
//!
//! # Not here
//! The sockets and files of it: `node/tests/end_to_end/crooks.rs`.

use super::{RATE_PPM, World, cast::ruled};
use crate::{
    money::{Gas, UNIT_GAS},
    random::Random,
    seats::{Ended, Ring, Seats, Unit},
};
use serde::Serialize;
use std::collections::VecDeque;

/// Time between two orders of theirs.
pub(super) const EVERY_MS: u64 = 250;
/// A provider waits so long for inputs that do not come, and a customer so long with its word about a delivery: a setting, which also is the delay that the
/// table shows.
const PATIENCE_MS: u64 = 60_000;
/// Of windows that were done, one in so many belongs to a customer that does not want to pay.
const REFUSES: u32 = 50;
/// Orders of one flood, places of a provider, and most honest newcomers meanwhile.
const FLOOD: u64 = 1_000;
const PLACES: usize = 64;
const NEWCOMERS: u32 = 8;
/// What a unit costs who computes it, in units' prices.
const WORK: f64 = 0.5;
/// Groups of an input that are checked one by one.
const GROUPS: u64 = 64;
const MIB: f64 = 1_048_576.0;
/// Mean of all inputs, MiB: (4 + 16 + 64 + 256 + 512 + 1,024 + 2,048 + 8,192) KiB / 8.
const INPUT_MIB: f64 = 12_116.0 / 8.0 / 1_024.0;

/// How a customer cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    Withheld,
    Hash,
    Dust,
    Flood,
    Refused,
}

impl Trick {
    const ALL: [Self; 5] = [Self::Withheld, Self::Hash, Self::Dust, Self::Flood, Self::Refused];

    /// The attack, by its name in docs/attacks.md; how it is tried; what is measured, for each order.
    const fn name(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Withheld => ("withheld input", "sends a part of the inputs and stays away", "MiB fetched in vain"),
            Self::Hash => ("wrong input hash", "one of 64 groups of an input is wrong", "MiB fetched in vain"),
            Self::Dust => (
                "dust orders",
                "one unit at the listed price; less is refused by the contract",
                "what its provider gains after work and gas, in units' prices",
            ),
            Self::Flood => (
                "order floods",
                "1,000 orders without inputs for 64 places, honest newcomers among them; of a flood",
                "orders that gave way",
            ),
            Self::Refused => (
                "refused pay",
                "half say nothing and pay at the deadline, half accuse; accusations",
                "ruled for the provider",
            ),
        }
    }

    /// Orders, and refunds of orders, that its customer pays the gas of for each trial.
    const fn transactions(self) -> [f64; 2] {
        match self {
            Self::Withheld | Self::Hash => [1.0, 1.0],
            Self::Dust => [1.0, 0.0],
            Self::Flood => [FLOOD as f64, FLOOD as f64],
            Self::Refused => [0.0, 0.0],
        }
    }
}

/// A mean.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: u64,
    sum: f64,
    squares: f64,
}

impl Mean {
    const fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += value;
        self.squares += value * value;
    }

    fn value(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// Standard error.
    fn error(&self) -> f64 {
        let count = self.count.max(1) as f64;
        ((self.squares / count - self.value() * self.value()).max(0.0) / count).sqrt()
    }
}

/// What is known about all of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    measured: Mean,
    /// What their customers paid for ballots, in fees of checks.
    fees: f64,
    /// Orders that took a provider's machine from others.
    held: u64,
    /// Honest providers that were not paid, or honest customers that were not served.
    unpaid: u64,
    convicted: u64,
    /// How much longer providers waited for their pay, ms.
    late_ms: u64,
    silent: u64,
}

/// One row of what came of customers that cheat.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CrookRow {
    /// As in docs/attacks.md.
    pub(crate) attack: &'static str,
    pub(crate) variant: &'static str,
    /// What is measured, for each order.
    pub(crate) figure: &'static str,
    pub(crate) orders: u64,
    pub(crate) measured: f64,
    pub(crate) formula: f64,
    /// (measured - formula) / standard error; 0 where nothing varies.
    pub(crate) sigmas: f64,
    /// Transactions of its customer for each order: placing, and taking back.
    pub(crate) placed: f64,
    pub(crate) expired: f64,
    /// Fees of checks that it lost for each order.
    pub(crate) fees: f64,
    /// Orders that kept a machine from others, honest parties that were not paid or served, honest providers that were convicted.
    pub(crate) held: u64,
    pub(crate) unpaid: u64,
    pub(crate) convicted: u64,
    /// Mean delay of a provider's pay by a customer that says nothing, ms.
    pub(crate) late_ms: u64,
}

impl CrookRow {
    /// As the formula says within four standard errors, or three cases; it costs its customer something, and honest parties neither pay, place nor bond.
    pub(crate) fn holds(&self) -> bool {
        let near = self.sigmas.abs() <= 4.0 || (self.measured - self.formula).abs() * self.orders as f64 <= 3.0;
        let costs = self.orders == 0 || self.placed + self.expired + self.fees > 0.0;
        near && costs && (self.held, self.unpaid, self.convicted) == (0, 0, 0)
    }
}

/// An order whose inputs never come whole.
#[derive(Clone, Copy, Debug)]
struct Vain {
    trick: Trick,
    provider: u32,
    bytes: u64,
    /// The provider could be chosen by others when it came.
    was_listed: bool,
}

/// The customers of a world that cheat.
#[derive(Debug)]
pub(super) struct Crooks {
    seed: u64,
    random: Random,
    /// None where the contracts' figures cannot be read; the program has said so and ended then.
    gas: Option<Gas>,
    accounts: [Account; Trick::ALL.len()],
    vain: Vec<Vain>,
    /// The chance that a panel rules for a provider whose right unit is called wrong.
    acquitted: f64,
}

impl Crooks {
    pub(super) fn new(seed: u64, seats: &Seats) -> Self {
        let seed = Random::new(seed ^ 0x6372_6f6f_6b73).word();
        let (random, gas) = (Random::new(seed), Gas::measured().ok());
        let sees = 1.0 - seats.nothing;
        let acquitted = ruled(sees * (1.0 - seats.flip), sees * seats.flip);
        let accounts = [Account::default(); Trick::ALL.len()];
        Self { seed, random, gas, accounts, vain: Vec::new(), acquitted }
    }

    const fn account(&mut self, trick: Trick) -> &mut Account {
        &mut self.accounts[trick as usize]
    }

    /// An audited order of one unit at the listed price, to a provider whose rate of draws is the floor.
    fn dust(&mut self) {
        let window = self.accounts[Trick::Dust as usize].measured.count;
        let is_drawn = Seats::draw(self.seed, window).draws(0, RATE_PPM);
        let gain = self.dust_gain(f64::from(u8::from(is_drawn)));
        self.account(Trick::Dust).measured.add(gain);
    }

    /// What a provider gains from one unit that is drawn with this chance, in units' prices.
    fn dust_gain(&self, drawn: f64) -> f64 {
        let gas = self.gas.as_ref().map_or(0.0, |gas| gas.lease + gas.delivery + drawn * gas.opening);
        1.0 - WORK - gas / UNIT_GAS
    }

    /// A flood at one provider: when its places are taken, the oldest order of who has the most gives way.
    fn flood(&mut self) {
        let honest = self.random.below(NEWCOMERS.saturating_add(1));
        // LOSSY: below the orders of a flood.
        let mut comes: Vec<u64> = (0..honest).map(|_| u64::from(self.random.below(FLOOD as u32))).collect();
        comes.sort_unstable();
        // True for the flooder's. Each honest newcomer is somebody else, with one order.
        let (mut places, mut theirs): (VecDeque<bool>, usize) = (VecDeque::new(), 0);
        let (mut gave_way, mut lost) = (0_u64, 0_u64);
        let mut come = |is_theirs: bool| {
            places.push_back(is_theirs);
            theirs = theirs.saturating_add(usize::from(is_theirs));
            if places.len() <= PLACES {
                return;
            }
            let most = theirs > 1;
            let oldest = places.iter().position(|one| *one == most || !most).unwrap_or_default();
            if places.remove(oldest) == Some(true) {
                theirs = theirs.saturating_sub(1);
                gave_way = gave_way.saturating_add(1);
            } else {
                lost = lost.saturating_add(1);
            }
        };
        let mut honest = comes.into_iter().peekable();
        for number in 0..FLOOD {
            while honest.next_if(|at| *at <= number).is_some() {
                come(false);
            }
            come(true);
        }
        let account = self.account(Trick::Flood);
        account.measured.add(gave_way as f64);
        account.unpaid = account.unpaid.saturating_add(lost);
    }

    /// What the formula says of the measured mean.
    fn formula(&self, trick: Trick) -> f64 {
        match trick {
            Trick::Withheld => INPUT_MIB / 2.0,
            Trick::Hash => INPUT_MIB * (GROUPS as f64 + 1.0) / (2.0 * GROUPS as f64),
            Trick::Dust => self.dust_gain(f64::from(RATE_PPM) / 1_000_000.0),
            Trick::Flood => FLOOD as f64 + f64::from(NEWCOMERS) / 2.0 - PLACES as f64,
            Trick::Refused => self.acquitted,
        }
    }

    /// What came of all kinds.
    pub(super) fn rows(&self) -> Vec<CrookRow> {
        let row = |(trick, account): (Trick, &Account)| {
            let (attack, variant, figure) = trick.name();
            let [placed, expired] = trick.transactions();
            let Account { measured: mean, fees, held, unpaid, convicted, late_ms, silent } = *account;
            let (orders, measured, formula, error) = (mean.count, mean.value(), self.formula(trick), mean.error());
            let off = measured - formula;
            let sigmas = if error > 1e-9 {
                off / error
            } else if off.abs() * orders as f64 <= 0.5 {
                0.0
            } else {
                f64::INFINITY
            };
            let fees = fees / orders.max(1) as f64;
            let late_ms = late_ms.checked_div(silent).unwrap_or_default();
            CrookRow {
                attack,
                variant,
                figure,
                orders,
                measured,
                formula,
                sigmas,
                placed,
                expired,
                fees,
                held,
                unpaid,
                convicted,
                late_ms,
            }
        };
        Trick::ALL.into_iter().zip(&self.accounts).map(row).collect()
    }
}

impl World {
    /// A customer that cheats orders.
    pub(super) fn crook(&mut self) {
        let Some(mut crooks) = self.crooks.take() else { return };
        match Trick::ALL[crooks.random.below(4) as usize] {
            Trick::Dust => crooks.dust(),
            Trick::Flood => crooks.flood(),
            trick => self.order_in_vain(&mut crooks, trick),
        }
        self.crooks = Some(crooks);
        self.at(EVERY_MS, super::Kind::Crook);
    }

    /// An order whose inputs never come whole: no lease is taken, so the machine stays in the list of those that others can have.
    fn order_in_vain(&mut self, crooks: &mut Crooks, trick: Trick) {
        let Some(provider) = self.choose() else { return };
        let number = u32::try_from(crooks.vain.len()).unwrap_or(u32::MAX);
        // Numbers of windows begin at the other end.
        let window = u32::MAX.saturating_sub(number);
        let whole = crooks.random.below(8);
        let input_bytes = super::latency::INPUTS[whole as usize];
        let bytes = match trick {
            Trick::Hash => {
                // LOSSY: few groups.
                let group = u64::from(crooks.random.below(GROUPS as u32)).saturating_add(1);
                input_bytes.saturating_mul(group) / GROUPS
            }
            // LOSSY: the largest input is below 2^32 bytes.
            _ => u64::from(crooks.random.below(input_bytes as u32)),
        };
        let patience_ms = if trick == Trick::Withheld { PATIENCE_MS } else { 0 };
        let ways_ms = self.latency.as_mut().map_or(0, |latency| {
            let moved_ms = latency.transfer_ms(window, provider, bytes);
            latency.placing_ms(window).saturating_add(latency.dial_ms(window, provider)).saturating_add(moved_ms)
        });
        let was_listed = self.providers[provider as usize].idle_at.is_some();
        crooks.vain.push(Vain { trick, provider, bytes, was_listed });
        self.at(ways_ms.saturating_add(patience_ms), super::Kind::Vain(number));
    }

    /// A provider gives such an order up.
    pub(super) fn vain(&mut self, number: u32) {
        let Some(crooks) = &mut self.crooks else { return };
        let Some(&Vain { trick, provider, bytes, was_listed }) = crooks.vain.get(number as usize) else { return };
        let one = self.providers[provider as usize];
        // Whoever is online and has no lease can be chosen by others, as before.
        let is_held = !was_listed || (one.online && one.lease.is_none() && one.idle_at.is_none());
        let account = crooks.account(trick);
        account.measured.add(bytes as f64 / MIB);
        account.held = account.held.saturating_add(u64::from(is_held));
    }

    /// A window is done. Some belong to customers that do not want to pay.
    pub(super) fn refuse(&mut self, window: u32) {
        let Some(crooks) = &mut self.crooks else { return };
        if crooks.random.below(REFUSES) != 0 {
            return;
        }
        // Half say nothing: the market pays at the deadline.
        let is_silent = crooks.random.chance(0.5);
        if is_silent {
            let is_paid = self.windows[window as usize].paid == u64::MAX;
            let account = crooks.account(Trick::Refused);
            account.late_ms = account.late_ms.saturating_add(PATIENCE_MS);
            account.silent = account.silent.saturating_add(1);
            account.unpaid = account.unpaid.saturating_add(u64::from(!is_paid));
            return;
        }
        let mut ballots = 0;
        let ended = self.seats.referee(Unit::Right, Ring::Covers, &mut ballots, &mut crooks.random);
        let is_convicted = ended == Ended::Convicted;
        let account = crooks.account(Trick::Refused);
        account.measured.add(f64::from(u8::from(ended == Ended::AccuserLost)));
        account.fees += f64::from(ballots);
        account.convicted = account.convicted.saturating_add(u64::from(is_convicted));
        account.unpaid = account.unpaid.saturating_add(u64::from(is_convicted));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Scenario, *};

    #[test]
    fn crooked_customers_cost_what_the_formula_says_and_no_honest_provider_pay_place_or_bond() {
        let scenario = Scenario { latency: true, crooked: true, ..Scenario::new(21, 4_000, 1.0) };
        let outcome = super::super::run(scenario);
        assert_eq!((outcome.units_lost, outcome.units_paid_twice, outcome.false_slashes), (0, 0, 0), "{outcome:?}");
        assert_eq!(outcome.windows_complete, outcome.windows_ordered);
        assert_eq!(outcome.crooks.len(), Trick::ALL.len());
        for row in &outcome.crooks {
            assert!(row.orders > 5 && row.holds(), "{row:?}");
        }
        let refused = outcome.crooks.iter().find(|row| row.attack == "refused pay");
        // Each accusation pays a panel of 31, and pay that nobody refuses in words comes at the deadline.
        assert!(refused.is_some_and(|row| (31.0..32.0).contains(&row.fees) && row.late_ms > 0), "{refused:?}");
    }

    #[test]
    fn a_row_that_is_off_its_formula_or_costs_an_honest_party_something_does_not_hold() {
        let mut crooks =
            Crooks::new(1, &Seats { count: 64, colluding: 0, checkers: 1, flip: 0.0, nothing: 0.0, power: 1.0 });
        for _ in 0..200 {
            crooks.flood();
            crooks.dust();
        }
        let rows = crooks.rows();
        let row = |name: &str| rows.iter().find(|row| row.attack == name).cloned();
        let (flood, dust) = (row("order floods"), row("dust orders"));
        assert!(flood.as_ref().is_some_and(CrookRow::holds) && dust.as_ref().is_some_and(CrookRow::holds), "{rows:?}");
        let spoil: [fn(&mut CrookRow); 5] = [
            |row| (row.measured, row.sigmas) = (row.measured + 1.0, 9.0),
            |row| row.held = 1,
            |row| row.unpaid = 1,
            |row| row.convicted = 1,
            |row| (row.placed, row.expired, row.fees) = (0.0, 0.0, 0.0),
        ];
        for spoil in spoil {
            assert!(flood.clone().is_some_and(|mut row| {
                spoil(&mut row);
                !row.holds()
            }));
        }
    }

    #[test]
    fn the_mean_of_all_inputs_is_that_of_the_table() {
        let mean = super::super::latency::INPUTS.iter().sum::<u64>() as f64 / 8.0 / MIB;
        assert!((mean - INPUT_MIB).abs() < 1e-9, "{mean}");
    }
}
