//! Which contract code stands at which address from block 0 on.
//!
//! # Design
//! A genesis contract is put in place as *runtime* code over empty storage; no constructor runs. The contracts are written
//! for that (no constructor, no immutables; `build.mjs` refuses others). The addresses spell "KST" and a number, far from any
//! address that a key or a deployment can reach.

use crate::bindings::{
    audit::Audit, beacon::Beacon, bond::Bond, channel::Channel, market::Market, panels::Panels, providers::Providers,
    referee::Referee, touchstone::Touchstone,
};
use alloy_primitives::{Address, Bytes, address};

/// Address of the register of providers. Spec: specs/0004-market.md section 2.
pub const PROVIDERS_ADDRESS: Address = address!("4b53540000000000000000000000000000000001");

/// Address of the market. Spec: specs/0004-market.md section 2.
pub const MARKET_ADDRESS: Address = address!("4b53540000000000000000000000000000000002");

/// Address of the beacon. Spec: specs/0007-beacon.md section 5.
pub const BEACON_ADDRESS: Address = address!("4b53540000000000000000000000000000000003");

/// Address of the bond. Spec: specs/0008-audit.md section 2.
pub const BOND_ADDRESS: Address = address!("4b53540000000000000000000000000000000004");

/// Address of the audit; the functions of the referee and of the panels are called here too. Spec: specs/0008-audit.md section 2.
pub const AUDIT_ADDRESS: Address = address!("4b53540000000000000000000000000000000005");

/// Address of the payment channels. Spec: specs/0009-channel.md section 2.
pub const CHANNEL_ADDRESS: Address = address!("4b53540000000000000000000000000000000006");

/// Address of the touchstone. Spec: specs/0010-capability.md section 6.5.
pub const TOUCHSTONE_ADDRESS: Address = address!("4b53540000000000000000000000000000000007");

/// Address of the referee's code. Spec: specs/0008-audit.md section 2.
pub const REFEREE_ADDRESS: Address = address!("4b53540000000000000000000000000000000008");

/// Address of the panels' code. Spec: specs/0008-audit.md section 2.
pub const PANELS_ADDRESS: Address = address!("4b5354000000000000000000000000000000000a");

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
pub fn contracts() -> [Contract; 9] {
    [
        Contract { name: "Providers", address: PROVIDERS_ADDRESS, code: Providers::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Market", address: MARKET_ADDRESS, code: Market::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Beacon", address: BEACON_ADDRESS, code: Beacon::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Bond", address: BOND_ADDRESS, code: Bond::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Audit", address: AUDIT_ADDRESS, code: Audit::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Channel", address: CHANNEL_ADDRESS, code: Channel::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Touchstone", address: TOUCHSTONE_ADDRESS, code: Touchstone::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Referee", address: REFEREE_ADDRESS, code: Referee::DEPLOYED_BYTECODE.clone() },
        Contract { name: "Panels", address: PANELS_ADDRESS, code: Panels::DEPLOYED_BYTECODE.clone() },
    ]
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::{Contract, contracts};
    use alloy_primitives::{Bytes, hex};

    #[test]
    fn the_code_is_that_of_the_committed_artifacts() {
        let artifacts = [
            include_str!("../artifacts/Providers.json"),
            include_str!("../artifacts/Market.json"),
            include_str!("../artifacts/Beacon.json"),
            include_str!("../artifacts/Bond.json"),
            include_str!("../artifacts/Audit.json"),
            include_str!("../artifacts/Channel.json"),
            include_str!("../artifacts/Touchstone.json"),
            include_str!("../artifacts/Referee.json"),
            include_str!("../artifacts/Panels.json"),
        ];
        assert_eq!(artifacts.len(), contracts().len());
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
    fn the_contracts_know_each_other_by_their_addresses() {
        let [providers, market, beacon, bond, audit, channel, touchstone, referee, panels] = contracts();
        let calls = |from: &Contract, to: &Contract| {
            let needle = [&[0x73][..], to.address.as_slice()].concat(); // PUSH20
            from.code.windows(needle.len()).any(|window| window == needle)
        };
        assert!(
            calls(&providers, &bond) && calls(&market, &providers) && calls(&market, &bond) && calls(&market, &audit)
        );
        assert!(calls(&audit, &market) && calls(&audit, &bond) && calls(&audit, &referee));
        assert!(calls(&audit, &beacon));
        assert!(calls(&bond, &market) && calls(&bond, &audit));
        assert!(calls(&referee, &bond) && calls(&referee, &panels) && calls(&panels, &bond));
        assert!(calls(&touchstone, &beacon));
        assert!(calls(&channel, &audit) && calls(&audit, &channel));
    }

    #[test]
    fn referee_and_panels_lay_their_storage_out_as_the_audit_on_which_they_run() {
        let layout = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["storageLayout"].clone();
        let audit = layout(include_str!("../artifacts/Audit.json"));
        assert_eq!(audit, layout(include_str!("../artifacts/Referee.json")));
        assert_eq!(audit, layout(include_str!("../artifacts/Panels.json")));
        assert_eq!(audit["storage"].as_array().unwrap().len(), 12);
    }

    #[test]
    fn the_addresses_spell_the_currency() {
        for contract in contracts() {
            assert_eq!(contract.address[..3], *b"KST");
            assert_eq!(contract.address[3..19], [0; 16], "{}", hex::encode(contract.address));
        }
        assert!(contracts().is_sorted_by(|earlier, later| earlier.address < later.address));
    }
}
