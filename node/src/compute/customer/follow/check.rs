//! Judges what has arrived, and puts the result's files on the disk before anything is paid.
//!
//! # Design
//! Of an order that was stopped the first units are there: they are checked as a whole of their own, and kept as they are. A recipe makes its files of every
//! unit, so there are none of a part.

use super::{
    super::{
        audit::canary::{Canary, right_output},
        check::{self, Sample, draw_seed},
        plan::Prepared,
        result,
        show::Show,
        state::{Checked, Objection},
        talk::{Arrived, Broken},
    },
    Following, Job, RETRY, Trouble,
};
use crate::compute::{
    lifecycle::{Finding, margin},
    market::Order,
    results::FILE as OUTPUTS_FILE,
};
use alloy_primitives::{B256, keccak256};
use eyre::{Result, eyre};
use keystead_audit::{Rejection, SampleRule, Verdict, draw::PPM};
use keystead_blobs::{Hash, hash::encode_list, stream::pack};
use keystead_contracts::storage::{Mode, Reason};
use keystead_job::trace::Trace;
use keystead_recipes::ResultFile;
use tokio::time::sleep;

/// All units are looked at.
const EVERY_UNIT: SampleRule = SampleRule { rate_ppm: PPM, units_min: 1 };

impl Following<'_> {
    /// The seed of the sample: drawn once, and on the disk before it is used.
    pub(super) fn seed(&mut self) -> Result<B256, Trouble> {
        if let Some(seed) = self.state.attempt.seed {
            return Ok(seed);
        }
        let seed = draw_seed().map_err(Trouble::Here)?;
        self.state.attempt.seed = Some(seed);
        self.save()?;
        Ok(seed)
    }

    /// The unit that arrived wrong on purpose, if the order has one: the check passes over it, and says so.
    fn canary(&self, arrived: &Arrived, order: &Order, show: &Show) -> Option<u32> {
        let Canary { unit, .. } = self.state.attempt.canary.filter(|canary| canary.is_in(&arrived.outputs))?;
        let files = if order.is_part() {
            "it stays as it is among the outputs, which are those that were delivered"
        } else {
            "the files have this machine's own output in its place"
        };
        show.say(&format!(
            "Unit {unit} is wrong on purpose, as you ordered it: the check passes over it, and {files}."
        ));
        Some(unit)
    }

    /// Everything that can be checked: the chain's record, the sample, and whether the recipe can read the outputs. The files are on the
    /// disk before the finding is, and so before the provider is paid.
    pub(super) async fn check(&mut self, order: &Order, show: &mut Show) -> Result<(), Trouble> {
        tracing::debug!(order = %order.id, "check begins");
        let seed = self.seed()?;
        let Job { prepared, .. } = self.job;
        let arrived = self.arrived.as_ref().ok_or_else(|| eyre!("a check without outputs"))?;
        if arrived.units() != order.committed_units() {
            // They came before the provider of a stopped order committed to another number of units.
            return self.arrive_again();
        }
        let rule = if self.is_thorough { EVERY_UNIT } else { self.state.rule() };
        let canary = self.canary(arrived, order, show);
        let check = check::begin(prepared, order, arrived, Sample { rule, seed, canary });
        let states = check::states(&check, arrived);
        if let Err(why) = self.line.fetch_states(&prepared.spec, states, show).await {
            return self.states_are_missing(order, why).await;
        }
        let report = check::check(check, prepared, &*self.line.store, show).await.map_err(Trouble::Here)?;
        let (packed, outputs) = match result::outputs(prepared, arrived, &*self.line.store) {
            Ok(outputs) => {
                // It ran here before anything was paid, so it will again: whoever gives up now tells nobody, and has the provider convicted.
                let canary = canary.filter(|_| !order.is_part());
                (self.job.packed(&outputs, &arrived.traces, order), repaired(prepared, outputs, canary).await?)
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "outputs that had arrived are damaged: fetching them again"
                );
                return self.arrive_again();
            }
        };
        let (mut finding, mut objection) = judged_under(order.result_root, arrived.result_root, &report.verdict);
        let (mut files, mut doubt) = (Vec::new(), None);
        let made = if order.is_part() { Ok(Vec::new()) } else { result::assemble(prepared, &outputs).await };
        match made {
            Ok(_) if finding == Finding::Wrong => {}
            Ok(result) => files = self.job.keep(result, packed).map_err(Trouble::Here)?,
            // A recipe from a folder may be wrong itself: that is no evidence against a provider.
            Err(error) if prepared.side.is_guest() => {
                if finding == Finding::Right {
                    finding = Finding::Unknown;
                }
                doubt = Some(format!("the recipe cannot read the outputs: {error}"));
            }
            // An accusation names a unit: the one that is wrong is found by running all of them.
            Err(_) if finding == Finding::Right && order.stand.mode == Mode::Audited && !self.is_thorough => {
                show.say(
                    "The recipe cannot read the outputs: running every unit again, to find the one that is wrong.",
                );
                self.is_thorough = true;
                return Ok(());
            }
            // What the program cannot have written is wrong, whatever the sample says.
            Err(error) => {
                finding = Finding::Wrong;
                objection.get_or_insert_with(|| (Reason::Malformed, error.to_string()));
            }
        }
        self.state.attempt.why = match (&objection, &report.verdict) {
            (Some((_, words)), _) => Some(words.clone()),
            (None, Verdict::Inconclusive(why)) => Some(why.to_string()),
            (None, _) => doubt,
        };
        if let Some(planned) = &mut self.state.attempt.canary {
            planned.delivered = Some(canary.is_some());
        }
        let objection = objection.map(|(reason, words)| Objection::new(reason, keccak256(&words)));
        self.state.attempt.checked = Some(Checked::new(finding, &report, objection, files));
        self.save()
    }

    /// What arrived is no longer good: it is fetched once more.
    fn arrive_again(&mut self) -> Result<(), Trouble> {
        self.arrived = None;
        self.state.attempt.received = None;
        self.save()
    }

    /// States that the check needs did not come: tried again while there is time, then the delivery is not whole.
    async fn states_are_missing(&mut self, order: &Order, broken: Broken) -> Result<(), Trouble> {
        let why = match broken {
            Broken::ForNow(why) | Broken::ForGood(why) | Broken::Unlisted(why) | Broken::Malformed(why) => why,
            Broken::Here(why) => {
                return Err(Trouble::Here(eyre!("cannot keep the states of order {}: {why}", order.id)));
            }
        };
        let (_, now) = self.job.market.account.head().await?;
        if now.saturating_add(margin(&order.stand)) > order.stand.check_by {
            let why = format!("the provider does not give the states that it committed to: {why}");
            let objection = Objection::new(Reason::NotReceived, keccak256(&why));
            self.state.attempt.checked = Some(Checked::unread(order.committed_units(), objection));
            return self.because(why);
        }
        self.state.attempt.why = Some(why);
        sleep(RETRY).await;
        Ok(())
    }
}

impl Job<'_> {
    /// The outputs as they were delivered, if they shall stay: those are what the certificate names, a canary among them. Of a part they are all there is.
    fn packed(&self, outputs: &[Vec<u8>], traces: &[Trace], order: &Order) -> Option<ResultFile> {
        (self.keep_outputs || order.is_part())
            .then(|| ResultFile { name: OUTPUTS_FILE.to_owned(), bytes: packed(outputs, traces) })
    }

    /// Puts the result's files, and the outputs if they shall stay, where a crash cannot lose them; their names.
    fn keep(&self, mut result: Vec<ResultFile>, packed: Option<ResultFile>) -> Result<Vec<String>> {
        result.extend(packed);
        self.folder.keep(&result)
    }
}

/// What the result root names, in its order: the outputs, and of a job of several segments the lists of their states.
fn packed(outputs: &[Vec<u8>], traces: &[Trace]) -> Vec<u8> {
    let list = |trace: &Trace| encode_list(&trace.states().iter().copied().map(Hash::from).collect::<Vec<_>>());
    let lists: Vec<Vec<u8>> = traces.iter().map(list).collect();
    pack::encode(&outputs.iter().chain(&lists).collect::<Vec<_>>())
}

/// The outputs for the result's files: this machine's own in place of the one that is wrong on purpose.
async fn repaired(prepared: &Prepared, mut outputs: Vec<Vec<u8>>, canary: Option<u32>) -> Result<Vec<Vec<u8>>> {
    if let Some(unit) = canary
        && let Some(output) = outputs.get_mut(unit as usize)
    {
        *output = Box::pin(right_output(prepared, unit)).await?;
    }
    Ok(outputs)
}

/// What a verdict means about outputs of this root, where the chain has that one.
fn judged_under(expected: B256, got: B256, verdict: &Verdict) -> (Finding, Option<(Reason, String)>) {
    if got == expected {
        return judged(verdict);
    }
    let words = format!("the chain's result root is another: got={got} expected={expected}");
    (Finding::Wrong, Some((Reason::CommitmentMismatch, words)))
}

/// What a verdict means, with the reason and the words of a rejection.
fn judged(verdict: &Verdict) -> (Finding, Option<(Reason, String)>) {
    match verdict {
        Verdict::Accepted => (Finding::Right, None),
        Verdict::Inconclusive(_) => (Finding::Unknown, None),
        Verdict::Rejected(rejection) => {
            let reason = match rejection {
                Rejection::Commitment { .. } => Reason::CommitmentMismatch,
                Rejection::OutputCount { .. } | Rejection::Trace { .. } => Reason::Malformed,
                Rejection::Unit { .. } => Reason::WrongResult,
                Rejection::Doubtful { .. } => Reason::Other,
            };
            (Finding::Wrong, Some((reason, rejection.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use keystead_job::{blob_hash, trace::result_names};

    #[test]
    fn what_stays_of_a_result_is_what_its_root_names_also_of_several_segments() {
        let outputs = [b"first".to_vec(), b"second".to_vec()];
        let names = outputs.each_ref().map(|output| blob_hash(output));
        let traces = names.map(|name| Trace::new(vec![B256::repeat_byte(1), name]).unwrap()).to_vec();
        for traces in [Vec::new(), traces] {
            let kept = packed(&outputs, &traces);
            let parts = pack::decode(&kept, outputs.len() + traces.len()).unwrap();
            let named: Vec<B256> = parts.into_iter().map(blob_hash).collect();
            assert_eq!(named, result_names(&names, &traces));
        }
    }
}
