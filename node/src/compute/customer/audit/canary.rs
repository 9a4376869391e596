//! A unit of an order that is wrong on purpose: chosen and computed before anything is paid.
//!
//! # Design
//! The customer runs the unit itself, so it knows the right output and the wrong one, and with it the value that its provider will open. Both sides run
//! it on the reference (specs/0003-job.md §9) where machines may differ. A canary that its own check would not call wrong is none: it would have an honest
//! checker accused. What must outlive the process is in the order's state; [`tell`] is the other half.
//!
//! Spec: specs/0008-audit.md §12.1.

mod tell;

pub(in crate::compute::customer) use tell::Telling;

use crate::compute::{
    amount::kst,
    canary::{
        CanaryFile, Chosen, Deal, choice,
        wrong::{Off, wrong},
    },
    customer::{check::draw_seed, plan::Prepared},
    windows::accusation_wei,
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Context as _, Result, eyre};
use keystead_audit::{Answer, Judgement, Task, judge};
use keystead_contracts::limits::CANARY_FEES;
use keystead_job::{Class, JobSpec, blob_hash};
use keystead_runner::{Job, Session, Stop, WorkerCommand};
use serde::{Deserialize, Serialize};

/// Checkers of round 1: they find the unit, too, if it is told late.
const SECOND_CHECKERS: u32 = 2;

/// The canary of an order, as its state has it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Canary {
    pub(in crate::compute::customer) unit: u32,
    /// What its provider will open: the name of the wrong output.
    pub(in crate::compute::customer) own: B256,
    pub(in crate::compute::customer) nonce: B256,
    /// Whether the unit came as agreed, once the outputs are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::compute::customer) delivered: Option<bool>,
}

/// What telling a canary may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute::customer) struct Toll {
    /// For each checker that found the unit wrong.
    finder_wei: U256,
    /// Put down if one found it right; it comes back if the referees find it wrong.
    bond_wei: U256,
    /// All together, at most.
    pub(in crate::compute::customer) max_wei: U256,
}

impl Toll {
    /// Of an order with so many checkers of a unit, at this fee.
    pub(in crate::compute::customer) fn new(fee_wei: U256, checkers: u8) -> Self {
        let (finder_wei, bond_wei) = (fee_wei.saturating_mul(U256::from(CANARY_FEES)), accusation_wei(fee_wei));
        // The bond is more than what one finder gets: so the most is that all but one found it.
        let finders = u32::from(checkers).saturating_sub(1).saturating_add(SECOND_CHECKERS);
        let max_wei = finder_wei.saturating_mul(U256::from(finders)).saturating_add(bond_wei);
        Self { finder_wei, bond_wei, max_wei }
    }

    /// What the person reads before anything is paid.
    pub(in crate::compute::customer) fn line(&self) -> String {
        format!(
            "Canary: one unit is wrong on purpose and not paid, this machine has its right output. When you tell it, each checker that found it gets {}; if \
             one found it right you put down {}, which come back if the referees find it wrong: at most {} beside what is paid now",
            kst(self.finder_wei),
            kst(self.bond_wei),
            kst(self.max_wei)
        )
    }
}

/// The canary of a folder's orders, and the provider that has its secret. Nobody else can deliver it, and a hash that comes twice tells everybody that the
/// first one was no random word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute::customer) struct Meant {
    provider: Address,
    canary: Canary,
}

impl Meant {
    /// As it is ordered: nothing of it has arrived.
    pub(in crate::compute::customer) const fn new(provider: Address, canary: Canary) -> Self {
        Self { provider, canary: Canary { delivered: None, ..canary } }
    }

    /// The canary of an order with this provider.
    pub(in crate::compute::customer) fn with(&self, provider: Address) -> Option<Canary> {
        (self.provider == provider).then_some(self.canary)
    }
}

impl Canary {
    /// Chooses the unit and computes both of its outputs.
    ///
    /// # Errors
    /// The job cannot have a canary, or its unit cannot be run, or made wrong, on this machine.
    pub(in crate::compute::customer) async fn plan(
        file: &CanaryFile,
        deal: &Deal,
        prepared: &Prepared,
    ) -> Result<Self> {
        if let Some(reason) = choice::refusal(&prepared.spec) {
            return Err(eyre!("{reason}: order it without --canary"));
        }
        let chosen = file.chosen(deal, &prepared.spec);
        let right = right_output(prepared, chosen.unit).await.wrap_err("cannot compute the canary on this machine")?;
        for off in Off::BOTH {
            let wrong = wrong(&prepared.spec, &right, chosen.place, off);
            if is_wrong(prepared, chosen.unit, &right, &wrong).await? {
                return Ok(Self::of(chosen, &wrong));
            }
        }
        Err(eyre!("this job's own check would not call its canary wrong: order it without --canary"))
    }

    fn of(chosen: Chosen, wrong: &[u8]) -> Self {
        let Chosen { unit, nonce, .. } = chosen;
        Self { unit, own: blob_hash(wrong), nonce, delivered: None }
    }

    /// What stands in the order's terms.
    pub(in crate::compute::customer) fn hash(&self) -> B256 {
        choice::hash(self.unit, self.own, self.nonce)
    }

    /// Whether the outputs with these names have it.
    pub(in crate::compute::customer) fn is_in(&self, outputs: &[B256]) -> bool {
        outputs.get(self.unit as usize) == Some(&self.own)
    }

    /// What became of it, for the person. `told`: the unit that was told; `is_kept`: the person has the result's files.
    pub(in crate::compute::customer) fn sentence(&self, told: Option<u32>, is_kept: bool) -> String {
        let unit = self.unit;
        let files = if is_kept { "; the files have this machine's own output in its place" } else { "" };
        match (told == Some(unit), self.delivered) {
            (true, Some(true)) => format!("unit {unit} was wrong on purpose{files}"),
            (true, _) => format!("unit {unit} was wrong on purpose"),
            (false, Some(true)) => format!(
                "unit {unit} was wrong on purpose, and not told: no checker looked at it, or the time to tell it was over{files}"
            ),
            (false, None) => {
                format!("unit {unit} was to be wrong on purpose; whether it came so was not looked at here")
            }
            (false, Some(false)) => format!(
                "none: unit {unit} came as all others; the provider has no such file (`keystead provide --canaries`), or could not run the unit on the \
                 reference"
            ),
        }
    }
}

/// The right output of a unit, from this machine.
pub(in crate::compute::customer) async fn right_output(prepared: &Prepared, unit: u32) -> Result<Vec<u8>> {
    let input = prepared.units.get(unit as usize).ok_or_else(|| eyre!("there is no unit {unit}"))?;
    run(prepared.spec.clone(), prepared.side.program(), &prepared.common, input).await
}

/// Whether a check says for sure that an output is wrong: neither right, nor within what an honest machine may give.
async fn is_wrong(prepared: &Prepared, unit: u32, right: &[u8], wrong: &[u8]) -> Result<bool> {
    let spec = &prepared.spec;
    let (task, answer) = if spec.class == Class::SelfChecking {
        let seed = draw_seed()?.0;
        let input = prepared.units.get(unit as usize).and_then(|input| judge::checker_input(seed, input, wrong));
        let input = input.ok_or_else(|| eyre!("the unit input is too long"))?;
        let (job, program) =
            spec.checker_job().zip(prepared.side.checker()).ok_or_else(|| eyre!("no checker program"))?;
        let said =
            run(job, program, &prepared.common, &input).await.wrap_err("cannot run the job's checker program")?;
        (Task::Checker { unit, seed }, Answer::output(said))
    } else {
        (Task::Rerun { unit, segment: 0 }, Answer::Output { bytes: right.to_vec(), delivered: Some(wrong.to_vec()) })
    };
    Ok(matches!(judge::judge(spec, task, blob_hash(wrong), answer), Judgement::Wrong(_)))
}

/// One run on the reference.
async fn run(spec: JobSpec, program: &[u8], common: &[u8], input: &[u8]) -> Result<Vec<u8>> {
    let command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
    let job = Job { spec, program: program.to_vec().into(), common: common.to_vec().into() };
    let mut session = Session::open_reference(command, job, Stop::new()).await?;
    Ok(session.run(input).await?.output)
}

#[cfg(test)]
pub(in crate::compute::customer) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use alloy_primitives::keccak256;

    pub(in crate::compute::customer) const CANARY: Canary =
        Canary { unit: 3, own: B256::repeat_byte(7), nonce: B256::repeat_byte(8), delivered: None };

    #[test]
    fn only_the_provider_that_has_the_secret_gets_it_and_nothing_of_it_has_arrived_then() {
        let provider = Address::repeat_byte(1);
        let meant = Meant::new(provider, Canary { delivered: Some(true), ..CANARY });
        assert_eq!(meant.with(provider), Some(CANARY));
        assert_eq!(meant.with(Address::repeat_byte(2)), None);
    }

    #[test]
    fn its_hash_is_that_of_the_contract() {
        let mut preimage = b"keystead/canary/v1".to_vec();
        preimage.extend([0, 0, 0, 3]);
        preimage.extend([7; 32]);
        preimage.extend([8; 32]);
        assert_eq!(CANARY.hash(), keccak256(preimage));
        let wrong = b"wrong on purpose";
        let chosen = Chosen { unit: 3, place: 9, nonce: B256::repeat_byte(8) };
        assert_eq!(Canary::of(chosen, wrong).hash(), chosen.hash(blob_hash(wrong)));
    }

    #[test]
    fn what_came_is_the_canary_only_at_its_place_and_with_its_bytes() {
        let mut outputs = vec![B256::ZERO; 5];
        assert!(!CANARY.is_in(&outputs) && !CANARY.is_in(&[]));
        outputs[2] = CANARY.own;
        assert!(!CANARY.is_in(&outputs));
        outputs[3] = CANARY.own;
        assert!(CANARY.is_in(&outputs));
    }

    #[test]
    fn the_most_that_it_takes_is_that_all_but_one_find_it() {
        let fee = |fees: u64| U256::from(fees);
        let toll = Toll::new(U256::from(1), 3);
        // Ten fees each for two of three and for the two of round 1, and a bond of 31.
        assert_eq!(toll, Toll { finder_wei: fee(10), bond_wei: fee(31), max_wei: fee(71) });
        assert_eq!(Toll::new(U256::from(1), 1).max_wei, fee(51));
        assert!(toll.line().contains("not paid"));
    }

    #[test]
    fn what_became_of_it_is_said_whether_it_came_or_not() {
        let with = |delivered| Canary { delivered, ..CANARY };
        let came = with(Some(true));
        assert!(
            came.sentence(Some(3), true).contains("unit 3 was wrong on purpose; the files have this machine's own")
        );
        let untold = came.sentence(None, true);
        assert!(untold.contains("not told: no checker looked at it, or") && untold.contains("; the files"), "{untold}");
        assert!(!came.sentence(Some(3), false).contains("files") && !came.sentence(None, false).contains("files"));
        assert!(with(Some(false)).sentence(None, true).contains("none: unit 3 came as all others"));
        // Nothing arrived that could be looked at: nothing is said of files.
        assert!(with(None).sentence(None, true).contains("not looked at here"));
        assert_eq!(with(None).sentence(Some(3), true), "unit 3 was wrong on purpose");
    }
}
