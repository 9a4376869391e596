// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {IProviders} from "../src/IProviders.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title Placing orders, and what each action changes
contract MarketTest is MarketFixture {
    function test_an_order_is_stored_as_placed() public {
        uint256 orderId = _place();
        IMarket.Order memory entry = market.order(orderId);
        vm.assertEq(orderId, 1);
        vm.assertEq(market.orderCount(), 1);
        vm.assertEq(uint256(entry.status), uint256(IMarket.Status.Ordered));
        vm.assertEq(uint256(entry.reason), uint256(IMarket.Reason.None));
        vm.assertEq(entry.orderedAt, START);
        vm.assertEq(uint256(entry.leasedAt) + entry.committedAt + entry.deliveredAt + entry.closedAt, 0);
        vm.assertEq(entry.units, UNITS);
        vm.assertEq(entry.priceWeiPerUnit, PRICE_WEI);
        vm.assertEq(entry.leaseSeconds, LEASE_SECONDS);
        vm.assertEq(entry.deliverSeconds, DELIVER_SECONDS);
        vm.assertEq(entry.checkSeconds, CHECK_SECONDS);
        vm.assertEq(entry.jobHash, JOB_HASH);
        vm.assertEq(entry.commitment | entry.resultRoot | entry.evidenceHash, bytes32(0));
        vm.assertEq(entry.customer, CUSTOMER);
        vm.assertEq(entry.provider, PROVIDER);
        vm.assertEq(address(market).balance, ESCROW_WEI);
    }

    function test_an_order_tells_what_was_agreed() public {
        vm.expectEmit(address(market));
        emit IMarket.OrderPlaced(
            1,
            CUSTOMER,
            PROVIDER,
            JOB_HASH,
            UNITS,
            PRICE_WEI,
            uint40(START + LEASE_SECONDS),
            DELIVER_SECONDS,
            CHECK_SECONDS
        );
        _place();
    }

    function test_orders_are_numbered_from_one_without_gaps() public {
        vm.assertEq(_place(), 1);
        vm.assertEq(_place(), 2);
        vm.assertEq(_place(), 3);
        vm.assertEq(market.orderCount(), 3);
    }

    function test_an_unknown_order_is_refused_by_every_action_and_view() public {
        _place();
        uint256[3] memory unknown = [uint256(0), 2, type(uint256).max];
        for (uint256 i = 0; i < unknown.length; ++i) {
            bytes memory expected = abi.encodeWithSelector(IMarket.OrderUnknown.selector, unknown[i]);
            for (uint8 a = 0; a <= uint8(type(Action).max); ++a) {
                _refused(_rightful(Action(a)), Action(a), unknown[i], expected);
            }
            vm.expectRevert(expected);
            market.order(unknown[i]);
            vm.expectRevert(expected);
            market.deadlines(unknown[i]);
        }
    }

    function test_an_order_needs_a_job_hash() public {
        IMarket.Terms memory terms = _terms();
        terms.jobHash = 0;
        _placeRefused(terms, ESCROW_WEI, abi.encodeWithSelector(IMarket.JobHashZero.selector, CUSTOMER));
    }

    function test_units_are_bounded_on_both_sides() public {
        IMarket.Terms memory terms = _terms();
        uint32 max = market.UNITS_MAX();
        terms.units = 0;
        _placeRefused(terms, 0, abi.encodeWithSelector(IMarket.UnitsOutOfRange.selector, 0, 1, max));
        terms.units = max + 1;
        uint256 escrowWei = uint256(terms.units) * PRICE_WEI;
        _placeRefused(terms, escrowWei, abi.encodeWithSelector(IMarket.UnitsOutOfRange.selector, terms.units, 1, max));
        terms.units = 1;
        _placeAccepted(terms);
        terms.units = max;
        _placeAccepted(terms);
    }

    function test_the_price_is_at_least_the_listed_one() public {
        IMarket.Terms memory terms = _terms();
        terms.priceWeiPerUnit = LISTED_WEI - 1;
        _placeRefused(
            terms,
            uint256(UNITS) * terms.priceWeiPerUnit,
            abi.encodeWithSelector(IMarket.PriceOutOfRange.selector, LISTED_WEI - 1, LISTED_WEI, 1e24)
        );
        terms.priceWeiPerUnit = LISTED_WEI;
        _placeAccepted(terms);
    }

    function test_the_price_is_at_most_the_highest_one() public {
        IMarket.Terms memory terms = _terms();
        uint128 max = providers.PRICE_WEI_PER_UNIT_MAX();
        terms.priceWeiPerUnit = max + 1;
        _placeRefused(
            terms,
            uint256(UNITS) * terms.priceWeiPerUnit,
            abi.encodeWithSelector(IMarket.PriceOutOfRange.selector, uint256(max) + 1, LISTED_WEI, max)
        );
        terms.priceWeiPerUnit = max;
        terms.units = market.UNITS_MAX();
        _placeAccepted(terms);
    }

    function test_every_duration_is_bounded_on_both_sides() public {
        uint32[3] memory maxima = [market.LEASE_SECONDS_MAX(), market.DELIVER_SECONDS_MAX(), market.CHECK_SECONDS_MAX()];
        for (uint256 p = 0; p < 3; ++p) {
            uint32 max = maxima[p];
            uint32[2] memory outside = [0, max + 1];
            for (uint256 i = 0; i < 2; ++i) {
                _placeRefused(
                    _withDuration(p, outside[i]),
                    ESCROW_WEI,
                    abi.encodeWithSelector(IMarket.DurationOutOfRange.selector, IMarket.Phase(p), outside[i], 1, max)
                );
            }
            _placeAccepted(_withDuration(p, 1));
            _placeAccepted(_withDuration(p, max));
        }
    }

    function test_the_escrow_is_exact_to_the_wei() public {
        uint256[4] memory wrong = [0, ESCROW_WEI - 1, ESCROW_WEI + 1, 2 * ESCROW_WEI];
        for (uint256 i = 0; i < wrong.length; ++i) {
            _placeRefused(
                _terms(), wrong[i], abi.encodeWithSelector(IMarket.EscrowMismatch.selector, wrong[i], ESCROW_WEI)
            );
        }
        _placeAccepted(_terms());
    }

    function test_a_provider_that_does_not_offer_gets_no_orders() public {
        IMarket.Terms memory terms = _terms();
        terms.provider = STRANGER;
        _placeRefused(terms, ESCROW_WEI, abi.encodeWithSelector(IMarket.NotOffering.selector, STRANGER));

        vm.prank(PROVIDER);
        providers.pause();
        _placeRefused(_terms(), ESCROW_WEI, abi.encodeWithSelector(IMarket.NotOffering.selector, PROVIDER));

        vm.prank(PROVIDER);
        providers.resume();
        _placeAccepted(_terms());
    }

    function test_a_refused_order_leaves_no_trace() public {
        vm.prank(CUSTOMER);
        (bool ok,) = address(market).call{value: ESCROW_WEI + 1}(abi.encodeCall(IMarket.placeOrder, (_terms())));
        vm.assertTrue(!ok, "refused");
        vm.assertEq(market.orderCount(), 0);
        vm.assertEq(address(market).balance, 0);
    }

    function test_plain_value_is_refused() public {
        vm.prank(CUSTOMER);
        (bool ok,) = address(market).call{value: 1}("");
        vm.assertTrue(!ok, "no receive function");
        vm.prank(CUSTOMER);
        (ok,) = address(market).call{value: 1}(abi.encodeCall(IMarket.withdraw, ()));
        vm.assertTrue(!ok, "withdraw takes no value");
    }

    function test_a_price_change_or_pause_does_not_touch_a_placed_order() public {
        uint256 orderId = _place();
        IProviders.Offer memory offer = _offer();
        offer.priceWeiPerUnit = PRICE_WEI * 10;
        vm.prank(PROVIDER);
        providers.update(offer);
        vm.prank(PROVIDER);
        providers.pause();
        _do(Action.Lease, orderId);
        _do(Action.Commit, orderId);
        _do(Action.Deliver, orderId);
        _do(Action.Accept, orderId);
        vm.assertEq(market.credit(PROVIDER), ESCROW_WEI);
    }

    function test_lease_commit_and_deliver_store_their_times_and_roots() public {
        uint256 orderId = _place();

        vm.warp(START + 10);
        vm.expectEmit(address(market));
        emit IMarket.OrderLeased(orderId, PROVIDER, uint40(START + 10 + DELIVER_SECONDS));
        _do(Action.Lease, orderId);

        vm.warp(START + 20);
        vm.expectEmit(address(market));
        emit IMarket.OrderCommitted(orderId, COMMITMENT);
        _do(Action.Commit, orderId);

        vm.warp(START + 30);
        vm.expectEmit(address(market));
        emit IMarket.OrderDelivered(orderId, RESULT_ROOT, uint40(START + 30 + CHECK_SECONDS));
        _do(Action.Deliver, orderId);

        IMarket.Order memory entry = market.order(orderId);
        vm.assertEq(entry.leasedAt, START + 10);
        vm.assertEq(entry.committedAt, START + 20);
        vm.assertEq(entry.deliveredAt, START + 30);
        vm.assertEq(entry.closedAt, 0);
        vm.assertEq(entry.commitment, COMMITMENT);
        vm.assertEq(entry.resultRoot, RESULT_ROOT);
        vm.assertEq(market.credit(PROVIDER) + market.credit(CUSTOMER), 0);
    }

    function test_deadlines_appear_when_they_are_determined() public {
        uint256 orderId = _place();
        _deadlinesAre(orderId, START + LEASE_SECONDS, 0, 0);
        vm.warp(START + 5);
        _do(Action.Lease, orderId);
        _deadlinesAre(orderId, START + LEASE_SECONDS, START + 5 + DELIVER_SECONDS, 0);
        _do(Action.Commit, orderId);
        vm.warp(START + 9);
        _do(Action.Deliver, orderId);
        _deadlinesAre(orderId, START + LEASE_SECONDS, START + 5 + DELIVER_SECONDS, START + 9 + CHECK_SECONDS);
    }

    function test_a_commitment_is_never_zero() public {
        uint256 orderId = _orderIn(IMarket.Status.Leased);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.CommitmentZero.selector, orderId));
        market.commit(orderId, 0);
    }

    function test_a_result_root_is_never_zero() public {
        uint256 orderId = _orderIn(IMarket.Status.Committed);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.ResultRootZero.selector, orderId));
        market.deliver(orderId, 0);
    }

    function test_a_rejection_needs_a_reason_and_evidence() public {
        uint256 orderId = _orderIn(IMarket.Status.Delivered);
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.ReasonMissing.selector, orderId));
        market.reject(orderId, IMarket.Reason.None, EVIDENCE);
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.EvidenceZero.selector, orderId));
        market.reject(orderId, IMarket.Reason.Other, 0);
        vm.prank(CUSTOMER);
        (bool ok,) = address(market).call(abi.encodeWithSelector(IMarket.reject.selector, orderId, 6, EVIDENCE));
        vm.assertTrue(!ok, "a reason beyond the list does not decode");
    }

    function test_a_rejection_refunds_exactly_and_is_counted_for_both() public {
        uint256 orderId = _orderIn(IMarket.Status.Delivered);
        uint256 before = CUSTOMER.balance;
        vm.expectEmit(address(market));
        emit IMarket.Credited(orderId, CUSTOMER, ESCROW_WEI);
        vm.expectEmit(address(market));
        emit IMarket.OrderRejected(orderId, PROVIDER, CUSTOMER, IMarket.Reason.WrongResult, EVIDENCE);
        _do(Action.Reject, orderId);

        IMarket.Order memory entry = market.order(orderId);
        vm.assertEq(uint256(entry.reason), uint256(IMarket.Reason.WrongResult));
        vm.assertEq(entry.evidenceHash, EVIDENCE);
        vm.assertEq(market.providerRecord(PROVIDER).rejected, 1);
        vm.assertEq(market.customerRecord(CUSTOMER).rejected, 1);
        vm.prank(CUSTOMER);
        market.withdraw();
        vm.assertEq(CUSTOMER.balance, before + ESCROW_WEI);
        vm.assertEq(address(market).balance, 0);
    }

    function test_each_closing_action_tells_of_itself_and_of_the_credit() public {
        uint256 orderId = _orderIn(IMarket.Status.Delivered);
        _credits(orderId, PROVIDER);
        emit IMarket.OrderAccepted(orderId);
        _do(Action.Accept, orderId);

        orderId = _orderIn(IMarket.Status.Delivered);
        vm.warp(block.timestamp + CHECK_SECONDS + 1);
        _credits(orderId, PROVIDER);
        emit IMarket.OrderSettled(orderId);
        _do(Action.Settle, orderId);

        orderId = _orderIn(IMarket.Status.Ordered);
        _credits(orderId, CUSTOMER);
        emit IMarket.OrderDeclined(orderId);
        _do(Action.Decline, orderId);

        orderId = _orderIn(IMarket.Status.Ordered);
        _credits(orderId, CUSTOMER);
        emit IMarket.OrderCancelled(orderId);
        _do(Action.Cancel, orderId);

        orderId = _orderIn(IMarket.Status.Committed);
        _credits(orderId, CUSTOMER);
        emit IMarket.OrderAbandoned(orderId, IMarket.Status.Committed);
        _do(Action.Abandon, orderId);

        orderId = _orderIn(IMarket.Status.Leased);
        vm.warp(block.timestamp + DELIVER_SECONDS + 1);
        _credits(orderId, CUSTOMER);
        emit IMarket.OrderExpired(orderId, IMarket.Status.Leased);
        _do(Action.Expire, orderId);
    }

    function test_only_the_provider_and_only_the_customer_may_do_their_part() public {
        for (uint8 s = uint8(IMarket.Status.Ordered); s <= uint8(type(IMarket.Status).max); ++s) {
            uint256 orderId = _orderIn(IMarket.Status(s));
            for (uint8 a = 0; a <= uint8(type(Action).max); ++a) {
                Action action = Action(a);
                if (_isAnybodys(action)) continue;
                bytes4 selector = _isCustomers(action) ? IMarket.NotCustomer.selector : IMarket.NotProvider.selector;
                address other = _isCustomers(action) ? PROVIDER : CUSTOMER;
                _refused(STRANGER, action, orderId, abi.encodeWithSelector(selector, orderId, STRANGER));
                _refused(other, action, orderId, abi.encodeWithSelector(selector, orderId, other));
            }
        }
    }

    function test_the_market_asks_the_register_at_its_genesis_address() public view {
        vm.assertEq(address(market.PROVIDERS()), address(providers));
    }

    function test_bond_cannot_leave_within_the_longest_life_of_an_order() public view {
        uint256 lifeSeconds =
            uint256(market.LEASE_SECONDS_MAX()) + market.DELIVER_SECONDS_MAX() + market.CHECK_SECONDS_MAX();
        vm.assertTrue(bond.LEAVE_DELAY_SECONDS() > lifeSeconds, "the delay is longer");
    }

    function _credits(uint256 orderId, address account) private {
        vm.expectEmit(address(market));
        emit IMarket.Credited(orderId, account, ESCROW_WEI);
        vm.expectEmit(address(market));
    }

    function _deadlinesAre(uint256 orderId, uint256 leaseBy, uint256 deliverBy, uint256 checkBy) private view {
        IMarket.Deadlines memory d = market.deadlines(orderId);
        vm.assertEq(d.leaseBy, leaseBy);
        vm.assertEq(d.deliverBy, deliverBy);
        vm.assertEq(d.checkBy, checkBy);
    }

    function _withDuration(uint256 phase, uint32 value) private pure returns (IMarket.Terms memory terms) {
        terms = _terms();
        if (phase == 0) terms.leaseSeconds = value;
        else if (phase == 1) terms.deliverSeconds = value;
        else terms.checkSeconds = value;
    }

    function _placeRefused(IMarket.Terms memory terms, uint256 valueWei, bytes memory expected) private {
        vm.prank(CUSTOMER);
        vm.expectRevert(expected);
        market.placeOrder{value: valueWei}(terms);
    }

    function _placeAccepted(IMarket.Terms memory terms) private {
        uint256 before = address(market).balance;
        uint256 escrowWei = uint256(terms.units) * terms.priceWeiPerUnit;
        vm.prank(CUSTOMER);
        market.placeOrder{value: escrowWei}(terms);
        vm.assertEq(address(market).balance, before + escrowWei);
    }
}
