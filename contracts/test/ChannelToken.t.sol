// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IChannel} from "../src/IChannel.sol";
import {WildToken} from "./ChannelTokens.sol";
import {ChannelFixture} from "./ChannelFixture.sol";

/// @title A receiver that answers money with a call to the channels
contract Greedy {
    bytes private _payload;
    bool public refused;

    function arm(bytes calldata payload) external {
        _payload = payload;
    }

    function run(address target, bytes calldata payload) external payable {
        (bool ok, bytes memory returned) = target.call{value: msg.value}(payload);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(returned, 32), mload(returned))
        }
    }

    receive() external payable {
        (bool ok,) = msg.sender.call(_payload);
        refused = !ok;
    }
}

/// @title Money in and money out, with tokens of every manner
contract ChannelTokenTest is ChannelFixture {
    function test_a_token_moves_as_the_currency_does() public {
        bytes32 channelId = _openWithToken();
        vm.assertEq(token.balanceOf(address(channels)), DEPOSIT);
        vm.prank(CUSTOMER);
        channels.topUp(channelId, 10);
        _claim(channelId, 4, false);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.expectEmit(address(channels));
        emit IChannel.Withdrawn(PROVIDER, address(token), STRANGER, 4 * PRICE);
        vm.prank(PROVIDER);
        channels.withdrawTo(address(token), STRANGER);
        vm.prank(CUSTOMER);
        channels.withdraw(address(token));
        vm.assertEq(token.balanceOf(STRANGER), 4 * PRICE);
        vm.assertEq(token.balanceOf(CUSTOMER), 1e36 - 4 * PRICE);
        vm.assertEq(token.balanceOf(address(channels)), 0);
    }

    function test_a_token_that_returns_nothing_works() public {
        token.behave(WildToken.Manner.Silent);
        bytes32 channelId = _openWithToken();
        _claim(channelId, 1, false);
        vm.prank(PROVIDER);
        channels.withdraw(address(token));
        vm.assertEq(token.balanceOf(PROVIDER), PRICE);
    }

    function test_a_token_that_returns_false_opens_nothing() public {
        token.behave(WildToken.Manner.Refusing);
        _refusedOpening(
            address(token), abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token))
        );
    }

    function test_a_token_that_moves_more_or_less_than_it_was_told_opens_nothing() public {
        WildToken.Manner[3] memory manners = [WildToken.Manner.Lying, WildToken.Manner.FeeIn, WildToken.Manner.Generous];
        uint256[3] memory arrived = [uint256(0), DEPOSIT - 1, DEPOSIT + 1];
        for (uint256 i = 0; i < manners.length; ++i) {
            token.behave(manners[i]);
            _refusedOpening(
                address(token),
                abi.encodeWithSelector(IChannel.TransferInexact.selector, address(token), 0, arrived[i], DEPOSIT)
            );
        }
        vm.assertEq(channels.channelCount(), 0);
    }

    function test_a_token_that_changes_its_manners_later_takes_nothing_from_others() public {
        bytes32 mine = _openWithToken();
        _openWithToken(); // somebody else's money in the same token
        _claim(mine, 3, false);
        token.behave(WildToken.Manner.FeeOut);
        vm.prank(PROVIDER);
        vm.expectRevert(
            abi.encodeWithSelector(
                IChannel.TransferInexact.selector, address(token), 2 * DEPOSIT, 2 * DEPOSIT - 3 * PRICE - 1, 3 * PRICE
            )
        );
        channels.withdraw(address(token));
        token.behave(WildToken.Manner.Lying);
        vm.prank(PROVIDER);
        vm.expectRevert(
            abi.encodeWithSelector(
                IChannel.TransferInexact.selector, address(token), 2 * DEPOSIT, 2 * DEPOSIT, 3 * PRICE
            )
        );
        channels.withdraw(address(token));
        vm.assertEq(channels.credit(PROVIDER, address(token)), 3 * PRICE, "the credit stays");
        token.behave(WildToken.Manner.FeeIn); // the receiver's loss, nobody else's
        vm.prank(PROVIDER);
        channels.withdraw(address(token));
        vm.assertEq(token.balanceOf(PROVIDER), 3 * PRICE - 1);
        vm.assertEq(token.balanceOf(address(channels)), 2 * DEPOSIT - 3 * PRICE);
    }

    function test_an_address_without_code_is_no_token() public {
        IChannel.Terms memory terms = _terms();
        terms.token = STRANGER;
        vm.prank(CUSTOMER);
        vm.expectRevert();
        channels.open(terms, DEPOSIT);
        terms.token = address(4); // a precompile that answers everything
        vm.prank(CUSTOMER);
        vm.expectRevert();
        channels.open(terms, DEPOSIT);
    }

    function test_a_blocked_party_holds_up_nobody_and_can_go_elsewhere() public {
        bytes32 channelId = _openWithToken();
        _claim(channelId, 2, false);
        token.blockAccount(PROVIDER);
        token.blockAccount(CUSTOMER);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(WildToken.Blocked.selector, PROVIDER));
        channels.withdraw(address(token));
        vm.prank(PROVIDER);
        channels.withdrawTo(address(token), STRANGER);
        vm.assertEq(token.balanceOf(STRANGER), 2 * PRICE);
    }

    function test_a_token_that_calls_back_finds_every_door_shut() public {
        bytes32 channelId = _openWithToken();
        _claim(channelId, 1, false);
        IChannel.Voucher memory voucher = _voucher(channelId, 2, false);
        IChannel.Terms memory terms = _terms();
        terms.token = address(token);
        bytes[11] memory calls = [
            abi.encodeCall(IChannel.open, (terms, 1)),
            abi.encodeCall(IChannel.openAudited, (terms, _audit(), 1)),
            abi.encodeCall(IChannel.announce, (voucher, _sign(voucher), _commitment(2), _listName(2))),
            abi.encodeCall(IChannel.topUp, (channelId, 1)),
            abi.encodeCall(IChannel.claim, (voucher, _sign(voucher), _skipped(0, 0))),
            abi.encodeCall(IChannel.claimAndClose, (voucher, _sign(voucher), _skipped(0, 0))),
            abi.encodeCall(IChannel.close, (channelId)),
            abi.encodeCall(IChannel.requestClose, (channelId)),
            abi.encodeCall(IChannel.finish, (channelId)),
            abi.encodeCall(IChannel.withdraw, (address(token))),
            abi.encodeCall(IChannel.withdrawTo, (address(token), STRANGER))
        ];
        bytes memory shut = abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        for (uint256 i = 0; i < calls.length; ++i) {
            token.arm(address(channels), calls[i]);
            vm.prank(CUSTOMER);
            channels.topUp(channelId, 1);
            vm.assertEq(token.refusals(), i + 1);
            vm.assertEq(token.lastReturned(), shut);
        }
        vm.prank(PROVIDER);
        channels.withdraw(address(token));
        vm.assertEq(token.balanceOf(PROVIDER), PRICE);
        vm.assertEq(token.balanceOf(address(channels)), DEPOSIT + calls.length - PRICE);
    }

    function test_a_receiver_cannot_withdraw_twice() public {
        Greedy greedy = new Greedy();
        IChannel.Terms memory terms = _terms();
        terms.provider = address(greedy);
        vm.prank(CUSTOMER);
        bytes32 channelId = channels.open{value: DEPOSIT}(terms, DEPOSIT);
        _open(false); // somebody else's money
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        greedy.run(address(channels), abi.encodeCall(IChannel.claim, (voucher, _sign(voucher), _skipped(0, 0))));
        greedy.arm(abi.encodeCall(IChannel.withdraw, (KST)));
        greedy.run(address(channels), abi.encodeCall(IChannel.withdraw, (KST)));
        vm.assertEq(greedy.refused(), true, "the nested call");
        vm.assertEq(address(greedy).balance, PRICE);
        vm.assertEq(address(channels).balance, 2 * DEPOSIT - PRICE);
    }

    function test_credit_is_paid_once_and_to_somebody() public {
        bytes32 channelId = _open(false);
        _claim(channelId, 1, false);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.RecipientZero.selector, PROVIDER));
        channels.withdrawTo(KST, address(0));
        vm.prank(PROVIDER);
        channels.withdraw(KST);
        vm.assertEq(PROVIDER.balance, PRICE);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.NothingToWithdraw.selector, PROVIDER, KST));
        channels.withdraw(KST);
    }

    function test_one_withdrawal_takes_the_credit_of_all_channels_in_one_token_and_of_no_other() public {
        _claim(_open(false), 1, false);
        _claim(_open(false), 2, false);
        _claim(_openWithToken(), 4, false);
        vm.prank(PROVIDER);
        channels.withdraw(KST);
        vm.assertEq(PROVIDER.balance, 3 * PRICE);
        vm.assertEq(channels.credit(PROVIDER, address(token)), 4 * PRICE);
    }

    function test_money_cannot_be_sent_back_into_the_contract() public {
        _claim(_open(false), 1, false);
        _claim(_openWithToken(), 1, false);
        vm.prank(PROVIDER);
        vm.expectRevert(Errors.FailedCall.selector);
        channels.withdrawTo(KST, address(channels));
        vm.prank(PROVIDER);
        vm.expectRevert(
            abi.encodeWithSelector(IChannel.TransferInexact.selector, address(token), DEPOSIT, DEPOSIT, PRICE)
        );
        channels.withdrawTo(address(token), address(channels));
    }

    function _refusedOpening(address which, bytes memory expected) private {
        IChannel.Terms memory terms = _terms();
        terms.token = which;
        vm.prank(CUSTOMER);
        vm.expectRevert(expected);
        channels.open(terms, DEPOSIT);
    }
}
