// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {IBond} from "../src/IBond.sol";
import {IMarket} from "../src/IMarket.sol";
import {IProviders} from "../src/IProviders.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title A receiver that answers money with a call
/// @dev Plays the provider. What it calls on receipt, and whether it swallows the failure, is set by the test.
contract Attacker {
    address private _target;
    bytes private _payload;
    bool private _swallows;
    uint256 public attempts;
    uint256 public successes;
    bytes public lastReturned;

    error Refused();

    function arm(address target, bytes calldata payload, bool swallows) external {
        _target = target;
        _payload = payload;
        _swallows = swallows;
    }

    function run(address target, bytes calldata payload) external payable {
        (bool ok, bytes memory returned) = target.call{value: msg.value}(payload);
        if (!ok) _bubble(returned);
    }

    receive() external payable {
        if (_target == address(0)) {
            if (!_swallows) revert Refused();
            return;
        }
        if (attempts == 3) return;
        ++attempts;
        (bool ok, bytes memory returned) = _target.call(_payload);
        lastReturned = returned;
        if (ok) ++successes;
        else if (!_swallows) _bubble(returned);
    }

    function _bubble(bytes memory returned) private pure {
        assembly ("memory-safe") {
            revert(add(returned, 32), mload(returned))
        }
    }
}

/// @title A receiver that takes nothing and says nothing
contract Mute {
    function run(address target, bytes calldata payload) external {
        (bool ok, bytes memory returned) = target.call(payload);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(returned, 32), mload(returned))
            }
        }
    }
}

/// @title Money out: withdrawals, receivers that refuse, receivers that attack
contract WithdrawTest is MarketFixture {
    Attacker private _attacker;

    function setUp() public override {
        super.setUp();
        _attacker = new Attacker();
        vm.deal(address(_attacker), 10 ether);
        _attacker.run(address(providers), abi.encodeCall(IProviders.register, (_offer())));
    }

    function test_credit_is_paid_once() public {
        uint256 orderId = _orderIn(IMarket.Status.Accepted);
        vm.assertEq(orderId, 1);
        uint256 before = PROVIDER.balance;
        vm.expectEmit(address(market));
        emit IMarket.Withdrawn(PROVIDER, PROVIDER, ESCROW_WEI);
        vm.prank(PROVIDER);
        market.withdraw();
        vm.assertEq(PROVIDER.balance, before + ESCROW_WEI);
        vm.assertEq(market.credit(PROVIDER), 0);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.NothingToWithdraw.selector, PROVIDER));
        market.withdraw();
    }

    function test_credit_of_several_orders_is_paid_together_and_to_another_account() public {
        _orderIn(IMarket.Status.Accepted);
        _orderIn(IMarket.Status.Settled);
        vm.expectEmit(address(market));
        emit IMarket.Withdrawn(PROVIDER, STRANGER, 2 * ESCROW_WEI);
        vm.prank(PROVIDER);
        market.withdrawTo(payable(STRANGER));
        vm.assertEq(STRANGER.balance, 2 * ESCROW_WEI);
        vm.assertEq(address(market).balance, 0);
    }

    function test_nothing_is_sent_to_nobody() public {
        _orderIn(IMarket.Status.Accepted);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RecipientZero.selector, PROVIDER));
        market.withdrawTo(payable(address(0)));
        vm.assertEq(market.credit(PROVIDER), ESCROW_WEI);
    }

    function test_who_has_no_credit_gets_nothing() public {
        _orderIn(IMarket.Status.Delivered);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.NothingToWithdraw.selector, STRANGER));
        market.withdrawTo(payable(PROVIDER));
    }

    function test_a_nested_withdrawal_is_refused_and_takes_the_outer_one_along() public {
        _earn();
        _orderIn(IMarket.Status.Accepted); // other people's money to steal
        _attacker.arm(address(market), abi.encodeCall(IMarket.withdraw, ()), false);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        _attacker.run(address(market), abi.encodeCall(IMarket.withdraw, ()));
        vm.assertEq(market.credit(address(_attacker)), ESCROW_WEI);
        vm.assertEq(address(market).balance, 2 * ESCROW_WEI);
    }

    function test_an_attacker_that_swallows_the_refusal_gets_its_own_and_no_more() public {
        _earn();
        _orderIn(IMarket.Status.Accepted);
        _attacker.arm(address(market), abi.encodeCall(IMarket.withdrawTo, (payable(STRANGER))), true);
        _attacker.run(address(market), abi.encodeCall(IMarket.withdraw, ()));
        vm.assertEq(_attacker.attempts(), 1);
        vm.assertEq(_attacker.successes(), 0);
        vm.assertEq(
            _attacker.lastReturned(),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
        vm.assertEq(address(_attacker).balance, 10 ether + ESCROW_WEI);
        vm.assertEq(address(market).balance, ESCROW_WEI);
    }

    function test_other_calls_from_a_receiver_see_settled_books() public {
        // The receiver declines another order while it is being paid: allowed, and every wei still moves once.
        _earn();
        IMarket.Terms memory terms = _terms();
        terms.provider = address(_attacker);
        vm.prank(CUSTOMER);
        uint256 second = market.placeOrder{value: ESCROW_WEI}(terms);
        _attacker.arm(address(market), abi.encodeCall(IMarket.decline, (second)), true);
        _attacker.run(address(market), abi.encodeCall(IMarket.withdraw, ()));
        vm.assertEq(_attacker.successes(), 1);
        vm.assertEq(address(_attacker).balance, 10 ether + ESCROW_WEI);
        vm.assertEq(market.credit(CUSTOMER), ESCROW_WEI);
        vm.assertEq(address(market).balance, ESCROW_WEI);
    }

    function test_a_receiver_that_refuses_keeps_its_credit_and_can_send_it_elsewhere() public {
        _earn();
        vm.expectRevert(Attacker.Refused.selector);
        _attacker.run(address(market), abi.encodeCall(IMarket.withdraw, ()));
        vm.assertEq(market.credit(address(_attacker)), ESCROW_WEI);
        _attacker.run(address(market), abi.encodeCall(IMarket.withdrawTo, (payable(STRANGER))));
        vm.assertEq(STRANGER.balance, ESCROW_WEI);
    }

    function test_a_receiver_that_refuses_without_a_word_gives_a_plain_error() public {
        Mute mute = new Mute();
        mute.run(address(providers), abi.encodeCall(IProviders.register, (_offer())));
        IMarket.Terms memory terms = _terms();
        terms.provider = address(mute);
        vm.prank(CUSTOMER);
        uint256 orderId = market.placeOrder{value: ESCROW_WEI}(terms);
        mute.run(address(market), abi.encodeCall(IMarket.lease, (orderId)));
        mute.run(address(market), abi.encodeCall(IMarket.commit, (orderId, COMMITMENT)));
        mute.run(address(market), abi.encodeCall(IMarket.deliver, (orderId, RESULT_ROOT)));
        vm.prank(CUSTOMER);
        market.accept(orderId);
        vm.expectRevert(Errors.FailedCall.selector);
        mute.run(address(market), abi.encodeCall(IMarket.withdraw, ()));
        vm.assertEq(market.credit(address(mute)), ESCROW_WEI);
    }

    function test_a_receiver_that_refuses_does_not_hold_up_anybody_else() public {
        // The refusing provider's order is accepted and refunded as any other: closing never sends value.
        _earn();
        _orderIn(IMarket.Status.Accepted);
        vm.prank(PROVIDER);
        market.withdraw();
        vm.assertEq(address(market).balance, ESCROW_WEI);
    }

    function test_a_nested_withdrawal_of_bond_is_refused() public {
        vm.deal(address(this), 4 ether);
        _attacker.run{value: 4 ether}(address(bond), abi.encodeCall(IBond.deposit, ()));
        vm.prank(PROVIDER);
        bond.deposit{value: 4 ether}();
        _attacker.run(address(bond), abi.encodeCall(IBond.requestLeave, (4 ether)));
        vm.warp(block.timestamp + bond.LEAVE_DELAY_SECONDS());
        _attacker.arm(address(bond), abi.encodeCall(IBond.withdraw, ()), true);
        _attacker.run(address(bond), abi.encodeCall(IBond.withdraw, ()));
        vm.assertEq(_attacker.attempts(), 1);
        vm.assertEq(_attacker.successes(), 0);
        vm.assertEq(
            _attacker.lastReturned(),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
        vm.assertEq(address(_attacker).balance, 14 ether);
        vm.assertEq(address(bond).balance, 4 ether);
    }

    /// @dev Brings one order of the attacker to its payout.
    function _earn() private {
        IMarket.Terms memory terms = _terms();
        terms.provider = address(_attacker);
        vm.prank(CUSTOMER);
        uint256 orderId = market.placeOrder{value: ESCROW_WEI}(terms);
        _attacker.run(address(market), abi.encodeCall(IMarket.lease, (orderId)));
        _attacker.run(address(market), abi.encodeCall(IMarket.commit, (orderId, COMMITMENT)));
        _attacker.run(address(market), abi.encodeCall(IMarket.deliver, (orderId, RESULT_ROOT)));
        vm.prank(CUSTOMER);
        market.accept(orderId);
    }
}
