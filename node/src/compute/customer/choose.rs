//! Which provider gets the order: the cheapest that can be reached, or the one that was named.

use crate::compute::{
    amount::kst,
    market::{Market, Offer},
};
use alloy_primitives::{Address, U256};
use eyre::Result;
use keystead_blobs::Address as Endpoint;

/// Whom to order from, at which price.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) account: Address,
    pub(super) price_wei_per_unit: u128,
    pub(super) endpoint: Endpoint,
    /// Units times price.
    pub(super) total_wei: U256,
}

/// What the customer wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) units: u32,
    pub(super) provider: Option<Address>,
    pub(super) total_wei_max: Option<U256>,
    /// Providers that had their chance.
    pub(super) tried: &'a [Address],
}

/// Why there is nobody to order from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nobody {
    /// The named provider is none.
    #[error("{0} is not registered as a provider")]
    Unregistered(Address),
    /// The named provider has paused.
    #[error("provider {0} takes no orders at the moment: choose another or none")]
    Paused(Address),
    /// The named provider cannot be dialled.
    #[error("provider {account} published an endpoint that cannot be dialled: {endpoint:?}")]
    Endpoint {
        /// Who.
        account: Address,
        /// What it published. Hostile text.
        endpoint: String,
    },
    /// Nobody takes orders.
    #[error("no provider takes orders on this network: start one with `keystead provide`, or try later")]
    None,
    /// Nobody but those that were tried.
    #[error("no other provider takes orders on this network")]
    NoOther,
    /// The cheapest is too dear.
    #[error(
        "the price is above --max-price: {units} units at {} cost {}, the limit is {}",
        kst(*unit_wei),
        kst(*total_wei),
        kst(*limit_wei)
    )]
    TooDear {
        /// Of the job.
        units: u32,
        /// What one costs.
        unit_wei: U256,
        /// What all cost.
        total_wei: U256,
        /// What the customer would pay.
        limit_wei: U256,
    },
}

/// Asks the register. The outer error is the node's.
pub(super) async fn choose(market: &Market, wish: Wish<'_>) -> Result<Result<Choice, Nobody>> {
    Ok(pick(market.offers().await?, wish))
}

/// Of several equally cheap ones the longest registered is taken.
fn pick(offers: Vec<Offer>, wish: Wish<'_>) -> Result<Choice, Nobody> {
    let choice = match wish.provider {
        Some(account) => {
            let offer = offers.into_iter().find(|offer| offer.account == account);
            let offer = offer.ok_or(Nobody::Unregistered(account))?;
            if !offer.offering {
                return Err(Nobody::Paused(account));
            }
            readable(&offer, wish.units).ok_or(Nobody::Endpoint { account, endpoint: offer.endpoint })?
        }
        None => {
            let open = offers.iter().filter(|offer| offer.offering && !wish.tried.contains(&offer.account));
            let reachable = open.filter_map(|offer| readable(offer, wish.units));
            let nobody = if wish.tried.is_empty() { Nobody::None } else { Nobody::NoOther };
            reachable.min_by_key(|choice| choice.price_wei_per_unit).ok_or(nobody)?
        }
    };
    match wish.total_wei_max {
        Some(limit_wei) if choice.total_wei > limit_wei => Err(Nobody::TooDear {
            units: wish.units,
            unit_wei: U256::from(choice.price_wei_per_unit),
            total_wei: choice.total_wei,
            limit_wei,
        }),
        _ => Ok(choice),
    }
}

/// A usable offer: its endpoint is an address, of the node that the register names.
fn readable(offer: &Offer, units: u32) -> Option<Choice> {
    let endpoint: Endpoint = offer.endpoint.parse().ok()?;
    (endpoint.id().as_bytes() == &offer.node_id.0).then(|| Choice {
        account: offer.account,
        price_wei_per_unit: offer.price_wei_per_unit,
        endpoint,
        total_wei: U256::from(offer.price_wei_per_unit).saturating_mul(U256::from(units)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use alloy_primitives::B256;
    use keystead_blobs::SecretKey;

    fn offer(number: u8, price: u128) -> Offer {
        let node = SecretKey::from_bytes(&[number; 32]).id();
        Offer {
            account: Address::repeat_byte(number),
            node_id: B256::from(*node.as_bytes()),
            price_wei_per_unit: price,
            endpoint: format!("{node}@127.0.0.1:1000"),
            offering: true,
        }
    }

    const ANY: Wish<'_> = Wish { units: 3, provider: None, total_wei_max: None, tried: &[] };

    #[test]
    fn the_cheapest_that_can_be_reached_is_chosen() {
        let paused = Offer { offering: false, ..offer(1, 1) };
        let liar = Offer { node_id: B256::repeat_byte(9), ..offer(2, 2) };
        let mute = Offer { endpoint: "somewhere".to_owned(), ..offer(3, 3) };
        let choice = pick(vec![paused, liar, mute, offer(4, 7), offer(5, 5), offer(6, 5)], ANY).unwrap();
        assert_eq!(choice.account, Address::repeat_byte(5));
        assert_eq!(choice.total_wei, U256::from(15));
        assert!(pick(Vec::new(), ANY).unwrap_err().to_string().contains("no provider"));
    }

    #[test]
    fn a_named_provider_is_taken_or_its_fault_named() {
        let named = |number| Wish { provider: Some(Address::repeat_byte(number)), ..ANY };
        let offers = || vec![offer(1, 1), offer(2, 9), Offer { offering: false, ..offer(3, 1) }];
        assert_eq!(pick(offers(), named(2)).unwrap().account, Address::repeat_byte(2));
        assert!(pick(offers(), named(3)).unwrap_err().to_string().contains("no orders at the moment"));
        assert!(pick(offers(), named(4)).unwrap_err().to_string().contains("not registered"));
    }

    #[test]
    fn a_price_at_the_limit_is_paid_and_one_wei_more_is_not() {
        let limit = |wei| Wish { total_wei_max: Some(U256::from(wei)), ..ANY };
        assert!(pick(vec![offer(1, 5)], limit(15_u64)).is_ok());
        assert!(pick(vec![offer(1, 5)], limit(14_u64)).unwrap_err().to_string().contains("--max-price"));
    }

    #[test]
    fn the_next_one_is_the_cheapest_that_was_not_tried() {
        let offers = || vec![offer(1, 5), offer(2, 3), offer(3, 4), Offer { offering: false, ..offer(4, 1) }];
        let mut tried = Vec::new();
        for expected in [2, 3, 1] {
            let choice = pick(offers(), Wish { tried: &tried, ..ANY }).unwrap();
            assert_eq!(choice.account, Address::repeat_byte(expected));
            tried.push(choice.account);
        }
        assert_eq!(pick(offers(), Wish { tried: &tried, ..ANY }).unwrap_err(), Nobody::NoOther);
        // The limit holds for the next one too.
        let limit = Wish { tried: &tried[..1], total_wei_max: Some(U256::from(11)), ..ANY };
        assert!(matches!(pick(offers(), limit), Err(Nobody::TooDear { .. })));
    }
}
