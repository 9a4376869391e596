//! The canaries that this provider was given: whose orders may have one, and its output.
//!
//! # Invariants
//! An output is altered only if the altered one has the hash that stands in the terms of its order: so only in orders whose customer made the file, and
//! wants exactly this unit wrong in exactly this way.
//!
//! Spec: specs/0008-audit.md §12.1.

use crate::compute::canary::{
    CanaryFile, Chosen, Deal,
    choice::refusal,
    wrong::{Off, wrong},
};
use alloy_primitives::{Address, B256};
use eyre::{Result, ensure};
use keystead_contracts::bindings::market::IAuditTypes;
use keystead_job::{JobSpec, blob_hash};
use std::path::PathBuf;

/// Files that may be given: each is tried for every order of its customer.
const FILES_MAX: usize = 16;

/// The files.
#[derive(Debug, Default)]
pub(super) struct Canaries(Vec<CanaryFile>);

/// What may be the canary of one order: a choice for each file of its customer.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    chosen: Vec<Chosen>,
    /// What stands in the order's terms.
    hash: B256,
}

impl Canaries {
    /// Reads the files.
    ///
    /// # Errors
    /// Too many, or one that is none.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self> {
        let got = paths.len();
        ensure!(got <= FILES_MAX, "--canaries may be given {FILES_MAX} times, it is given {got} times");
        paths.iter().map(|path| CanaryFile::read(path)).collect::<Result<Vec<_>>>().map(Self)
    }

    /// Whose orders may have canaries, one for each file.
    pub(super) fn customers(&self) -> impl Iterator<Item = Address> {
        self.0.iter().map(CanaryFile::customer)
    }

    /// Whether an order of this customer may have a canary.
    pub(super) fn knows(&self, customer: Address) -> bool {
        self.customers().any(|known| known == customer)
    }

    /// What may be the canary of an order; nothing if it cannot have one.
    pub(super) fn candidates(&self, deal: &Deal, spec: &JobSpec, terms: &IAuditTypes::Terms) -> Candidates {
        if refusal(spec).is_some() || !terms.named.is_zero() {
            return Candidates::default();
        }
        let own = self.0.iter().filter(|file| file.customer() == deal.customer);
        Candidates { chosen: own.map(|file| file.chosen(deal, spec)).collect(), hash: terms.canary }
    }
}

impl Candidates {
    /// Whether this unit may be the canary.
    pub(super) fn concern(&self, unit: u32) -> bool {
        self.chosen.iter().any(|chosen| chosen.unit == unit)
    }

    /// The altered output, if this unit is the canary. Never equal to `output`.
    pub(super) fn alter(&self, spec: &JobSpec, unit: u32, output: &[u8]) -> Option<Vec<u8>> {
        self.chosen.iter().filter(|chosen| chosen.unit == unit).find_map(|chosen| {
            let mut both = Off::BOTH.into_iter().map(|off| wrong(spec, output, chosen.place, off));
            both.find(|wrong| chosen.hash(blob_hash(wrong)) == self.hash)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::{
        canary::file::tests::file,
        samples::{TERMS, spec},
    };
    use keystead_job::Class;

    const CUSTOMER: Address = Address::repeat_byte(2);
    const DEAL: Deal = Deal {
        chain_id: 7,
        customer: CUSTOMER,
        provider: Address::repeat_byte(3),
        job: B256::repeat_byte(4),
        node: B256::repeat_byte(5),
    };
    const RIGHT: &[u8] = b"what an honest machine gives";

    fn terms(canary: B256) -> IAuditTypes::Terms {
        IAuditTypes::Terms { canary, ..TERMS }
    }

    /// The unit, and the terms of an order of which it is the canary.
    fn ordered(spec: &JobSpec, off: Off) -> (u32, IAuditTypes::Terms) {
        let chosen = file(CUSTOMER).chosen(&DEAL, spec);
        (chosen.unit, terms(chosen.hash(blob_hash(&wrong(spec, RIGHT, chosen.place, off)))))
    }

    #[test]
    fn exactly_the_unit_that_its_customer_meant_is_altered() {
        let spec = spec(Class::Exact, 10, 1);
        let (unit, terms) = ordered(&spec, Off::Little);
        let canaries = Canaries(vec![file(Address::ZERO), file(CUSTOMER)]);
        assert!(canaries.knows(CUSTOMER) && !canaries.knows(Address::repeat_byte(9)));
        let candidates = canaries.candidates(&DEAL, &spec, &terms);
        for other in (0..10).filter(|other| *other != unit) {
            assert!(!candidates.concern(other) && candidates.alter(&spec, other, RIGHT).is_none(), "{other}");
        }
        assert!(candidates.concern(unit));
        let wrong = candidates.alter(&spec, unit, RIGHT).unwrap();
        assert!(wrong != RIGHT && wrong.len() == RIGHT.len());
        // Of what this machine gives otherwise nothing is made wrong: its customer could not tell it.
        assert_eq!(candidates.alter(&spec, unit, b"another output"), None);
    }

    #[test]
    fn numbers_are_as_far_off_as_their_customer_meant() {
        let spec = spec(Class::SelfChecking, 10, 1);
        let canaries = Canaries(vec![file(CUSTOMER)]);
        let altered = Off::BOTH.map(|off| {
            let (unit, terms) = ordered(&spec, off);
            let wrong = canaries.candidates(&DEAL, &spec, &terms).alter(&spec, unit, RIGHT).unwrap();
            assert_eq!(terms.canary, file(CUSTOMER).chosen(&DEAL, &spec).hash(blob_hash(&wrong)));
            wrong
        });
        assert_ne!(altered[0], altered[1]);
    }

    #[test]
    fn nothing_is_altered_in_anybody_elses_order_or_for_another_hash() {
        let spec = spec(Class::Exact, 10, 1);
        let (unit, right_terms) = ordered(&spec, Off::Little);
        let canaries = Canaries(vec![file(CUSTOMER)]);
        let alter = |deal: &Deal, terms: &IAuditTypes::Terms| {
            let candidates = canaries.candidates(deal, &spec, terms);
            (0..10).find_map(|unit| candidates.alter(&spec, unit, RIGHT))
        };
        assert!(alter(&DEAL, &right_terms).is_some());
        for deal in [
            Deal { customer: Address::repeat_byte(9), ..DEAL },
            Deal { provider: Address::repeat_byte(9), ..DEAL },
            Deal { job: B256::repeat_byte(9), ..DEAL },
            Deal { node: B256::repeat_byte(9), ..DEAL },
            Deal { chain_id: 8, ..DEAL },
        ] {
            assert_eq!(alter(&deal, &right_terms), None, "{deal:?}");
        }
        assert_eq!(alter(&DEAL, &terms(B256::repeat_byte(9))), None, "an order as all others");
        let named = IAuditTypes::Terms { named: B256::repeat_byte(9), ..right_terms };
        assert_eq!(alter(&DEAL, &named), None, "a private order");
        // A secret that was not used.
        let other = Canaries(Vec::new()).candidates(&DEAL, &spec, &right_terms);
        assert!(!other.concern(unit));
    }

    #[test]
    fn a_job_of_several_segments_has_no_candidates() {
        let spec = spec(Class::Exact, 10, 2);
        let candidates = Canaries(vec![file(CUSTOMER)]).candidates(&DEAL, &spec, &terms(B256::ZERO));
        assert!((0..10).all(|unit| !candidates.concern(unit)));
    }

    #[test]
    fn sixteen_files_are_read_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("canary.json");
        CanaryFile::create(&path, CUSTOMER).unwrap();
        let read = |count: usize| Canaries::read(&vec![path.clone(); count]);
        assert_eq!(read(FILES_MAX).unwrap().customers().count(), FILES_MAX);
        assert!(read(FILES_MAX + 1).unwrap_err().to_string().contains("it is given 17 times"));
        std::fs::write(&path, "{}").unwrap();
        assert!(read(1).unwrap_err().to_string().contains("no canary file"));
        assert_eq!(read(0).unwrap().customers().count(), 0);
    }
}
