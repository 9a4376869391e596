// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The table of transitions, exhaustively, with both edges of every deadline
/// @dev Goal: what specs/0004-market.md section 4 does not list cannot happen. Method: every status times every action.
contract MarketStatesTest is MarketFixture {
    function test_an_action_works_exactly_where_the_table_has_it() public {
        for (uint8 s = uint8(IMarket.Status.Ordered); s <= uint8(type(IMarket.Status).max); ++s) {
            for (uint8 a = 0; a <= uint8(type(Action).max); ++a) {
                _cell(IMarket.Status(s), Action(a));
            }
        }
    }

    function test_a_deadline_includes_its_own_second() public {
        uint256 edges;
        for (uint8 s = uint8(IMarket.Status.Ordered); s <= uint8(IMarket.Status.Delivered); ++s) {
            for (uint8 a = 0; a <= uint8(type(Action).max); ++a) {
                if (_next(IMarket.Status(s), Action(a)) == IMarket.Status.None) continue;
                if (_edge(IMarket.Status(s), Action(a))) ++edges;
            }
        }
        vm.assertEq(edges, 10, "lease, 2 abandon, commit, deliver, reject, settle, 3 expire");
    }

    function test_at_every_second_exactly_one_side_may_act() public {
        for (uint256 offset = CHECK_SECONDS - 2; offset <= CHECK_SECONDS + 2; ++offset) {
            uint256 orderId = _orderIn(IMarket.Status.Delivered);
            vm.warp(block.timestamp + offset);
            bool late = offset > CHECK_SECONDS;
            vm.assertEq(_works(CUSTOMER, Action.Reject, orderId), !late, "reject");
            orderId = _orderIn(IMarket.Status.Delivered);
            vm.warp(block.timestamp + offset);
            vm.assertEq(_works(STRANGER, Action.Settle, orderId), late, "settle");
        }
    }

    function test_an_acceptance_after_the_window_still_pays_the_provider() public {
        uint256 orderId = _orderIn(IMarket.Status.Delivered);
        vm.warp(block.timestamp + 365 days);
        _do(Action.Accept, orderId);
        vm.assertEq(market.credit(PROVIDER), ESCROW_WEI);
    }

    function test_cancel_and_decline_work_after_the_lease_deadline_too() public {
        uint256 orderId = _place();
        vm.warp(block.timestamp + LEASE_SECONDS + 1);
        _do(Action.Cancel, orderId);
        orderId = _place();
        vm.warp(block.timestamp + LEASE_SECONDS + 1);
        _do(Action.Decline, orderId);
        vm.assertEq(market.credit(CUSTOMER), 2 * ESCROW_WEI);
    }

    function test_both_parties_may_settle_and_expire_themselves() public {
        uint256 orderId = _orderIn(IMarket.Status.Delivered);
        vm.warp(block.timestamp + CHECK_SECONDS + 1);
        _doAs(PROVIDER, Action.Settle, orderId);
        orderId = _orderIn(IMarket.Status.Leased);
        vm.warp(block.timestamp + DELIVER_SECONDS + 1);
        _doAs(CUSTOMER, Action.Expire, orderId);
        vm.assertEq(market.credit(PROVIDER), ESCROW_WEI);
        vm.assertEq(market.credit(CUSTOMER), ESCROW_WEI);
    }

    function test_an_order_that_nobody_leased_counts_for_nobody() public {
        uint256 orderId = _place();
        vm.warp(block.timestamp + LEASE_SECONDS + 1);
        _do(Action.Expire, orderId);
        _do(Action.Decline, _place());
        _do(Action.Cancel, _place());
        vm.assertEq(_sum(market.providerRecord(PROVIDER)), 0);
        vm.assertEq(_sum(market.customerRecord(CUSTOMER)), 0);
    }

    /// @dev One cell of the table: right caller, right time. What must fail says the status; what must work moves the
    /// escrow once or not at all.
    function _cell(IMarket.Status from, Action action) private {
        uint256 orderId = _orderIn(from);
        IMarket.Status to = _next(from, action);
        uint256 paid = market.credit(PROVIDER);
        uint256 refunded = market.credit(CUSTOMER);
        if (to == IMarket.Status.None) {
            bytes memory expected = abi.encodeWithSelector(IMarket.WrongStatus.selector, orderId, from);
            _refused(_rightful(action), action, orderId, expected);
            // Time does not open what the table keeps shut.
            vm.warp(block.timestamp + 30 days);
            _refused(_rightful(action), action, orderId, expected);
            vm.assertEq(uint256(market.order(orderId).status), uint256(from));
            return;
        }
        uint256 records = _sum(market.providerRecord(PROVIDER));
        if (_isAnybodys(action)) vm.warp(_deadline(orderId, from, action) + 1);
        _do(action, orderId);
        IMarket.Order memory entry = market.order(orderId);
        bool closed = to > IMarket.Status.Delivered;
        bool pays = to == IMarket.Status.Accepted || to == IMarket.Status.Settled;
        bool counts = closed && from != IMarket.Status.Ordered;
        vm.assertEq(uint256(entry.status), uint256(to));
        vm.assertEq(entry.closedAt, closed ? block.timestamp : 0);
        vm.assertEq(market.credit(PROVIDER) - paid, closed && pays ? ESCROW_WEI : 0);
        vm.assertEq(market.credit(CUSTOMER) - refunded, closed && !pays ? ESCROW_WEI : 0);
        vm.assertEq(_sum(market.providerRecord(PROVIDER)) - records, counts ? 1 : 0);
        vm.assertEq(_sum(market.providerRecord(PROVIDER)), _sum(market.customerRecord(CUSTOMER)));
    }

    /// @return Whether a deadline binds this action at all.
    function _edge(IMarket.Status from, Action action) private returns (bool) {
        uint256 orderId = _orderIn(from);
        uint256 deadline = _deadline(orderId, from, action);
        if (deadline == 0) return false;
        bool isAfter = _isAnybodys(action);
        // The last second of the one side refuses the other.
        vm.warp(isAfter ? deadline : deadline + 1);
        bytes4 selector = isAfter ? IMarket.DeadlineNotPassed.selector : IMarket.DeadlinePassed.selector;
        _refused(
            _rightful(action), action, orderId, abi.encodeWithSelector(selector, orderId, deadline, block.timestamp)
        );
        // A second order at its own edge works.
        orderId = _orderIn(from);
        deadline = _deadline(orderId, from, action);
        vm.warp(isAfter ? deadline + 1 : deadline);
        _do(action, orderId);
        return true;
    }

    function _works(address caller, Action action, uint256 orderId) private returns (bool ok) {
        vm.prank(caller);
        (ok,) = address(market).call(_call(action, orderId));
    }

    function _sum(IMarket.Record memory r) private pure returns (uint256) {
        return uint256(r.accepted) + r.settled + r.rejected + r.expired + r.abandoned;
    }
}
