//! What the customer keeps: the outputs as the recipe's files, the certificate, and the numbers in `job.json`.

use super::{
    audit::outcome::Assurance,
    plan::Prepared,
    setup::Buyer,
    state::{Checked, State},
    talk::Arrived,
};
use crate::{
    client::Client,
    compute::{
        files,
        lifecycle::Finding,
        market::{Market, Order},
        recipe::run_step,
    },
};
use alloy_primitives::{Address, U256};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_blobs::{BlobStore, Hash};
use keystead_contracts::storage::{Mode, Status};
use keystead_job::{Class, JobSpec, parameter::Value as Parameter};
use keystead_proof::{Bundle, CustomerStatement, OwnCheck, OwnFinding, ResultCertificate, Statement, WindowStatus};
use serde_json::{Value, json};
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

/// What a result certificate is made of, beside the chain's part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) spec: &'a JobSpec,
    pub(super) checked: Option<&'a Checked>,
    /// The checkers of a private order.
    pub(super) named: &'a [Address],
}

impl<'a> Own<'a> {
    /// Of the newest order of a job.
    pub(super) fn of(spec: &'a JobSpec, state: &'a State) -> Self {
        let attempt = &state.attempt;
        let named = attempt.audit.as_ref().map(|terms| terms.named.as_slice()).unwrap_or_default();
        Self { spec, checked: attempt.checked.as_ref(), named }
    }
}

/// Fetches the proof of the order's final state, looks that it says so, and puts the job and our own words beside it.
pub(super) async fn certificate(path: &Path, market: &Market, order: &Order, block: u64, own: Own<'_>) -> Result<()> {
    let start = Instant::now();
    loop {
        match fetch(market, order, block, own).await {
            Ok(certificate) => return files::replace(path, certificate.to_json().as_bytes()),
            Err(error) if start.elapsed() > CERTIFICATE_MAX => {
                return Err(error.wrap_err(format!("no certificate of order {} yet", order.id)));
            }
            Err(error) => tracing::debug!(error = format!("{error:#}"), "no certificate yet"),
        }
        sleep(POLL).await;
    }
}

async fn fetch(market: &Market, order: &Order, block: u64, own: Own<'_>) -> Result<ResultCertificate> {
    let bundle = market.certificate(order, block).await?;
    let bundle = Bundle::from_json(bundle.as_bytes()).wrap_err("the node's bundle is malformed")?;
    let proved = bundle.claim.statement.order().ok_or_else(|| eyre!("the node's bundle is not about an order"))?;
    // We sign about what we ordered, whatever the node says.
    let is_ours = U256::from(proved.number) == order.id && bundle.chain_id == market.account.chain_id();
    ensure!(is_ours, "the node's bundle is about order {} of chain {}", proved.number, bundle.chain_id);
    // Without a window the chain knows of no names.
    let has_window =
        matches!(&bundle.claim.statement, Statement::JobAudit { audit, .. } if audit.status() != WindowStatus::None);
    let named = if has_window { own.named.to_vec() } else { Vec::new() };
    let statement = statement(own);
    let signature = market.account.sign(statement.digest(bundle.chain_id, proved))?;
    ResultCertificate::new(bundle, own.spec.encode().into(), statement, signature)
        .wrap_err("the node's bundle is about another job")?
        .naming(named)
        .wrap_err("the node's bundle is about other checkers")
}

/// What we say about our own check.
fn statement(own: Own<'_>) -> CustomerStatement {
    let Some(checked) = own.checked else { return CustomerStatement::default() };
    CustomerStatement {
        check: match own.spec.class {
            _ if checked.sampled == 0 => OwnCheck::None,
            Class::SelfChecking => OwnCheck::Program,
            _ => OwnCheck::Sample,
        },
        finding: match checked.finding {
            Finding::Right => OwnFinding::Right,
            Finding::Wrong => OwnFinding::Wrong,
            Finding::Unknown => OwnFinding::Unknown,
        },
        checked: checked.sampled,
        right: checked.right,
        rate_ppm: checked.rate_ppm,
    }
}

/// Why a chain of [`has_certificates`] has none.
pub(in crate::compute) const UNSIGNED: &str = "this is a development chain, whose blocks nobody signs";

/// Whether blocks of this chain get certificates. Those of `keystead dev` never do: nobody need wait for one.
pub(in crate::compute) async fn has_certificates(client: &Client) -> bool {
    network_key(client).await.is_none_or(|key| !is_no_key(&key))
}

/// As the node says it; none if it does not.
async fn network_key(client: &Client) -> Option<String> {
    let answer = client.call("keystead_validators", json!([])).await.ok()?;
    answer.get("networkKey")?.as_str().map(str::to_owned)
}

/// A chain without validators names zeros.
fn is_no_key(key: &str) -> bool {
    key.trim_start_matches("0x").bytes().all(|digit| digit == b'0')
}

/// How anybody can check a certificate, in two lines.
pub(in crate::compute) async fn how_to_check(client: &Client, certificate: &Path) -> [String; 2] {
    let key = network_key(client).await.unwrap_or_else(|| "HEX".to_owned());
    let what = "Check it offline, with the network key that you trust (this is what the node says it is):";
    [what.to_owned(), format!("  keystead verify {} --network-key {key}", certificate.display())]
}

/// `job.json`: what was ordered and how it ended, for programs and for later. Of an order in a token, escrow and pay are in its smallest units.
pub(super) fn record(path: &Path, buyer: Buyer<'_>, order: &Order, state: &State, audit: &Value) -> Result<()> {
    let Buyer { prepared, money, .. } = buyer;
    let unit = money.unit();
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
    let canary = state.attempt.canary.map(|canary| json!({"unit": canary.unit, "delivered": canary.delivered}));
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
        "stopped": stopped(order),
        "job": prepared.spec.hash(),
        "spec": *prepared.spec,
        "parameters": parameters,
        "customer": order.customer,
        "provider": order.provider,
        "currency": {"token": order.currency.contract(), "unit": unit.symbol, "decimals": unit.decimals},
        "escrowWei": order.escrow_wei.to_string(),
        "commitment": order.commitment,
        "resultRoot": order.result_root,
        "check": check,
        "canary": canary,
        "private": state.attempt.private || order.stand.mode == Mode::Private,
        "assurance": audit.get("assurance").cloned().unwrap_or_else(|| Assurance::Customer.name().into()),
        "audit": audit,
        "paidWei": if order.status().is_paid() { order.paid_wei() } else { U256::ZERO }.to_string(),
        "failed": failed,
    }))?;
    files::replace(path, &text)
}

/// How far an order that its customer stopped had come; null for any other.
fn stopped(order: &Order) -> Value {
    if !order.stand.stopped {
        return Value::Null;
    }
    let done = if order.commitment.is_zero() { 0 } else { order.committed_units() };
    json!({"units": order.units, "unitsDone": done, "unitsPaid": order.paid_units})
}

/// As it is given to `--set`.
fn parameter_text(value: &Parameter) -> String {
    match value {
        Parameter::Integer(number) => number.to_string(),
        Parameter::Text(text) => text.clone(),
        Parameter::Flag(flag) => flag.to_string(),
    }
}

/// The status as people read it.
pub(super) fn status_name(status: Status) -> String {
    format!("{status:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{lifecycle::Stand, market};
    use alloy_primitives::B256;

    #[test]
    fn a_stopped_order_says_how_far_it_came() {
        let plain = market::tests::order(Status::Accepted, Mode::Own);
        assert!(stopped(&plain).is_null());
        let stand = Stand { stopped: true, ..plain.stand };
        let part = Order { stand, done_units: 4, paid_units: 4, commitment: B256::repeat_byte(1), ..plain };
        assert_eq!(stopped(&part), json!({"units": 10, "unitsDone": 4, "unitsPaid": 4}));
        let nothing = Order { done_units: 0, paid_units: 0, commitment: B256::ZERO, ..part };
        assert_eq!(stopped(&nothing), json!({"units": 10, "unitsDone": 0, "unitsPaid": 0}));
    }

    #[test]
    fn a_development_chain_is_known_by_its_key_of_zeros() {
        assert!(is_no_key(&format!("0x{}", "00".repeat(96))));
        for key in [format!("0x{}1{}", "0".repeat(95), "0".repeat(96)), format!("0x{}", "a0".repeat(96))] {
            assert!(!is_no_key(&key), "{key}");
        }
    }
}
