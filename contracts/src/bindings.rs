//! Calls, events and errors of the contracts, generated from the committed ABI.
//!
//! # Design
//! One module per contract, because two ABIs may name the same structure. In each, the contract's own module (`Market`) holds
//! `…Call`, events, errors and the `…Calls`, `…Events`, `…Errors` enums; structures of the interface are beside it
//! (`IMarket::Terms`). Enumerations appear as `u8`; [`crate::storage::Status`] and [`crate::storage::Reason`] name the values.
//! `BYTECODE` is the creation code, `DEPLOYED_BYTECODE` the runtime code.
// Generated items carry the ABI as their documentation.
#![allow(missing_docs, missing_debug_implementations, clippy::too_many_arguments)]

/// The register of providers. See `contracts/src/IProviders.sol`.
pub mod providers {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Providers,
        "artifacts/Providers.json"
    }
}

/// The market. See `contracts/src/IMarket.sol`.
pub mod market {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Market,
        "artifacts/Market.json"
    }
}

/// The beacon. See `contracts/src/IBeacon.sol`.
pub mod beacon {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Beacon,
        "artifacts/Beacon.json"
    }
}

/// The bond of providers and checkers. See `contracts/src/IBond.sol`.
pub mod bond {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Bond,
        "artifacts/Bond.json"
    }
}

/// The audit. See `contracts/src/IAudit.sol`.
pub mod audit {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Audit,
        "artifacts/Audit.json"
    }
}

/// The referee: the rest of the audit, called at the audit's address. See `contracts/src/IReferee.sol`.
pub mod referee {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Referee,
        "artifacts/Referee.json"
    }
}

/// The panels of referees: the rest of the referee, called at the audit's address. See `contracts/src/IPanels.sol`.
pub mod panels {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Panels,
        "artifacts/Panels.json"
    }
}

/// Payment channels. See `contracts/src/IChannel.sol`.
pub mod channel {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Channel,
        "artifacts/Channel.json"
    }
}

/// When a machine answered a challenge. See `contracts/src/ITouchstone.sol`.
pub mod touchstone {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Touchstone,
        "artifacts/Touchstone.json"
    }
}

/// A stored number, for end-to-end tests. See `contracts/test/fixtures/Counter.sol`.
pub mod counter {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        Counter,
        "artifacts/Counter.json"
    }
}

/// OpenZeppelin's ERC-20, for benchmarks. See `contracts/test/fixtures/BenchToken.sol`.
pub mod bench_token {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        BenchToken,
        "artifacts/BenchToken.json"
    }
}

/// An ERC-20 that keeps a fee once it is told to, for end-to-end tests. See `contracts/test/fixtures/FeeToken.sol`.
pub mod fee_token {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        FeeToken,
        "artifacts/FeeToken.json"
    }
}

/// What is asked of an ERC-20 that somebody else wrote: the part of EIP-20 and EIP-6093 that orders and channels in a token, and statements, use. `approve`
/// has no result here, since tokens differ in what they answer: `allowance` says what it did.
pub mod erc20 {
    alloy_sol_types::sol! {
        #[sol(all_derives)]
        interface Erc20 {
            function symbol() external view returns (string symbol);
            function decimals() external view returns (uint8 decimals);
            function balanceOf(address account) external view returns (uint256 balance);
            function allowance(address owner, address spender) external view returns (uint256 left);
            function approve(address spender, uint256 amount) external;

            event Transfer(address indexed from, address indexed to, uint256 value);

            error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
            error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
            error SafeERC20FailedOperation(address token);
            error TransferInexact(address token, uint256 balanceBefore, uint256 balanceAfter, uint256 amount);
        }
    }
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::{
        beacon::Beacon,
        bench_token::BenchToken,
        channel::Channel,
        counter::Counter,
        erc20::Erc20,
        market::{IMarket, Market},
        providers::Providers,
    };
    use alloy_primitives::{Address, B256, U256, keccak256};
    use alloy_sol_types::{SolCall, SolConstructor, SolError, SolEvent, SolInterface};

    #[test]
    fn an_order_call_survives_encoding() {
        let call = Market::placeOrderCall {
            terms: IMarket::Terms {
                provider: Address::repeat_byte(0xbe),
                jobHash: B256::repeat_byte(7),
                units: 64,
                priceWeiPerUnit: 7_000_000_000,
                leaseSeconds: 30,
                deliverSeconds: 600,
                checkSeconds: 60,
            },
        };
        let bytes = call.abi_encode();
        assert_eq!(bytes.len(), 4 + 7 * 32);
        assert_eq!(Market::MarketCalls::abi_decode(&bytes).unwrap(), Market::MarketCalls::placeOrder(call));
    }

    #[test]
    fn selectors_are_those_of_the_written_signatures() {
        let terms = "(address,bytes32,uint32,uint128,uint32,uint32,uint32)";
        assert_eq!(Market::placeOrderCall::SELECTOR, keccak256(format!("placeOrder({terms})"))[..4]);
        assert_eq!(Market::rejectCall::SELECTOR, keccak256("reject(uint256,uint8,bytes32)")[..4]);
        assert_eq!(Providers::registerCall::SELECTOR, keccak256("register((bytes32,bytes32,uint128,string))")[..4]);
        assert_eq!(Market::OrderDelivered::SIGNATURE_HASH, keccak256("OrderDelivered(uint256,bytes32,uint40)"));
        let voucher = "(bytes32,uint64,uint32,uint128,uint128,bytes32,bytes32)";
        assert_eq!(Channel::claimCall::SELECTOR, keccak256(format!("claim({voucher},bytes,(uint32,bytes32)[])"))[..4]);
        assert_eq!(Channel::Claimed::SIGNATURE_HASH, keccak256("Claimed(bytes32,uint64,uint128)"));
        assert_eq!(Beacon::recordCall::SELECTOR, keccak256("record(uint256,bytes32[])")[..4]);
        assert_eq!(Counter::Changed::SIGNATURE_HASH, keccak256("Changed(address,uint256)"));
        assert_eq!(BenchToken::transferCall::SELECTOR, keccak256("transfer(address,uint256)")[..4]);
        let inexact = "TransferInexact(address,uint256,uint256,uint256)";
        assert_eq!(Erc20::TransferInexact::SELECTOR, keccak256(inexact)[..4]);
    }

    /// OpenZeppelin's token answers the calls that are made to a stranger's.
    #[test]
    fn the_calls_to_any_token_are_those_of_a_real_one() {
        assert_eq!(Erc20::approveCall::SELECTOR, BenchToken::approveCall::SELECTOR);
        assert_eq!(Erc20::allowanceCall::SELECTOR, BenchToken::allowanceCall::SELECTOR);
        assert_eq!(Erc20::balanceOfCall::SELECTOR, BenchToken::balanceOfCall::SELECTOR);
        assert_eq!(Erc20::symbolCall::SELECTOR, BenchToken::symbolCall::SELECTOR);
        assert_eq!(Erc20::decimalsCall::SELECTOR, BenchToken::decimalsCall::SELECTOR);
        assert_eq!(Erc20::ERC20InsufficientBalance::SELECTOR, BenchToken::ERC20InsufficientBalance::SELECTOR);
        assert_eq!(Erc20::ERC20InsufficientAllowance::SELECTOR, BenchToken::ERC20InsufficientAllowance::SELECTOR);
    }

    #[test]
    fn a_deployment_is_creation_code_and_arguments() {
        let arguments = Counter::constructorCall { initial: U256::from(41) }.abi_encode();
        assert_eq!(arguments, U256::from(41).to_be_bytes::<32>());
        // Creation code carries the runtime code that it returns.
        let (creation, runtime) = (&Counter::BYTECODE, &Counter::DEPLOYED_BYTECODE);
        assert!(creation.windows(runtime.len()).any(|window| window == runtime.as_ref()));
        assert!(BenchToken::BYTECODE.len() > BenchToken::DEPLOYED_BYTECODE.len());
    }

    #[test]
    fn revert_data_becomes_a_named_error() {
        let error =
            Market::DeadlinePassed { orderId: U256::from(3), deadline: U256::from(40), timestamp: U256::from(42) };
        let decoded = Market::MarketErrors::abi_decode(&error.abi_encode()).unwrap();
        assert_eq!(decoded, Market::MarketErrors::DeadlinePassed(error));
        assert!(Market::MarketErrors::abi_decode(&[1, 2, 3, 4]).is_err());
    }
}
