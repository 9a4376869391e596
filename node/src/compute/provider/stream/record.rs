//! What a provider must not forget about a channel: one file, replaced atomically, in a folder that also holds the channel's blobs.

use super::window::list_name;
use crate::compute::files;
use alloy_primitives::{Address, B256, Bytes};
use eyre::{Context as _, Result, eyre};
use keystead_blobs::stream::{End, EndCode};
use keystead_job::{JobSpec, Step};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Version of the file format.
const VERSION: u32 = 1;
const FILE: &str = "channel.json";
/// What the customer has fetched, once that is much.
const PORTION_FILE: &str = "portion.json";

/// A channel's file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    pub(super) channel: B256,
    pub(super) customer: Address,
    /// The job spec's canonical encoding.
    job: Bytes,
    /// Price of a step, as it was when the channel came.
    pub(super) price_wei: u128,
    /// The payee's record (specs/0009-channel.md section 11).
    pub(super) payee: Bytes,
    /// The window that was reported and is not paid.
    pub(super) reported: Option<Reported>,
    /// Reports that were refused.
    pub(super) refusals: u32,
    /// The customer said that there will be no more work, or this side wants none.
    pub(super) ends: bool,
    /// The audit found a window wrong.
    #[serde(default)]
    pub(super) found_wrong: bool,
}

/// What belongs to a report, besides what the payee's record has.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reported {
    pub(super) lease: u64,
    pub(super) secret: B256,
    pub(super) names: Vec<B256>,
    pub(super) pack: B256,
    pub(super) pack_bytes: u64,
    /// Code, unit and reason of the end.
    code: u16,
    unit: Option<u32>,
    reason: String,
    /// Whether it was made before the lease's deadline by this side's clock.
    pub(super) in_time: bool,
    /// In an audited channel the steps, and what each began with.
    #[serde(default)]
    steps: Vec<Begun>,
}

/// A step, and the name of what it began with.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Begun {
    unit: u32,
    segment: u32,
    input: B256,
}

impl From<Step> for Begun {
    fn from(step: Step) -> Self {
        let Step { unit, segment, input } = step;
        Self { unit, segment, input }
    }
}

impl From<Begun> for Step {
    fn from(begun: Begun) -> Self {
        let Begun { unit, segment, input } = begun;
        Self { unit, segment, input }
    }
}

impl Reported {
    pub(super) fn new(lease: u64, secret: B256, names: Vec<B256>, pack: (B256, u64), end: &End, in_time: bool) -> Self {
        Self {
            lease,
            secret,
            names,
            pack: pack.0,
            pack_bytes: pack.1,
            code: end.code.code(),
            unit: end.unit,
            reason: end.reason.as_str().to_owned(),
            in_time,
            steps: Vec::new(),
        }
    }

    /// The same, of these steps.
    pub(super) fn with_steps(self, steps: &[Step]) -> Self {
        Self { steps: steps.iter().copied().map(Begun::from).collect(), ..self }
    }

    /// In an audited channel its steps; in another none.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.steps.iter().copied().map(Step::from).collect()
    }

    /// Every blob that belongs to it alone, if nothing else names it.
    pub(super) fn blobs(&self) -> Vec<B256> {
        let steps = self.steps();
        let list = (!steps.is_empty()).then(|| list_name(&steps));
        let inputs = steps.iter().map(|step| step.input);
        self.names.iter().copied().chain([self.pack]).chain(inputs).chain(list).collect()
    }

    pub(super) fn end(&self) -> End {
        let code = EndCode::of(self.code).unwrap_or(EndCode::Done);
        End { unit: self.unit, ..End::new(code, &self.reason) }
    }
}

impl Record {
    pub(super) fn new(channel: B256, customer: Address, spec: &JobSpec, price_wei: u128, payee: &[u8]) -> Self {
        Self {
            version: VERSION,
            channel,
            customer,
            job: spec.encode().into(),
            price_wei,
            payee: Bytes::copy_from_slice(payee),
            reported: None,
            refusals: 0,
            ends: false,
            found_wrong: false,
        }
    }

    pub(super) fn spec(&self) -> Result<JobSpec> {
        JobSpec::decode(&self.job).wrap_err_with(|| format!("the file of channel {} is damaged", self.channel))
    }
}

/// The folder of all channels.
#[derive(Clone, Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        files::private_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder of one channel.
    pub(super) fn folder(&self, channel: B256) -> PathBuf {
        self.folder.join(channel.to_string())
    }

    /// Where it stands what a channel's customer has fetched.
    pub(super) fn portion(&self, channel: B256) -> PathBuf {
        self.folder(channel).join(PORTION_FILE)
    }

    pub(super) fn save(&self, record: &Record) -> Result<()> {
        let folder = self.folder(record.channel);
        if !folder.exists() {
            files::private_folder(&folder)?;
            files::sync_folder(&self.folder)?;
        }
        files::replace(&folder.join(FILE), &serde_json::to_vec(record)?)
    }

    /// The channel is over: its record, inputs and states go.
    pub(super) fn forget(&self, channel: B256) -> Result<()> {
        let folder = self.folder(channel);
        fs::remove_dir_all(&folder).wrap_err_with(|| format!("cannot remove {}", folder.display()))
    }

    /// Every channel that is not over, in no order. A folder whose first record was never written is removed: nothing was said about it.
    pub(super) fn all(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder).wrap_err_with(|| format!("cannot read {}", self.folder.display()))? {
            let folder = entry?.path();
            match files::read_versioned(&folder.join(FILE), VERSION)? {
                Some(record) => records.push(record),
                None => fs::remove_dir_all(&folder).wrap_err_with(|| format!("cannot remove {}", folder.display()))?,
            }
        }
        Ok(records)
    }

    /// One channel, as it is on the disk.
    pub(super) fn load(&self, channel: B256) -> Result<Record> {
        let path = self.folder(channel).join(FILE);
        files::read_versioned(&path, VERSION)?.ok_or_else(|| eyre!("there is no {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::provider::record::tests::spec;

    #[test]
    fn a_record_survives_the_disk_and_a_folder_without_one_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let mut record = Record::new(B256::repeat_byte(7), Address::repeat_byte(8), &spec(2), 9, b"payee");
        let end = End::new(EndCode::Unit, "out of fuel").at_unit(1);
        let steps = [Step { unit: 3, segment: 1, input: B256::repeat_byte(4) }];
        let reported = Reported::new(5, B256::ZERO, vec![B256::ZERO], (B256::ZERO, 12), &end, true);
        record.reported = Some(reported.with_steps(&steps));
        records.save(&record).unwrap();
        assert_eq!(records.load(record.channel).unwrap().price_wei, 9);
        assert!(records.load(B256::ZERO).is_err());
        fs::create_dir(folder.path().join("begun")).unwrap();
        let read = records.all().unwrap().pop().unwrap();
        assert_eq!(read.spec().unwrap(), spec(2));
        assert_eq!((read.price_wei, read.payee.as_ref()), (9, b"payee".as_slice()));
        let reported = read.reported.unwrap();
        assert_eq!((reported.end(), reported.steps()), (end, steps.to_vec()));
        assert_eq!(reported.blobs(), [B256::ZERO, B256::ZERO, steps[0].input, list_name(&steps)]);
        assert!(!folder.path().join("begun").exists());
        records.forget(record.channel).unwrap();
        assert!(records.all().unwrap().is_empty());
    }

    #[test]
    fn a_report_of_a_program_that_knew_no_steps_is_read() {
        let reported = Reported::new(5, B256::ZERO, Vec::new(), (B256::ZERO, 1), &End::new(EndCode::Done, ""), true);
        let mut old = serde_json::to_value(&reported).unwrap();
        assert!(old.as_object_mut().unwrap().remove("steps").is_some());
        let read: Reported = serde_json::from_value(old).unwrap();
        assert!(read.steps().is_empty());
        assert_eq!(read.blobs(), [B256::ZERO]);
    }
}
