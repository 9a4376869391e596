// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IMarket} from "../src/IMarket.sol";
import {WildToken} from "./ChannelTokens.sol";
import {AuditFixture} from "./AuditFixture.sol";

/// @title Orders that are paid in an ERC-20, with tokens of every manner
contract MarketTokenTest is AuditFixture {
    WildToken private _token;
    uint256 private constant SUPPLY = 1e30;

    function setUp() public override {
        super.setUp();
        _token = new WildToken();
        _token.mint(CUSTOMER, SUPPLY);
    }

    function _placeIn() private returns (uint256 orderId) {
        vm.prank(CUSTOMER);
        orderId = market.placeOrderIn(address(_token), _terms());
    }

    function _advance(uint256 orderId) private {
        _do(Action.Lease, orderId);
        _do(Action.Commit, orderId);
        _do(Action.Deliver, orderId);
    }

    function _earned() private returns (uint256 orderId) {
        orderId = _placeIn();
        _advance(orderId);
        _do(Action.Accept, orderId);
    }

    function _refusedOrder(address token, bytes memory expected) private {
        IMarket.Terms memory terms = _terms();
        vm.prank(CUSTOMER);
        if (expected.length == 0) vm.expectRevert();
        else vm.expectRevert(expected);
        market.placeOrderIn(token, terms);
    }

    function test_a_token_moves_as_the_currency_does() public {
        vm.expectEmit(address(market));
        emit IMarket.OrderInToken(1, address(_token));
        uint256 orderId = _placeIn();
        vm.assertEq(_token.balanceOf(address(market)), ESCROW_WEI);
        (address token, uint128 valueWei) = market.currencyOf(orderId);
        vm.assertEq(token, address(_token));
        vm.assertEq(valueWei, 0);
        _advance(orderId);
        vm.expectEmit(address(market));
        emit IMarket.TokenCredited(orderId, PROVIDER, address(_token), ESCROW_WEI);
        _do(Action.Accept, orderId);
        vm.assertEq(market.credit(PROVIDER), 0);
        vm.assertEq(market.tokenCredit(PROVIDER, address(_token)), ESCROW_WEI);
        vm.expectEmit(address(market));
        emit IMarket.TokenWithdrawn(PROVIDER, address(_token), STRANGER, ESCROW_WEI);
        vm.prank(PROVIDER);
        market.withdrawTokenTo(address(_token), STRANGER);
        vm.assertEq(_token.balanceOf(STRANGER), ESCROW_WEI);
        vm.assertEq(_token.balanceOf(address(market)), 0);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.NothingToWithdraw.selector, PROVIDER));
        market.withdrawToken(address(_token));
    }

    function test_every_end_pays_or_refunds_in_the_token_of_the_order() public {
        for (uint256 s = uint256(IMarket.Status.Accepted); s <= uint256(IMarket.Status.Abandoned); ++s) {
            uint256 orderId = _placeIn();
            IMarket.Status status = IMarket.Status(s);
            if (status == IMarket.Status.Declined) _do(Action.Decline, orderId);
            else if (status == IMarket.Status.Cancelled) _do(Action.Cancel, orderId);
            else if (status == IMarket.Status.Expired) _expire(orderId);
            else _endDelivered(orderId, status);
            bool pays = status == IMarket.Status.Accepted || status == IMarket.Status.Settled;
            vm.assertEq(uint256(market.order(orderId).status), s);
            address payee = pays ? PROVIDER : CUSTOMER;
            uint256 before = _token.balanceOf(payee);
            vm.prank(payee);
            market.withdrawToken(address(_token));
            vm.assertEq(_token.balanceOf(payee) - before, ESCROW_WEI);
        }
        vm.assertEq(_token.balanceOf(address(market)), 0);
        vm.assertEq(address(market).balance, 0);
    }

    function _expire(uint256 orderId) private {
        vm.warp(block.timestamp + LEASE_SECONDS + 1);
        _do(Action.Expire, orderId);
    }

    function _endDelivered(uint256 orderId, IMarket.Status status) private {
        if (status == IMarket.Status.Abandoned) {
            _do(Action.Lease, orderId);
            return _do(Action.Abandon, orderId);
        }
        _advance(orderId);
        if (status == IMarket.Status.Accepted) return _do(Action.Accept, orderId);
        if (status == IMarket.Status.Rejected) return _do(Action.Reject, orderId);
        vm.warp(block.timestamp + CHECK_SECONDS + 1);
        _do(Action.Settle, orderId);
    }

    function test_zero_is_the_currency() public {
        vm.prank(CUSTOMER);
        uint256 orderId = market.placeOrderIn{value: ESCROW_WEI}(address(0), _terms());
        IMarket.Order memory entry = market.order(orderId);
        vm.assertEq(uint256(entry.tokenHigh) + entry.tokenLow, 0);
        _do(Action.Decline, orderId);
        vm.assertEq(market.credit(CUSTOMER), ESCROW_WEI);
        IAuditTypes.Terms memory audited = _auditTerms();
        IMarket.Terms memory terms = _terms();
        vm.expectRevert(abi.encodeWithSelector(IMarket.ValueNotPrice.selector, PRICE_WEI + 1, PRICE_WEI));
        vm.prank(CUSTOMER);
        market.placeAuditedIn(address(0), PRICE_WEI + 1, terms, audited);
    }

    function test_the_listed_price_binds_in_kst_alone_and_no_value_comes_with_a_token() public {
        IMarket.Terms memory terms = _terms();
        terms.priceWeiPerUnit = 1;
        vm.prank(CUSTOMER);
        market.placeOrderIn(address(_token), terms);
        vm.assertEq(_token.balanceOf(address(market)), UNITS);
        terms.priceWeiPerUnit = 0;
        vm.expectRevert(abi.encodeWithSelector(IMarket.PriceOutOfRange.selector, 0, 1, 1e24));
        vm.prank(CUSTOMER);
        market.placeOrderIn(address(_token), terms);
        terms.priceWeiPerUnit = 1e24 + 1;
        vm.expectRevert(abi.encodeWithSelector(IMarket.PriceOutOfRange.selector, 1e24 + 1, 1, 1e24));
        vm.prank(CUSTOMER);
        market.placeOrderIn(address(_token), terms);
        terms.priceWeiPerUnit = 1;
        vm.expectRevert(abi.encodeWithSelector(IMarket.EscrowMismatch.selector, 1, 0));
        vm.prank(CUSTOMER);
        market.placeOrderIn{value: 1}(address(_token), terms);
    }

    function test_a_token_that_returns_nothing_works_and_one_that_returns_false_orders_nothing() public {
        _token.behave(WildToken.Manner.Silent);
        _earned();
        vm.prank(PROVIDER);
        market.withdrawToken(address(_token));
        vm.assertEq(_token.balanceOf(PROVIDER), ESCROW_WEI);
        _token.behave(WildToken.Manner.Refusing);
        _refusedOrder(
            address(_token), abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(_token))
        );
    }

    function test_a_token_that_moves_more_or_less_than_it_was_told_orders_nothing() public {
        WildToken.Manner[3] memory manners = [WildToken.Manner.Lying, WildToken.Manner.FeeIn, WildToken.Manner.Generous];
        uint256[3] memory arrived = [uint256(0), ESCROW_WEI - 1, ESCROW_WEI + 1];
        for (uint256 i = 0; i < manners.length; ++i) {
            _token.behave(manners[i]);
            _refusedOrder(
                address(_token),
                abi.encodeWithSelector(IMarket.TransferInexact.selector, address(_token), 0, arrived[i], ESCROW_WEI)
            );
        }
        vm.assertEq(market.orderCount(), 0);
    }

    function test_a_token_that_changes_its_manners_later_takes_nothing_from_others() public {
        _earned();
        _placeIn(); // somebody else's money in the same token
        _token.behave(WildToken.Manner.FeeOut);
        vm.prank(PROVIDER);
        vm.expectRevert(
            abi.encodeWithSelector(
                IMarket.TransferInexact.selector, address(_token), 2 * ESCROW_WEI, ESCROW_WEI - 1, ESCROW_WEI
            )
        );
        market.withdrawToken(address(_token));
        vm.assertEq(market.tokenCredit(PROVIDER, address(_token)), ESCROW_WEI, "the credit stays");
        _token.behave(WildToken.Manner.FeeIn); // the receiver's loss, nobody else's
        vm.prank(PROVIDER);
        market.withdrawToken(address(_token));
        vm.assertEq(_token.balanceOf(address(market)), ESCROW_WEI);
    }

    function test_an_address_without_code_is_no_token() public {
        _refusedOrder(STRANGER, "");
        _refusedOrder(address(4), ""); // a precompile that answers everything
        _refusedOrder(address(market), "");
    }

    function test_a_blocked_party_holds_up_nobody_and_can_go_elsewhere() public {
        uint256 orderId = _placeIn();
        _advance(orderId);
        _token.blockAccount(PROVIDER);
        _token.blockAccount(CUSTOMER);
        _do(Action.Accept, orderId);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(WildToken.Blocked.selector, PROVIDER));
        market.withdrawToken(address(_token));
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RecipientZero.selector, PROVIDER));
        market.withdrawTokenTo(address(_token), address(0));
        vm.prank(PROVIDER);
        market.withdrawTokenTo(address(_token), STRANGER);
        vm.assertEq(_token.balanceOf(STRANGER), ESCROW_WEI);
    }

    function test_a_token_that_calls_back_moves_no_money() public {
        _earned();
        vm.prank(CUSTOMER);
        market.placeOrder{value: ESCROW_WEI}(_terms());
        _token.mint(address(_token), SUPPLY);
        IMarket.Terms memory terms = _terms();
        bytes[6] memory calls = [
            abi.encodeCall(IMarket.placeOrderIn, (address(_token), terms)),
            abi.encodeCall(IMarket.placeAuditedIn, (address(_token), PRICE_WEI, terms, _auditTerms())),
            abi.encodeCall(IMarket.withdraw, ()),
            abi.encodeCall(IMarket.withdrawTo, (payable(STRANGER))),
            abi.encodeCall(IMarket.withdrawToken, (address(_token))),
            abi.encodeCall(IMarket.withdrawTokenTo, (address(_token), STRANGER))
        ];
        bytes memory shut = abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        for (uint256 i = 0; i < calls.length; ++i) {
            _token.arm(address(market), calls[i]);
            _placeIn();
            vm.assertEq(_token.refusals(), i + 1);
            vm.assertEq(_token.lastReturned(), shut);
        }
        vm.prank(PROVIDER);
        market.withdrawToken(address(_token));
        vm.assertEq(_token.refusals(), calls.length + 1);
        vm.assertEq(_token.balanceOf(address(market)), calls.length * ESCROW_WEI);
        vm.assertEq(address(market).balance, ESCROW_WEI);
    }

    function test_a_token_that_is_the_orders_own_provider_gains_nothing_by_calling_back() public {
        // It leases the order in the very call that pays for it, and then does not pay.
        vm.prank(address(_token));
        providers.register(_offer());
        IMarket.Terms memory terms = _terms();
        terms.provider = address(_token);
        _token.arm(address(market), abi.encodeCall(IMarket.lease, (1)));
        vm.prank(CUSTOMER);
        uint256 orderId = market.placeOrderIn(address(_token), terms);
        vm.assertEq(uint256(market.order(orderId).status), uint256(IMarket.Status.Leased));
        vm.assertEq(_token.balanceOf(address(market)), ESCROW_WEI, "paid all the same");
    }

    function test_credits_of_two_tokens_and_of_kst_are_apart() public {
        _earned();
        WildToken first = _token;
        _token = new WildToken();
        _token.mint(CUSTOMER, SUPPLY);
        _earned();
        uint256 orderId = _place();
        _advance(orderId);
        _do(Action.Accept, orderId);
        vm.prank(PROVIDER);
        market.withdrawToken(address(first));
        vm.assertEq(market.tokenCredit(PROVIDER, address(_token)), ESCROW_WEI);
        vm.assertEq(market.credit(PROVIDER), ESCROW_WEI);
        vm.assertEq(first.balanceOf(address(market)), 0);
    }

    function test_an_audited_order_in_a_token_has_its_deposit_fees_and_bond_in_kst() public {
        IAuditTypes.Terms memory terms = _bonded();
        IMarket.Terms memory order = _terms();
        order.units = 2;
        order.priceWeiPerUnit = 3;
        uint256 depositWei = audit.depositWei(PROVIDER, 2, PRICE_WEI, terms);
        terms.bondWei = BOND_WEI - 1;
        vm.expectRevert(
            abi.encodeWithSelector(IAuditTypes.TermOutOfRange.selector, 9, BOND_WEI - 1, BOND_WEI, type(uint128).max)
        );
        vm.prank(CUSTOMER);
        market.placeAuditedIn{value: depositWei}(address(_token), PRICE_WEI, order, terms);
        terms.bondWei = BOND_WEI;
        vm.expectRevert(abi.encodeWithSelector(IMarket.PriceOutOfRange.selector, 0, 1, 1e24));
        vm.prank(CUSTOMER);
        market.placeAuditedIn{value: depositWei}(address(_token), 0, order, terms);
        for (uint256 ending = 0; ending < 3; ++ending) {
            vm.prank(CUSTOMER);
            uint256 orderId = market.placeAuditedIn{value: depositWei}(address(_token), PRICE_WEI, order, terms);
            (, uint128 valueWei) = market.currencyOf(orderId);
            vm.assertEq(valueWei, PRICE_WEI);
            uint256 before = market.tokenCredit(CUSTOMER, address(_token));
            if (ending == 0) {
                // Before its commitment: the price in the token, the deposit in KST.
                _do(Action.Decline, orderId);
                vm.assertEq(market.credit(CUSTOMER), depositWei);
                vm.assertEq(market.tokenCredit(CUSTOMER, address(_token)) - before, 6);
                continue;
            }
            _do(Action.Lease, orderId);
            bytes32 id = market.windowOf(orderId);
            _do(Action.Commit, orderId);
            vm.assertEq(audit.windowOf(id).feeWei, FEE_WEI);
            vm.assertEq(audit.windowOf(id).budgetWei, depositWei);
            _do(Action.Deliver, orderId);
            _endAudit(id, ending == 2);
            vm.warp(block.timestamp + 1000);
            audit.close(id);
            market.settle(orderId);
            vm.assertEq(market.tokenCredit(PROVIDER, address(_token)), 6);
            vm.assertEq(market.tokenCredit(CUSTOMER, address(_token)) - before, ending == 2 ? 6 : 0);
        }
        vm.assertEq(address(market).balance, depositWei, "the market holds no KST but the credit");
    }

    /// @dev Nobody opens a unit that a checker committed to, or nobody checks.
    function _endAudit(bytes32 id, bool convicts) private {
        for (uint256 i = 0; i < 3; ++i) {
            _tick();
        }
        audit.touch(id, 0, 0);
        Job memory job;
        job.id = id;
        if (convicts) {
            _commitAll(job, 0, 0, 0, 0);
            _afterReveal(job, 0, 0);
            referee.conclude(id, 0);
        }
    }
}
