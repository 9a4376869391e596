// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannel} from "../src/IChannel.sol";
import {Channel} from "../src/Channel.sol";
import {ChannelFixture} from "./ChannelFixture.sol";

/// @title A customer that is a contract and says yes to every signature (EIP-1271)
contract YesSayer {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}

/// @title Vouchers: who signed what, amounts, the hold-back
contract ChannelVoucherTest is ChannelFixture {
    function test_a_voucher_pays_what_it_says_minus_what_was_paid() public {
        bytes32 channelId = _open(false);
        _claim(channelId, 1, false);
        vm.assertEq(channels.credit(PROVIDER, KST), PRICE);
        _claim(channelId, 7, false);
        vm.assertEq(channels.credit(PROVIDER, KST), 7 * PRICE);
        vm.assertEq(channels.channel(channelId).window, 7);
        vm.assertEq(channels.channel(channelId).history, bytes32(0));
    }

    function test_the_same_an_older_and_a_window_zero_are_refused() public {
        bytes32 channelId = _open(false);
        _claim(channelId, 5, false);
        for (uint64 w = 4; w <= 5; ++w) {
            IChannel.Voucher memory voucher = _voucher(channelId, w, false);
            voucher.cumulative = 900 * PRICE; // even with more money
            _refusedClaim(
                voucher,
                _sign(voucher),
                _skipped(0, 0),
                abi.encodeWithSelector(IChannel.WindowNotNewer.selector, channelId, w, 5)
            );
        }
        IChannel.Voucher memory zero = _voucher(channelId, 1, false);
        zero.window = 0;
        _refusedClaim(
            zero, _sign(zero), _skipped(0, 0), abi.encodeWithSelector(IChannel.WindowNotNewer.selector, channelId, 0, 5)
        );
    }

    function test_equal_smaller_and_zero_amounts_are_refused() public {
        bytes32 channelId = _open(false);
        _claim(channelId, 5, false);
        uint128[3] memory amounts = [uint128(5 * PRICE), 5 * PRICE - 1, 0];
        for (uint256 i = 0; i < amounts.length; ++i) {
            IChannel.Voucher memory voucher = _voucher(channelId, 6, false);
            voucher.cumulative = amounts[i];
            _refusedClaim(
                voucher,
                _sign(voucher),
                _skipped(0, 0),
                abi.encodeWithSelector(IChannel.NothingToClaim.selector, channelId, amounts[i], 5 * PRICE)
            );
        }
        vm.assertEq(channels.channel(channelId).window, 5, "a refused claim moves nothing");
    }

    function test_a_voucher_cannot_promise_more_than_the_deposit() public {
        bytes32 channelId = _open(false);
        uint128[2] memory amounts = [DEPOSIT + 1, type(uint128).max];
        for (uint256 i = 0; i < 2; ++i) {
            IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
            voucher.cumulative = amounts[i];
            _refusedClaim(
                voucher,
                _sign(voucher),
                _skipped(0, 0),
                abi.encodeWithSelector(IChannel.DepositTooSmall.selector, channelId, amounts[i], DEPOSIT)
            );
        }
        IChannel.Voucher memory whole = _voucher(channelId, 1, false);
        whole.window = type(uint64).max;
        whole.cumulative = DEPOSIT;
        bytes memory signature = _sign(whole);
        vm.prank(PROVIDER);
        channels.claimAndClose(whole, signature, _skipped(0, 0));
        vm.assertEq(channels.credit(PROVIDER, KST), DEPOSIT);
        vm.assertEq(channels.credit(CUSTOMER, KST), 0);
    }

    function test_a_mirrored_signature_and_other_forms_are_refused() public {
        bytes32 channelId = _open(false);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, channels.voucherDigest(voucher));
        bytes[8] memory wrong = [
            abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27)), // mirrored
            abi.encodePacked(r, s, v - 27), // parity instead of v
            abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255))), // ERC-2098
            abi.encodePacked(r, s, v, uint8(0)), // one byte too many
            abi.encodePacked(r, s), // one too few
            bytes(""),
            abi.encodePacked(bytes32(0), bytes32(0), uint8(27)),
            abi.encodePacked(r, bytes32(0), v)
        ];
        for (uint256 i = 0; i < wrong.length; ++i) {
            bytes memory expected =
                abi.encodeWithSelector(IChannel.SignatureWrong.selector, vm.addr(SIGNER_KEY), address(0));
            _refusedClaim(voucher, wrong[i], _skipped(0, 0), expected);
        }
        vm.prank(PROVIDER);
        channels.claim(voucher, abi.encodePacked(r, s, v), _skipped(0, 0));
    }

    function test_a_voucher_of_another_chain_contract_or_channel_is_refused() public {
        bytes32 channelId = _open(false);
        bytes32 other = _open(false);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);

        vm.chainId(block.chainid + 1);
        bytes memory elsewhere = _sign(voucher);
        vm.chainId(block.chainid - 1);
        _refusedBySignature(voucher, elsewhere);

        Channel copy = new Channel();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, copy.voucherDigest(voucher));
        _refusedBySignature(voucher, abi.encodePacked(r, s, v));

        IChannel.Voucher memory moved = _voucher(other, 1, false);
        bytes memory signature = _sign(moved);
        moved.channelId = channelId;
        _refusedBySignature(moved, signature);
    }

    function test_a_customers_own_key_does_not_sign_if_another_signer_was_named() public {
        uint256 mainKey = 0xC0DE;
        vm.deal(vm.addr(mainKey), DEPOSIT);
        vm.prank(vm.addr(mainKey));
        bytes32 channelId = channels.open{value: DEPOSIT}(_terms(), DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        _refusedBySignature(voucher, _signAs(mainKey, voucher));
    }

    function test_a_contract_may_be_the_customer_but_its_yes_is_no_signature() public {
        YesSayer yes = new YesSayer();
        IChannel.Terms memory terms = _terms();
        terms.signer = address(yes);
        vm.deal(address(yes), DEPOSIT);
        vm.prank(address(yes));
        bytes32 channelId = channels.open{value: DEPOSIT}(terms, DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        bytes memory signature = _sign(voucher);
        bytes memory expected =
            abi.encodeWithSelector(IChannel.SignatureWrong.selector, address(yes), vm.addr(SIGNER_KEY));
        _refusedClaim(voucher, signature, _skipped(0, 0), expected);
    }

    function test_a_signer_whose_account_runs_code_signs_as_before() public {
        bytes32 channelId = _open(false);
        // What EIP-7702 stores: a delegation. The code itself never runs here, and neither does a contract's.
        vm.etch(vm.addr(SIGNER_KEY), type(YesSayer).runtimeCode);
        _claim(channelId, 1, false);
        IChannel.Voucher memory voucher = _voucher(channelId, 2, false);
        _refusedBySignature(voucher, _signAs(0xBAD, voucher));
    }

    function test_a_channel_without_audit_takes_no_windows_and_holds_nothing_back() public {
        bytes32 channelId = _open(false);
        IChannel.Voucher memory voucher = _voucher(channelId, 3, false);
        _refusedClaim(
            voucher, _sign(voucher), _skipped(1, 3), abi.encodeWithSelector(IChannel.SkippedMismatch.selector, 2, 0)
        );
        voucher.heldBack = 1;
        _refusedClaim(
            voucher, _sign(voucher), _skipped(0, 0), abi.encodeWithSelector(IChannel.HeldBackTooLarge.selector, 1, 0)
        );
    }

    function test_what_is_held_back_is_claimable_after_the_audit_and_not_before() public {
        bytes32 channelId = _open(true);
        _release(channelId, 1, 2);
        // Window 3 waits: windows 1 and 2 can be claimed with its voucher, its own price cannot.
        _claim(channelId, 3, true);
        vm.assertEq(channels.credit(PROVIDER, KST), 2 * PRICE);
        vm.assertEq(channels.channel(channelId).window, 2);
        vm.assertEq(channels.channel(channelId).history, _history(channelId, 2));
        IChannel.Voucher memory voucher = _voucher(channelId, 3, true);
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(3, 3),
            abi.encodeWithSelector(IChannel.NothingToClaim.selector, channelId, 2 * PRICE, 2 * PRICE)
        );
        _release(channelId, 3, 3);
        _claim(channelId, 3, true);
        vm.assertEq(channels.credit(PROVIDER, KST), 3 * PRICE);
        vm.assertEq(channels.channel(channelId).window, 3);
        vm.assertEq(channels.channel(channelId).history, _history(channelId, 3));
    }

    function test_no_claim_passes_a_window_whose_audit_is_open() public {
        bytes32 channelId = _open(true);
        _release(channelId, 1, 1);
        _release(channelId, 3, 4);
        IChannel.Voucher memory voucher = _voucher(channelId, 4, true);
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(1, 4),
            abi.encodeWithSelector(IChannel.WindowNotReleased.selector, _auditId(channelId, 2), 2)
        );
        _claim(channelId, 1, true);
        vm.assertEq(channels.credit(PROVIDER, KST), PRICE);
    }

    function test_a_convicted_window_and_all_after_it_go_back_to_the_customer() public {
        bytes32 channelId = _open(true);
        _release(channelId, 1, 2);
        _convict(channelId, 3);
        _release(channelId, 4, 5);
        for (uint64 w = 3; w <= 5; ++w) {
            IChannel.Voucher memory voucher = _voucher(channelId, w, true);
            _refusedClaim(
                voucher,
                _sign(voucher),
                _skipped(1, w),
                abi.encodeWithSelector(IChannel.WindowConvicted.selector, _auditId(channelId, 3), 3)
            );
        }
        _claim(channelId, 2, true);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(channels.credit(PROVIDER, KST), 2 * PRICE);
        vm.assertEq(channels.credit(CUSTOMER, KST), DEPOSIT - 2 * PRICE);
    }

    function test_a_window_that_was_never_committed_is_never_paid() public {
        bytes32 channelId = _open(true);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, true);
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(1, 1),
            abi.encodeWithSelector(IChannel.NothingToClaim.selector, channelId, 0, 0)
        );
    }

    function test_windows_left_out_repeated_reordered_or_changed_do_not_fit() public {
        bytes32 channelId = _open(true);
        _release(channelId, 1, 4);
        IChannel.Voucher memory voucher = _voucher(channelId, 4, true);
        bytes memory signature = _sign(voucher);
        IChannel.Window[] memory windows = _skipped(1, 4);
        (windows[1], windows[2]) = (windows[2], windows[1]);
        bytes32 history = keccak256(abi.encode(_history(channelId, 1), _idOf(channelId, 2, windows[1])));
        history = keccak256(abi.encode(history, _idOf(channelId, 3, windows[2])));
        _refusedClaim(
            voucher,
            signature,
            windows,
            abi.encodeWithSelector(IChannel.HistoryMismatch.selector, history, voucher.history)
        );
        _refusedClaim(
            voucher, signature, _skipped(2, 4), abi.encodeWithSelector(IChannel.SkippedMismatch.selector, 2, 3)
        );
        _refusedClaim(
            voucher, signature, _skipped(1, 5), abi.encodeWithSelector(IChannel.SkippedMismatch.selector, 4, 3)
        );
        // A released window with another root than the one that was paid.
        windows = _skipped(1, 4);
        windows[1].root = keccak256("another result");
        history = keccak256(abi.encode(_history(channelId, 1), _idOf(channelId, 2, windows[1])));
        history = keccak256(abi.encode(history, _id(channelId, 3)));
        _refusedClaim(
            voucher,
            signature,
            windows,
            abi.encodeWithSelector(IChannel.HistoryMismatch.selector, history, voucher.history)
        );
        vm.prank(PROVIDER);
        channels.claim(voucher, signature, _skipped(1, 4));
        vm.assertEq(channels.credit(PROVIDER, KST), 4 * PRICE);
    }

    function test_a_claim_skips_at_most_its_bound() public {
        bytes32 channelId = _open(true);
        uint64 most = uint64(channels.WINDOWS_PER_CLAIM_MAX());
        vm.assertEq(most, 256);
        _release(channelId, 1, most + 2);
        IChannel.Voucher memory voucher = _voucher(channelId, most + 2, true);
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(1, most + 2),
            abi.encodeWithSelector(IChannel.TooManyWindows.selector, most + 1, most)
        );
        _claim(channelId, most + 1, true);
        _claim(channelId, most + 2, true);
        vm.assertEq(channels.credit(PROVIDER, KST), (most + 2) * PRICE);
    }

    function test_a_part_that_no_audit_holds_back_is_claimable_at_once() public {
        bytes32 channelId = _open(true);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, true);
        voucher.heldBack = PRICE - 7;
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        channels.claim(voucher, signature, _skipped(1, 1));
        vm.assertEq(channels.credit(PROVIDER, KST), 7);
        // A conviction keeps the rest of it, and takes nothing back.
        _convict(channelId, 1);
        _refusedClaim(
            voucher,
            signature,
            _skipped(1, 1),
            abi.encodeWithSelector(IChannel.WindowConvicted.selector, _auditId(channelId, 1), 1)
        );
        vm.assertEq(channels.channel(channelId).claimed, 7);
    }

    function test_no_more_than_everything_can_be_held_back() public {
        bytes32 channelId = _open(true);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, true);
        voucher.heldBack = PRICE + 1;
        _refusedClaim(
            voucher,
            _sign(voucher),
            _skipped(1, 1),
            abi.encodeWithSelector(IChannel.HeldBackTooLarge.selector, PRICE + 1, PRICE)
        );
    }

    function testFuzz_only_the_signers_key_over_these_very_bytes_opens_the_deposit(
        uint256 keySeed,
        uint256 fieldSeed,
        uint256 bitSeed
    ) public {
        bytes32 channelId = _open(true);
        _release(channelId, 1, 1);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, true);
        uint256 key = _within(keySeed, 1, ORDER - 1);
        if (key != SIGNER_KEY) {
            address recovered = vm.addr(key);
            _refusedClaim(
                voucher,
                _signAs(key, voucher),
                _skipped(1, 1),
                abi.encodeWithSelector(IChannel.SignatureWrong.selector, vm.addr(SIGNER_KEY), recovered)
            );
        }
        bytes memory signature = _sign(voucher);
        IChannel.Voucher memory changed = _changed(voucher, fieldSeed % 4, bitSeed);
        vm.prank(PROVIDER);
        (bool ok, bytes memory returned) =
            address(channels).call(abi.encodeCall(IChannel.claim, (changed, signature, _skipped(1, 1))));
        vm.assertEq(ok, false, "a changed voucher is not signed");
        vm.assertEq(bytes32(bytes4(returned)), bytes32(IChannel.SignatureWrong.selector));
        vm.prank(PROVIDER);
        channels.claim(voucher, signature, _skipped(1, 1));
    }

    function testFuzz_a_flipped_signature_is_refused(uint256 bitSeed) public {
        bytes32 channelId = _open(false);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        bytes memory signature = _sign(voucher);
        uint256 bit = bitSeed % (65 * 8);
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.prank(PROVIDER);
        (bool ok, bytes memory returned) =
            address(channels).call(abi.encodeCall(IChannel.claim, (voucher, signature, _skipped(0, 0))));
        vm.assertEq(ok, false, "one bit");
        vm.assertEq(bytes32(bytes4(returned)), bytes32(IChannel.SignatureWrong.selector));
    }

    function testFuzz_a_claim_and_the_rest_are_the_deposit(uint128 depositSeed, uint128 amountSeed, bool closes)
        public
    {
        uint128 deposit = uint128(_within(depositSeed, 1, 1e36));
        uint128 amount = uint128(_within(amountSeed, 1, deposit));
        vm.prank(CUSTOMER);
        bytes32 channelId = channels.open{value: deposit}(_terms(), deposit);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, false);
        voucher.cumulative = amount;
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        if (closes) {
            channels.claimAndClose(voucher, signature, _skipped(0, 0));
        } else {
            channels.claim(voucher, signature, _skipped(0, 0));
            vm.warp(block.timestamp + LIFE_SECONDS + 1);
            channels.finish(channelId);
        }
        vm.assertEq(channels.credit(PROVIDER, KST), amount);
        vm.assertEq(channels.credit(CUSTOMER, KST), deposit - amount);
    }

    /// @dev One bit of one field that the checks before the signature do not look at.
    function _changed(IChannel.Voucher memory voucher, uint256 field, uint256 seed)
        private
        pure
        returns (IChannel.Voucher memory changed)
    {
        changed = abi.decode(abi.encode(voucher), (IChannel.Voucher));
        if (field == 0) changed.units ^= uint32(1) << uint32(seed % 32);
        // The high half: what remains is at least what is held back.
        else if (field == 1) changed.cumulative ^= uint128(1) << uint128(64 + seed % 64);
        else if (field == 2) changed.root ^= bytes32(uint256(1) << (seed % 256));
        else changed.history ^= bytes32(uint256(1) << (seed % 256));
    }

    function _idOf(bytes32 channelId, uint64 window, IChannel.Window memory w) private pure returns (bytes32) {
        return channels.windowId(channelId, window, w.units, w.root);
    }

    function _refusedBySignature(IChannel.Voucher memory voucher, bytes memory signature) private {
        vm.prank(PROVIDER);
        (bool ok, bytes memory returned) =
            address(channels).call(abi.encodeCall(IChannel.claim, (voucher, signature, _skipped(0, 0))));
        vm.assertEq(ok, false, "refused");
        vm.assertEq(bytes32(bytes4(returned)), bytes32(IChannel.SignatureWrong.selector));
    }
}
