//! What a provider must not forget about an order: one file, replaced atomically.

use crate::compute::{files, opening::Work, random};
use alloy_primitives::{Address, B256, Bytes, U256};
use eyre::{Context as _, Result, eyre};
use keystead_blobs::{FailureCode, Hash};
use keystead_job::{
    JobSpec,
    commitment::Secret,
    trace::{Trace, result_names},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Version of the file format.
const VERSION: u32 = 2;

/// An order's file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    pub(super) order: U256,
    pub(super) customer: Address,
    /// The job spec's canonical encoding.
    job: Bytes,
    /// Names of the unit inputs, once all inputs are here.
    pub(super) inputs: Vec<B256>,
    /// Of the commitment; drawn with the record.
    secret: B256,
    /// Names of the unit outputs, as far as they are there; empty while the inputs are not.
    pub(super) outputs: Vec<Option<B256>>,
    /// Names of the states of each unit, as far as they are there; empty for a job of one segment.
    pub(super) states: Vec<Vec<B256>>,
    pub(super) failed: Option<Failed>,
    /// Units, from the first on, that are the whole result, since the customer stopped the order; written down before they are committed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<u32>,
    /// The node that the customer came from, if its orders may have canaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<B256>,
}

/// Why an order will not be delivered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Failed {
    pub(super) cause: Cause,
    pub(super) unit: Option<u32>,
    pub(super) reason: String,
}

/// Whose matter a failure is, as the customer is told.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cause {
    Program,
    Unit,
    Cancelled,
    /// The terms of the audit cannot be kept.
    Terms,
    Machine,
}

impl Cause {
    pub(super) const fn code(self) -> FailureCode {
        match self {
            Self::Program => FailureCode::Program,
            Self::Unit => FailureCode::Unit,
            Self::Cancelled => FailureCode::Stopped,
            Self::Terms | Self::Machine => FailureCode::Internal,
        }
    }
}

impl Record {
    pub(super) fn new(order: U256, customer: Address, spec: &JobSpec) -> Result<Self> {
        let (job, secret) = (Bytes::from(spec.encode()), random::word()?);
        let (inputs, outputs, states) = (Vec::new(), Vec::new(), Vec::new());
        let (failed, part, node) = (None, None, None);
        Ok(Self { version: VERSION, order, customer, job, inputs, secret, outputs, states, failed, part, node })
    }

    /// The order will not be delivered; false if that was so before, for another reason.
    pub(super) fn fail(&mut self, failed: &Failed) -> bool {
        let first = self.failed.is_none();
        self.failed.get_or_insert_with(|| failed.clone());
        first
    }

    /// A customer that wanted the order no longer before it was leased: it is leased all the same, and only its contract ends it now. False if there is no
    /// such thing to take back.
    pub(super) fn revive(&mut self) -> bool {
        self.failed.take_if(|failed| failed.cause == Cause::Cancelled).is_some()
    }

    /// Units, from the first on, that have their output.
    pub(super) fn prefix(&self) -> u32 {
        let count = self.outputs.iter().take_while(|output| output.is_some()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// What is done now is the result; how many units that is. Nothing of another unit is kept from then on.
    pub(super) fn close_part(&mut self) -> u32 {
        let prefix = self.prefix();
        *self.part.get_or_insert(prefix)
    }

    /// Units of the result: all, or those of its part.
    fn result_units(&self) -> usize {
        self.part.map_or(self.outputs.len(), |part| part as usize)
    }

    /// The inputs are here; only now there is room for outputs: how many units an order has is its customer's word.
    pub(super) fn receive(&mut self, inputs: Vec<B256>, segment_count: u32) {
        self.outputs = vec![None; inputs.len()];
        self.states = if segment_count == 1 { Vec::new() } else { vec![Vec::new(); inputs.len()] };
        self.inputs = inputs;
    }

    pub(super) fn spec(&self) -> Result<JobSpec> {
        JobSpec::decode(&self.job).wrap_err_with(|| format!("the file of order {} is damaged", self.order))
    }

    pub(super) const fn secret(&self) -> Secret {
        Secret::new(self.secret.0)
    }

    /// The names of the result's outputs: of every unit, or of those of its part; `None` while one is missing.
    pub(super) fn all_outputs(&self) -> Option<Vec<B256>> {
        if self.inputs.is_empty() {
            return None;
        }
        let units = self.result_units();
        // Units run in order: before the last one is there nothing is worth collecting.
        self.outputs.get(units.checked_sub(1)?)?.as_ref()?;
        self.outputs.iter().take(units).copied().collect()
    }

    /// The states of the result's units, once all are there; nothing for a job of one segment.
    pub(super) fn traces(&self) -> Result<Vec<Trace>> {
        self.states.iter().take(self.result_units()).map(|states| Ok(Trace::new(states.clone())?)).collect()
    }

    /// Segments finished, of all units.
    pub(super) fn done(&self) -> u32 {
        let states = self.states.iter().map(Vec::len).sum::<usize>();
        let count = if self.states.is_empty() { self.outputs.iter().flatten().count() } else { states };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A segment of a unit is done.
    pub(super) fn keep(&mut self, unit: u32, state: B256, segment_count: u32) {
        if self.part.is_some() {
            return;
        }
        let unit = unit as usize;
        let mut whole = true;
        if let Some(states) = self.states.get_mut(unit) {
            states.push(state);
            whole = states.len() >= segment_count as usize;
        }
        if let Some(output) = self.outputs.get_mut(unit).filter(|_| whole) {
            *output = Some(state);
        }
    }

    /// The names in the result list, and the lists of states that it names; `None` while an output is missing.
    pub(super) fn result(&self) -> Option<(Vec<B256>, Vec<Trace>)> {
        let (outputs, traces) = (self.all_outputs()?, self.traces().ok()?);
        Some((result_names(&outputs, &traces), traces))
    }

    /// What the commitment is made of.
    ///
    /// # Errors
    /// An output is missing.
    pub(super) fn work(&self) -> Result<Work> {
        let outputs = self.all_outputs().ok_or_else(|| eyre!("outputs are missing"))?;
        Ok(Work { secret: self.secret(), outputs, traces: self.traces()? })
    }

    /// Every blob that this order needs.
    pub(super) fn blobs(&self) -> Vec<Hash> {
        let spec = JobSpec::decode(&self.job);
        let shared = spec.iter().flat_map(|spec| {
            let checker = spec.checker.map(|checker| checker.program_hash);
            [spec.program_hash, spec.common_hash, spec.units_hash].into_iter().chain(checker)
        });
        let results = self.result().map(|(names, _)| names).unwrap_or_default();
        let root = (!results.is_empty()).then(|| keystead_job::hash_list(&results));
        let made = self.outputs.iter().flatten().chain(self.states.iter().flatten()).copied();
        let all = shared.chain(self.inputs.iter().copied()).chain(made);
        // The result list names the outputs once more, and the lists of states.
        all.chain(results).chain(root).map(Hash::from).collect()
    }
}

/// The folder of the records.
#[derive(Clone, Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        files::private_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, order: U256) -> PathBuf {
        self.folder.join(format!("{order}.json"))
    }

    /// Where it stands what the customer has fetched of an order, once that is much.
    pub(super) fn portion(&self, order: U256) -> PathBuf {
        self.folder.join(format!("{order}.portion"))
    }

    pub(super) fn save(&self, record: &Record) -> Result<()> {
        files::replace(&self.path(record.order), &serde_json::to_vec(record)?)
    }

    /// The order is over.
    pub(super) fn forget(&self, order: U256) -> Result<()> {
        fs::remove_file(self.path(order)).wrap_err_with(|| format!("cannot remove {}", self.path(order).display()))
    }

    /// Every order that is not over, in no order.
    pub(super) fn all(&self) -> Result<Vec<Record>> {
        files::read_all_versioned(&self.folder, VERSION)
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_job::{
        Class, Limits, Runtime,
        spec::{Draft, RecipeName},
    };

    pub(crate) fn spec(unit_count: u32) -> JobSpec {
        let limits = Limits {
            wall_ms_max: 1,
            fuel_max: 1,
            memory_bytes_max: 65_536,
            output_bytes_max: 1,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        };
        JobSpec::new(Draft {
            recipe: RecipeName::new("r").unwrap(),
            runtime: Runtime::Wasm1,
            class: Class::Exact,
            program_hash: B256::repeat_byte(1),
            common_hash: B256::repeat_byte(2),
            units_hash: B256::repeat_byte(3),
            unit_count,
            segment_count: 1,
            limits,
            checker: None,
            tolerance: None,
        })
        .unwrap()
    }

    #[test]
    fn a_record_survives_the_disk_and_counts_its_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let mut record = Record::new(U256::from(7), Address::repeat_byte(9), &spec(2)).unwrap();
        assert_ne!(record.secret, Record::new(U256::from(7), Address::ZERO, &spec(2)).unwrap().secret);
        assert_eq!((record.outputs.len(), record.all_outputs()), (0, None), "no input, no output");
        record.receive(vec![B256::repeat_byte(4); 2], 1);
        record.outputs[1] = Some(B256::repeat_byte(5));
        record.node = Some(B256::repeat_byte(6));
        assert_eq!((record.done(), record.all_outputs()), (1, None));
        records.save(&record).unwrap();
        let read = records.all().unwrap().pop().unwrap();
        assert_eq!(read.secret, record.secret);
        assert_eq!(read.spec().unwrap(), spec(2));
        assert_eq!((read.outputs, read.node), (record.outputs, record.node));
        records.forget(U256::from(7)).unwrap();
        assert!(records.all().unwrap().is_empty());
    }

    #[test]
    fn a_part_is_the_first_units_and_stays_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let mut record = Record::new(U256::from(7), Address::ZERO, &spec(4)).unwrap();
        record.receive(vec![B256::repeat_byte(4); 4], 2);
        let state = |unit: u8, segment: u8| B256::repeat_byte(0x10 * (unit + 1) + segment);
        for (unit, segment) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)] {
            record.keep(u32::from(unit), state(unit, segment), 2);
        }
        assert_eq!((record.prefix(), record.done(), record.all_outputs()), (2, 5, None));
        assert!(record.result().is_none());
        assert_eq!(record.close_part(), 2);
        let (names, traces) = record.result().unwrap();
        assert_eq!(record.all_outputs().unwrap(), [state(0, 1), state(1, 1)]);
        // Two outputs and two lists of states; the unit that was begun is in neither.
        assert_eq!((names.len(), traces.len()), (4, 2));
        let root = record.work().unwrap().tree().unwrap().root();
        // A segment that ends now changes nothing, and neither does a restart.
        record.keep(2, state(2, 1), 2);
        assert_eq!((record.prefix(), record.close_part()), (2, 2));
        records.save(&record).unwrap();
        let read = records.all().unwrap().pop().unwrap();
        assert_eq!(read.work().unwrap().tree().unwrap().root(), root);
        assert_eq!(read.part, Some(2));
        let kept = read.blobs();
        assert!(names.iter().chain([&state(2, 0)]).all(|name| kept.contains(&Hash::from(*name))));
    }

    #[test]
    fn only_a_cancellation_is_taken_back() {
        let mut record = Record::new(U256::from(7), Address::ZERO, &spec(1)).unwrap();
        assert!(!record.revive());
        for (cause, is_revived) in [(Cause::Cancelled, true), (Cause::Unit, false), (Cause::Machine, false)] {
            record.failed = Some(Failed { cause, unit: None, reason: String::new() });
            assert_eq!((record.revive(), record.failed.is_none()), (is_revived, is_revived), "{cause:?}");
        }
    }
}
