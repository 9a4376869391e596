// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BEACON_ADDRESS} from "../src/Genesis.sol";
import {Touchstone} from "../src/Touchstone.sol";
import {MockBeacon} from "./MockBeacon.sol";
import {Test} from "./Test.sol";

/// @title What a proof of hardware costs on the chain, a device
/// @dev Run with the profile `gas`: each call is then its own transaction.
contract TouchstoneGasTest is Test {
    function test_gas_of_a_proof() public {
        Touchstone touchstone = new Touchstone();
        vm.etch(BEACON_ADDRESS, type(MockBeacon).runtimeCode);
        vm.roll(1_000_000);
        touchstone.recordRoot(keccak256("challenge"), keccak256("root"));
        vm.snapshotGasLastCall("Touchstone", "recordRoot");
        vm.roll(1_000_002);
        touchstone.recordVectors(keccak256("challenge"), keccak256("vectors"));
        vm.snapshotGasLastCall("Touchstone", "recordVectors");
    }
}
