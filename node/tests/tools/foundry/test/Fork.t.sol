// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.37;

import {Splitter} from "../src/Splitter.sol";
import {vm} from "../src/Vm.sol";

/// @title What the script left behind, seen through a fork of the network at two heights
contract ForkTest {
    bool public constant IS_TEST = true;

    function test_the_fork_has_the_state_of_each_height() external {
        Splitter splitter = Splitter(payable(vm.envAddress("SPLITTER")));
        uint256 height = vm.envUint("HEIGHT");
        vm.createSelectFork(vm.envString("URL"), height);
        require(block.number == height && block.chainid == vm.envUint("CHAIN"), "context");
        require(splitter.given() == 3 ether && address(splitter).balance == 1 ether, "state at the end");
        vm.prank(address(0xB0B));
        splitter.release(payable(address(0xB0B)));
        require(address(splitter).balance == 0 && address(0xB0B).balance == 1 ether + 1 wei, "calls change the fork");
        vm.rollFork(1);
        require(address(splitter).code.length == 0, "there was nothing at block 1");
    }
}
