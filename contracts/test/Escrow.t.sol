// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The arithmetic of escrow and of deadlines over their whole ranges
contract EscrowFuzzTest is MarketFixture {
    function testFuzz_the_escrow_is_units_times_price_and_nothing_else(
        uint256 unitsSeed,
        uint256 priceSeed,
        uint256 wrongSeed
    ) public {
        IMarket.Terms memory terms = _fuzzedTerms(unitsSeed, priceSeed);
        uint256 escrowWei = uint256(terms.units) * uint256(terms.priceWeiPerUnit);
        uint256 wrongWei = _within(wrongSeed, 0, CUSTOMER.balance);
        if (wrongWei == escrowWei) wrongWei = escrowWei - 1;
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.EscrowMismatch.selector, wrongWei, escrowWei));
        market.placeOrder{value: wrongWei}(terms);
        vm.prank(CUSTOMER);
        market.placeOrder{value: escrowWei}(terms);
        vm.assertEq(address(market).balance, escrowWei);
    }

    function testFuzz_a_payout_is_exact_to_the_wei(uint256 unitsSeed, uint256 priceSeed, bool silent) public {
        IMarket.Terms memory terms = _fuzzedTerms(unitsSeed, priceSeed);
        uint256 escrowWei = uint256(terms.units) * terms.priceWeiPerUnit;
        uint256 before = PROVIDER.balance;
        uint256 orderId = _delivered(terms, escrowWei);
        if (silent) {
            vm.warp(block.timestamp + terms.checkSeconds + 1);
            _do(Action.Settle, orderId);
        } else {
            _do(Action.Accept, orderId);
        }
        vm.prank(PROVIDER);
        market.withdraw();
        vm.assertEq(PROVIDER.balance, before + escrowWei);
        vm.assertEq(address(market).balance, 0);
    }

    function testFuzz_a_refund_is_exact_to_the_wei(uint256 unitsSeed, uint256 priceSeed, bool rejected) public {
        IMarket.Terms memory terms = _fuzzedTerms(unitsSeed, priceSeed);
        uint256 escrowWei = uint256(terms.units) * terms.priceWeiPerUnit;
        uint256 before = CUSTOMER.balance;
        if (rejected) {
            _do(Action.Reject, _delivered(terms, escrowWei));
        } else {
            vm.prank(CUSTOMER);
            uint256 orderId = market.placeOrder{value: escrowWei}(terms);
            vm.warp(block.timestamp + terms.leaseSeconds + 1);
            _do(Action.Expire, orderId);
        }
        vm.prank(CUSTOMER);
        market.withdraw();
        vm.assertEq(CUSTOMER.balance, before);
        vm.assertEq(address(market).balance, 0);
    }

    function testFuzz_deadlines_are_sums_of_seconds(
        uint32 leaseSeed,
        uint32 deliverSeed,
        uint32 checkSeed,
        uint32 startSeed
    ) public {
        IMarket.Terms memory terms = _terms();
        terms.leaseSeconds = uint32(_within(leaseSeed, 1, market.LEASE_SECONDS_MAX()));
        terms.deliverSeconds = uint32(_within(deliverSeed, 1, market.DELIVER_SECONDS_MAX()));
        terms.checkSeconds = uint32(_within(checkSeed, 1, market.CHECK_SECONDS_MAX()));
        uint256 orderedAt = START + startSeed;
        vm.warp(orderedAt);
        vm.prank(CUSTOMER);
        uint256 orderId = market.placeOrder{value: ESCROW_WEI}(terms);
        uint256 leasedAt = orderedAt + terms.leaseSeconds;
        vm.warp(leasedAt);
        _do(Action.Lease, orderId);
        uint256 deliveredAt = leasedAt + terms.deliverSeconds;
        vm.warp(deliveredAt);
        _do(Action.Commit, orderId);
        _do(Action.Deliver, orderId);
        IMarket.Deadlines memory d = market.deadlines(orderId);
        vm.assertEq(d.leaseBy, leasedAt);
        vm.assertEq(d.deliverBy, deliveredAt);
        vm.assertEq(d.checkBy, deliveredAt + terms.checkSeconds);
        vm.warp(d.checkBy);
        _do(Action.Reject, orderId);
        vm.assertEq(market.order(orderId).closedAt, d.checkBy);
    }

    function _fuzzedTerms(uint256 unitsSeed, uint256 priceSeed) private view returns (IMarket.Terms memory terms) {
        terms = _terms();
        terms.units = uint32(_within(unitsSeed, 1, market.UNITS_MAX()));
        terms.priceWeiPerUnit = uint128(_within(priceSeed, LISTED_WEI, providers.PRICE_WEI_PER_UNIT_MAX()));
    }

    function _delivered(IMarket.Terms memory terms, uint256 escrowWei) private returns (uint256 orderId) {
        vm.prank(CUSTOMER);
        orderId = market.placeOrder{value: escrowWei}(terms);
        _do(Action.Lease, orderId);
        _do(Action.Commit, orderId);
        _do(Action.Deliver, orderId);
    }
}
