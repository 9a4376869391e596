//! Which contract code stands at which address from block 0 on.
//!
//! # Design
//! A genesis contract is put in place as *runtime* code over empty storage; no constructor runs. The contracts are written
//! for that (no constructor, no immutables; `build.mjs` refuses others). The addresses spell "KST" and a number, far from any
//! address that a key or a deployment can reach.

use crate::bindings::{beacon::Beacon, market::Market, providers::Providers};
use alloy_primitives::{Address, Bytes, address};

/// Address of the register of providers. Spec: specs/0004-market.md section 2.
pub const PROVIDERS_ADDRESS: Address = address!("4b53540000000000000000000000000000000001");

/// Address of the market. Spec: specs/0004-market.md section 2.
pub const MARKET_ADDRESS: Address = address!("4b53540000000000000000000000000000000002");

/// Address of the beacon. Spec: specs/0007-beacon.md section 5.
pub const BEACON_ADDRESS: Address = address!("4b53540000000000000000000000000000000003");

/// One contract of the genesis state: account nonce 1 (EIP-161), no balance, no storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Name as in the sources.
    pub name: &'static str,
    /// Where it stands.
    pub address: Address,
    /// Its runtime code; static, so a clone costs nothing.
    pub code: Bytes,
}

/// The contracts of the genesis state, in order of their addresses.
#[must_use]
pub fn contracts() -> [Contract; 3] {
    [
        Contract { name: "Providers", address: PROVIDERS_ADDRESS, code: Providers::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Market", address: MARKET_ADDRESS, code: Market::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Beacon", address: BEACON_ADDRESS, code: Beacon::DEPLOYED_BYTECODE.clone() },
    ]
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::contracts;
    use alloy_primitives::{Bytes, hex};

    #[test]
    fn the_code_is_that_of_the_committed_artifacts() {
        let artifacts = [
            include_str!("../artifacts/Providers.json"),
            include_str!("../artifacts/Market.json"),
            include_str!("../artifacts/Beacon.json"),
        ];
        for (contract, text) in contracts().iter().zip(artifacts) {
            let artifact: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(artifact["contractName"], contract.name);
            let code = artifact["deployedBytecode"].as_str().unwrap().parse::<Bytes>().unwrap();
            assert_eq!(contract.code, code);
            // EIP-170 and EIP-3541.
            assert!(!code.is_empty() && code.len() <= 24_576 && code[0] != 0xef);
        }
    }

    #[test]
    fn the_market_knows_the_register_by_its_address() {
        let [providers, market, _] = contracts();
        let needle = [&[0x73][..], providers.address.as_slice()].concat(); // PUSH20
        assert!(market.code.windows(needle.len()).any(|window| window == needle));
    }

    #[test]
    fn the_addresses_spell_the_currency() {
        for (index, contract) in contracts().iter().enumerate() {
            assert_eq!(contract.address[..3], *b"KST");
            assert_eq!(usize::from(contract.address[19]), index + 1, "{}", hex::encode(contract.address));
        }
    }
}
