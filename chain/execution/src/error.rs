//! Why a block, a transaction or a call cannot be executed, with the numbers that say what to change.

use alloy_consensus::{Transaction as _, Typed2718 as _};
use alloy_primitives::{Address, B256, Bytes, U256};
use keystead_types::{Recovered, ViewError};
use revm::context::{TxEnv, result::InvalidTransaction as EvmRefusal};

/// Execution stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state could not be read: nothing is known about the block; the node must not vote on it.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The block holds a transaction that may not stand at its place: the proposer was wrong.
    #[error("invalid transaction: index={index} hash={hash}: {source}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Hash of the transaction.
        hash: B256,
        /// The rule it breaks.
        source: Box<InvalidTransaction>,
    },
    /// The block breaks a rule that is not one of its transactions': whoever made it was wrong.
    #[error(transparent)]
    Block(#[from] BlockFault),
    /// A simulated call breaks a rule before its first instruction: the caller must change the request.
    #[error(transparent)]
    Request(#[from] InvalidTransaction),
    /// The overrides of a simulation contradict each other or the chain: the caller must change the request.
    #[error(transparent)]
    Overrides(#[from] OverrideError),
    /// The machine contradicts itself: we are broken, the process should stop.
    #[error("evm failure: {0}")]
    Machine(String),
}

/// What makes a foreign block invalid beside its transactions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// A contract that collects requests for the consensus layer has no code (EIP-7002, EIP-7251).
    #[error("system contract is missing: contract={contract}")]
    ContractMissing {
        /// Where it should be.
        contract: Address,
    },
    /// Such a contract did not succeed.
    #[error("system contract failed: contract={contract} reason={reason}")]
    ContractFailed {
        /// The contract.
        contract: Address,
        /// What the machine says.
        reason: String,
    },
    /// A log of the deposit contract is not laid out as EIP-6110 says.
    #[error("malformed deposit event: contract={contract}")]
    DepositLayout {
        /// The deposit contract.
        contract: Address,
    },
    /// A reward or withdrawal exceeds what a balance can hold.
    #[error("balance overflows: address={address}")]
    BalanceOverflow {
        /// Who should have got it.
        address: Address,
    },
}

/// Overrides that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Both are given for one account.
    #[error("account {address} has both 'state' and 'stateDiff'")]
    StateAndDiff {
        /// The account.
        address: Address,
    },
    /// There is nothing to move.
    #[error("account {address} is not a precompile")]
    NotPrecompile {
        /// The account.
        address: Address,
    },
    /// A precompiled contract should move to an account that is overridden itself.
    #[error("account {address} is already overridden")]
    AlreadyOverridden {
        /// The account.
        address: Address,
    },
    /// A field of the block does not fit.
    #[error("block override {field} is too large: at most 64 bits")]
    TooLarge {
        /// Name of the field.
        field: &'static str,
    },
}

/// A transaction that may not be executed at its place.
///
/// Messages begin with the phrases that wallets and libraries know from geth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransaction {
    /// The chain does not run this EIP-2718 type.
    #[error("transaction type not supported: type={kind}")]
    TypeNotSupported {
        /// The type byte.
        kind: u8,
    },
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {got:?} want {want}")]
    WrongChainId {
        /// Chain id of the transaction, `None` if it has none.
        got: Option<u64>,
        /// Chain id of this chain.
        want: u64,
    },
    /// The sender already used this nonce.
    #[error("nonce too low: tx={nonce} state={expected}")]
    NonceTooLow {
        /// Nonce of the transaction.
        nonce: u64,
        /// Nonce of the sender's account.
        expected: u64,
    },
    /// Earlier transactions of the sender are missing.
    #[error("nonce too high: tx={nonce} state={expected}")]
    NonceTooHigh {
        /// Nonce of the transaction.
        nonce: u64,
        /// Nonce of the sender's account.
        expected: u64,
    },
    /// The account has used all its nonces (EIP-2681).
    #[error("nonce has max value: tx={nonce}")]
    NonceMax {
        /// Nonce of the transaction.
        nonce: u64,
    },
    /// The sender is a contract (EIP-3607).
    #[error("sender not an eoa: the account has code")]
    SenderHasCode,
    /// The balance does not cover value and gas at the highest price that the transaction allows.
    #[error("insufficient funds for gas * price + value: have {balance} want {cost}")]
    InsufficientFunds {
        /// Balance of the sender in wei.
        balance: U256,
        /// Gas limit times fee cap, plus value, in wei.
        cost: U256,
    },
    /// Gas limit times fee cap exceeds 128 bits, or with the value 256: no balance covers that.
    #[error("insufficient funds for gas * price + value: the cost exceeds any balance")]
    CostOverflow,
    /// The fee cap is below the block's base fee.
    #[error("max fee per gas less than block base fee: maxFeePerGas={max_fee} baseFee={base_fee}")]
    FeeBelowBase {
        /// Highest price per gas in wei.
        max_fee: u128,
        /// Base fee in wei per gas.
        base_fee: u64,
    },
    /// The priority fee is above the fee cap.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas={priority_fee} maxFeePerGas={max_fee}"
    )]
    TipAboveFee {
        /// Priority fee in wei per gas.
        priority_fee: u128,
        /// Highest price per gas in wei.
        max_fee: u128,
    },
    /// The gas limit does not pay for what every such transaction costs before its first instruction.
    #[error("intrinsic gas too low: have {gas_limit} want {needed}")]
    IntrinsicGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas it needs at least.
        needed: u64,
    },
    /// The gas limit is below the floor price of the calldata (EIP-7623).
    #[error("insufficient gas for floor data gas cost: have {gas_limit} want {needed}")]
    FloorGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas it needs at least.
        needed: u64,
    },
    /// The gas limit is above the cap for one transaction (EIP-7825).
    #[error("transaction gas limit too high: have {gas_limit} cap {cap}")]
    GasAboveCap {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Largest gas limit of a transaction.
        cap: u64,
    },
    /// The gas limit is above that of the whole block.
    #[error("exceeds block gas limit: have {gas_limit} block {block_gas_limit}")]
    GasAboveBlock {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas limit of the block.
        block_gas_limit: u64,
    },
    /// The transactions before it left too little gas in the block.
    #[error("gas limit reached: have {gas_limit} left {left}")]
    GasAboveRemaining {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas that is left in the block.
        left: u64,
    },
    /// The blobs before it left too little blob gas in the block.
    #[error("blob gas limit reached: have {blob_gas} left {left}")]
    BlobGasAboveRemaining {
        /// Blob gas of the transaction.
        blob_gas: u64,
        /// Blob gas that is left in the block.
        left: u64,
    },
    /// Init code of a creation is too long (EIP-3860).
    #[error("max initcode size exceeded: code size {got_bytes} limit {max_bytes}")]
    InitCodeTooLarge {
        /// Bytes of init code.
        got_bytes: usize,
        /// Largest size.
        max_bytes: usize,
    },
    /// A rule of transaction types that Keystead's chain does not run (blobs, authorizations).
    #[error("{0}")]
    Foreign(String),
}

impl InvalidTransaction {
    /// True if no later state of this chain can make the transaction valid, so that a pool may forget it.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::TypeNotSupported { .. }
            | Self::WrongChainId { .. }
            | Self::NonceTooLow { .. }
            | Self::NonceMax { .. }
            | Self::CostOverflow
            | Self::TipAboveFee { .. }
            | Self::IntrinsicGas { .. }
            | Self::FloorGas { .. }
            | Self::GasAboveCap { .. }
            | Self::GasAboveBlock { .. }
            | Self::InitCodeTooLarge { .. }
            | Self::Foreign(_) => true,
            Self::NonceTooHigh { .. }
            | Self::SenderHasCode
            | Self::InsufficientFunds { .. }
            | Self::FeeBelowBase { .. }
            | Self::GasAboveRemaining { .. }
            | Self::BlobGasAboveRemaining { .. } => false,
        }
    }
}

/// The fields that the numbers of a refusal come from.
pub(crate) struct Asked {
    pub(crate) kind: u8,
    pub(crate) chain_id: Option<u64>,
    pub(crate) nonce: u64,
    pub(crate) gas_limit: u64,
    pub(crate) max_fee: u128,
    pub(crate) priority_fee: u128,
    pub(crate) input_bytes: usize,
}

impl From<&Recovered> for Asked {
    fn from(transaction: &Recovered) -> Self {
        Self {
            kind: transaction.ty(),
            chain_id: transaction.chain_id(),
            nonce: transaction.nonce(),
            gas_limit: transaction.gas_limit(),
            max_fee: transaction.max_fee_per_gas(),
            priority_fee: transaction.max_priority_fee_per_gas().unwrap_or_default(),
            input_bytes: transaction.input().len(),
        }
    }
}

impl From<&TxEnv> for Asked {
    fn from(transaction: &TxEnv) -> Self {
        Self {
            kind: transaction.tx_type,
            chain_id: transaction.chain_id,
            nonce: transaction.nonce,
            gas_limit: transaction.gas_limit,
            max_fee: transaction.gas_price,
            priority_fee: transaction.gas_priority_fee.unwrap_or_default(),
            input_bytes: transaction.data.len(),
        }
    }
}

/// The limits that the numbers of a refusal come from.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) chain_id: u64,
    pub(crate) base_fee: u64,
    pub(crate) block_gas_limit: u64,
    pub(crate) init_code_bytes_max: usize,
}

/// Puts the numbers to revm's refusal.
pub(crate) fn refusal(refusal: EvmRefusal, asked: &Asked, allowed: Allowed) -> InvalidTransaction {
    match refusal {
        EvmRefusal::InvalidChainId | EvmRefusal::MissingChainId => {
            InvalidTransaction::WrongChainId { got: asked.chain_id, want: allowed.chain_id }
        }
        EvmRefusal::NonceTooLow { tx, state } => InvalidTransaction::NonceTooLow { nonce: tx, expected: state },
        EvmRefusal::NonceTooHigh { tx, state } => InvalidTransaction::NonceTooHigh { nonce: tx, expected: state },
        EvmRefusal::NonceOverflowInTransaction => InvalidTransaction::NonceMax { nonce: asked.nonce },
        EvmRefusal::RejectCallerWithCode => InvalidTransaction::SenderHasCode,
        EvmRefusal::LackOfFundForMaxFee { fee, balance } => {
            InvalidTransaction::InsufficientFunds { balance: *balance, cost: *fee }
        }
        EvmRefusal::OverflowPaymentInTransaction => InvalidTransaction::CostOverflow,
        EvmRefusal::GasPriceLessThanBasefee => {
            InvalidTransaction::FeeBelowBase { max_fee: asked.max_fee, base_fee: allowed.base_fee }
        }
        EvmRefusal::PriorityFeeGreaterThanMaxFee => {
            InvalidTransaction::TipAboveFee { priority_fee: asked.priority_fee, max_fee: asked.max_fee }
        }
        EvmRefusal::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            InvalidTransaction::IntrinsicGas { gas_limit, needed: initial_gas }
        }
        EvmRefusal::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            InvalidTransaction::FloorGas { gas_limit, needed: gas_floor }
        }
        EvmRefusal::TxGasLimitGreaterThanCap { gas_limit, cap } => InvalidTransaction::GasAboveCap { gas_limit, cap },
        EvmRefusal::CallerGasLimitMoreThanBlock => {
            InvalidTransaction::GasAboveBlock { gas_limit: asked.gas_limit, block_gas_limit: allowed.block_gas_limit }
        }
        EvmRefusal::CreateInitCodeSizeLimit => InvalidTransaction::InitCodeTooLarge {
            got_bytes: asked.input_bytes,
            max_bytes: allowed.init_code_bytes_max,
        },
        EvmRefusal::Eip2930NotSupported
        | EvmRefusal::Eip1559NotSupported
        | EvmRefusal::Eip4844NotSupported
        | EvmRefusal::Eip7702NotSupported => InvalidTransaction::TypeNotSupported { kind: asked.kind },
        other => InvalidTransaction::Foreign(other.to_string()),
    }
}

/// No gas limit makes the call succeed, or it cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    /// The call could not be run at all.
    #[error(transparent)]
    Execution(#[from] Error),
    /// The contract reverts whatever the gas; `output` is what it returned (ABI-encoded reason or empty).
    #[error("execution reverted")]
    Reverted {
        /// Data of the revert.
        output: Bytes,
    },
    /// The code fails otherwise than by lack of gas.
    #[error("execution halted: {reason}")]
    Halted {
        /// What the machine says.
        reason: String,
    },
    /// It would need more than the cap, the block, or the sender's balance allow.
    #[error("gas required exceeds allowance ({allowance})")]
    AllowanceExceeded {
        /// Largest gas limit that may be tried.
        allowance: u64,
    },
    /// The balance does not even cover the value.
    #[error("insufficient funds for transfer: have {balance} want {value}")]
    InsufficientFunds {
        /// Balance of the sender in wei.
        balance: U256,
        /// Value to be sent in wei.
        value: U256,
    },
}
