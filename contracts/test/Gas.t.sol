// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The gas of every call, as whole transactions
/// @dev Runs under the profile `gas` alone, which compares with `snapshots/`. "first" means that it writes storage that
/// was zero before: a first credit, a first count.
contract GasTest is MarketFixture {
    function test_gas_of_an_orders_life() public {
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? " (first)" : "";
            vm.prank(CUSTOMER);
            uint256 orderId = market.placeOrder{value: ESCROW_WEI}(_terms());
            _note(string.concat("placeOrder", suffix));
            _measure(Action.Lease, orderId, "lease", suffix);
            _measure(Action.Commit, orderId, "commit", suffix);
            _measure(Action.Deliver, orderId, "deliver", suffix);
            _measure(Action.Accept, orderId, "accept", suffix);
            vm.prank(PROVIDER);
            market.withdraw();
            _note(string.concat("withdraw", suffix));
        }
    }

    function test_gas_of_the_other_ends() public {
        // Every counter and credit is warm before the measured round.
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? " (first)" : "";
            _measure(Action.Decline, _orderIn(IMarket.Status.Ordered), "decline", suffix);
            _measure(Action.Cancel, _orderIn(IMarket.Status.Ordered), "cancel", suffix);
            _measure(Action.Abandon, _orderIn(IMarket.Status.Leased), "abandon", suffix);
            _measure(Action.Reject, _orderIn(IMarket.Status.Delivered), "reject", suffix);
            uint256 orderId = _orderIn(IMarket.Status.Delivered);
            vm.warp(block.timestamp + CHECK_SECONDS + 1);
            _measure(Action.Settle, orderId, "settle", suffix);
            orderId = _orderIn(IMarket.Status.Leased);
            vm.warp(block.timestamp + DELIVER_SECONDS + 1);
            _measure(Action.Expire, orderId, "expire", suffix);
        }
    }

    function test_gas_of_the_register() public {
        vm.prank(STRANGER);
        providers.register(_offer());
        _noteRegister("register");
        vm.prank(PROVIDER);
        providers.update(_offer());
        _noteRegister("update");
        vm.prank(PROVIDER);
        providers.pause();
        _noteRegister("pause");
        vm.prank(PROVIDER);
        providers.resume();
        _noteRegister("resume");
        vm.prank(PROVIDER);
        providers.addStake{value: 2 ether}();
        _noteRegister("addStake (first)");
        vm.prank(PROVIDER);
        providers.requestUnstake(1 ether);
        _noteRegister("requestUnstake (first)");
        vm.warp(block.timestamp + providers.UNSTAKE_DELAY_SECONDS());
        vm.prank(PROVIDER);
        providers.unstake();
        _noteRegister("unstake");
    }

    function _measure(Action action, uint256 orderId, string memory name, string memory suffix) private {
        _do(action, orderId);
        _note(string.concat(name, suffix));
    }

    function _note(string memory name) private {
        vm.snapshotGasLastCall("Market", name);
    }

    function _noteRegister(string memory name) private {
        vm.snapshotGasLastCall("Providers", name);
    }
}
