//! Who is on duty, and what a source gives to whom: the other end of a checker's conversation, for the provider, the customer and earlier checkers.
//!
//! # Invariants
//! Nothing is said to anybody whose account the chain does not put on duty for this very check. What the provider did not open stays closed.
//!
//! Spec: specs/0005-transfer.md §8.

use crate::{
    client::RpcFailure,
    compute::{
        named,
        opening::Work,
        windows::{CHECK_ROUNDS, Case, Which, Window, Windows},
    },
};
use alloy_primitives::{Address, B256, Bytes, Signature};
use eyre::Result;
use keystead_blobs::{CheckHello, Duty, Hash, NodeId, Offer, Parties, Refusal, RefusalCode, check_digest};
use keystead_job::{Class, JobSpec, Step, step::encode_list};

/// A check for which somebody may fetch.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) which: Which,
    /// The segment to be run.
    segment: u32,
    /// The unit, as the chain has it.
    pub(crate) case: Case,
    /// The window's class is exact.
    pub(crate) exact: bool,
}

/// What a source has of a window's job.
#[derive(Debug)]
pub(crate) struct Material<'a> {
    pub(crate) spec: &'a JobSpec,
    /// Names of the unit inputs.
    pub(crate) inputs: &'a [B256],
    /// The finished run; a customer has it after the delivery only.
    pub(crate) work: Option<&'a Work>,
}

/// Who signed; `None` if nobody can have.
pub(crate) fn signer(credential: &[u8], digest: B256) -> Option<Address> {
    let credential: &[u8; 65] = credential.try_into().ok()?;
    if !matches!(credential.last(), Some(27 | 28)) {
        return None;
    }
    Signature::from_raw_array(credential).ok()?.recover_address_from_prehash(&digest).ok()
}

/// Whether the chain puts whoever signed on duty.
///
/// # Errors
/// The refusal for the checker.
pub(crate) async fn admit(
    windows: &Windows,
    hello: &CheckHello,
    checker: NodeId,
    source: NodeId,
) -> Result<Admitted, Refusal> {
    let which = Which { window: hello.window, unit: hello.unit, round: hello.round, slot: hello.slot };
    let digest = check_digest(hello, Parties { customer: checker, provider: source });
    let no = |reason: &str| Refusal::new(RefusalCode::NotAssigned, reason);
    let account = signer(&hello.credential, digest).ok_or_else(|| no("the credential is nobody's signature"))?;
    let window = windows.window(which.window).await.map_err(unavailable)?;
    if !window.exists() || window.is_over() || which.unit >= window.units {
        return Err(no("there is no such unit in an open window"));
    }
    let (case, segment) = on_duty(windows, &window, which, account).await?;
    Ok(Admitted { which, segment, case, exact: window.class == Class::Exact as u8 })
}

async fn on_duty(windows: &Windows, window: &Window, which: Which, account: Address) -> Result<(Case, u32), Refusal> {
    let no = |reason: &str| Refusal::new(RefusalCode::NotAssigned, reason);
    let times = windows.times(which.window, which.unit, which.round).await.map_err(unavailable)?;
    if !times.is_drawn() {
        return Err(Refusal::new(RefusalCode::ChainUnavailable, "the round is not drawn yet"));
    }
    let case = windows.case(which.window, which.unit).await.map_err(unavailable)?;
    if which.round >= CHECK_ROUNDS {
        on_panel(windows, which, account, &case).await?;
        let segment = windows.segment_of(which.window, which.unit, &case).await.map_err(unavailable)?;
        return Ok((case, segment));
    }
    let (committed, _) = windows.check(which).await.map_err(unavailable)?;
    if committed != account {
        // A private job's checkers have no seats: the contract tells them by the list of their names.
        let named =
            if window.is_named() { named::of_window(windows, window).await.map_err(unavailable)? } else { None };
        let named = named.unwrap_or_default();
        if window.is_named() && !named.contains(&account) {
            return Err(no("this order is private, and does not name this account"));
        }
        let slot = windows.slot(which, named).await.map_err(unavailable)?;
        let (_, now) = windows.account.head().await.map_err(unavailable)?;
        let half = times.check_by.saturating_sub(window.check_seconds / 2);
        if slot.account != account || !slot.eligible || case.round != which.round {
            return Err(no("this account is not on duty for that check"));
        }
        if !slot.on_duty && now < half {
            return Err(no("this account is a reserve: come back in the second half of the time to check"));
        }
    }
    let segment = windows.segment_of(which.window, which.unit, &case).await.map_err(unavailable)?;
    Ok((case, segment))
}

/// Whether an account holds this slot of the panel before which the unit is.
async fn on_panel(windows: &Windows, which: Which, account: Address, case: &Case) -> Result<(), Refusal> {
    let holder = windows.panel_slot(which.into(), which.slot).await.map_err(unavailable)?;
    if holder != account || case.round != which.round {
        return Err(Refusal::new(RefusalCode::NotAssigned, "this account has no such slot on the unit's panel"));
    }
    Ok(())
}

fn unavailable(error: eyre::Report) -> Refusal {
    // A contract's refusal is an answer about this check, not a fault of the node.
    if error.downcast_ref::<RpcFailure>().is_some_and(|failure| failure.data.is_some()) {
        return Refusal::new(RefusalCode::NotAssigned, "the audit knows no such check");
    }
    tracing::debug!(error = format!("{error:#}"), "cannot ask the chain about a checker");
    Refusal::new(RefusalCode::ChainUnavailable, "this source's node does not answer")
}

/// What a source has of a channel's window.
#[derive(Debug)]
pub(crate) struct StepMaterial<'a> {
    pub(crate) spec: &'a JobSpec,
    /// The window's steps, in the order of the report.
    pub(crate) steps: &'a [Step],
    /// Names of the states after them.
    pub(crate) outputs: &'a [B256],
}

/// What a checker of a step may have.
///
/// # Errors
/// The refusal for the checker.
pub(crate) fn offer_step(admitted: &Admitted, material: &StepMaterial<'_>) -> Result<Offer, Refusal> {
    let StepMaterial { spec, steps, outputs } = *material;
    let index = admitted.which.unit as usize;
    let none = || Refusal::new(RefusalCode::Internal, "the step is not here");
    let (step, output) = (steps.get(index).ok_or_else(none)?, outputs.get(index).ok_or_else(none)?);
    let list = keystead_job::blob_hash(&encode_list(steps));
    let mut names = vec![spec.program_hash, spec.common_hash, list, step.input];
    names.extend(spec.checker.map(|checker| checker.program_hash));
    names.extend(admitted.case.opened.then_some(*output));
    let duty = Duty { job: spec.encode().into(), before: Bytes::new() };
    Ok(Offer { duty, blobs: names.into_iter().map(Hash::from).collect() })
}

/// What a checker may have.
///
/// # Errors
/// The refusal for the checker.
pub(crate) fn offer(admitted: &Admitted, material: &Material<'_>) -> Result<Offer, Refusal> {
    let internal = |reason: &str| Refusal::new(RefusalCode::Internal, reason);
    let Admitted { which, segment, case: Case { opened, .. }, .. } = *admitted;
    let spec = material.spec;
    let unit = which.unit as usize;
    let input = material.inputs.get(unit).ok_or_else(|| internal("the unit's input is not here"))?;
    let mut names = vec![spec.program_hash, spec.common_hash, spec.units_hash, *input];
    names.extend(spec.checker.map(|checker| checker.program_hash));
    let mut before = Vec::new();
    if let Some(work) = material.work {
        let states = work.traces.get(unit).map(keystead_job::trace::Trace::states).unwrap_or_default();
        let begins = segment.checked_sub(1).and_then(|before| states.get(before as usize));
        names.extend(begins);
        if opened {
            names.extend(states.get(segment as usize));
            names.extend(work.outputs.get(unit));
        } else if begins.is_some() {
            before = work.before(which.unit, segment).map_err(|error| internal(&error.to_string()))?;
        }
    }
    let duty = Duty { job: spec.encode().into(), before: before.into() };
    Ok(Offer { duty, blobs: names.into_iter().map(Hash::from).collect() })
}
