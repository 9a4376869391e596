//! Puts a map's certificate together, or says why there is none.

use super::{
    arrange::{arrange, channels, is_empty, results, statement, steps},
    fetch::{Proof, fetch},
};
use crate::compute::{
    customer::{
        plan::Prepared,
        result::{UNSIGNED, has_certificates},
    },
    files,
    map::state::State,
    market::Market,
};
use alloy_primitives::B256;
use keystead_audit::SampleRule;
use keystead_job::JobSpec;
use keystead_proof::{MAP_CHANNELS_MAX, MapCertificate, MapError, MapParts};
use std::path::Path;
use tokio::task::block_in_place;

/// Its name in the folder of the map.
pub(in crate::compute::map) const FILE: &str = "certificate.json";

/// Steps of the largest job: each takes 144 of the 16 MiB of characters that a file may have. A smaller one may be too large, too.
const STEPS_MAX: u64 = 116_508;

/// Why a map has no certificate.
#[derive(Debug, thiserror::Error)]
pub(in crate::compute::map) enum Missing {
    /// Something may still be taken back, or was never done.
    #[error("the job is not done")]
    NotDone,
    /// A map without `--audit`.
    #[error("nobody but you checked this map (--audit has strangers check it)")]
    NotAudited,
    /// What strangers checked was thrown away, or was paid by a program that did not keep what shows it.
    #[error("of no audited window enough is kept to show it")]
    NotKept,
    /// `keystead dev`.
    #[error("{UNSIGNED}")]
    Unsigned,
    /// The person did not wait for it.
    #[error("it was not waited for; run the same command again to have it made")]
    Stopped,
    /// More than a file of this form can hold.
    #[error("it would be too large: {got} {what}, at most {max}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        got: u64,
        max: u64,
    },
    /// The parts do not make one.
    #[error("{0}")]
    Unfit(Box<MapError>),
    /// The node's part did not come.
    #[error("the node did not prove the audits ({0}); run the same command again to have it made")]
    NotFetched(String),
    /// This machine's part failed.
    #[error("{0}; run the same command again to have it made")]
    NotWritten(String),
}

/// What a certificate is made of.
#[derive(Clone, Copy, Debug)]
pub(in crate::compute::map) struct Work<'a> {
    pub(in crate::compute::map) market: &'a Market,
    pub(in crate::compute::map) prepared: &'a Prepared,
    pub(in crate::compute::map) state: &'a State,
    /// By which the customer checked.
    pub(in crate::compute::map) rule: SampleRule,
    /// Where it goes. What lies there stays: it is of this map, whose windows are over.
    pub(in crate::compute::map) path: &'a Path,
}

/// Why a job can have none, however its map ends.
pub(in crate::compute::map) fn impossible(spec: &JobSpec) -> Option<Missing> {
    at_most("steps", steps(spec), STEPS_MAX).err()
}

/// Makes it, unless it is there. Whoever gives up on the way leaves nothing behind.
pub(in crate::compute::map) async fn make(work: Work<'_>) -> Result<(), Missing> {
    let Work { market, prepared, state, path, .. } = work;
    if !state.is_whole() {
        return Err(Missing::NotDone);
    }
    if state.windows.is_empty() {
        return Err(Missing::NotAudited);
    }
    if path.exists() {
        return Ok(());
    }
    if let Some(missing) = impossible(&prepared.spec) {
        return Err(missing);
    }
    let channels: Vec<B256> = channels(state).into_iter().collect();
    at_most("channels", count(channels.len()), count(MAP_CHANNELS_MAX))?;
    if !has_certificates(market.account.client()).await {
        return Err(Missing::Unsigned);
    }
    let proof = fetch(&market.account, &channels).await?;
    let text = block_in_place(|| text(work, proof))?;
    files::replace(path, text.as_bytes()).map_err(|error| Missing::NotWritten(format!("{error:#}")))
}

/// The file's text.
fn text(work: Work<'_>, proof: Proof) -> Result<String, Missing> {
    let Work { market, prepared, state, rule, .. } = work;
    let Prepared { spec, unit_names, .. } = prepared;
    let channels = arrange(state, unit_names, &proof.announced);
    if is_empty(&channels) {
        return Err(Missing::NotKept);
    }
    let results = results(state, spec).ok_or(Missing::NotDone)?;
    let (statement, chain_id) = (statement(state, spec, rule), market.account.chain_id());
    let digest = MapCertificate::statement_digest(&statement, chain_id, spec.hash(), &results);
    let signature = market.account.sign(digest).map_err(|error| Missing::NotWritten(format!("{error:#}")))?;
    let certificate = MapCertificate::new(MapParts {
        chain_id,
        certificate: proof.certificate,
        headers: &proof.headers,
        nodes: proof.nodes,
        job_bytes: spec.encode().into(),
        inputs: unit_names.clone(),
        results,
        channels,
        statement,
        signature,
    });
    Ok(certificate.map_err(|error| Missing::Unfit(Box::new(error)))?.to_json())
}

const fn at_most(what: &'static str, got: u64, max: u64) -> Result<(), Missing> {
    if got > max { Err(Missing::TooLarge { what, got, max }) } else { Ok(()) }
}

/// A number of items.
pub(super) fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::arrange::tests::job, *};
    use keystead_proof::MAP_BYTES_MAX;

    #[test]
    fn no_more_steps_are_taken_than_a_file_has_room_for() {
        // Unit, segment, input and result in hexadecimal digits.
        let characters = count((4 + 4 + 32 + 32) * 2);
        assert_eq!(count(MAP_BYTES_MAX).checked_div(characters), Some(STEPS_MAX));
        assert!(at_most("steps", STEPS_MAX, STEPS_MAX).is_ok());
        let more = at_most("steps", STEPS_MAX.saturating_add(1), STEPS_MAX);
        let said = more.map_err(|missing| missing.to_string());
        assert_eq!(said, Err("it would be too large: 116509 steps, at most 116508".to_owned()));
    }

    #[test]
    fn who_begins_a_job_that_is_too_large_hears_it_at_once() {
        assert!(impossible(&job(58_254, 2)).is_none() && impossible(&job(1_000, 116)).is_none());
        assert!(matches!(impossible(&job(58_255, 2)), Some(Missing::TooLarge { got: 116_510, .. })));
        assert!(matches!(impossible(&job(1_000, 117)), Some(Missing::TooLarge { got: 117_000, .. })));
    }
}
