// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IChannel} from "../src/IChannel.sol";
import {ChannelFixture} from "./ChannelFixture.sol";

/// @title Opening, paying in, closing; both edges of every deadline and bound
contract ChannelTest is ChannelFixture {
    function test_an_opening_stores_what_was_agreed_and_nothing_else() public {
        bytes32 channelId = _open(true);
        IChannel.Entry memory entry = channels.channel(channelId);
        vm.assertEq(uint256(entry.status), uint256(IChannel.Status.Open));
        vm.assertEq(entry.audited, true);
        vm.assertEq(entry.openedAt, START);
        vm.assertEq(entry.expiresAt, START + LIFE_SECONDS);
        vm.assertEq(entry.closeAt, 0);
        vm.assertEq(entry.closedAt, 0);
        vm.assertEq(entry.challengeSeconds, CHALLENGE_SECONDS);
        vm.assertEq(entry.deposit, DEPOSIT);
        vm.assertEq(entry.claimed, 0);
        vm.assertEq(entry.history, bytes32(0));
        vm.assertEq(entry.window, 0);
        vm.assertEq(entry.customer, CUSTOMER);
        vm.assertEq(entry.provider, PROVIDER);
        vm.assertEq(entry.signer, vm.addr(SIGNER_KEY));
        vm.assertEq(entry.token, KST);
        vm.assertEq(channels.deadline(channelId), START + LIFE_SECONDS);
        vm.assertEq(address(channels).balance, DEPOSIT);
        vm.assertEq(channels.channelCount(), 1);
    }

    function test_an_id_binds_number_history_and_parties() public {
        bytes32 first = _open(false);
        vm.assertEq(first, keccak256(abi.encode(uint256(1), blockhash(99), CUSTOMER, PROVIDER)));
        vm.roll(101);
        bytes32 second = _open(false);
        vm.assertEq(second, keccak256(abi.encode(uint256(2), blockhash(100), CUSTOMER, PROVIDER)));
    }

    function test_an_opening_announces_itself() public {
        bytes32 channelId = keccak256(abi.encode(uint256(1), blockhash(99), CUSTOMER, PROVIDER));
        vm.expectEmit(address(channels));
        emit IChannel.ChannelOpened(
            channelId,
            CUSTOMER,
            PROVIDER,
            vm.addr(SIGNER_KEY),
            KST,
            DEPOSIT,
            CHALLENGE_SECONDS,
            uint40(START + LIFE_SECONDS),
            false
        );
        _open(false);
    }

    function test_nobody_can_be_paid_or_sign_at_the_zero_address() public {
        IChannel.Terms memory terms = _terms();
        terms.provider = address(0);
        _refusedOpening(terms, DEPOSIT, DEPOSIT, abi.encodeWithSelector(IChannel.ProviderZero.selector, CUSTOMER));
        terms = _terms();
        terms.signer = address(0);
        _refusedOpening(terms, DEPOSIT, DEPOSIT, abi.encodeWithSelector(IChannel.SignerZero.selector, CUSTOMER));
    }

    function test_durations_have_bounds_on_both_sides() public {
        uint32[2] memory mosts = [channels.CHALLENGE_SECONDS_MAX(), channels.LIFE_SECONDS_MAX()];
        vm.assertEq(mosts[0], 30 days);
        vm.assertEq(mosts[1], 365 days);
        for (uint8 phase = 0; phase < 2; ++phase) {
            uint32 most = mosts[phase];
            for (uint256 i = 0; i < 2; ++i) {
                uint32 wrong = i == 0 ? 0 : most + 1;
                bytes memory expected =
                    abi.encodeWithSelector(IChannel.DurationOutOfRange.selector, IChannel.Phase(phase), wrong, 1, most);
                _refusedOpening(_withDuration(phase, wrong), DEPOSIT, DEPOSIT, expected);
                vm.prank(CUSTOMER);
                channels.open{value: DEPOSIT}(_withDuration(phase, i == 0 ? 1 : most), DEPOSIT);
            }
        }
    }

    function test_an_audited_channel_needs_an_audit() public {
        vm.etch(address(audit), "");
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.AuditMissing.selector, address(audit)));
        channels.openAudited{value: DEPOSIT}(_terms(), _audit(), DEPOSIT);
        _open(false);
    }

    function test_the_value_sent_along_is_exactly_the_deposit() public {
        IChannel.Terms memory terms = _terms();
        _refusedOpening(terms, 0, 0, abi.encodeWithSelector(IChannel.AmountZero.selector, CUSTOMER));
        for (uint256 i = 0; i < 3; ++i) {
            uint256 sent = i == 0 ? 0 : (i == 1 ? DEPOSIT - 1 : DEPOSIT + 1);
            bytes memory expected = abi.encodeWithSelector(IChannel.ValueMismatch.selector, sent, DEPOSIT);
            _refusedOpening(terms, sent, DEPOSIT, expected);
        }
        terms.token = address(token);
        bytes memory none = abi.encodeWithSelector(IChannel.ValueMismatch.selector, 1, 0);
        _refusedOpening(terms, 1, DEPOSIT, none);
        vm.assertEq(channels.channelCount(), 0);
    }

    function test_anybody_may_pay_in_while_the_channel_is_open() public {
        bytes32 channelId = _open(false);
        vm.deal(STRANGER, 5);
        vm.expectEmit(address(channels));
        emit IChannel.ToppedUp(channelId, 5, DEPOSIT + 5);
        vm.prank(STRANGER);
        channels.topUp{value: 5}(channelId, 5);
        vm.assertEq(channels.channel(channelId).deposit, DEPOSIT + 5);
        vm.warp(START + LIFE_SECONDS);
        vm.prank(CUSTOMER);
        channels.topUp{value: 1}(channelId, 1);
        vm.warp(START + LIFE_SECONDS + 1);
        vm.prank(CUSTOMER);
        vm.expectRevert(
            abi.encodeWithSelector(
                IChannel.DeadlinePassed.selector, channelId, START + LIFE_SECONDS, START + LIFE_SECONDS + 1
            )
        );
        channels.topUp{value: 1}(channelId, 1);
    }

    function test_a_deposit_cannot_outgrow_its_field() public {
        bytes32 channelId = _openWithToken();
        uint128 room = type(uint128).max - DEPOSIT;
        token.mint(CUSTOMER, uint256(room) + 1);
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.DepositTooLarge.selector, DEPOSIT, uint256(room) + 1));
        channels.topUp(channelId, room + 1);
        vm.prank(CUSTOMER);
        channels.topUp(channelId, room);
        vm.assertEq(channels.channel(channelId).deposit, type(uint128).max);
    }

    function test_a_request_gives_the_provider_the_whole_challenge_and_not_a_second_more() public {
        bytes32 channelId = _open(false);
        vm.warp(START + 10);
        uint256 closeAt = START + 10 + CHALLENGE_SECONDS;
        vm.expectEmit(address(channels));
        emit IChannel.CloseRequested(channelId, uint40(closeAt));
        _request(channelId);
        vm.assertEq(channels.deadline(channelId), closeAt);
        vm.warp(closeAt);
        vm.expectRevert(
            abi.encodeWithSelector(IChannel.DeadlineNotPassed.selector, channelId, closeAt, block.timestamp)
        );
        channels.finish(channelId);
        _claim(channelId, 3, false);
        vm.warp(closeAt + 1);
        IChannel.Voucher memory voucher = _voucher(channelId, 4, false);
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(0, 0),
            abi.encodeWithSelector(IChannel.DeadlinePassed.selector, channelId, closeAt, block.timestamp)
        );
        vm.expectEmit(address(channels));
        emit IChannel.Credited(channelId, CUSTOMER, KST, DEPOSIT - 3 * PRICE);
        vm.expectEmit(address(channels));
        emit IChannel.ChannelFinished(channelId);
        vm.prank(STRANGER);
        channels.finish(channelId);
        _ended(channelId, IChannel.Status.Finished, 3 * PRICE);
    }

    function test_a_channels_life_ends_by_itself() public {
        bytes32 channelId = _open(false);
        uint256 expiresAt = START + LIFE_SECONDS;
        vm.warp(expiresAt);
        vm.expectRevert(abi.encodeWithSelector(IChannel.DeadlineNotPassed.selector, channelId, expiresAt, expiresAt));
        channels.finish(channelId);
        _claim(channelId, 1, false);
        vm.warp(expiresAt + 1);
        IChannel.Voucher memory voucher = _voucher(channelId, 2, false);
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(0, 0),
            abi.encodeWithSelector(IChannel.DeadlinePassed.selector, channelId, expiresAt, block.timestamp)
        );
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.DeadlinePassed.selector, channelId, expiresAt, block.timestamp));
        channels.requestClose(channelId);
        vm.expectEmit(address(channels));
        emit IChannel.ChannelExpired(channelId);
        channels.finish(channelId);
        _ended(channelId, IChannel.Status.Expired, PRICE);
    }

    function test_a_late_request_does_not_outlive_the_channel() public {
        bytes32 channelId = _open(false);
        vm.warp(START + LIFE_SECONDS - 5);
        _request(channelId);
        vm.assertEq(channels.deadline(channelId), START + LIFE_SECONDS);
        vm.warp(START + LIFE_SECONDS + 1);
        channels.finish(channelId);
        _ended(channelId, IChannel.Status.Finished, 0);
    }

    function test_the_signer_may_ask_for_the_closing_and_others_may_not() public {
        bytes32 channelId = _open(false);
        address[2] memory others = [PROVIDER, STRANGER];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IChannel.NotCustomer.selector, channelId, others[i]));
            channels.requestClose(channelId);
        }
        vm.prank(vm.addr(SIGNER_KEY));
        channels.requestClose(channelId);
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.WrongStatus.selector, channelId, IChannel.Status.Closing));
        channels.requestClose(channelId);
        vm.prank(CUSTOMER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.WrongStatus.selector, channelId, IChannel.Status.Closing));
        channels.topUp{value: 1}(channelId, 1);
    }

    function test_the_provider_closes_at_once_and_at_any_time() public {
        bytes32 channelId = _open(false);
        _claim(channelId, 2, false);
        vm.expectEmit(address(channels));
        emit IChannel.ChannelClosed(channelId);
        vm.prank(PROVIDER);
        channels.close(channelId);
        _ended(channelId, IChannel.Status.Closed, 2 * PRICE);

        channelId = _open(false);
        vm.warp(block.timestamp + LIFE_SECONDS + 1 days);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(uint256(channels.channel(channelId).status), uint256(IChannel.Status.Closed));
    }

    function test_only_the_provider_claims_and_closes() public {
        bytes32 channelId = _open(false);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        bytes memory signature = _sign(voucher);
        address[3] memory others = [CUSTOMER, STRANGER, vm.addr(SIGNER_KEY)];
        for (uint256 i = 0; i < others.length; ++i) {
            bytes memory expected = abi.encodeWithSelector(IChannel.NotProvider.selector, channelId, others[i]);
            vm.prank(others[i]);
            vm.expectRevert(expected);
            channels.claim(voucher, signature, _skipped(0, 0));
            vm.prank(others[i]);
            vm.expectRevert(expected);
            channels.claimAndClose(voucher, signature, _skipped(0, 0));
            vm.prank(others[i]);
            vm.expectRevert(expected);
            channels.close(channelId);
        }
    }

    function test_a_channel_life_takes_two_transactions() public {
        bytes32 channelId = _open(false);
        IChannel.Voucher memory voucher = _voucher(channelId, 900, false);
        bytes memory signature = _sign(voucher);
        vm.expectEmit(address(channels));
        emit IChannel.Credited(channelId, PROVIDER, KST, 900 * PRICE);
        vm.expectEmit(address(channels));
        emit IChannel.Claimed(channelId, 900, 900 * PRICE);
        vm.prank(PROVIDER);
        channels.claimAndClose(voucher, signature, _skipped(0, 0));
        _ended(channelId, IChannel.Status.Closed, 900 * PRICE);
    }

    function test_an_ended_channel_refuses_everything() public {
        for (uint256 way = 0; way < 3; ++way) {
            bytes32 channelId = _open(false);
            if (way == 0) {
                vm.prank(PROVIDER);
                channels.close(channelId);
            } else {
                if (way == 1) _request(channelId);
                vm.warp(block.timestamp + LIFE_SECONDS + 1);
                channels.finish(channelId);
            }
            IChannel.Status status = channels.channel(channelId).status;
            bytes memory expected = abi.encodeWithSelector(IChannel.WrongStatus.selector, channelId, status);
            IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
            _refusedClaim(voucher, _sign(voucher), _skipped(0, 0), expected);
            vm.prank(PROVIDER);
            vm.expectRevert(expected);
            channels.close(channelId);
            vm.prank(CUSTOMER);
            vm.expectRevert(expected);
            channels.requestClose(channelId);
            vm.prank(CUSTOMER);
            vm.expectRevert(expected);
            channels.topUp{value: 1}(channelId, 1);
            vm.expectRevert(expected);
            channels.finish(channelId);
        }
    }

    function test_a_channel_that_does_not_exist_refuses_everything() public {
        bytes32 channelId = keccak256("nothing");
        bytes memory expected = abi.encodeWithSelector(IChannel.ChannelUnknown.selector, channelId);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        _refusedClaim(voucher, _sign(voucher), _skipped(0, 0), expected);
        vm.expectRevert(expected);
        channels.close(channelId);
        vm.expectRevert(expected);
        channels.requestClose(channelId);
        vm.expectRevert(expected);
        channels.finish(channelId);
        vm.expectRevert(expected);
        channels.topUp{value: 1}(channelId, 1);
        vm.expectRevert(expected);
        channels.channel(channelId);
        vm.expectRevert(expected);
        channels.deadline(channelId);
    }

    function test_the_domain_is_that_of_the_chain_and_the_address() public {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address place,,) =
            IERC5267(address(channels)).eip712Domain();
        vm.assertEq(uint8(fields), 0x0f);
        vm.assertEq(name, "Keystead Channel");
        vm.assertEq(version, "1");
        vm.assertEq(chainId, block.chainid);
        vm.assertEq(place, address(channels));
        bytes32 before = channels.domainSeparator();
        vm.chainId(19283);
        vm.assertTrue(before != channels.domainSeparator(), "another chain has another domain");
    }

    function _refusedOpening(IChannel.Terms memory terms, uint256 value, uint128 amount, bytes memory expected)
        private
    {
        vm.prank(CUSTOMER);
        vm.expectRevert(expected);
        channels.open{value: value}(terms, amount);
    }

    function _withDuration(uint8 phase, uint32 duration) private pure returns (IChannel.Terms memory terms) {
        terms = _terms();
        if (phase == 0) terms.challengeSeconds = duration;
        else terms.lifeSeconds = duration;
    }

    function _ended(bytes32 channelId, IChannel.Status status, uint256 paid) private view {
        IChannel.Entry memory entry = channels.channel(channelId);
        vm.assertEq(uint256(entry.status), uint256(status));
        vm.assertEq(entry.closedAt, block.timestamp);
        vm.assertEq(entry.claimed, paid);
        vm.assertEq(channels.credit(PROVIDER, KST), paid);
        vm.assertEq(channels.credit(CUSTOMER, KST), DEPOSIT - paid);
        vm.assertEq(address(channels).balance, DEPOSIT);
    }
}
