//! A call that is tried and forgotten, as `eth_call` asks for.

use crate::{
    env::BlockEnv,
    error::{Asked, Error, InvalidTransaction},
    evm::{Machine, Stop},
    overlay::Overlay,
    overrides::Overrides,
    precompiles::Precompiles,
    rules::Rules,
};
use alloy_consensus::TxType;
use alloy_eips::{eip2930::AccessList, eip4844::DATA_GAS_PER_BLOB, eip7702::SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use alloy_rpc_types_eth::{BlockOverrides, state::StateOverride};
use keystead_types::{Account, ChainSpec, StateView};
use revm::{
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason, Output},
    },
    context_interface::either::Either,
};

/// What the caller of a simulated call pays per gas, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallPrice {
    /// Nothing: no base fee applies (`BASEFEE` returns zero) and only the value must be covered by the balance.
    #[default]
    Free,
    /// One price, as types 0 and 1 have it.
    Legacy {
        /// Price per gas.
        gas_price: u128,
    },
    /// A cap and a tip, as type 2 has it.
    Dynamic {
        /// Highest price per gas.
        max_fee: u128,
        /// Highest part of it that goes to the beneficiary.
        max_priority_fee: u128,
    },
}

impl CallPrice {
    /// The highest price per gas that the caller allows.
    #[must_use]
    pub const fn cap(&self) -> u128 {
        match self {
            Self::Free => 0,
            Self::Legacy { gas_price } => *gas_price,
            Self::Dynamic { max_fee, .. } => *max_fee,
        }
    }

    /// True if the call is free: no price, or a price of zero.
    const fn is_free(&self) -> bool {
        match self {
            Self::Free => true,
            Self::Legacy { gas_price } => *gas_price == 0,
            Self::Dynamic { max_fee, max_priority_fee } => *max_fee == 0 && *max_priority_fee == 0,
        }
    }
}

/// A call to be tried. Nonce, signature and the absence of code at `from` are not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    /// Who calls.
    pub from: Address,
    /// Who is called; `None` creates a contract from `input`.
    pub to: Option<Address>,
    /// Gas limit; `None` for as much as allowed.
    pub gas: Option<u64>,
    /// Price of the gas.
    pub price: CallPrice,
    /// Value in wei.
    pub value: U256,
    /// Calldata or init code.
    pub input: Bytes,
    /// EIP-2930 access list.
    pub access_list: AccessList,
    /// EIP-7702 authorizations; with any, the call is one of type 4 and needs `to`.
    pub authorizations: Vec<SignedAuthorization>,
    /// EIP-4844 versioned hashes; with any, the call is one of type 3 and needs `to`, unless it has authorizations.
    pub blob_hashes: Vec<B256>,
    /// Highest price per unit of blob gas in wei; zero for blobs that cost nothing.
    pub max_fee_per_blob_gas: u128,
}

impl CallRequest {
    /// What its blobs cost at most, in wei.
    pub(crate) fn blob_fee_max(&self) -> U256 {
        let gas = DATA_GAS_PER_BLOB.saturating_mul(self.blob_hashes.len() as u64);
        U256::from(gas).saturating_mul(U256::from(self.max_fee_per_blob_gas))
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallStatus {
    /// It returned.
    Success,
    /// It reverted; the output is the reason as the contract encodes it.
    Reverted,
    /// It ran out of gas.
    OutOfGas,
    /// It failed otherwise (bad opcode, bad jump, stack, ...): what the machine says.
    Halted(String),
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// How it ended.
    pub status: CallStatus,
    /// Gas that a transaction would pay for, after refunds.
    pub gas_used: u64,
    /// Gas that it needed before refunds were given back.
    pub gas_spent: u64,
    /// Returned data, data of the revert, or the deployed code; empty otherwise.
    pub output: Bytes,
    /// Logs, if it succeeded.
    pub logs: Vec<Log>,
    /// Address of the contract, if it created one.
    pub created: Option<Address>,
}

/// Tries a call on top of `view`, in the block that `env` describes, and forgets its changes.
///
/// As geth does it: gas is the request's or `gas_cap`, whichever is less; the caps for one transaction (EIP-7825) and
/// for a block do not apply; a price, if given, must reach the base fee and be covered by the balance.
/// Cost: up to `gas_cap`, so the caller bounds it.
/// Trust: the request and the overrides may be hostile.
///
/// # Errors
/// [`Error::Request`] if the call breaks a rule before it runs (funds, intrinsic gas, init code too long);
/// [`Error::Overrides`] if the overrides cannot be; [`Error::View`] or [`Error::Machine`] if we cannot run it. A revert
/// is not an error.
pub fn call(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    overrides: &Overrides,
    request: CallRequest,
    gas_cap: u64,
) -> Result<CallOutcome, Error> {
    let gas = request.gas.unwrap_or(gas_cap).min(gas_cap);
    let place = Place::new(Overlay::of(view, env), spec, env, overrides)?;
    Simulation::new(place, request).run(gas)
}

/// Calls in one block.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The calls.
    pub requests: Vec<CallRequest>,
    /// What is overridden of the block, for these calls alone.
    pub block: BlockOverrides,
}

/// What each call of a bundle gave, or the rule that it breaks.
pub type BundleOutcome = Vec<Result<CallOutcome, InvalidTransaction>>;

/// Tries calls one after another, each on the state that the one before it left, and forgets the changes of all.
///
/// Gas and price are as in [`call`]; the calls together may use the limit's gas. Once the limit says stop, the outcomes
/// so far are all that is given.
///
/// # Errors
/// As [`call`], but for the call alone that is refused: its entry is the error.
pub fn call_many(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    state: StateOverride,
    bundles: Vec<Bundle>,
    limits: CallLimits<'_>,
) -> Result<Vec<BundleOutcome>, Error> {
    let overrides = Overrides { state, block: BlockOverrides::default() };
    let mut place = Place::new(Overlay::of(view, env), spec, env, &overrides)?;
    let mut outcomes = Vec::with_capacity(bundles.len());
    let mut gas_left = limits.gas_max;
    for Bundle { requests, block } in bundles {
        place = place.in_block(env, block)?;
        let mut bundle = Vec::with_capacity(requests.len());
        for request in requests {
            if (limits.stop)() {
                return Ok(outcomes);
            }
            let gas = request.gas.unwrap_or(gas_left).min(gas_left);
            let (next, outcome) = place.with_machine(request, gas, keep)?;
            gas_left = gas_left.saturating_sub(outcome.as_ref().map_or(0, |outcome| outcome.gas_used));
            place = next;
            bundle.push(outcome);
        }
        outcomes.push(bundle);
    }
    Ok(outcomes)
}

/// Runs a call and keeps what it changes.
fn keep<'a>(
    mut machine: Machine<'a>,
    transaction: &TxEnv,
) -> Result<(Machine<'a>, Result<CallOutcome, InvalidTransaction>), Error> {
    let outcome = match machine.run(transaction.clone(), &Asked::from(transaction)) {
        Ok((result, state)) => {
            machine.overlay().absorb(state)?;
            Ok(outcome(result))
        }
        Err(Stop::Refused(why)) => Err(why),
        Err(Stop::Failed(error)) => return Err(error),
    };
    Ok((machine, outcome))
}

/// What calls together may cost.
#[derive(Clone, Copy)]
pub struct CallLimits<'a> {
    /// Gas of all calls.
    pub gas_max: u64,
    /// Asked between the calls; once it says true no more are made.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for CallLimits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallLimits").field("gas_max", &self.gas_max).finish_non_exhaustive()
    }
}

/// Where calls are tried: a state and an environment, with overrides made.
pub(crate) struct Place<'a> {
    pub(crate) overlay: Overlay<'a>,
    pub(crate) env: BlockEnv,
    pub(crate) rules: Rules,
    spec: &'a ChainSpec,
    precompiles: Precompiles,
    blob_base_fee: Option<u128>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(
        mut overlay: Overlay<'a>,
        spec: &'a ChainSpec,
        env: &BlockEnv,
        overrides: &Overrides,
    ) -> Result<Self, Error> {
        let env = overrides.environment(env)?;
        let rules = Rules::of(spec, &env);
        let mut precompiles = Precompiles::new(rules.fork);
        overrides.apply(&mut overlay, &mut precompiles)?;
        Ok(Self { overlay, env, rules, spec, precompiles, blob_base_fee: overrides.blob_base_fee()? })
    }

    /// The same state in another block.
    fn in_block(self, env: &BlockEnv, block: BlockOverrides) -> Result<Self, Error> {
        let overrides = Overrides { state: StateOverride::default(), block };
        let Self { overlay, spec, precompiles, .. } = self;
        let place = Self::new(overlay, spec, env, &overrides)?;
        Ok(Self { precompiles, ..place })
    }

    /// The machine for a call, and the call as it gets it.
    fn machine(self, request: CallRequest, gas: u64) -> (Machine<'a>, TxEnv) {
        let free = request.price.is_free();
        let env = BlockEnv { base_fee: if free { 0 } else { self.env.base_fee }, ..self.env };
        let mut machine = Machine::over(self.overlay, &self.rules, &env, |configuration| {
            configuration.disable_nonce_check = true;
            configuration.disable_eip3607 = true;
            configuration.disable_block_gas_limit = true;
            configuration.disable_base_fee = free;
            configuration.tx_gas_limit_cap = Some(u64::MAX);
        });
        *machine.precompiles() = self.precompiles;
        let free_blobs = !request.blob_hashes.is_empty() && request.max_fee_per_blob_gas == 0;
        if let Some(price) = self.blob_base_fee.or_else(|| free_blobs.then_some(0)) {
            machine.set_blob_base_fee(price);
        }
        (machine, TxEnv { gas_limit: gas, ..transaction(&self.rules, request) })
    }

    /// Hands the machine for a call to `job`, and goes on with the state that it gives back.
    ///
    /// # Errors
    /// Those of `job`, and [`Error::View`].
    pub(crate) fn with_machine<T, E: From<Error>>(
        self,
        request: CallRequest,
        gas: u64,
        job: impl FnOnce(Machine<'a>, &TxEnv) -> Result<(Machine<'a>, T), E>,
    ) -> Result<(Self, T), E> {
        let (env, rules, spec, blob_base_fee) = (self.env, self.rules, self.spec, self.blob_base_fee);
        let (mut machine, mut transaction) = self.machine(request, gas);
        // Addresses of created contracts follow from the nonce.
        let caller = machine.overlay().account(&transaction.caller).map_err(Error::View)?;
        transaction.nonce = caller.unwrap_or_default().nonce;
        let (mut machine, value) = job(machine, &transaction)?;
        let precompiles = machine.precompiles().clone();
        Ok((Self { overlay: machine.into_overlay(), env, rules, spec, precompiles, blob_base_fee }, value))
    }
}

/// A call that can be tried with one gas limit after another; reads of the state are shared.
pub(crate) struct Simulation<'a> {
    machine: Machine<'a>,
    transaction: TxEnv,
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(place: Place<'a>, request: CallRequest) -> Self {
        let (machine, transaction) = place.machine(request, 0);
        Self { machine, transaction }
    }

    /// Tries the call with this gas limit.
    pub(crate) fn run(&mut self, gas: u64) -> Result<CallOutcome, Error> {
        let transaction = TxEnv { gas_limit: gas, ..self.transaction.clone() };
        let asked = Asked::from(&transaction);
        match self.machine.run(transaction, &asked) {
            Ok((result, _)) => Ok(outcome(result)),
            Err(Stop::Refused(why)) => Err(Error::Request(why)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// An account as the call finds it.
    pub(crate) fn account(&mut self, address: &Address) -> Result<Account, Error> {
        Ok(self.machine.overlay().account(address)?.unwrap_or_default())
    }
}

fn transaction(rules: &Rules, request: CallRequest) -> TxEnv {
    let special = match (request.authorizations.is_empty(), request.blob_hashes.is_empty()) {
        (false, _) => Some(TxType::Eip7702),
        (true, false) => Some(TxType::Eip4844),
        (true, true) => None,
    };
    let (kind, priority_fee) = match request.price {
        // Types 3 and 4 have no gas price: one that is given is both cap and tip.
        CallPrice::Legacy { gas_price } if special.is_some() => (TxType::Eip1559, Some(gas_price)),
        CallPrice::Legacy { .. } => (TxType::Eip2930, None),
        CallPrice::Free => (TxType::Eip1559, Some(0)),
        CallPrice::Dynamic { max_priority_fee, .. } => (TxType::Eip1559, Some(max_priority_fee)),
    };
    let kind = special.unwrap_or(kind);
    // A chain that does not have the type yet: the price is the same in the oldest one.
    let (kind, priority_fee) = if rules.transaction_types.contains(kind) || special.is_some() {
        (kind, priority_fee)
    } else {
        (TxType::Legacy, None)
    };
    TxEnv {
        tx_type: kind as u8,
        caller: request.from,
        gas_limit: 0,
        gas_price: request.price.cap(),
        kind: request.to.map_or(TxKind::Create, TxKind::Call),
        value: request.value,
        data: request.input,
        nonce: 0,
        chain_id: Some(rules.chain_id),
        access_list: request.access_list,
        gas_priority_fee: priority_fee,
        blob_hashes: request.blob_hashes,
        max_fee_per_blob_gas: request.max_fee_per_blob_gas,
        authorization_list: request.authorizations.into_iter().map(Either::Left).collect(),
    }
}

pub(crate) fn outcome(result: ExecutionResult<HaltReason>) -> CallOutcome {
    let gas_used = result.tx_gas_used();
    let gas_spent = result.gas().total_gas_spent().max(gas_used);
    let (status, output, logs, created) = match result {
        ExecutionResult::Success { output: Output::Call(output), logs, .. } => {
            (CallStatus::Success, output, logs, None)
        }
        ExecutionResult::Success { output: Output::Create(output, created), logs, .. } => {
            (CallStatus::Success, output, logs, created)
        }
        ExecutionResult::Revert { output, .. } => (CallStatus::Reverted, output, Vec::new(), None),
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
            (CallStatus::OutOfGas, Bytes::new(), Vec::new(), None)
        }
        ExecutionResult::Halt { reason, .. } => {
            (CallStatus::Halted(reason.to_string()), Bytes::new(), Vec::new(), None)
        }
    };
    CallOutcome { status, gas_used, gas_spent, output, logs, created }
}
