//! Firm prices: the lines add up to what the planner ranked, to the smallest unit, at every edge.

use crate::sample::{NOW_MS, TOKEN, need, table};
use alloy_primitives::U256;
use keystead_market::{
    Currency, Need, Unit,
    need::{Checks, Lane},
    plan,
    quote::{FirmPrice, For, Terms},
};
use proptest::prelude::*;

fn terms() -> Terms {
    Terms {
        per_gib: U256::from(5u64),
        gas_max: 900_000,
        fee_per_gas_max_wei: 3_000_000_000,
        height: 100,
        valid_blocks: 50,
    }
}

fn amount(price: &FirmPrice, what: For) -> U256 {
    price.lines.iter().find(|line| line.what == what).unwrap().amount
}

proptest! {
    #[test]
    fn the_lines_add_up_to_the_price_that_was_ranked(
        seeds in prop::collection::vec(any::<u64>(), 50..150),
        need_seed in any::<u64>(),
        rate_ppm in 0u32..=1_000_000,
        fee_per_1024 in 0u32..=1_024,
    ) {
        let need = Need { checks: Checks { rate_ppm, fee_per_1024, ..Checks::START }, ..need(need_seed, 0) };
        for fit in plan(&table(&seeds), &need, NOW_MS, 100).unwrap().best {
            let price = FirmPrice::new(&need, &fit, &terms());
            let paid = [For::Units, For::Checks, For::CheckerFees].map(|what| amount(&price, what));
            prop_assert_eq!(paid.into_iter().fold(U256::ZERO, |sum, amount| sum + amount), fit.price);
            let gas = U256::from(900_000u64 * 3_000_000_000);
            let rest = amount(&price, For::Transfer);
            prop_assert_eq!(amount(&price, For::Gas), gas);
            let (total, apart) =
                if need.currency == Currency::KST { (fit.price + rest + gas, U256::ZERO) } else { (fit.price + rest, gas) };
            prop_assert_eq!((price.total, price.gas_wei), (total, apart));
            prop_assert_eq!(price.valid_until_height, 150);
            if fit.lane == Lane::Probation {
                prop_assert_eq!(price.lines[1].count, u64::from(need.units));
            }
        }
    }
}

#[test]
fn a_price_in_a_token_shows_gas_apart_and_every_amount_has_its_unit() {
    let seeds: Vec<u64> = (0..200).collect();
    let (need, fit) = (0..50)
        .map(|seed| Need { currency: Currency::token(TOKEN), ..need(seed, 0) })
        .find_map(|need| plan(&table(&seeds), &need, NOW_MS, 1).unwrap().best.pop().map(|fit| (need, fit)))
        .unwrap();
    let words = FirmPrice::new(&need, &fit, &terms()).words(&Unit { symbol: "TOK".into(), decimals: 6 });
    assert!(words.contains("0.0027 KST") && words.contains(" TOK and at most 0.0027 KST"), "{words}");
    assert!(words.contains("holds until block 150"), "{words}");
}
