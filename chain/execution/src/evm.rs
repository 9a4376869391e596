//! revm over an overlay: how it is set up, run and how its errors become ours.

use crate::{
    env::BlockEnv,
    error::{Allowed, Asked, Error, InvalidTransaction, refusal},
    ethereum::contract_failed,
    overlay::{Overlay, ReadError},
    precompiles::Precompiles,
    rules::Rules,
};
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256};
use keystead_types::{BEACON_ADDRESS, StateView};
use revm::{
    Context, ExecuteEvm as _, InspectEvm as _, Inspector, MainBuilder as _,
    bytecode::opcode::EXTCODEHASH,
    context::{
        BlockEnv as EvmBlock, Cfg as _, CfgEnv, Evm, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    context_interface::block::BlobExcessGasAndPrice,
    handler::{
        EthFrame, Handler as _, MainnetContext, MainnetHandler, SystemCallTx as _, instructions::EthInstructions,
    },
    interpreter::{
        Host, Instruction, InstructionContext, InstructionExecResult, instructions::host, interpreter::EthInterpreter,
    },
    state::EvmState,
};

/// Gas of a system call. Spec: EIP-4788, EIP-2935, EIP-7002, EIP-7251.
const SYSTEM_CALL_GAS: u64 = 30_000_000;

/// What revm and its inspectors see.
pub(crate) type EvmContext<'a> = MainnetContext<Overlay<'a>>;

type Inner<'a> =
    Evm<EvmContext<'a>, (), EthInstructions<EthInterpreter, EvmContext<'a>>, Precompiles, EthFrame<EthInterpreter>>;

/// What a transaction gave, and what it would change.
pub(crate) type Ran = (ExecutionResult<HaltReason>, EvmState);

/// revm with a block's overlay as its database.
pub(crate) struct Machine<'a> {
    evm: Inner<'a>,
    allowed: Allowed,
}

/// Why a transaction did not run.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It may not.
    Refused(InvalidTransaction),
    /// We cannot.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Machine<'a> {
    /// A machine at the beginning of a block. `configure` may switch checks off.
    pub(crate) fn new(
        view: &'a dyn StateView,
        rules: &Rules,
        env: &BlockEnv,
        configure: impl FnOnce(&mut CfgEnv),
    ) -> Self {
        Self::over(Overlay::of(view, env), rules, env, configure)
    }

    /// A machine that goes on with a state.
    pub(crate) fn over(
        mut overlay: Overlay<'a>,
        rules: &Rules,
        env: &BlockEnv,
        configure: impl FnOnce(&mut CfgEnv),
    ) -> Self {
        let mut configuration = rules.configuration();
        configure(&mut configuration);
        let allowed = Allowed {
            chain_id: rules.chain_id,
            base_fee: env.base_fee,
            block_gas_limit: env.gas_limit,
            init_code_bytes_max: configuration.max_initcode_size(),
        };
        let blobs = rules.blobs.map(|blobs| BlobExcessGasAndPrice {
            excess_blob_gas: env.excess_blob_gas,
            blob_gasprice: blobs.calc_blob_fee(env.excess_blob_gas),
        });
        let default = EvmBlock::default();
        let block = EvmBlock {
            number: U256::from(env.number),
            beneficiary: env.beneficiary,
            timestamp: U256::from(env.timestamp),
            gas_limit: env.gas_limit,
            basefee: env.base_fee,
            difficulty: env.difficulty,
            prevrandao: Some(env.prev_randao),
            // The default is no excess blob gas: the header of a Keystead block says zero.
            blob_excess_gas_and_price: blobs.or(default.blob_excess_gas_and_price),
            ..default
        };
        overlay.set_clears_empty(rules.clears_empty);
        let context: EvmContext<'a> = Context::new(overlay, rules.fork);
        let mut evm = context.with_cfg(configuration).with_block(block).build_mainnet();
        if let Some(instruction) = evm.instruction.instruction_table_mut().get_mut(usize::from(EXTCODEHASH)) {
            *instruction = Instruction::new(code_hash);
        }
        Self { evm: evm.with_precompiles(Precompiles::new(rules.fork)), allowed }
    }

    /// Runs a transaction and returns what it would change; the overlay stays as it is.
    pub(crate) fn run(&mut self, transaction: TxEnv, asked: &Asked) -> Result<Ran, Stop> {
        let result = self.evm.transact_one(transaction);
        // Always: this empties revm's journal, whatever happened.
        let state = self.evm.finalize();
        ran(result, state, asked, self.allowed)
    }

    /// As [`Self::run`], watched by an inspector.
    pub(crate) fn inspect(
        self,
        transaction: TxEnv,
        asked: &Asked,
        inspector: &mut impl Inspector<EvmContext<'a>>,
    ) -> (Self, Result<Ran, Stop>) {
        let allowed = self.allowed;
        let mut evm = self.evm.with_inspector(inspector);
        let result = evm.inspect_one_tx(transaction);
        let state = evm.finalize();
        (Self { evm: evm.with_inspector(()), allowed }, ran(result, state, asked, allowed))
    }

    /// Makes the chain's system calls. A call that reverts or finds no contract changes nothing and is no error.
    pub(crate) fn system_calls(&mut self, rules: &Rules, env: &BlockEnv) -> Result<(), Error> {
        for call in rules.system_calls {
            let (_, state) = self.system_call(call.contract, (call.input)(env).0.into())?;
            self.overlay().absorb(state)?;
        }
        if rules.beacon
            && let Some(input) = env.beacon.call()
        {
            let (_, state) = self.system_call(BEACON_ADDRESS, input)?;
            self.overlay().absorb(state)?;
        }
        Ok(())
    }

    /// Calls a contract as the system; what it changes stays.
    ///
    /// # Errors
    /// [`Error::Block`] if it does not succeed.
    pub(crate) fn required_call(&mut self, contract: Address) -> Result<Bytes, Error> {
        let (result, state) = self.system_call(contract, Bytes::new())?;
        match result {
            ExecutionResult::Success { output, .. } => {
                self.overlay().absorb(state)?;
                Ok(output.into_data())
            }
            ExecutionResult::Revert { output, .. } => Err(contract_failed(contract, format!("reverted: {output}"))),
            ExecutionResult::Halt { reason, .. } => Err(contract_failed(contract, reason.to_string())),
        }
    }

    /// revm's own system call has more gas than Osaka and earlier forks give: it counts with what Amsterdam adds.
    fn system_call(&mut self, contract: Address, input: Bytes) -> Result<Ran, Error> {
        self.evm.ctx.tx = TxEnv { gas_limit: SYSTEM_CALL_GAS, ..TxEnv::new_system_tx(contract, input) };
        let mut handler = MainnetHandler::<_, EVMError<ReadError>, EthFrame<EthInterpreter>>::default();
        let result = handler.run_system_call(&mut self.evm);
        let state = self.evm.finalize();
        Ok((result.map_err(failure)?, state))
    }

    /// The block as revm sees it.
    pub(crate) const fn block(&mut self) -> &mut EvmBlock {
        &mut self.evm.ctx.block
    }

    /// Switches checks on or off for what runs next.
    pub(crate) fn configure(&mut self, configure: impl FnOnce(&mut CfgEnv)) {
        configure(&mut self.evm.ctx.cfg);
    }

    /// Sets what `BLOBBASEFEE` returns.
    pub(crate) const fn set_blob_base_fee(&mut self, price: u128) {
        self.evm.ctx.block.blob_excess_gas_and_price =
            Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: price });
    }

    /// Who answers at which precompiled address.
    pub(crate) const fn precompiles(&mut self) -> &mut Precompiles {
        &mut self.evm.precompiles
    }

    pub(crate) const fn overlay(&mut self) -> &mut Overlay<'a> {
        &mut self.evm.ctx.journaled_state.database
    }

    pub(crate) fn into_overlay(self) -> Overlay<'a> {
        self.evm.ctx.journaled_state.database
    }
}

fn ran(
    result: Result<ExecutionResult<HaltReason>, EVMError<ReadError>>,
    state: EvmState,
    asked: &Asked,
    allowed: Allowed,
) -> Result<Ran, Stop> {
    match result {
        Ok(result) => Ok((result, state)),
        Err(EVMError::Transaction(why)) => Err(Stop::Refused(refusal(why, asked, allowed))),
        Err(error) => Err(Stop::Failed(failure(error))),
    }
}

fn failure(error: EVMError<ReadError>) -> Error {
    match error {
        EVMError::Database(ReadError(error)) => Error::View(error),
        other => Error::Machine(other.to_string()),
    }
}

/// `EXTCODEHASH`, but for an account that exists and whose code hash the overlay hides.
fn code_hash<H: Host + ?Sized>(context: InstructionContext<'_, H, EthInterpreter>) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let asked = interpreter.stack.peek(0);
    host::extcodehash(InstructionContext { interpreter: &mut *interpreter, host: &mut *host })?;
    if interpreter.stack.peek(0) == Ok(U256::ZERO)
        && let Ok(asked) = asked
        && let Ok(account) = host.load_account_info_skip_cold_load(Address::from_word(asked.into()), false, false)
        && !account.is_empty
    {
        let _ = interpreter.stack.set(0, KECCAK256_EMPTY.into());
    }
    Ok(())
}
