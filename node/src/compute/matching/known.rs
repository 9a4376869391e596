//! What is known of all providers: for each its record and offers, or why it is left out.

use super::{absent::Absent, links::Seen};
use crate::compute::market::Offer as Entry;
use alloy_primitives::{Address, B256, U256};
use keystead_blobs::{Address as Endpoint, State};
use keystead_market::{
    Currency, Key, Listed, Need, Offer, Plan, Record, Table,
    need::Error,
    offer::History,
    plan::plan,
    record::{Proved, Trust, sets::Kind},
    table::CURRENCIES_MAX,
    touchstone::lapse::{Draws, Lapse},
    why_not::{WhyNot, why_not},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A measurement that counts is not older than this, seconds: 30 days.
const PROOF_AGE_S_MAX: u64 = 30 * 86_400;

/// A provider of the register.
#[derive(Clone, Debug)]
pub(crate) struct Sighted {
    /// What the register says. The endpoint is hostile text.
    pub(crate) entry: Entry,
    /// The endpoint, if it is one, and of the node that the register names.
    pub(crate) endpoint: Option<Endpoint>,
    /// Its record, or why it is left out.
    pub(crate) record: Result<Record, Absent>,
    /// What its record's checkers proved, as this reader believes.
    pub(crate) proved: Vec<Proved>,
    /// Why what they proved does not count any more.
    pub(crate) lapsed: Option<Lapse>,
    /// What it answered when it was asked, and the round trip.
    pub(crate) answer: Option<(State, Duration)>,
    /// How its orders ended, as the market counts them; none if that was not read.
    pub(crate) history: Option<History>,
    /// How fast bytes went to its node, and came from it, in earlier orders and maps of this user.
    pub(crate) seen: Seen,
}

impl Sighted {
    /// A provider whose record is not known yet.
    pub(super) fn new(entry: Entry) -> Self {
        let endpoint: Option<Endpoint> = entry.endpoint.parse().ok();
        let endpoint = endpoint.filter(|endpoint| endpoint.id().as_bytes() == &entry.node_id.0);
        let absent = if !entry.offering {
            Absent::Paused
        } else if endpoint.is_none() {
            Absent::Endpoint
        } else if entry.capability_hash == B256::ZERO {
            Absent::NoRecord
        } else {
            Absent::NotAsked
        };
        let (record, proved, seen) = (Err(absent), Vec::new(), Seen::default());
        Self { entry, endpoint, record, proved, lapsed: None, answer: None, history: None, seen }
    }

    /// Where it says that it stands, if it says so. Nobody checks it.
    pub(crate) fn country(&self) -> Option<&str> {
        let claimed = self.record.as_ref().ok().map(|record| record.claimed.place.country.as_str());
        claimed.filter(|country| !country.is_empty())
    }

    const fn listed(&self) -> Listed {
        Listed {
            account: self.entry.account,
            node_id: self.entry.node_id,
            capability_hash: self.entry.capability_hash,
            price_wei_per_unit: self.entry.price_wei_per_unit,
            offering: self.entry.offering,
            stake_wei: self.entry.stake_wei,
        }
    }
}

/// Which measurements are believed, and what time it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Believed {
    pub(crate) chain_id: u64,
    /// Checkers who hold a seat.
    pub(crate) checkers: BTreeSet<Address>,
    /// Unix seconds of the newest block.
    pub(crate) now_s: u64,
    /// What is about to be paid in: the table lists it even if no record does.
    pub(crate) currency: Currency,
    /// Whether interpreters are asked for.
    pub(crate) interpreters: bool,
    /// Who was drawn to prove again.
    pub(crate) draws: Draws,
    /// Somebody holds a seat who could check a proof.
    pub(crate) checkable: bool,
}

/// All providers, and the planner's table of those that have offers.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) providers: BTreeMap<Address, Sighted>,
    /// Somebody holds a seat who could check a proof of hardware: so a proof can be asked for. Read for those that ask for a card alone.
    pub(crate) checkable: bool,
    table: Table,
    born: Instant,
}

impl Known {
    /// Puts every offer of every record in a table. A record that the table cannot hold is a wrong one.
    pub(crate) fn new(mut sighted: Vec<Sighted>, believed: &Believed) -> Self {
        let mut currencies = BTreeSet::from([believed.currency]);
        let records = sighted.iter().filter_map(|provider| provider.record.as_ref().ok());
        for price in records.flat_map(|record| &record.claimed.prices) {
            if currencies.len() < CURRENCIES_MAX {
                currencies.insert(price.currency);
            }
        }
        let listed: Vec<Currency> = currencies.into_iter().collect();
        let mut table = Table::new(&listed);
        for provider in &mut sighted {
            let Ok(record) = &provider.record else { continue };
            // Nobody states its own proof.
            let account = provider.entry.account;
            let checkers = |checker: Address| checker != account && believed.checkers.contains(&checker);
            let oldest_s = believed.now_s.saturating_sub(PROOF_AGE_S_MAX);
            provider.proved = record.proved(Trust { chain_id: believed.chain_id, checkers: &checkers, oldest_s });
            // A record holds one round.
            let stated = provider.proved.first().map(|proved| proved.statement().height);
            provider.lapsed = stated.and_then(|height| believed.draws.lapse(account, height));
            if provider.lapsed.is_some() {
                provider.proved.clear();
            }
            let mut offers = Offer::all(&provider.listed(), record, &provider.proved, History::default());
            // Not asked for, a cheap one must not stand in the place of a change that helps.
            offers.retain(|offer| believed.interpreters || offer.kind != Kind::Interpreter);
            if offers.is_empty() {
                let why = "it states no runtime with a speed and a price that this program knows";
                provider.record = Err(Absent::WrongRecord(why.to_owned()));
                continue;
            }
            // A token beyond those that a table lists is not planned over.
            let mut held = offers.iter().filter(|offer| listed.contains(&offer.key.currency));
            if let Some(error) = held.find_map(|offer| table.join(offer).err()) {
                table.leave_provider(provider.entry.account);
                provider.record = Err(Absent::WrongRecord(error.to_string()));
            }
            table.set_bandwidths(provider.entry.account, provider.seen);
        }
        let providers = sighted.into_iter().map(|provider| (provider.entry.account, provider)).collect();
        Self { providers, checkable: believed.checkable, table, born: Instant::now() }
    }

    /// Milliseconds of the table's clock, from 1.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The best offers for a need.
    pub(crate) fn plan(&self, need: &Need, count: usize) -> Result<Plan, Error> {
        plan(&self.table, need, self.now_ms(), count)
    }

    /// How fast bytes go to an offer's node, and come from it, as a plan believes: as measured, else a part of what its provider claims.
    pub(crate) fn bandwidths(&self, offer: Key) -> Seen {
        self.table.bandwidths(offer).unwrap_or_default()
    }

    /// Who fell where.
    pub(crate) fn why_not(&self, need: &Need) -> Result<WhyNot, Error> {
        why_not(&self.table, need, self.now_ms())
    }

    /// Providers that list a lower price than this and were not heard, the cheapest first.
    pub(crate) fn unheard_below(&self, price_wei_per_unit: U256) -> Vec<(&Sighted, &Absent)> {
        let unheard = |one: &'_ Sighted| one.record.as_ref().is_err_and(Absent::is_unheard);
        let cheaper = |one: &'_ Sighted| U256::from(one.entry.price_wei_per_unit) < price_wei_per_unit;
        let mut below: Vec<(&Sighted, &Absent)> = self
            .providers
            .values()
            .filter(|one| unheard(one) && cheaper(one))
            .filter_map(|one| Some((one, one.record.as_ref().err()?)))
            .collect();
        below.sort_by_key(|(one, _)| (one.entry.price_wei_per_unit, one.entry.account));
        below
    }

    /// A provider is out, whatever its record says; its offers leave the table.
    pub(crate) fn leave_out(&mut self, account: Address, why: Absent) {
        self.table.leave_provider(account);
        if let Some(provider) = self.providers.get_mut(&account) {
            provider.record = Err(why);
        }
    }

    /// What a provider answered.
    pub(crate) fn answered(&mut self, account: Address, state: State, took: Duration) {
        if let Some(absent) = Absent::of(&state) {
            self.leave_out(account, absent);
        }
        let at_ms = self.now_ms();
        let Some(provider) = self.providers.get_mut(&account) else { return };
        if let Ok(record) = &provider.record {
            let probe = |free_memory_bytes: u64| keystead_market::Probe {
                at_ms,
                rtt_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
                queue_us: state.queue_ms.saturating_mul(1_000),
                free_memory_bytes,
                blobs: Vec::new(),
            };
            self.table.probed(account, 0, &probe(state.memory_mib.saturating_mul(1 << 20)));
            // The answer speaks of the machine's memory, not of a card's.
            for (device, _) in (1u8..).zip(&record.claimed.adapters) {
                self.table.probed(account, device, &probe(u64::MAX));
            }
        }
        provider.answer = Some((state, took));
    }

    /// Public counts of a provider; planned over as far as they can be believed.
    pub(crate) fn set_history(&mut self, account: Address, history: History) {
        self.table.set_history(account, history.believed());
        if let Some(provider) = self.providers.get_mut(&account) {
            provider.history = Some(history);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
pub(crate) mod tests {
    use super::*;
    use alloy_primitives::FixedBytes;
    use alloy_signer::SignerSync as _;
    use alloy_signer_local::PrivateKeySigner;
    use keystead_blobs::{Availability, Reason, SecretKey};
    use keystead_job::{Class, Runtime};
    use keystead_market::band::{Band, Bands};
    use keystead_market::record::{
        Adapter, Attested, Claimed, Draft, Statement,
        claimed::{Device, Energy, Place, Price, Processor, RuntimeClaim, SoftwareKind, Speed},
        sets::{EnergyMethod, Isa, Kernel, Layer, Set, Tier},
    };
    use keystead_market::table::Bandwidth;
    use keystead_market::touchstone::{due::is_due, lapse::STATED_WITHIN_BLOCKS};

    fn price(kernel: Kernel) -> Price {
        Price { tier: Tier::Standard, currency: Currency::KST, kernel, per_mop: 0, per_unit_min: U256::from(1) }
    }

    /// The record of a small machine with software that runs kernels.
    pub(crate) fn record(number: u8, change: impl FnOnce(&mut Draft)) -> Record {
        let runtime = |name: &str| RuntimeClaim { name: name.to_owned(), engine: "engine 1".to_owned() };
        let software = Adapter::Software {
            kind: SoftwareKind::Cpu,
            device: Device {
                name: "llvmpipe".to_owned(),
                driver: "mesa".to_owned(),
                memory_mib: 4_096,
                buffer_bytes_max: 1 << 31,
                binding_bytes_max: 1 << 27,
                loop_iterations_max: 32_768,
                lanes: 1,
                power_mw: 0,
                speeds: vec![Speed { kernel: Kernel::Integer, mop_per_s: 100 }],
            },
        };
        let mut draft = Draft {
            provider: Address::repeat_byte(number),
            issued_height: 1,
            claimed: Claimed {
                runtimes: vec![runtime("wasm/1"), runtime("wgsl/1")],
                classes: Set::of(&[Class::Exact]),
                processor: Processor {
                    isa: Isa::X86V3,
                    cores: 2,
                    memory_mib: 4_096,
                    lanes: 1,
                    power_mw: 0,
                    speeds: vec![Speed { kernel: Kernel::Wasm, mop_per_s: 1_000 }],
                },
                adapters: vec![software],
                disk_mib: 1,
                down_kib_per_s: 1_221,
                up_kib_per_s: 1_221,
                place: Place::default(),
                isolation: Set::of(&[Layer::Process]),
                prices: vec![price(Kernel::Wasm), price(Kernel::Integer)],
                energy: Energy { method: EnergyMethod::Unknown, carbon_g_per_kwh: 0, source: String::new(), year: 0 },
            },
            attested: Vec::new(),
        };
        change(&mut draft);
        Record::new(draft).unwrap()
    }

    /// A provider with that record, at this price.
    pub(crate) fn sighted(number: u8, price_wei_per_unit: u128, change: impl FnOnce(&mut Draft)) -> Sighted {
        let node = SecretKey::from_bytes(&[number; 32]).id();
        let record = record(number, change);
        let entry = Entry {
            account: Address::repeat_byte(number),
            node_id: B256::from(*node.as_bytes()),
            capability_hash: record.hash(),
            price_wei_per_unit,
            stake_wei: 0,
            endpoint: format!("{node}@127.0.0.1:1000"),
            offering: true,
        };
        Sighted { record: Ok(record), ..Sighted::new(entry) }
    }

    pub(crate) fn state(availability: Availability) -> State {
        State {
            availability,
            reason: Reason::new("why"),
            lanes: 1,
            lanes_free: 1,
            waiting: 0,
            queue_ms: 0,
            memory_mib: 4_096,
        }
    }

    /// A need for one small unit of `wasm/1`.
    pub(crate) fn need() -> Need {
        crate::compute::matching::need::tests::need(Runtime::Wasm1)
    }

    /// A proof of device 1 at this height, which this checker stated.
    fn stated(draft: &mut Draft, checker: &PrivateKeySigner, height: u64) {
        let bands = Bands { throughput: Band::of(100), ..Bands::default() };
        let (provider, challenge, checked) = (draft.provider, B256::ZERO, checker.address());
        let statement = Statement { provider, device: 1, challenge, height, time_s: 1_000, bands, checker: checked };
        let signature = checker.sign_hash_sync(&statement.signing_hash(1)).unwrap();
        draft.attested = vec![Attested { statement, signature: FixedBytes::from(signature.as_bytes()) }];
    }

    fn trusting(checker: &PrivateKeySigner, draws: Draws) -> Believed {
        let checkers = BTreeSet::from([checker.address()]);
        Believed { chain_id: 1, checkers, now_s: 1_000, draws, ..Believed::default() }
    }

    #[test]
    fn a_proof_counts_until_its_provider_lets_a_due_round_pass() {
        let checker = PrivateKeySigner::random();
        let account = Address::repeat_byte(1);
        let mut values = (0_u64..).map(|salt| alloy_primitives::keccak256(salt.to_be_bytes()));
        let drawn = values.find(|value| is_due(account, *value)).unwrap();
        let last = STATED_WITHIN_BLOCKS.saturating_add(4_096);
        let late = last.saturating_add(1);
        let proved = |height: u64, head: u64| {
            let draws = Draws { head, newest: head, randomness: BTreeMap::from([(4_096, drawn)]) };
            let provider = sighted(1, 1, |draft| stated(draft, &checker, height));
            let known = Known::new(vec![provider], &trusting(&checker, draws));
            let mut card = crate::compute::matching::need::tests::need(Runtime::Wgsl1);
            card.proved.throughput = Band::of(1);
            let matched = known.plan(&card, 8).unwrap().matched;
            assert_eq!(matched, known.providers[&account].proved.len(), "a lapsed proof passes no filter");
            (matched, known.providers[&account].lapsed)
        };
        assert_eq!(proved(4_095, last), (1, None), "there is time for the round");
        assert_eq!(proved(4_095, late), (0, Some(Lapse::Due(4_096))));
        assert_eq!(proved(4_096, late), (1, None), "it proved");
        assert_eq!(proved(5_000, late), (1, None), "it made up for it");
    }

    #[test]
    fn nobody_states_its_own_proof() {
        let checker = PrivateKeySigner::random();
        let shown = |own: bool| {
            let provider = sighted(1, 1, |draft| {
                if own {
                    draft.provider = checker.address();
                }
                stated(draft, &checker, 9);
            });
            let account = provider.record.as_ref().unwrap().provider;
            let provider = Sighted { entry: Entry { account, ..provider.entry.clone() }, ..provider };
            let known = Known::new(vec![provider], &trusting(&checker, Draws::default()));
            known.providers[&account].proved.len()
        };
        assert_eq!((shown(false), shown(true)), (1, 0));
    }

    fn known(sighted: Vec<Sighted>) -> Known {
        Known::new(sighted, &Believed::default())
    }

    #[test]
    fn the_entry_of_the_register_decides_who_is_asked_at_all() {
        let entry = |change: fn(&mut Entry)| {
            let mut entry = sighted(1, 1, |_| ()).entry;
            change(&mut entry);
            Sighted::new(entry).record.unwrap_err()
        };
        assert_eq!(entry(|_| ()), Absent::NotAsked);
        assert_eq!(entry(|entry| entry.offering = false), Absent::Paused);
        assert_eq!(entry(|entry| entry.endpoint = "somewhere".to_owned()), Absent::Endpoint);
        assert_eq!(entry(|entry| entry.node_id = B256::repeat_byte(1)), Absent::Endpoint);
        assert_eq!(entry(|entry| entry.capability_hash = B256::ZERO), Absent::NoRecord);
    }

    #[test]
    fn the_cheaper_of_two_equal_machines_is_the_best_and_a_cpu_adapter_is_no_gpu() {
        let known = known(vec![sighted(1, 9, |_| ()), sighted(2, 5, |_| ())]);
        let plan = known.plan(&need(), 8).unwrap();
        assert_eq!((plan.offers, plan.matched), (4, 2));
        assert_eq!(plan.best[0].key.provider, Address::repeat_byte(2));
        assert_eq!(plan.best[0].price_per_unit, U256::from(5));
        let mut gpu = crate::compute::matching::need::tests::need(Runtime::Wgsl1);
        assert_eq!(known.plan(&gpu, 8).unwrap().matched, 2);
        gpu.kinds = Set::of(&[Kind::Discrete, Kind::Integrated, Kind::Virtual]);
        assert_eq!(known.plan(&gpu, 8).unwrap().matched, 0);
    }

    #[test]
    fn who_answers_that_it_takes_nothing_or_nothing_at_all_leaves_the_table_with_the_reason() {
        let mut known = known(vec![sighted(1, 1, |_| ()), sighted(2, 2, |_| ()), sighted(3, 3, |_| ())]);
        let account = Address::repeat_byte;
        known.answered(account(1), state(Availability::Owner), Duration::from_millis(1));
        known.leave_out(account(2), Absent::Silent("no".to_owned()));
        known.answered(account(3), state(Availability::Taking), Duration::from_millis(1));
        let plan = known.plan(&need(), 8).unwrap();
        assert_eq!(plan.best.iter().map(|fit| fit.key.provider).collect::<Vec<_>>(), [account(3)]);
        let why = known.providers[&account(1)].record.as_ref().unwrap_err();
        assert_eq!((why.code(), why.detail()), ("owner", "why"));
        assert_eq!(known.providers[&account(2)].record.as_ref().unwrap_err().code(), "silent");
    }

    #[test]
    fn who_lists_less_and_was_not_heard_is_told_apart_from_who_said_no() {
        let prices = [(1, 7), (2, 3), (3, 10), (4, 5), (5, 1)];
        let mut known = known(prices.iter().map(|(number, price)| sighted(*number, *price, |_| ())).collect());
        let account = Address::repeat_byte;
        known.leave_out(account(1), Absent::NotAsked);
        known.leave_out(account(2), Absent::Silent("no answer in time".to_owned()));
        known.leave_out(account(3), Absent::Silent("no answer in time".to_owned()));
        known.leave_out(account(4), Absent::WrongRecord("other".to_owned()));
        known.answered(account(5), state(Availability::Busy), Duration::from_millis(1));
        let below = known.unheard_below(U256::from(10));
        assert_eq!(below.iter().map(|(one, _)| one.entry.account).collect::<Vec<_>>(), [account(2), account(1)]);
        assert!(known.unheard_below(U256::from(3)).is_empty());
    }

    #[test]
    fn only_who_lists_a_token_is_planned_for_it_at_its_price_in_it() {
        let token = Currency::token(Address::repeat_byte(0x70));
        let lists = |draft: &mut Draft| {
            let price = |price: &Price| Price { currency: token, per_unit_min: U256::from(5), ..*price };
            let more: Vec<Price> = draft.claimed.prices.iter().map(price).collect();
            draft.claimed.prices.extend(more);
        };
        let believed = Believed { currency: token, ..Believed::default() };
        let known = Known::new(vec![sighted(1, 1, |_| ()), sighted(2, 9, lists)], &believed);
        let plan = known.plan(&Need { currency: token, ..need() }, 8).unwrap();
        assert_eq!((plan.matched, plan.best[0].key.provider), (1, Address::repeat_byte(2)));
        assert_eq!((plan.best[0].key.currency, plan.best[0].price_per_unit), (token, U256::from(5)));
        assert_eq!(known.plan(&need(), 8).unwrap().matched, 2);
        // Nobody lists it: that is an answer, and no fault.
        let known = Known::new(vec![sighted(1, 1, |_| ())], &believed);
        let need = Need { currency: token, ..need() };
        assert_eq!(known.plan(&need, 8).unwrap().matched, 0);
        let fallen = known.why_not(&need).unwrap().fallen;
        assert!(fallen.iter().any(|fallen| fallen.filter == keystead_market::Filter::Currency && fallen.only > 0));
    }

    #[test]
    fn what_an_answer_says_of_memory_and_queue_counts() {
        let mut known = known(vec![sighted(1, 1, |_| ()), sighted(2, 1, |_| ())]);
        let account = Address::repeat_byte;
        let small = State { memory_mib: 1, ..state(Availability::Taking) };
        known.answered(account(1), small, Duration::from_millis(1));
        let slow = State { queue_ms: 5_000, ..state(Availability::Taking) };
        known.answered(account(2), slow, Duration::from_millis(1));
        let big = Need { memory_bytes: 2 << 20, ..need() };
        let plan = known.plan(&big, 8).unwrap();
        assert_eq!((plan.matched, plan.best[0].key.provider), (1, account(2)));
        assert!(plan.best[0].queue_us == 5_000_000 && plan.best[0].finish_us > 5_000_000);
    }

    #[test]
    fn whose_line_was_measured_is_planned_by_that_and_not_by_its_claim() {
        let measured = |bytes_per_s: u64| [Bandwidth { bytes_per_s, count: 1, at_ms: 1 }, Bandwidth::default()];
        let fast = Sighted { seen: measured(100_000_000), ..sighted(2, 1, |_| ()) };
        let slow = Sighted { seen: measured(1_000), ..sighted(3, 1, |_| ()) };
        let known = known(vec![sighted(1, 1, |_| ()), fast, slow]);
        let plan = known.plan(&Need { input_bytes: 1 << 30, ..need() }, 8).unwrap();
        let order: Vec<Address> = plan.best.iter().map(|fit| fit.key.provider).collect();
        assert_eq!(order, [2, 1, 3].map(Address::repeat_byte));
        // A gibibyte at ten megabits a second, where nothing was measured.
        assert!(plan.best[1].net_us > 800_000_000 && plan.best[0].net_us < 20_000_000, "{plan:?}");
        let bandwidths = known.bandwidths(plan.best[0].key);
        assert_eq!(bandwidths.map(|one| one.count), [1, 0]);
        assert!(bandwidths[1].bytes_per_s > 0, "what is claimed counts in the direction that was not seen");
    }

    #[test]
    fn bad_public_counts_make_a_provider_dearer_and_good_ones_make_it_no_cheaper() {
        let mut known = known(vec![sighted(1, 10, |_| ()), sighted(2, 11, |_| ())]);
        let best = |known: &Known| {
            let need = Need { weights: keystead_market::need::Weights { time_per_s: 0, carbon_per_g: 0 }, ..need() };
            known.plan(&need, 8).unwrap().best[0].key.provider
        };
        assert_eq!(best(&known), Address::repeat_byte(1));
        known.set_history(Address::repeat_byte(2), History { completed: 10_000, failed: 0 });
        assert_eq!(best(&known), Address::repeat_byte(1), "self-dealing gains nothing");
        known.set_history(Address::repeat_byte(1), History { completed: 1, failed: 20 });
        assert_eq!(best(&known), Address::repeat_byte(2));
    }

    #[test]
    fn who_failed_more_orders_than_it_completed_is_below_half_and_nobody_is_ever_above() {
        let counts = [(1, 0, 0), (2, 9, 9), (3, 8, 9), (4, 0, 1), (5, 10_000, 0)];
        let mut known = known(counts.iter().map(|(number, ..)| sighted(*number, 1, |_| ())).collect());
        for (number, completed, failed) in counts {
            known.set_history(Address::repeat_byte(number), History { completed, failed });
        }
        let fit = |ppm: u32| {
            let plan = known.plan(&Need { completed_ppm_min: ppm, ..need() }, 8).unwrap();
            let mut fit: Vec<u8> = plan.best.iter().map(|fit| fit.key.provider.as_slice()[0]).collect();
            fit.sort_unstable();
            fit
        };
        assert_eq!(fit(500_000), [1, 2, 5]);
        // Nine of nineteen, with one of each sort beside them.
        assert_eq!(fit(470_000), [1, 2, 3, 5]);
        assert_eq!(fit(330_000), [1, 2, 3, 4, 5]);
        assert!(fit(500_001).is_empty(), "orders with oneself buy nothing");
        assert_eq!(known.providers[&Address::repeat_byte(5)].history, Some(History { completed: 10_000, failed: 0 }));
    }
}
