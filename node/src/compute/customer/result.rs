//! What the customer keeps: the outputs as the recipe's files, the certificate, and the numbers in `job.json`.

use super::{plan::Prepared, state::State, talk::Arrived};
use crate::compute::{
    files,
    market::{Market, Order},
    recipe::run_step,
};
use eyre::{Context as _, Result};
use keystead_blobs::{BlobStore, Hash};
use keystead_contracts::storage::Status;
use keystead_job::parameter::Value;
use keystead_proof::Bundle;
use serde_json::json;
use std::{collections::BTreeMap, path::Path, time::Duration};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

/// How long a certificate of the closing block may take.
const CERTIFICATE_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

/// The outputs' bytes in unit order.
pub(super) fn outputs(prepared: &Prepared, arrived: &Arrived, store: &dyn BlobStore) -> Result<Vec<Vec<u8>>> {
    let max = prepared.spec.limits.output_bytes_max;
    let get = |name| block_in_place(|| store.get(Hash::from(name), max));
    arrived.outputs.iter().map(|name| get(*name).wrap_err("an output is gone")).collect()
}

/// Turns outputs into the recipe's files, without writing them.
pub(in crate::compute) async fn assemble(
    prepared: &Prepared,
    outputs: &[Vec<u8>],
) -> Result<Vec<keystead_recipes::ResultFile>, keystead_recipes::Error> {
    let Prepared { side, recipe, inputs, parameters, .. } = prepared;
    match side.assembler(inputs, parameters, outputs)? {
        Some(step) => side.assembled(&run_step(recipe, step).await?),
        None => side.assemble(inputs, parameters, outputs),
    }
}

/// Fetches the proof of the order's final state, and looks that it says so.
pub(super) async fn certificate(path: &Path, market: &Market, order: &Order, block: u64) -> Result<()> {
    let start = Instant::now();
    loop {
        match fetch(market, order, block).await {
            Ok(bundle) => return files::replace(path, bundle.as_bytes()),
            Err(error) if start.elapsed() > CERTIFICATE_MAX => {
                return Err(error.wrap_err(format!("no certificate of order {} yet", order.id)));
            }
            Err(error) => tracing::debug!(error = format!("{error:#}"), "no certificate yet"),
        }
        sleep(POLL).await;
    }
}

async fn fetch(market: &Market, order: &Order, block: u64) -> Result<String> {
    let bundle = market.certificate(order.id, block).await?;
    Bundle::from_json(bundle.as_bytes()).wrap_err("the node's bundle is malformed")?;
    Ok(bundle)
}

/// `job.json`: what was ordered and how it ended, for programs and for later.
pub(super) fn record(path: &Path, prepared: &Prepared, order: &Order, state: &State) -> Result<()> {
    let parameters: BTreeMap<&str, String> =
        prepared.parameters.iter().map(|(name, value)| (name, parameter_text(value))).collect();
    let check = state.attempt.checked.as_ref().map(|checked| {
        json!({
            "verdict": checked.verdict,
            "units": checked.units,
            "sampled": checked.sampled,
            "right": checked.right,
            "ratePpm": checked.rate_ppm,
        })
    });
    let failed: Vec<_> = state
        .failed
        .iter()
        .map(|failed| {
            json!({
                "order": failed.order.to_string(),
                "provider": failed.provider,
                "status": failed.status,
                "why": failed.why,
            })
        })
        .collect();
    let text = serde_json::to_vec_pretty(&json!({
        "order": order.id.to_string(),
        "status": status_name(order.status()),
        "job": prepared.spec.hash(),
        "spec": *prepared.spec,
        "parameters": parameters,
        "customer": order.customer,
        "provider": order.provider,
        "escrowWei": order.escrow_wei.to_string(),
        "commitment": order.commitment,
        "resultRoot": order.result_root,
        "check": check,
        "failed": failed,
    }))?;
    files::replace(path, &text)
}

/// As it is given to `--set`.
fn parameter_text(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Flag(flag) => flag.to_string(),
    }
}

/// The status as people read it.
pub(super) fn status_name(status: Status) -> String {
    format!("{status:?}").to_lowercase()
}
