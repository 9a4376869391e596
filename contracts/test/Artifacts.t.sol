// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Audit} from "../src/Audit.sol";
import {Beacon} from "../src/Beacon.sol";
import {Bond} from "../src/Bond.sol";
import {Channel} from "../src/Channel.sol";
import {Market} from "../src/Market.sol";
import {Panels} from "../src/Panels.sol";
import {Providers} from "../src/Providers.sol";
import {Referee} from "../src/Referee.sol";
import {Touchstone} from "../src/Touchstone.sol";
import {Test} from "./Test.sol";

/// @title What these tests ran is what genesis deploys
/// @dev The committed artifacts come from build.mjs, the code here from forge: same compiler, two ways to call it.
contract ArtifactsTest is Test {
    function test_the_committed_code_is_the_tested_code() public view {
        _same("artifacts/Providers.json", type(Providers).runtimeCode, type(Providers).creationCode);
        _same("artifacts/Market.json", type(Market).runtimeCode, type(Market).creationCode);
        _same("artifacts/Beacon.json", type(Beacon).runtimeCode, type(Beacon).creationCode);
        _same("artifacts/Bond.json", type(Bond).runtimeCode, type(Bond).creationCode);
        _same("artifacts/Audit.json", type(Audit).runtimeCode, type(Audit).creationCode);
        _same("artifacts/Channel.json", type(Channel).runtimeCode, type(Channel).creationCode);
        _same("artifacts/Referee.json", type(Referee).runtimeCode, type(Referee).creationCode);
        _same("artifacts/Touchstone.json", type(Touchstone).runtimeCode, type(Touchstone).creationCode);
        _same("artifacts/Panels.json", type(Panels).runtimeCode, type(Panels).creationCode);
    }

    function _same(string memory path, bytes memory runtime, bytes memory creation) private view {
        string memory json = vm.readFile(path);
        vm.assertTrue(runtime.length > 1000, "there is code");
        vm.assertEq(keccak256(vm.parseJsonBytes(json, ".deployedBytecode")), keccak256(runtime));
        vm.assertEq(keccak256(vm.parseJsonBytes(json, ".bytecode")), keccak256(creation));
    }
}
