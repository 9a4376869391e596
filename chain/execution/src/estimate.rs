//! How much gas a call needs, found by trying.

use crate::{
    call::{CallOutcome, CallRequest, CallStatus, Place, Simulation},
    env::BlockEnv,
    error::{Error, EstimateError, InvalidTransaction},
    overlay::Overlay,
    overrides::Overrides,
    rules::Rules,
};
use alloy_primitives::{KECCAK256_EMPTY, U256};
use keystead_types::{ChainSpec, StateView};

/// Gas of a transfer to an account without code.
const TRANSFER_GAS: u64 = 21_000;

/// Gas that a call with value hands to the callee on top (the EVM's call stipend).
const CALL_STIPEND: u64 = 2_300;

/// The search stops when the interval is this small: 15 thousandths of its upper end, as in geth, where half the tries
/// went into the last percent.
const TOLERANCE_PER_MILLE: u64 = 15;

/// The gas limit with which the call succeeds on top of `view`.
///
/// As geth does it. The returned limit was tried and succeeds; it is not the least one, but a limit that is more than
/// 1.5 % lower fails (or, for contracts that look at the gas they have, some limit in between was seen to fail).
/// Never above `gas_cap`, the request's gas, the block's limit, the cap for one transaction, or what the balance pays
/// for if a price is given.
/// Cost: about 20 runs at most. Trust: the request may be hostile.
///
/// # Errors
/// [`EstimateError::Reverted`], [`EstimateError::Halted`]: it fails with all the gas that is allowed.
/// [`EstimateError::AllowanceExceeded`]: it needs more. [`EstimateError::InsufficientFunds`]: not even the value is
/// covered. [`EstimateError::Execution`]: as [`crate::call`].
pub fn estimate_gas(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    overrides: &Overrides,
    request: CallRequest,
    gas_cap: u64,
) -> Result<u64, EstimateError> {
    let plain = request.input.is_empty().then_some(request.to).flatten();
    let asked = request.clone();
    let place = Place::new(Overlay::of(view, env), spec, env, overrides)?;
    let (env, rules) = (place.env, place.rules);
    let mut simulation = Simulation::new(place, request);
    let mut high = ceiling(&mut simulation, &rules, &env, &asked, gas_cap)?;
    if let Some(recipient) = plain
        && high >= TRANSFER_GAS
        && simulation.account(&recipient)?.code_hash == KECCAK256_EMPTY
        && attempt(&mut simulation, TRANSFER_GAS)?.is_some_and(|outcome| outcome.status == CallStatus::Success)
    {
        return Ok(TRANSFER_GAS);
    }
    let first = match attempt(&mut simulation, high)? {
        None => return Err(EstimateError::AllowanceExceeded { allowance: high }),
        Some(outcome) => match outcome.status {
            CallStatus::Success => outcome,
            CallStatus::Reverted => return Err(EstimateError::Reverted { output: outcome.output }),
            CallStatus::OutOfGas => return Err(EstimateError::AllowanceExceeded { allowance: high }),
            CallStatus::Halted(reason) => return Err(EstimateError::Halted { reason }),
        },
    };
    // It used this much, so one less cannot do.
    let mut low = first.gas_used.saturating_sub(1);
    // Most calls need what they spent, plus what the 63/64 rule holds back from inner calls: try that first.
    let likely = u128::from(first.gas_spent.saturating_add(CALL_STIPEND)).saturating_mul(64) / 63;
    let mut next = u64::try_from(likely).ok().filter(|likely| *likely < high);
    while low.saturating_add(1) < high {
        let middle = match next.take() {
            Some(likely) => likely,
            None if high.abs_diff(low).saturating_mul(1_000) < high.saturating_mul(TOLERANCE_PER_MILLE) => break,
            // Most calls need little more than they used: do not start in the middle of a wide interval.
            None => low.midpoint(high).min(low.saturating_mul(2)),
        };
        let holds = attempt(&mut simulation, middle)?.is_some_and(|outcome| outcome.status == CallStatus::Success);
        if holds { high = middle } else { low = middle }
    }
    Ok(high)
}

/// The largest gas limit that may be tried.
fn ceiling(
    simulation: &mut Simulation<'_>,
    rules: &Rules,
    env: &BlockEnv,
    request: &CallRequest,
    gas_cap: u64,
) -> Result<u64, EstimateError> {
    let wanted = request.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(env.gas_limit);
    let mut ceiling = wanted.min(gas_cap).min(rules.transaction_gas_max.unwrap_or(u64::MAX));
    let price = U256::from(request.price.cap());
    if !price.is_zero() {
        let balance = simulation.account(&request.from)?.balance;
        let other = request.value.saturating_add(request.blob_fee_max());
        let Some(available) = balance.checked_sub(other).filter(|available| !available.is_zero()) else {
            return Err(EstimateError::InsufficientFunds { balance, value: other });
        };
        let affordable = available.checked_div(price).unwrap_or_default();
        ceiling = ceiling.min(affordable.saturating_to());
    }
    Ok(ceiling)
}

/// One try; `None` if this gas limit does not even pay for the beginning of the call.
fn attempt(simulation: &mut Simulation<'_>, gas: u64) -> Result<Option<CallOutcome>, Error> {
    match simulation.run(gas) {
        Ok(outcome) => Ok(Some(outcome)),
        Err(Error::Request(InvalidTransaction::IntrinsicGas { .. } | InvalidTransaction::FloorGas { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
