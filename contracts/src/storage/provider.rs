//! Slots and words of a listed provider.

use super::Error;
use super::fields::{Field, nth, require_unused, slot_of_account};
use alloy_primitives::{Address, B256, U256};
use std::time::Duration;

/// Slot of the number of providers that ever registered (the length of the list of accounts).
pub const PROVIDER_COUNT_SLOT: B256 = B256::ZERO;

const PROVIDERS_MAPPING: U256 = U256::from_limbs([1, 0, 0, 0]);

const NODE_ID: Field = Field::new("nodeId", 0, 0, 32);
const CAPABILITY_HASH: Field = Field::new("capabilityHash", 1, 0, 32);
const PRICE_WEI_PER_UNIT: Field = Field::new("priceWeiPerUnit", 2, 0, 16);
const REGISTERED_AT: Field = Field::new("registeredAt", 2, 16, 5);
const UPDATED_AT: Field = Field::new("updatedAt", 2, 21, 5);
const OFFERING: Field = Field::new("offering", 2, 26, 1);

/// The storage keys of a provider, without its endpoint text, which is not needed in proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderSlots {
    /// The node id, as it is; zero if the account never registered.
    pub node_id: B256,
    /// The capability hash, as it is.
    pub capability_hash: B256,
    /// Price, times and flag: decode with [`OfferState::decode`].
    pub offer: B256,
}

impl ProviderSlots {
    /// The keys of an account.
    #[must_use]
    pub fn of(account: Address) -> Self {
        let base = slot_of_account(account, PROVIDERS_MAPPING);
        Self {
            node_id: nth(base, NODE_ID.slot),
            capability_hash: nth(base, CAPABILITY_HASH.slot),
            offer: nth(base, PRICE_WEI_PER_UNIT.slot),
        }
    }
}

/// The third word of a provider: price, times and whether it takes orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferState {
    /// Lowest accepted price in wei per unit.
    pub price_wei_per_unit: U256,
    /// When it registered, since the Unix epoch; `None` if never.
    pub registered_at: Option<Duration>,
    /// When the offer or the flag last changed, since the Unix epoch.
    pub updated_at: Option<Duration>,
    /// Whether it takes new orders.
    pub is_offering: bool,
}

impl OfferState {
    /// Decodes a (proved) word of [`ProviderSlots::offer`].
    ///
    /// # Errors
    /// [`Error::UnusedBits`]: the register did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 5, "offer")?;
        let flag = OFFERING.read_u8(word);
        if flag > 1 {
            return Err(Error::UnusedBits { slot_name: "offer", word });
        }
        Ok(Self {
            price_wei_per_unit: U256::from(PRICE_WEI_PER_UNIT.read(word)),
            registered_at: REGISTERED_AT.read_time(word),
            updated_at: UPDATED_AT.read_time(word),
            is_offering: flag == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::super::fields::layout;
    use super::*;
    use alloy_primitives::keccak256;
    use serde_json::Value;

    #[test]
    fn every_field_lies_where_the_compiler_put_it() {
        let artifact: Value = serde_json::from_str(include_str!("../../artifacts/Providers.json")).unwrap();
        let table = [NODE_ID, CAPABILITY_HASH, PRICE_WEI_PER_UNIT, REGISTERED_AT, UPDATED_AT, OFFERING];
        let members = layout::members(&artifact, "Provider");
        let (endpoint, words) = members.split_last().unwrap();
        assert_eq!(layout::table(&table), words);
        assert_eq!(*endpoint, ("endpoint".to_owned(), 3, 0, 32));
        assert_eq!(layout::variable(&artifact, "_accounts"), 0);
        assert_eq!(U256::from(layout::variable(&artifact, "_providers")), PROVIDERS_MAPPING);
    }

    #[test]
    fn slots_and_words_are_those_of_a_real_evm() {
        let vector: Value = serde_json::from_str(include_str!("../../../specs/vectors/market-storage.json")).unwrap();
        let word = |name: &str, slot: B256| {
            let entry = &vector["providers"][name];
            assert_eq!(entry["slot"].as_str().unwrap().parse::<B256>().unwrap(), slot, "{name}");
            entry["word"].as_str().unwrap().parse::<B256>().unwrap()
        };
        let slots = ProviderSlots::of(vector["provider"].as_str().unwrap().parse().unwrap());
        assert_eq!(word("node_id", slots.node_id), keccak256("node"));
        assert_eq!(word("capability_hash", slots.capability_hash), keccak256("capability"));
        let start = Duration::from_secs(1_800_000_000);
        assert_eq!(
            OfferState::decode(word("offer", slots.offer)),
            Ok(OfferState {
                price_wei_per_unit: U256::from(5_000_000_000_u64),
                registered_at: Some(start),
                updated_at: Some(start),
                is_offering: true,
            })
        );
        assert_eq!(word("provider_count", PROVIDER_COUNT_SLOT), B256::with_last_byte(1));
    }

    #[test]
    fn words_that_the_register_cannot_write_are_refused() {
        for byte in 0..5 {
            let mut word = B256::ZERO;
            word[byte] = 1;
            assert_eq!(OfferState::decode(word), Err(Error::UnusedBits { slot_name: "offer", word }));
        }
        let mut word = B256::ZERO;
        word[5] = 2;
        assert!(OfferState::decode(word).is_err());
        word[5] = 1;
        assert!(OfferState::decode(word).unwrap().is_offering);
    }
}
