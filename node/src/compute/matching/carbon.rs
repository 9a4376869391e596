//! How much carbon an offer's work makes, in words: from what its provider claims, and what was counted where it claims nothing.

use keystead_market::{
    Match, Need,
    carbon::{CARBON_G_PER_KWH_UNSAID, POWER_MW_UNSAID},
};

/// What was counted of an offer; none for a customer to whom carbon is worth nothing.
pub(crate) fn words(need: &Need, fit: &Match) -> Option<String> {
    (need.weights.carbon_per_g > 0).then(|| {
        let amount = grams(fit.carbon_ug);
        if fit.carbon_claimed {
            return format!("{amount} of carbon dioxide at most, as it claims; nobody checked that");
        }
        format!(
            "{amount} of carbon dioxide at most: it does not say its power or its supply, so {} W and {CARBON_G_PER_KWH_UNSAID} g a kWh stand for what is missing",
            POWER_MW_UNSAID / 1_000
        )
    })
}

/// Micrograms in grams, rounded up to thousandths.
fn grams(micrograms: u64) -> String {
    let milligrams = micrograms.div_ceil(1_000);
    format!("{}.{:03} g", milligrams / 1_000, milligrams % 1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::matching::known::{
        Believed, Known,
        tests::{need, sighted},
    };
    use keystead_market::need::Weights;

    #[test]
    fn carbon_is_told_where_it_is_worth_something_and_what_stands_for_silence_is_named() {
        assert_eq!([0, 1, 1_000, 1_234_567].map(grams), ["0.000 g", "0.001 g", "0.001 g", "1.235 g"]);
        let says = |draft: &mut keystead_market::record::Draft| {
            draft.claimed.processor.power_mw = 65_000;
            draft.claimed.energy.carbon_g_per_kwh = 50;
        };
        let known = Known::new(vec![sighted(1, 5, |_| ()), sighted(2, 6, says)], &Believed::default());
        let words_of = |carbon_per_g: u128| {
            let need = Need { weights: Weights { time_per_s: 0, carbon_per_g }, ..need() };
            let best = known.plan(&need, 8).unwrap().best;
            best.iter().map(|fit| (fit.key.provider.0[0], words(&need, fit))).collect::<Vec<_>>()
        };
        let plain = words_of(0);
        assert_eq!(plain, [(1, None), (2, None)], "the cheaper first");
        let [(2, Some(claimed)), (1, Some(unsaid))] = &words_of(keystead_market::need::VALUE_MAX)[..] else {
            panic!("the cleaner first: {:?}", words_of(1))
        };
        assert!(claimed.ends_with("as it claims; nobody checked that"), "{claimed}");
        assert!(unsaid.contains("so 2000 W and 1200 g a kWh stand"), "{unsaid}");
    }
}
