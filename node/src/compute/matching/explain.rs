//! Who would take a job and who would not, in words and as JSON: a code for every reason, and the cheapest change that brings an offer in.

use super::{
    absent::Absent,
    carbon,
    known::Known,
    links::{self, Seen},
    need::{PPM_PER_PERCENT, least_of_a_card},
};
use crate::compute::money::{Money, unit_of};
use alloy_primitives::{Address, B256};
use keystead_market::{
    Change, Currency, Filter, Match, Need, Plan, Relaxation, Unit, WhyNot,
    band::Bands,
    need::{Error, TIME_US_MAX},
    offer::History,
    touchstone::lapse::Lapse,
    why_not::Fallen,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// Providers that are named for one reason.
const NAMED_MAX: usize = 8;
/// Offers that are listed, best first.
const BEST_MAX: usize = 8;
const US: u64 = 1_000_000;

/// Providers that are left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    words: &'static str,
    count: usize,
    /// Who, and what was heard of it.
    named: Vec<(Address, String)>,
}

/// An offer that fits.
#[derive(Clone, Debug)]
struct Best {
    fit: Match,
    /// Hash of its provider's record.
    record: B256,
    /// Where its provider says that it stands, if it says so.
    country: Option<String>,
    /// How fast bytes go to it and from it, as was planned.
    bandwidths: Seen,
}

/// The explanation of one plan.
#[derive(Clone, Debug)]
pub(crate) struct Explanation {
    need: Need,
    /// Of the need's currency.
    unit: Unit,
    providers: usize,
    left_out: BTreeMap<&'static str, LeftOut>,
    why: WhyNot,
    best: Vec<Best>,
    /// How orders ended, of the providers of which that was read.
    orders: BTreeMap<Address, History>,
    /// Whose proof no longer counts, if one is asked for; at most [`NAMED_MAX`].
    lapsed: Vec<(Address, Lapse)>,
}

impl Explanation {
    /// Explains the plan that was made for this need of what is known.
    ///
    /// # Errors
    /// As the planner's.
    pub(crate) fn of(known: &Known, need: &Need, plan: &Plan) -> Result<Self, Error> {
        let mut left_out: BTreeMap<&'static str, LeftOut> = BTreeMap::new();
        for provider in known.providers.values() {
            let Err(absent) = &provider.record else { continue };
            let entry = left_out.entry(absent.code()).or_insert_with(|| LeftOut::new(absent));
            entry.count = entry.count.saturating_add(1);
            if entry.named.len() < NAMED_MAX {
                entry.named.push((provider.entry.account, absent.detail().to_owned()));
            }
        }
        let best = plan.best.iter().take(BEST_MAX).map(|fit| {
            let provider = known.providers.get(&fit.key.provider);
            let record = provider.map(|one| one.entry.capability_hash).unwrap_or_default();
            let country = provider.and_then(|one| one.country()).map(str::to_owned);
            Best { fit: fit.clone(), record, country, bandwidths: known.bandwidths(fit.key) }
        });
        let best = best.collect();
        let orders = known.providers.iter().filter_map(|(account, one)| Some((*account, one.history?))).collect();
        let is_asked = need.proved != Bands::default();
        let lapsed = known.providers.iter().filter_map(|(account, one)| Some((*account, one.lapsed?)));
        let lapsed = lapsed.filter(|_| is_asked).take(NAMED_MAX).collect();
        let why = known.why_not(need)?;
        let unit = unit_of(need.currency);
        Ok(Self { need: need.clone(), unit, providers: known.providers.len(), left_out, why, best, orders, lapsed })
    }

    /// The same, with amounts written as this money is.
    pub(crate) fn written_in(self, money: &Money) -> Self {
        Self { unit: money.unit().clone(), ..self }
    }

    /// How amounts of a currency are written here.
    fn unit(&self, currency: Currency) -> Unit {
        if currency == self.need.currency { self.unit.clone() } else { unit_of(currency) }
    }

    /// Offers that fit.
    pub(crate) const fn matched(&self) -> usize {
        self.why.matched
    }

    /// Whether some offer falls only because of the price.
    pub(crate) fn too_dear(&self) -> bool {
        self.why.fallen.iter().any(|fallen| fallen.filter == Filter::Price && fallen.only > 0)
    }

    /// For a person.
    pub(crate) fn words(&self) -> String {
        let mut text = format!(
            "{} of {} fit; {} in the register, {} of them without an offer that counts\n",
            self.why.matched,
            counted(self.why.offers, "offer"),
            counted(self.providers, "provider"),
            self.left_out.values().map(|one| one.count).sum::<usize>()
        );
        // Writing to a string does not fail.
        for (code, LeftOut { words, count, named }) in &self.left_out {
            let _ = writeln!(text, "  {code}: {} left out: the provider {words}", counted(*count, "provider"));
            for (account, detail) in named.iter().filter(|(_, detail)| !detail.is_empty()) {
                let _ = writeln!(text, "      {account}: {detail}");
            }
        }
        for Fallen { filter, any, only, .. } in &self.why.fallen {
            let are = if *any == 1 { "is" } else { "are" };
            let _ = writeln!(
                text,
                "  {}: {} {are} refused, {only} for this reason alone: the provider {}",
                filter.code(),
                counted(*any, "offer"),
                filter.words()
            );
            let lapsed = self.lapsed.iter().filter(|_| *filter == Filter::Proof);
            for (account, lapse) in lapsed {
                let _ = writeln!(text, "      {account}: {lapse}");
            }
        }
        for relaxation in self.why.singles.iter().chain(&self.why.pair) {
            let _ = writeln!(text, "  {}", self.advice(relaxation));
        }
        for best in &self.best {
            let _ = writeln!(text, "  {}", self.fit(best));
        }
        let unhelped = self.why.matched == 0 && self.why.singles.is_empty() && self.why.pair.is_none();
        if unhelped && self.why.offers > 0 {
            let _ =
                writeln!(text, "  no change of one or two conditions brings in an offer: try later, or another recipe");
        }
        if self.why.offers == 0 {
            let _ = writeln!(text, "  start a provider with `keystead provide`, or try later");
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn advice(&self, relaxation: &Relaxation) -> String {
        let changes = relaxation.changes.iter().map(|change| change.words(&self.need, &self.unit));
        let changes: Vec<String> = changes.collect();
        let changed = relaxation.changes.iter();
        let options: Vec<String> = changed.filter_map(|change| option(change, relaxation, &self.need)).collect();
        let options = if options.is_empty() { String::new() } else { format!(" ({})", options.join(", ")) };
        let price = self.unit(relaxation.key.currency).show(relaxation.price);
        let orders = self.counts(relaxation);
        format!("{}{options}: then {} takes it for {price}{orders}", changes.join(" and "), relaxation.key.provider)
    }

    /// What was counted of a provider that comes in although it completed few of its orders.
    fn counts(&self, relaxation: &Relaxation) -> String {
        let is_about_orders = relaxation.changes.iter().any(|change| matches!(change, Change::CompletedMin(_)));
        let counts = self.orders.get(&relaxation.key.provider).filter(|_| is_about_orders);
        counts.map_or_else(String::new, |counts| {
            let all = counts.completed.saturating_add(counts.failed);
            format!("; it completed {} of {all} orders", counts.completed)
        })
    }

    fn fit(&self, Best { fit, country, bandwidths, .. }: &Best) -> String {
        let measured = links::words(bandwidths).map_or_else(String::new, |words| format!("; you measured {words}"));
        let place = country.as_ref().map_or_else(String::new, |code| format!("; it claims to stand in {code}"));
        let carbon = carbon::words(&self.need, fit).map_or_else(String::new, |words| format!("; {words}"));
        let price = self.unit(fit.key.currency).show(fit.price);
        let seconds = fit.finish_us.div_ceil(US);
        let done = if fit.finish_us >= TIME_US_MAX { "at some time".to_owned() } else { format!("within {seconds} s") };
        format!(
            "{} device {}: {price}, done {done} if every unit takes all that it may{place}{measured}{carbon}",
            fit.key.provider, fit.key.device
        )
    }

    /// For a program. Codes keep their meaning; words do not.
    pub(crate) fn json(&self) -> Value {
        let left_out = self.left_out.iter().map(|(code, LeftOut { words, count, named })| {
            let named: Vec<Value> =
                named.iter().map(|(account, detail)| json!({"provider": account, "detail": detail})).collect();
            json!({"code": code, "words": words, "providers": count, "named": named})
        });
        let best: Vec<Value> = self
            .best
            .iter()
            .map(|Best { fit, record, country, bandwidths }| {
                let orders = self.orders.get(&fit.key.provider);
                let orders = orders.map(|counts| json!({"completed": counts.completed, "failed": counts.failed}));
                let bandwidths = links::to_json(bandwidths);
                json!({
                    "offer": fit,
                    "capabilityHash": record,
                    "claimedCountry": country,
                    "orders": orders,
                    "bandwidths": bandwidths,
                })
            })
            .collect();
        let lapsed =
            self.lapsed.iter().map(|(account, lapse)| json!({"provider": account, "words": lapse.to_string()}));
        json!({
            "providers": self.providers,
            "leftOut": left_out.collect::<Vec<_>>(),
            "offers": self.why.offers,
            "matched": self.why.matched,
            "fallen": self.why.fallen,
            "singles": self.relaxations(self.why.singles.iter()),
            "pair": self.relaxations(self.why.pair.iter()).pop(),
            "best": best,
            "lapsed": lapsed.collect::<Vec<_>>(),
            "workMopPerUnit": self.need.work_mop,
            "units": self.need.units,
            "token": self.need.currency.contract(),
        })
    }

    fn relaxations<'a>(&self, all: impl Iterator<Item = &'a Relaxation>) -> Vec<Value> {
        all.map(|relaxation| {
            let options = relaxation.changes.iter().filter_map(|change| option(change, relaxation, &self.need));
            let options: Vec<String> = options.collect();
            json!({"relaxation": relaxation, "words": self.advice(relaxation), "options": options})
        })
        .collect()
    }
}

impl LeftOut {
    const fn new(absent: &Absent) -> Self {
        Self { words: absent.words(), count: 0, named: Vec::new() }
    }
}

/// `1 offer`, `2 offers`.
fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The option of the command line that makes a change.
fn option(change: &Change, relaxation: &Relaxation, need: &Need) -> Option<String> {
    Some(match change {
        Change::Hardware(kind) => format!("--hardware {kind}"),
        Change::Memory(_) | Change::Binding(_) | Change::Loops(_) => {
            "smaller units: see the recipe's parameters".to_owned()
        }
        Change::Isolation(_) => "fewer --isolation".to_owned(),
        Change::Country(Some(code)) => format!("--country {code}"),
        Change::Country(None) => "no --country".to_owned(),
        Change::Admit { .. } => "fewer --not-operator, --not-provider".to_owned(),
        Change::PriceCap(_) => format!("--max-price {}", relaxation.price),
        Change::Currency(currency) => match currency.contract() {
            Some(token) => format!("--token {token}"),
            None => "no --token".to_owned(),
        },
        Change::Deadline(us) if *us < TIME_US_MAX => format!("--deadline {}", us.div_ceil(US)),
        Change::Deadline(_) => "no --deadline".to_owned(),
        Change::Proved(_) if need.proved == least_of_a_card() => "--unproved".to_owned(),
        Change::Proved(_) => "lower --proved-speed, --proved-memory".to_owned(),
        Change::CompletedMin(ppm) => match ppm / PPM_PER_PERCENT {
            0 => "no --min-completed".to_owned(),
            percent => format!("--min-completed {percent}"),
        },
        // No command asks for what these change: specs/0010-capability.md §9.
        Change::AnyEngine
        | Change::Isa(_)
        | Change::Residency { .. }
        | Change::Probation
        | Change::StakeMin(_)
        | Change::ProbeAge(_)
        | Change::SendBlobs(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::matching::known::{
        Believed,
        tests::{need, sighted, state},
    };
    use alloy_primitives::U256;
    use keystead_blobs::Availability;
    use keystead_market::record::sets::{Kind, Set};
    use std::time::Duration;

    fn explained(known: &Known, need: &Need) -> Explanation {
        Explanation::of(known, need, &known.plan(need, 8).unwrap()).unwrap()
    }

    #[test]
    fn every_provider_counts_once_and_the_cheapest_change_is_named_with_its_option() {
        let mut known = Known::new(
            vec![sighted(1, 100, |_| ()), sighted(2, 200, |_| ()), sighted(3, 1, |_| ()), sighted(4, 1, |_| ())],
            &Believed::default(),
        );
        known.leave_out(Address::repeat_byte(3), Absent::NotServed("it does not have it".to_owned()));
        known.answered(Address::repeat_byte(4), state(Availability::Owner), Duration::from_millis(1));
        let capped = Need { price_per_unit_max: Some(U256::from(50)), units: 3, ..need() };
        let answer = explained(&known, &capped);
        let words = answer.words();
        assert!(answer.too_dear());
        for part in [
            "0 of 4 offers fit; 4 providers",
            "record-not-available: 1 provider left out: the provider has a capability record that nobody gives",
            "it does not have it",
            "owner: 1 provider left out: the provider is kept from work by its owner",
            "price: 4 offers are refused, 2 for this reason alone",
            "(--max-price 300): then 0x0101010101010101010101010101010101010101 takes it",
        ] {
            assert!(words.contains(part), "no {part:?} in: {words}");
        }
        let json = answer.json();
        let codes: Vec<&str> =
            json["leftOut"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
        assert_eq!(codes, ["owner", "record-not-available"]);
        assert_eq!(json["singles"][0]["options"][0], "--max-price 300");
        assert_eq!((json["matched"].as_u64(), json["offers"].as_u64()), (Some(0), Some(4)));
    }

    #[test]
    fn what_fits_is_listed_best_first_and_a_gpu_is_missing_by_name() {
        let known = Known::new(vec![sighted(1, 9, |_| ()), sighted(2, 5, |_| ())], &Believed::default());
        let answer = explained(&known, &need());
        assert_eq!(answer.matched(), 2);
        assert_eq!(answer.json()["best"][0]["offer"]["key"]["provider"], json!(Address::repeat_byte(2)));
        let mut gpu = crate::compute::matching::need::tests::need(keystead_job::Runtime::Wgsl1);
        gpu.kinds = Set::of(&[Kind::Discrete]);
        let words = explained(&known, &gpu).words();
        assert!(words.contains("hardware: 4 offers are refused") && words.contains("(--hardware cpu)"), "{words}");
    }

    #[test]
    fn who_asks_for_a_proved_card_hears_what_lapsed_and_how_to_do_without() {
        let mut known = Known::new(vec![sighted(1, 9, |_| ()), sighted(2, 5, |_| ())], &Believed::default());
        known.providers.get_mut(&Address::repeat_byte(1)).unwrap().lapsed = Some(Lapse::Due(8_192));
        let mut card = crate::compute::matching::need::tests::need(keystead_job::Runtime::Wgsl1);
        assert!(!explained(&known, &card).words().contains("lapsed"), "nobody asked");
        card.proved = least_of_a_card();
        let answer = explained(&known, &card);
        let words = answer.words();
        let line = "0x0101010101010101010101010101010101010101: proof lapsed: was due at block 8192";
        assert!(words.contains(line) && words.contains("(--unproved)"), "{words}");
        assert_eq!(answer.json()["lapsed"][0]["provider"], json!(Address::repeat_byte(1)));
        card.proved.throughput = keystead_market::band::Band::of(1_000);
        let words = explained(&known, &card).words();
        assert!(words.contains("(lower --proved-speed, --proved-memory)"), "{words}");
    }

    #[test]
    fn an_interpreter_that_costs_nothing_hides_no_change_that_can_be_made() {
        use keystead_market::record::{Adapter, Draft, claimed::SoftwareKind};
        let interpreter = |draft: &mut Draft| {
            for adapter in &mut draft.claimed.adapters {
                let Adapter::Software { kind, .. } = adapter else { continue };
                *kind = SoftwareKind::Interpreter;
            }
        };
        let known = Known::new(vec![sighted(1, 1, interpreter), sighted(2, 5, |_| ())], &Believed::default());
        let mut gpu = crate::compute::matching::need::tests::need(keystead_job::Runtime::Wgsl1);
        gpu.kinds = Set::of(&[Kind::Discrete]);
        let answer = explained(&known, &gpu);
        assert_eq!(answer.json()["offers"], 3, "two processors and one adapter");
        assert_eq!(answer.json()["singles"][0]["options"], json!(["--hardware cpu"]));
        assert!(
            answer.words().contains("then 0x0202020202020202020202020202020202020202 takes it"),
            "{}",
            answer.words()
        );
        // Who asks for it gets it, and no other.
        let known = Known::new(
            vec![sighted(1, 1, interpreter), sighted(2, 5, |_| ())],
            &Believed { interpreters: true, ..Believed::default() },
        );
        assert_eq!(
            known.plan(&crate::compute::matching::need::tests::need(keystead_job::Runtime::Wgsl1), 8).unwrap().matched,
            1
        );
        gpu.kinds = Set::of(&[Kind::Interpreter]);
        let plan = known.plan(&gpu, 8).unwrap();
        assert_eq!((plan.matched, plan.best[0].key.provider), (1, Address::repeat_byte(1)));
    }

    #[test]
    fn a_country_is_advised_by_its_option_and_shown_as_what_the_provider_claims() {
        let stands = |code: &'static str| {
            move |draft: &mut keystead_market::record::Draft| draft.claimed.place.country = code.to_owned()
        };
        let all = vec![sighted(1, 9, stands("FR")), sighted(2, 5, stands("DE")), sighted(3, 1, |_| ())];
        let known = Known::new(all, &Believed::default());
        let wanted = |code: &[u8; 2]| Need { countries: [*code].into_iter().collect(), ..need() };
        let answer = explained(&known, &wanted(b"FR"));
        let words = answer.words();
        assert!(words.contains("0x0101010101010101010101010101010101010101 device 0: "), "{words}");
        assert!(words.contains("; it claims to stand in FR") && !words.contains("stand in DE"), "{words}");
        assert_eq!((answer.matched(), &answer.json()["best"][0]["claimedCountry"]), (1, &json!("FR")));
        // The cheapest that does not say where it stands comes in by no country at all.
        let answer = explained(&known, &wanted(b"NL"));
        assert_eq!(answer.json()["singles"][0]["options"], json!(["no --country"]));
        let known = Known::new(vec![sighted(2, 5, stands("DE"))], &Believed::default());
        let words = explained(&known, &wanted(b"NL")).words();
        assert!(words.contains("take the country DE, too (--country DE): then 0x0202"), "{words}");
    }

    #[test]
    fn who_completed_few_orders_comes_in_by_the_option_that_is_advised_and_not_by_more() {
        let mut known = Known::new(vec![sighted(1, 9, |_| ())], &Believed::default());
        let account = Address::repeat_byte(1);
        let least = |percent: u32| Need { completed_ppm_min: percent.saturating_mul(PPM_PER_PERCENT), ..need() };
        for (completed, failed, advised) in [(0, 2, 25), (1, 2, 40), (0, 1, 33)] {
            known.set_history(account, History { completed, failed });
            let answer = explained(&known, &least(50));
            let (words, json) = (answer.words(), answer.json());
            let here_alone = |fallen: &Fallen| fallen.filter == Filter::Reputation && fallen.only == 1;
            assert!(answer.matched() == 0 && answer.why.fallen.iter().any(here_alone), "{json}");
            assert_eq!(json["singles"][0]["options"], json!([format!("--min-completed {advised}")]));
            let all = completed.saturating_add(failed);
            assert!(words.contains(&format!("KST; it completed {completed} of {all} orders")), "{words}");
            assert_eq!(explained(&known, &least(advised)).matched(), 1, "what is advised works");
            assert_eq!(explained(&known, &least(advised.saturating_add(1))).matched(), 0, "and no more does");
        }
        known.set_history(account, History { completed: 0, failed: 1_000 });
        assert_eq!(explained(&known, &least(50)).json()["singles"][0]["options"], json!(["no --min-completed"]));
        let json = explained(&known, &need()).json();
        assert_eq!(json["best"][0]["orders"], json!({"completed": 0, "failed": 1_000}));
    }

    #[test]
    fn who_does_not_list_a_token_takes_the_job_in_kst() {
        let currency = Currency::token(Address::repeat_byte(0x70));
        let believed = Believed { currency, ..Believed::default() };
        let known = Known::new(vec![sighted(1, 9, |_| ())], &believed);
        let answer = explained(&known, &Need { currency, ..need() });
        let words = answer.words();
        assert!(words.contains("currency: ") && words.contains("pay in KST (no --token): then 0x0101"), "{words}");
        assert!(words.contains("0.000000000000000009 KST"), "{words}");
        assert_eq!(answer.json()["token"], json!(Address::repeat_byte(0x70)));
    }

    #[test]
    fn nobody_at_all_is_said_with_what_to_do() {
        let words = explained(&Known::new(Vec::new(), &Believed::default()), &need()).words();
        assert!(words.contains("0 of 0 offers fit") && words.contains("`keystead provide`"), "{words}");
    }
}
