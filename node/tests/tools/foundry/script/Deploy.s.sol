// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.37;

import {Factory, Splitter} from "../src/Splitter.sol";
import {vm} from "../src/Vm.sol";

/// @title Deploys, pays and releases from two accounts
/// @notice Eight transactions: the library (by forge), two deployments (one through the CREATE2 deployer), five calls.
contract Deploy {
    bool public constant IS_SCRIPT = true;

    function run() external returns (address splitter, address factory, address made) {
        uint256 owner = vm.envUint("OWNER_KEY");
        uint256 payer = vm.envUint("PAYER_KEY");
        address[] memory payees = new address[](2);
        uint256[] memory shares = new uint256[](2);
        (payees[0], payees[1]) = (address(0xA11CE), address(0xB0B));
        (shares[0], shares[1]) = (3, 1);

        vm.startBroadcast(owner);
        Splitter first = new Splitter{value: 1 ether}(payees, shares);
        // A salt in a script goes through the deployer at 0x4e59b44847b379578588920cA78FbF26c0B4956C.
        Factory maker = new Factory{salt: "keystead"}();
        Splitter second = maker.make("one", payees, shares);
        vm.stopBroadcast();

        vm.startBroadcast(payer);
        (bool sent,) = address(first).call{value: 3 ether}("");
        require(sent && first.due(payees[0]) == 3 ether && first.due(payees[1]) == 1 ether, "shares");
        first.release(payable(payees[0]));
        (sent,) = address(second).call{value: 4 wei}("");
        require(sent && payees[0].balance == 3 ether && first.due(payees[0]) == 0, "released");
        second.release(payable(payees[1]));
        vm.stopBroadcast();
        require(payees[1].balance == 1 wei, "second");
        return (address(first), address(maker), address(second));
    }
}

/// @title Gives the owner's account code by an EIP-7702 authorization
contract Delegate {
    bool public constant IS_SCRIPT = true;

    function run() external {
        uint256 owner = vm.envUint("OWNER_KEY");
        uint256 payer = vm.envUint("PAYER_KEY");
        address splitter = vm.envAddress("SPLITTER");
        vm.startBroadcast(payer);
        vm.signAndAttachDelegation(splitter, owner);
        (bool sent,) = vm.addr(owner).call{value: 5 wei}("");
        vm.stopBroadcast();
        require(sent && vm.addr(owner).code.length == 23, "no delegation");
    }
}
