// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IMarket} from "../src/IMarket.sol";
import {AuditFixture} from "./AuditFixture.sol";

/// @title Orders that were stopped, and what audited orders do in the market
contract StopTest is AuditFixture {
    function test_a_stopped_order_pays_what_was_done_and_refunds_the_rest() public {
        uint256 orderId = _orderIn(IMarket.Status.Leased);
        vm.prank(CUSTOMER);
        market.stop(orderId);
        vm.assertEq(market.deadlines(orderId).deliverBy, block.timestamp + 120);
        vm.warp(block.timestamp + 120);
        vm.prank(PROVIDER);
        market.commitPartial(orderId, COMMITMENT, 5);
        // As much again to deliver.
        vm.warp(block.timestamp + 120);
        _do(Action.Deliver, orderId);
        _do(Action.Accept, orderId);
        vm.assertEq(market.credit(PROVIDER), 5 * uint256(PRICE_WEI));
        vm.assertEq(market.credit(CUSTOMER), uint256(UNITS - 5) * PRICE_WEI);
        vm.assertEq(market.order(orderId).paidUnits, 5);
        vm.assertEq(market.order(orderId).doneUnits, 5);
        vm.assertEq(market.providerRecord(PROVIDER).accepted, 1);
    }

    function test_a_provider_has_120_seconds_after_a_stop_and_not_one_more() public {
        uint256 orderId = _orderIn(IMarket.Status.Leased);
        vm.prank(CUSTOMER);
        market.stop(orderId);
        uint256 deliverBy = block.timestamp + 120;
        vm.warp(deliverBy);
        vm.expectRevert(abi.encodeWithSelector(IMarket.DeadlineNotPassed.selector, orderId, deliverBy, block.timestamp));
        market.expire(orderId);
        vm.warp(deliverBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IMarket.DeadlinePassed.selector, orderId, deliverBy, block.timestamp));
        vm.prank(PROVIDER);
        market.commitPartial(orderId, COMMITMENT, 5);
        _do(Action.Expire, orderId);
        vm.assertEq(market.credit(CUSTOMER), ESCROW_WEI);
    }

    function test_a_stop_never_gives_more_time() public {
        uint256 orderId = _orderIn(IMarket.Status.Leased);
        uint256 deliverBy = market.deadlines(orderId).deliverBy;
        vm.warp(deliverBy - 10);
        vm.prank(CUSTOMER);
        market.stop(orderId);
        vm.assertEq(market.deadlines(orderId).deliverBy, deliverBy);
    }

    function test_only_the_customer_stops_once_and_only_what_is_leased() public {
        uint256 orderId = _orderIn(IMarket.Status.Leased);
        vm.expectRevert(abi.encodeWithSelector(IMarket.NotCustomer.selector, orderId, PROVIDER));
        vm.prank(PROVIDER);
        market.stop(orderId);
        vm.expectRevert(abi.encodeWithSelector(IMarket.StopUnchanged.selector, orderId, false));
        vm.prank(PROVIDER);
        market.commitPartial(orderId, COMMITMENT, 1);
        vm.prank(CUSTOMER);
        market.stop(orderId);
        vm.expectRevert(abi.encodeWithSelector(IMarket.StopUnchanged.selector, orderId, true));
        vm.prank(CUSTOMER);
        market.stop(orderId);
        for (uint8 s = uint8(IMarket.Status.Ordered); s <= uint8(IMarket.Status.Abandoned); ++s) {
            if (s == uint8(IMarket.Status.Leased)) continue;
            uint256 other = _orderIn(IMarket.Status(s));
            vm.expectRevert(abi.encodeWithSelector(IMarket.WrongStatus.selector, other, IMarket.Status(s)));
            vm.prank(CUSTOMER);
            market.stop(other);
        }
    }

    function test_a_part_is_one_unit_at_least_and_all_at_most() public {
        uint256 orderId = _orderIn(IMarket.Status.Leased);
        vm.prank(CUSTOMER);
        market.stop(orderId);
        uint32[2] memory wrong = [uint32(0), UNITS + 1];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IMarket.UnitsOutOfRange.selector, wrong[i], 1, UNITS));
            vm.prank(PROVIDER);
            market.commitPartial(orderId, COMMITMENT, wrong[i]);
        }
        vm.prank(PROVIDER);
        market.commitPartial(orderId, COMMITMENT, UNITS);
        _do(Action.Deliver, orderId);
        _do(Action.Accept, orderId);
        vm.assertEq(market.credit(PROVIDER), ESCROW_WEI);
        vm.assertEq(market.credit(CUSTOMER), 0);
    }

    function test_a_stopped_audited_order_is_audited_over_its_part() public {
        Job memory job = _leased(_bonded(), 3, 3, 0);
        vm.prank(CUSTOMER);
        market.stop(job.orderId);
        // The tree of the part has two leaves.
        bytes32 root = keccak256(abi.encodePacked(uint8(1), job.leaves[0], job.leaves[1]));
        vm.prank(PROVIDER);
        market.commitPartial(job.orderId, root, 2);
        _do(Action.Deliver, job.orderId);
        _draw(job);
        vm.assertEq(audit.windowOf(job.id).units, 2);
        job.units = 2;
        bytes32[] memory leaves = new bytes32[](2);
        (leaves[0], leaves[1]) = (job.leaves[0], job.leaves[1]);
        job.leaves = leaves;
        _round(job, 1, 0, _right(1, 0));
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
        vm.assertEq(market.credit(CUSTOMER), PRICE_WEI);
    }

    function test_refused_pay() public {
        // A customer of an audited order cannot refuse a result: whether it is wrong says the audit.
        Job memory job = _honest(_bonded(), 2);
        IMarket.Reason[4] memory reasons = [
            IMarket.Reason.WrongResult,
            IMarket.Reason.CommitmentMismatch,
            IMarket.Reason.Malformed,
            IMarket.Reason.Other
        ];
        for (uint256 i = 0; i < reasons.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IMarket.ReasonRefused.selector, job.orderId, reasons[i]));
            vm.prank(CUSTOMER);
            market.reject(job.orderId, reasons[i], EVIDENCE);
        }
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
        // That nothing arrived nobody can prove or disprove: it refunds, and is counted for both.
        job = _honest(_bonded(), 2);
        vm.prank(CUSTOMER);
        market.reject(job.orderId, IMarket.Reason.NotReceived, EVIDENCE);
        vm.assertEq(market.customerRecord(CUSTOMER).rejected, 1);
    }

    function test_pay_waits_for_the_window() public {
        Job memory job = _honest(_bonded(), 2);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WindowOpen.selector, job.orderId, job.id));
        vm.prank(CUSTOMER);
        market.accept(job.orderId);
        vm.warp(block.timestamp + CHECK_SECONDS + 1);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WindowOpen.selector, job.orderId, job.id));
        market.settle(job.orderId);
        vm.warp(block.timestamp + 1000);
        audit.close(job.id);
        vm.prank(CUSTOMER);
        market.accept(job.orderId);
        vm.assertEq(uint256(market.order(job.orderId).status), uint256(IMarket.Status.Audited));
        vm.assertEq(market.providerRecord(PROVIDER).accepted, 1);
    }

    function test_an_order_that_ends_before_its_commitment_gives_deposit_and_bond_back() public {
        uint256 free = bond.accountOf(PROVIDER).freeWei;
        uint256 before = CUSTOMER.balance;
        Job memory job = _leased(_bonded(), 3, 3, 0);
        vm.assertEq(bond.accountOf(PROVIDER).lockedWei, BOND_WEI);
        _do(Action.Abandon, job.orderId);
        vm.assertEq(bond.accountOf(PROVIDER).lockedWei, 0);
        vm.assertEq(bond.accountOf(PROVIDER).freeWei, free);
        uint256 orderId = _placeAudited(_bonded());
        _do(Action.Cancel, orderId);
        vm.prank(CUSTOMER);
        market.withdraw();
        vm.assertEq(CUSTOMER.balance, before);
    }

    function test_a_lease_without_bond_is_refused() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.bondWei = 1e30;
        uint256 orderId = _placeAudited(terms);
        (bool ok,) = address(market).call(abi.encodeCall(IMarket.lease, (orderId)));
        vm.assertTrue(!ok, "a stranger");
        uint256 freeWei = bond.accountOf(PROVIDER).freeWei;
        vm.expectRevert(abi.encodeWithSignature("FreeTooSmall(address,uint256,uint256)", PROVIDER, freeWei, 1e30));
        vm.prank(PROVIDER);
        market.lease(orderId);
    }

    function test_dust_orders() public {
        // A price of one wei gives a fee of one wei; of less than a wei's part none. Nothing divides by it.
        IMarket.Terms memory order = _terms();
        order.priceWeiPerUnit = LISTED_WEI;
        order.units = 1;
        IAuditTypes.Terms memory terms = _auditTerms();
        uint256 depositWei = audit.depositWei(PROVIDER, 1, LISTED_WEI, terms);
        // Two checks for the one drawn unit, and forty.
        vm.assertEq(depositWei, 42 * uint256(LISTED_WEI));
        vm.expectRevert(abi.encodeWithSelector(IMarket.EscrowMismatch.selector, LISTED_WEI, LISTED_WEI + depositWei));
        vm.prank(CUSTOMER);
        market.placeAudited{value: LISTED_WEI}(order, terms);
        order.units = 65_537;
        depositWei = audit.depositWei(PROVIDER, 65_537, LISTED_WEI, terms);
        vm.expectRevert(abi.encodeWithSelector(IMarket.UnitsOutOfRange.selector, 65_537, 1, 65_536));
        vm.prank(CUSTOMER);
        market.placeAudited{value: depositWei + 65_537 * uint256(LISTED_WEI)}(order, terms);
    }

    function test_order_floods() public {
        // A provider is bound to nothing by orders that it did not lease: no bond is locked, and all are refunded.
        uint256 free = bond.accountOf(PROVIDER).freeWei;
        for (uint256 i = 0; i < 20; ++i) {
            _placeAudited(_bonded());
        }
        vm.assertEq(bond.accountOf(PROVIDER).freeWei, free);
        vm.warp(block.timestamp + LEASE_SECONDS + 1);
        for (uint256 i = 1; i <= 20; ++i) {
            _do(Action.Expire, i);
        }
        vm.assertEq(market.credit(CUSTOMER), address(market).balance);
    }

    function test_wrong_input_hash() public {
        // Checkers cannot run what they got: inconclusive, nobody is slashed, and the provider is paid.
        Job memory job = _honest(_bonded(), 2);
        uint256 before = _bondOf(PROVIDER);
        (,, address checker) = _duty(job, 0, 0, 0);
        uint16 mask = _commitAll(job, 0, 0, 4, 0);
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, mask, 4, 0);
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
        vm.assertEq(_bondOf(PROVIDER), before);
        vm.assertEq(_bondOf(checker), SEAT_WEI);
        vm.assertEq(audit.credit(checker), FEE_WEI);
    }
}
