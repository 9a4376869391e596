//! revm over an overlay: how it is set up, run and how its errors become ours.

use crate::{
    env::BlockEnv,
    error::{Allowed, Asked, Error, InvalidTransaction, refusal},
    overlay::{Overlay, ReadError},
    precompiles::Precompiles,
    rules::Rules,
};
use alloy_primitives::U256;
use keystead_types::StateView;
use revm::{
    Context, ExecuteEvm as _, InspectEvm as _, Inspector, MainBuilder as _, SystemCallEvm as _,
    context::{
        BlockEnv as EvmBlock, Cfg as _, CfgEnv, Evm, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    context_interface::block::BlobExcessGasAndPrice,
    handler::{EthFrame, MainnetContext, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
    state::EvmState,
};

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
        overlay: Overlay<'a>,
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
        let block = EvmBlock {
            number: U256::from(env.number),
            beneficiary: env.beneficiary,
            timestamp: U256::from(env.timestamp),
            gas_limit: env.gas_limit,
            basefee: env.base_fee,
            prevrandao: Some(env.prev_randao),
            // The default is no excess blob gas: the header of a Keystead block says zero.
            ..EvmBlock::default()
        };
        let context: EvmContext<'a> = Context::new(overlay, rules.fork);
        let evm = context.with_cfg(configuration).with_block(block).build_mainnet();
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
            let input = (call.input)(env).0.into();
            let result = self.evm.system_call_one(call.contract, input);
            let state = self.evm.finalize();
            result.map_err(failure)?;
            self.overlay().absorb(state)?;
        }
        Ok(())
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
