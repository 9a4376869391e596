//! On which card of this machine a job runs.
//!
//! # Design
//! One job has the machine at a time (see [`super::machine`]); with several cards it gets the best one that covers it: by what the record claims, since that is
//! what its customer planned with, and by what the self-test saw. A job that no claim covers, as of a card whose memory nobody names, runs where the self-test
//! admits it.

use super::{book::Book, self_test::Card};
use keystead_job::{JobSpec, Runtime};
use keystead_market::record::{Adapter, Claimed};

const MIB: u64 = 1 << 20;

impl Book {
    /// The place of the adapter on which a job runs, as workers know it; 0 for a runtime without adapters.
    pub(crate) fn place(&self, spec: &JobSpec) -> u8 {
        if spec.runtime != Runtime::Wgsl1 {
            return 0;
        }
        let claimed = self.offering.record().claimed.clone();
        let covering = covering(spec, &claimed, &self.capability.cards());
        covering.unwrap_or_else(|| self.capability.place(spec))
    }
}

/// The place of the first card whose claims cover a job.
fn covering(spec: &JobSpec, claimed: &Claimed, cards: &[Card<'_>]) -> Option<u8> {
    let claims = |card: &&Card<'_>| {
        let index = usize::from(card.number).checked_sub(1)?;
        claimed.adapters.get(index)
    };
    cards.iter().find(|card| claims(card).is_some_and(|adapter| covers(spec, adapter))).map(|card| card.place)
}

/// Whether an adapter has what a job declares, by its claims. Spec: specs/0010-capability.md §9.
pub(super) fn covers(spec: &JobSpec, adapter: &Adapter) -> bool {
    let (device, limits) = (adapter.device(), &spec.limits);
    device.memory_mib.saturating_mul(MIB) >= limits.memory_bytes_max
        && device.binding_bytes_max >= limits.output_bytes_max
        && device.loop_iterations_max >= limits.loop_iterations_max
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::matching::{known::tests::record, need::tests::spec};
    use keystead_job::spec::Draft;
    use keystead_market::record::claimed::Device;
    use keystead_runner::{Device as Found, DeviceKind, Loops};

    fn job(memory_mib: u64, output_bytes_max: u64) -> JobSpec {
        let mut draft = Draft::from(spec(Runtime::Wgsl1));
        draft.limits.memory_bytes_max = memory_mib * MIB;
        draft.limits.output_bytes_max = output_bytes_max;
        JobSpec::new(draft).unwrap()
    }

    #[test]
    fn a_job_runs_on_the_first_card_that_its_customer_could_have_planned_with() {
        let claimed = record(1, |draft| {
            let first = draft.claimed.adapters[0].clone();
            let sized = |memory_mib, binding_bytes_max| match first.clone() {
                Adapter::Software { kind, device } => {
                    Adapter::Software { kind, device: Device { memory_mib, binding_bytes_max, ..device } }
                }
                other @ Adapter::Gpu { .. } => other,
            };
            draft.claimed.adapters = vec![sized(256, 4_096), sized(1_024, 4_096), sized(1_024, 8_192)];
        })
        .claimed
        .clone();
        let found = Found {
            name: "card".to_owned(),
            backend: "Vulkan".to_owned(),
            kind: DeviceKind::Discrete,
            driver: String::new(),
            driver_info: String::new(),
            vendor_id: 1,
            device_id: 1,
            binding_bytes_max: 8_192,
            buffer_bytes_max: 8_192,
            workgroup_bytes_max: 1,
            workgroup_invocations_max: 1,
            max_loop_iterations: 70_000,
            long_loops: Loops::Whole,
            divergent_loops: Loops::Whole,
        };
        // The adapter at place 1 failed its self-test.
        let card = |number, place| Card { number, place, device: &found, speeds: Vec::new() };
        let cards = [card(1, 0), card(2, 2), card(3, 3)];
        let place = |memory_mib, output| covering(&job(memory_mib, output), &claimed, &cards);
        assert_eq!([place(256, 4_096), place(257, 4_096), place(1_024, 8_192)], [Some(0), Some(2), Some(3)]);
        assert_eq!(place(1_025, 8), None, "no claim covers it");
        assert_eq!(covering(&job(256, 8), &claimed, &[]), None);
    }
}
