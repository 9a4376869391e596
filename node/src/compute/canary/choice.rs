//! Which unit of an order is the canary, where it is altered, and the hash that stands in the order's terms: pure.
//!
//! Spec: specs/0008-audit.md §12.1.

use alloy_primitives::{Address, B256, keccak256};
use keystead_job::{Class, JobSpec, Runtime, spec::Draft};

/// What the seed's preimage begins with.
const SEED_DOMAIN: &[u8] = b"keystead/canary-seed/v1";
/// What the hash's preimage begins with.
const HASH_DOMAIN: &[u8] = b"keystead/canary/v1";

/// What belongs to one order, and both sides know before it is committed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deal {
    pub(crate) chain_id: u64,
    pub(crate) customer: Address,
    pub(crate) provider: Address,
    /// Hash of the job.
    pub(crate) job: B256,
    /// The customer's node as its provider sees it: made anew for each order, so that no two of them are alike.
    pub(crate) node: B256,
}

/// What the secret chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) unit: u32,
    /// Where the output is altered, see [`super::wrong::wrong`].
    pub(crate) place: u64,
    pub(crate) nonce: B256,
}

impl Chosen {
    /// The choice for a job of so many units.
    pub(super) fn new(secret: B256, deal: &Deal, units: u32) -> Self {
        let Deal { chain_id, customer, provider, job, node } = deal;
        let seed = keccak256(
            [
                SEED_DOMAIN,
                secret.as_slice(),
                &chain_id.to_be_bytes(),
                customer.as_slice(),
                provider.as_slice(),
                job.as_slice(),
                node.as_slice(),
            ]
            .concat(),
        );
        let part = |number: u8| keccak256([seed.as_slice(), &[number]].concat());
        let word = |number| part(number).iter().take(8).fold(0_u64, |word, &byte| (word << 8) | u64::from(byte));
        let unit = word(0).checked_rem(units.into()).unwrap_or_default();
        Self { unit: u32::try_from(unit).unwrap_or_default(), place: word(1), nonce: part(2) }
    }

    /// What stands in the terms of an order whose canary has this value.
    pub(crate) fn hash(&self, own: B256) -> B256 {
        hash(self.unit, own, self.nonce)
    }
}

/// The hash of a canary, as the contract makes it. Spec: specs/0008-audit.md §12.
pub(crate) fn hash(unit: u32, own: B256, nonce: B256) -> B256 {
    keccak256([HASH_DOMAIN, &unit.to_be_bytes(), own.as_slice(), nonce.as_slice()].concat())
}

/// Why a job has no canary, if it cannot have one.
pub(crate) fn refusal(spec: &JobSpec) -> Option<String> {
    let Draft { segment_count, unit_count, .. } = **spec;
    if segment_count != 1 {
        return Some(format!(
            "a canary is a unit of one segment, since nobody knows which one is drawn: the units of this job have {segment_count}"
        ));
    }
    (unit_count < 2).then(|| "a canary leaves nothing of a job with one unit".to_owned())
}

/// Whether machines of different makers may give different bytes for a unit of this job. Its canary is made of the reference's output then
/// (specs/0003-job.md §9), which is the same everywhere.
pub(crate) fn needs_reference(spec: &JobSpec) -> bool {
    spec.runtime == Runtime::Wgsl1 && spec.class != Class::Exact
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::samples::spec;
    use serde_json::Value;

    const DEAL: Deal = Deal {
        chain_id: 0x4b53,
        customer: Address::repeat_byte(2),
        provider: Address::repeat_byte(3),
        job: B256::repeat_byte(4),
        node: B256::repeat_byte(5),
    };
    const SECRET: B256 = B256::repeat_byte(1);

    #[test]
    fn the_choice_and_the_hash_have_the_preimages_of_the_spec() {
        let mut preimage = b"keystead/canary-seed/v1".to_vec();
        preimage.extend([1; 32]);
        preimage.extend([0, 0, 0, 0, 0, 0, 0x4b, 0x53]);
        preimage.extend([2; 20]);
        preimage.extend([3; 20]);
        preimage.extend([4; 32]);
        preimage.extend([5; 32]);
        assert_eq!(preimage.len(), 167);
        let seed = keccak256(preimage);
        let part = |number: u8| keccak256([seed.as_slice(), &[number]].concat());
        let word = |number| u64::from_be_bytes(part(number)[..8].try_into().unwrap());
        let chosen = Chosen::new(SECRET, &DEAL, 1_000);
        assert_eq!(u64::from(chosen.unit), word(0) % 1_000);
        assert_eq!((chosen.place, chosen.nonce), (word(1), part(2)));
        let mut preimage = b"keystead/canary/v1".to_vec();
        preimage.extend(chosen.unit.to_be_bytes());
        preimage.extend([9; 32]);
        preimage.extend(chosen.nonce);
        assert_eq!(preimage.len(), 86);
        assert_eq!(chosen.hash(B256::repeat_byte(9)), keccak256(preimage));
    }

    /// `specs/vectors/canary.json`, made by another program.
    #[test]
    fn the_choice_and_the_hash_are_those_of_the_vectors() {
        let vector: Value = serde_json::from_str(include_str!("../../../../specs/vectors/canary.json")).unwrap();
        let text = |name: &str| vector[name].as_str().unwrap();
        let [secret, job, node, nonce, own, hash] =
            ["secret", "job", "node", "nonce", "own", "hash"].map(|name| text(name).parse::<B256>().unwrap());
        let [customer, provider] = ["customer", "provider"].map(|name| text(name).parse::<Address>().unwrap());
        let number = |name: &str| vector[name].as_u64().unwrap();
        let deal = Deal { chain_id: number("chain_id"), customer, provider, job, node };
        let chosen = Chosen::new(secret, &deal, u32::try_from(number("units")).unwrap());
        let place = text("place").parse().unwrap();
        assert_eq!(chosen, Chosen { unit: u32::try_from(number("unit")).unwrap(), place, nonce });
        assert_eq!(chosen.hash(own), hash);
    }

    /// Every part of what belongs to the order changes the choice: two orders never show the same hash.
    #[test]
    fn no_two_orders_choose_alike() {
        let chosen = Chosen::new(SECRET, &DEAL, 65_536);
        for other in [
            Deal { chain_id: 1, ..DEAL },
            Deal { customer: Address::ZERO, ..DEAL },
            Deal { provider: Address::ZERO, ..DEAL },
            Deal { job: B256::ZERO, ..DEAL },
            Deal { node: B256::ZERO, ..DEAL },
        ] {
            let other = Chosen::new(SECRET, &other, 65_536);
            assert!(other.nonce != chosen.nonce && other.place != chosen.place);
        }
        assert_ne!(Chosen::new(B256::ZERO, &DEAL, 65_536).nonce, chosen.nonce);
        // Evenly: a thousand orders of ten units leave no unit out.
        let units: std::collections::BTreeSet<u32> =
            (0..1_000_u64).map(|number| Chosen::new(SECRET, &Deal { chain_id: number, ..DEAL }, 10).unit).collect();
        assert_eq!(units, (0..10).collect());
        assert_eq!(Chosen::new(SECRET, &DEAL, 0).unit, 0, "no unit, no panic");
    }

    #[test]
    fn a_job_of_several_segments_or_of_one_unit_has_no_canary() {
        let spec = |units, segments| spec(Class::Exact, units, segments);
        assert_eq!(refusal(&spec(2, 1)), None);
        assert!(refusal(&spec(1, 1)).unwrap().contains("one unit"));
        assert!(refusal(&spec(2, 3)).unwrap().contains("the units of this job have 3"));
    }
    #[test]
    fn only_floats_on_graphics_cards_need_the_reference() {
        let needs = |class| needs_reference(&spec(class, 2, 1));
        assert_eq!([Class::Exact, Class::SelfChecking, Class::Tolerance].map(needs), [false, false, true]);
    }
}
