// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Draw} from "../src/Draw.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IBond} from "../src/IBond.sol";
import {IChannel} from "../src/IChannel.sol";
import {ChannelAuditFixture} from "./ChannelAuditFixture.sol";

/// @title Announcing windows, and what follows
contract ChannelAuditTest is ChannelAuditFixture {
    function test_an_opening_keeps_the_terms_of_the_audit() public {
        bytes32 expected = keccak256(abi.encode(uint256(1), blockhash(block.number - 1), CUSTOMER, PROVIDER));
        IChannel.Audit memory agreed = _agreed(_bonded());
        vm.expectEmit(address(channels));
        emit IChannel.AuditAgreed(expected, agreed);
        bytes32 channelId = _channel(DEPOSIT);
        vm.assertEq(channelId, expected);
        vm.assertEq(abi.encode(channels.auditOf(channelId)), abi.encode(agreed));
        IChannel.Entry memory entry = channels.channel(channelId);
        vm.assertEq(entry.audited, true);
        vm.assertEq(entry.number, 1);
        vm.assertEq(entry.announced, 0);
        vm.assertEq(entry.budgeted, 0);
        vm.assertEq(channels.auditWindow(channelId, 7), Draw.windowId(address(channels), 1, 7));
        vm.assertEq(channels.channel(_channel(1)).number, 2);
    }

    function test_a_window_is_announced_audited_and_claimed() public {
        bytes32 channelId = _channel(DEPOSIT);
        uint256 bondWei = bond.accountOf(PROVIDER).freeWei;
        Job memory job = _announce(channelId, 1);
        vm.assertEq(bond.accountOf(PROVIDER).lockedWei, BOND_WEI);
        vm.assertEq(bond.accountOf(PROVIDER).freeWei, bondWei - BOND_WEI);
        IChannel.Entry memory entry = channels.channel(channelId);
        vm.assertEq(entry.announced, 1);
        vm.assertEq(entry.budgeted, BUDGET_WEI);
        vm.assertEq(address(channels).balance, DEPOSIT - BUDGET_WEI);
        vm.assertEq(address(audit).balance, BUDGET_WEI);
        // Its own price waits.
        IChannel.Voucher memory voucher = _voucher(channelId, 1, _root(job));
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.NothingToClaim.selector, channelId, 0, 0));
        channels.claim(voucher, signature, _skipped(channelId, 1, 1));
        _audited(job);
        // What four checks did not cost is the customer's again, and no unit is locked any more.
        vm.assertEq(audit.credit(CUSTOMER), BUDGET_WEI - STEPS * FEE_WEI);
        vm.assertEq(bond.accountOf(PROVIDER).lockedWei, 0);
        vm.assertEq(audit.verifiedCount(PROVIDER, 1), STEPS);
        _claim(channelId, 1, 0);
        vm.assertEq(channels.credit(PROVIDER, KST), WINDOW_WEI);
        vm.assertEq(channels.channel(channelId).window, 1);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(channels.credit(CUSTOMER, KST), DEPOSIT - BUDGET_WEI - WINDOW_WEI);
        vm.assertEq(address(channels).balance, DEPOSIT - BUDGET_WEI);
    }

    function test_the_audit_gets_what_was_agreed_and_signed() public {
        bytes32 channelId = _channel(DEPOSIT);
        bytes32 auditId = channels.auditWindow(channelId, 1);
        bytes32 commitment = _root(_steps(channelId, 1, STEPS));
        uint40 drawHeight = uint40(block.number + 2);
        vm.expectEmit(address(audit));
        emit IAuditTypes.WindowOpened(
            auditId, address(channels), 1, 1, PROVIDER, CUSTOMER, JOB_HASH, commitment, STEPS, 1_000_000, drawHeight
        );
        vm.expectEmit(address(channels));
        emit IChannel.WindowAnnounced(channelId, 1, auditId, BUDGET_WEI);
        vm.assertEq(_announce(_voucher(channelId, 1, commitment), commitment), auditId);
        IAuditTypes.Window memory window = audit.windowOf(auditId);
        vm.assertEq(window.provider, PROVIDER);
        vm.assertEq(window.customer, CUSTOMER);
        vm.assertEq(window.commitment, commitment);
        vm.assertEq(window.units, STEPS);
        vm.assertEq(window.segments, 1);
        vm.assertEq(window.bondWei, BOND_WEI);
        vm.assertEq(window.budgetWei, BUDGET_WEI);
        vm.assertEq(window.canary, _listName(1));
        vm.assertEq(channels.auditOf(channelId).terms.canary, _bonded().canary);
    }

    function test_a_conviction_stops_every_claim_behind_it() public {
        bytes32 channelId = _channel(DEPOSIT);
        _audited(_announce(channelId, 1));
        uint256 bondWei = _bondOf(PROVIDER);
        Job memory job = _announce(channelId, 2, 0);
        _convicted(job, _right(0, 2));
        vm.assertEq(bondWei - _bondOf(PROVIDER), BOND_WEI);
        Job memory third = _announce(channelId, 3);
        _audited(third);
        IChannel.Voucher memory voucher = _voucher(channelId, 3, _root(third));
        bytes memory signature = _sign(voucher);
        IChannel.Window[] memory skipped = _skipped(channelId, 1, 3);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.WindowConvicted.selector, job.id, 2));
        channels.claim(voucher, signature, skipped);
        _claim(channelId, 1, 0);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(channels.credit(PROVIDER, KST), WINDOW_WEI);
        vm.assertEq(
            channels.credit(CUSTOMER, KST), DEPOSIT - channels.channel(channelId).budgeted - uint256(WINDOW_WEI)
        );
    }

    function test_the_root_of_an_audited_channel_binds_commitment_and_list() public view {
        bytes32 steps = _listName(1);
        vm.assertEq(channels.auditedRoot(COMMITMENT, steps), _auditedRoot(COMMITMENT, steps));
        vm.assertEq(channels.auditedRoot(COMMITMENT, steps), keccak256(abi.encode(COMMITMENT, steps)));
        vm.assertTrue(
            channels.auditedRoot(steps, COMMITMENT) != channels.auditedRoot(COMMITMENT, steps), "not in any order"
        );
        vm.assertEq(channels.auditedRoot(0, 0), _auditedRoot(0, 0));
    }

    function test_a_list_or_a_commitment_that_was_not_signed_is_refused() public {
        bytes32 channelId = _channel(DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        bytes32 steps = _listName(1);
        // Another commitment, a list that nobody can fetch, that of another window, none, and both in each other's place.
        _mismatched(voucher, keccak256("another commitment"), steps);
        _mismatched(voucher, voucher.root, steps);
        _mismatched(voucher, 0, steps);
        _mismatched(voucher, COMMITMENT, keccak256("a list that nobody has"));
        _mismatched(voucher, COMMITMENT, _listName(2));
        _mismatched(voucher, COMMITMENT, 0);
        _mismatched(voucher, steps, COMMITMENT);
        // A root of the results alone names no list.
        voucher.root = COMMITMENT;
        _mismatched(voucher, COMMITMENT, steps);
        _mismatched(voucher, COMMITMENT, 0);
        voucher.root = _auditedRoot(COMMITMENT, steps);
        bytes32 auditId = _announce(voucher, COMMITMENT);
        vm.assertEq(audit.windowOf(auditId).commitment, COMMITMENT);
        vm.assertEq(audit.windowOf(auditId).canary, steps);
    }

    function test_what_is_announced_is_looked_at_after_the_signature_and_before_the_money() public {
        bytes32 channelId = _channel(1);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(0xBAD, channels.voucherDigest(voucher));
        _refusedAs(
            PROVIDER,
            voucher,
            abi.encodePacked(r, s, v),
            COMMITMENT,
            _listName(2),
            abi.encodeWithSelector(IChannel.SignatureWrong.selector, vm.addr(SIGNER_KEY), vm.addr(0xBAD))
        );
        _mismatched(voucher, COMMITMENT, _listName(2));
        _refused(
            voucher,
            COMMITMENT,
            abi.encodeWithSelector(IChannel.DepositTooSmall.selector, channelId, WINDOW_WEI + BUDGET_WEI, 1)
        );
    }

    function testFuzz_nothing_is_announced_that_was_not_signed(bytes32 commitment, bytes32 steps) public {
        // The fuzzer finds what was signed among the test's own constants.
        vm.assume(commitment != COMMITMENT && steps != _listName(1));
        bytes32 channelId = _channel(DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        _mismatched(voucher, commitment, steps);
        _mismatched(voucher, COMMITMENT, steps);
        _mismatched(voucher, commitment, _listName(1));
        // Whatever was signed for is opened as it is.
        voucher.root = channels.auditedRoot(commitment, steps);
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        bytes32 auditId = channels.announce(voucher, signature, commitment, steps);
        vm.assertEq(audit.windowOf(auditId).commitment, commitment);
        vm.assertEq(audit.windowOf(auditId).canary, steps);
    }

    function test_without_a_free_bond_nothing_is_announced() public {
        uint256 freeWei = bond.accountOf(PROVIDER).freeWei;
        vm.prank(PROVIDER);
        bond.requestLeave(freeWei - 2 * uint256(BOND_WEI));
        bytes32 channelId = _channel(DEPOSIT);
        Job memory job = _announce(channelId, 1);
        _announce(channelId, 2);
        bytes32 commitment = _root(_steps(channelId, 3, STEPS));
        IChannel.Voucher memory voucher = _voucher(channelId, 3, commitment);
        _refused(voucher, commitment, abi.encodeWithSelector(IBond.FreeTooSmall.selector, PROVIDER, 0, BOND_WEI));
        vm.assertEq(channels.channel(channelId).announced, 2);
        vm.assertEq(channels.channel(channelId).budgeted, 2 * BUDGET_WEI);
        _audited(job);
        _announce(channelId, 3);
        vm.assertEq(bond.accountOf(PROVIDER).lockedWei, 2 * uint256(BOND_WEI));
    }

    function test_a_provider_cannot_use_up_a_deposit_with_junk() public {
        bytes32 channelId = _channel(DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        bytes memory signature = _sign(voucher);
        // Nothing that the customer did not sign: not another root, more units, or another promise.
        for (uint256 field = 0; field < 5; ++field) {
            IChannel.Voucher memory junk = _voucher(channelId, 1, COMMITMENT);
            if (field == 0) junk.root = _auditedRoot(keccak256("junk"), _listName(1));
            else if (field == 1) junk.units = 65_536;
            else if (field == 2) junk.cumulative = 0;
            else if (field == 3) junk.heldBack = 0;
            else junk.history = keccak256("junk");
            bytes32 commitment = field == 0 ? keccak256("junk") : COMMITMENT;
            bytes memory call = abi.encodeCall(IChannel.announce, (junk, signature, commitment, _listName(1)));
            vm.prank(PROVIDER);
            (bool ok, bytes memory returned) = address(channels).call(call);
            vm.assertEq(ok, false, "not signed");
            vm.assertEq(bytes32(bytes4(returned)), bytes32(IChannel.SignatureWrong.selector));
        }
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(0xBAD, channels.voucherDigest(voucher));
        _refusedAs(
            PROVIDER,
            voucher,
            abi.encodePacked(r, s, v),
            COMMITMENT,
            _listName(1),
            abi.encodeWithSelector(IChannel.SignatureWrong.selector, vm.addr(SIGNER_KEY), vm.addr(0xBAD))
        );
        vm.assertEq(channels.channel(channelId).budgeted, 0);
    }

    function test_windows_are_announced_in_order_and_once() public {
        bytes32 channelId = _channel(DEPOSIT);
        uint64[3] memory early = [uint64(0), 2, type(uint64).max];
        for (uint256 i = 0; i < early.length; ++i) {
            IChannel.Voucher memory other = _voucher(channelId, 1, COMMITMENT);
            other.window = early[i];
            _refused(other, COMMITMENT, abi.encodeWithSelector(IChannel.WindowNotNext.selector, channelId, early[i], 1));
        }
        _announce(_voucher(channelId, 1, COMMITMENT), COMMITMENT);
        IChannel.Voucher memory again = _voucher(channelId, 1, COMMITMENT);
        _refused(again, COMMITMENT, abi.encodeWithSelector(IChannel.WindowNotNext.selector, channelId, 1, 2));
        _announce(_voucher(channelId, 2, COMMITMENT), COMMITMENT);
    }

    function test_only_the_provider_announces() public {
        bytes32 channelId = _channel(DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        bytes memory signature = _sign(voucher);
        address[3] memory others = [CUSTOMER, STRANGER, vm.addr(SIGNER_KEY)];
        for (uint256 i = 0; i < others.length; ++i) {
            _refusedAs(
                others[i],
                voucher,
                signature,
                COMMITMENT,
                _listName(1),
                abi.encodeWithSelector(IChannel.NotProvider.selector, channelId, others[i])
            );
        }
        bytes32 unknown = keccak256("nothing");
        voucher.channelId = unknown;
        _refused(voucher, COMMITMENT, abi.encodeWithSelector(IChannel.ChannelUnknown.selector, unknown));
        vm.expectRevert(abi.encodeWithSelector(IChannel.ChannelUnknown.selector, unknown));
        channels.auditWindow(unknown, 1);
        vm.expectRevert(abi.encodeWithSelector(IChannel.ChannelUnknown.selector, unknown));
        channels.auditOf(unknown);
    }

    function test_nothing_is_announced_after_the_end() public {
        bytes32 channelId = _channel(DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        vm.prank(PROVIDER);
        channels.close(channelId);
        _refused(
            voucher,
            COMMITMENT,
            abi.encodeWithSelector(IChannel.WrongStatus.selector, channelId, IChannel.Status.Closed)
        );
    }

    function test_the_deadline_binds_announcements() public {
        bytes32 channelId = _channel(DEPOSIT);
        uint256 last = block.timestamp + LIFE_SECONDS;
        vm.warp(last);
        _announce(_voucher(channelId, 1, COMMITMENT), COMMITMENT);
        vm.warp(last + 1);
        IChannel.Voucher memory voucher = _voucher(channelId, 2, COMMITMENT);
        _refused(
            voucher, COMMITMENT, abi.encodeWithSelector(IChannel.DeadlinePassed.selector, channelId, last, last + 1)
        );
    }

    function test_a_closing_channel_announces_what_was_signed() public {
        bytes32 channelId = _channel(DEPOSIT);
        vm.prank(CUSTOMER);
        channels.requestClose(channelId);
        uint256 last = block.timestamp + CHALLENGE_SECONDS;
        Job memory job = _announce(channelId, 1);
        _audited(job);
        _claim(channelId, 1, 0);
        vm.warp(last);
        _announce(channelId, 2);
        vm.warp(last + 1);
        IChannel.Voucher memory voucher = _voucher(channelId, 3, COMMITMENT);
        _refused(
            voucher, COMMITMENT, abi.encodeWithSelector(IChannel.DeadlinePassed.selector, channelId, last, last + 1)
        );
        vm.prank(STRANGER);
        channels.finish(channelId);
        vm.assertEq(channels.credit(CUSTOMER, KST), DEPOSIT - 2 * BUDGET_WEI - WINDOW_WEI);
        vm.assertEq(channels.credit(PROVIDER, KST), WINDOW_WEI);
        vm.assertEq(address(channels).balance, DEPOSIT - 2 * BUDGET_WEI);
    }

    function test_a_channel_without_audit_announces_nothing() public {
        vm.prank(CUSTOMER);
        bytes32 channelId = channels.open{value: DEPOSIT}(_channelTerms(), DEPOSIT);
        _refused(
            _voucher(channelId, 1, COMMITMENT),
            COMMITMENT,
            abi.encodeWithSelector(IChannel.NotAudited.selector, channelId)
        );
        vm.expectRevert(abi.encodeWithSelector(IChannel.NotAudited.selector, channelId));
        channels.auditOf(channelId);
    }

    function test_a_deposit_pays_a_window_and_its_checks_to_the_wei() public {
        uint128 neededWei = WINDOW_WEI + BUDGET_WEI;
        bytes32 channelId = _channel(neededWei - 1);
        bytes32 commitment = _root(_steps(channelId, 1, STEPS));
        IChannel.Voucher memory voucher = _voucher(channelId, 1, commitment);
        _refused(
            voucher,
            commitment,
            abi.encodeWithSelector(IChannel.DepositTooSmall.selector, channelId, neededWei, neededWei - 1)
        );
        vm.prank(CUSTOMER);
        channels.topUp{value: 1}(channelId, 1);
        _audited(_announce(channelId, 1));
        _claim(channelId, 1, 0);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(channels.credit(PROVIDER, KST), WINDOW_WEI);
        vm.assertEq(channels.credit(CUSTOMER, KST), 0);
        vm.assertEq(address(channels).balance, WINDOW_WEI);
    }

    function test_a_budget_never_eats_what_a_voucher_promises() public {
        // Enough for two windows and the checks of one and a half.
        uint128 deposit = 2 * WINDOW_WEI + 2 * BUDGET_WEI - 1;
        bytes32 channelId = _channel(deposit);
        Job memory job = _announce(channelId, 1);
        bytes32 commitment = _root(_steps(channelId, 2, STEPS));
        IChannel.Voucher memory voucher = _voucher(channelId, 2, commitment);
        _refused(
            voucher,
            commitment,
            abi.encodeWithSelector(
                IChannel.DepositTooSmall.selector, channelId, 2 * WINDOW_WEI + BUDGET_WEI, deposit - BUDGET_WEI
            )
        );
        _audited(job);
        _claim(channelId, 1, 0);
        // What was claimed is a part of what is promised: it counts once.
        _refused(
            voucher,
            commitment,
            abi.encodeWithSelector(
                IChannel.DepositTooSmall.selector, channelId, 2 * WINDOW_WEI + BUDGET_WEI, deposit - BUDGET_WEI
            )
        );
        vm.prank(CUSTOMER);
        channels.topUp{value: 1}(channelId, 1);
        _audited(_announce(voucher, _steps(channelId, 2, STEPS)));
        _claim(channelId, 2, 1);
        vm.assertEq(channels.credit(PROVIDER, KST), 2 * WINDOW_WEI);
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(channels.credit(CUSTOMER, KST), 0);
    }

    function test_a_claim_reaches_no_further_than_what_the_checks_left() public {
        bytes32 channelId = _channel(WINDOW_WEI + BUDGET_WEI);
        _audited(_announce(channelId, 1));
        IChannel.Voucher memory voucher = _voucher(channelId, 1, _root(_steps(channelId, 1, STEPS)));
        voucher.cumulative = WINDOW_WEI + 1;
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        vm.expectRevert(
            abi.encodeWithSelector(IChannel.DepositTooSmall.selector, channelId, WINDOW_WEI + 1, WINDOW_WEI)
        );
        channels.claim(voucher, signature, _skipped(channelId, 1, 1));
        _claim(channelId, 1, 0);
    }

    function test_a_deposit_that_was_claimed_pays_no_checks() public {
        _channel(DEPOSIT); // somebody else's money
        bytes32 channelId = _channel(DEPOSIT);
        IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
        voucher.cumulative = DEPOSIT;
        voucher.heldBack = 0;
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        channels.claim(voucher, signature, _skipped(channelId, 1, 1));
        // A signer that is the provider's friend signs less afterwards.
        voucher.cumulative = 0;
        _refused(
            voucher,
            COMMITMENT,
            abi.encodeWithSelector(
                IChannel.DepositTooSmall.selector, channelId, uint256(DEPOSIT) + BUDGET_WEI, uint256(DEPOSIT)
            )
        );
        vm.assertEq(address(channels).balance, 2 * uint256(DEPOSIT));
    }

    function test_a_provider_with_a_record_needs_less_for_checks() public {
        bytes32 channelId = _channel(DEPOSIT);
        for (uint64 w = 1; w <= 3; ++w) {
            _audited(_announce(channelId, w));
        }
        // 12 units found right: a rate of a twelfth, so 1 check for four steps is expected, rounded up, and 40.
        vm.assertEq(audit.verifiedCount(PROVIDER, 1), 12);
        _announce(channelId, 4);
        vm.assertEq(channels.channel(channelId).budgeted, 3 * BUDGET_WEI + 41 * FEE_WEI);
    }

    function test_terms_that_no_audit_takes_open_nothing() public {
        IAuditTypes.Terms memory terms = _bonded();
        uint32[3] memory segments = [uint32(0), 2, type(uint32).max];
        for (uint256 i = 0; i < segments.length; ++i) {
            terms.segments = segments[i];
            _refusedTerms(KST, terms, abi.encodeWithSelector(IChannel.SegmentsNotOne.selector, segments[i]));
        }
        address token = address(0x70CE);
        _refusedTerms(token, _bonded(), abi.encodeWithSelector(IChannel.TokenAudited.selector, token));
        terms = _bonded();
        terms.ratePpm = 29_999;
        _refusedTerms(
            KST, terms, abi.encodeWithSelector(IAuditTypes.TermOutOfRange.selector, 3, 29_999, 30_000, 1_000_000)
        );
        terms = _bonded();
        terms.bondWei = BOND_WEI - 1;
        _refusedTerms(
            KST,
            terms,
            abi.encodeWithSelector(IAuditTypes.TermOutOfRange.selector, 9, BOND_WEI - 1, BOND_WEI, type(uint128).max)
        );
        vm.assertEq(channels.channelCount(), 0);
    }

    function test_a_window_has_units_and_not_too_many() public {
        bytes32 channelId = _channel(DEPOSIT);
        for (uint32 i = 0; i < 2; ++i) {
            IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
            voucher.units = i == 0 ? 0 : 65_537;
            _refused(
                voucher, COMMITMENT, abi.encodeWithSelector(IAuditTypes.UnitUnknown.selector, bytes32(0), voucher.units)
            );
        }
    }

    function test_two_channels_have_different_windows() public {
        bytes32 first = _channel(DEPOSIT);
        bytes32 second = _channel(DEPOSIT);
        Job memory job = _announce(first, 1);
        vm.assertTrue(job.id != channels.auditWindow(second, 1), "another number");
        _audited(job);
        IChannel.Voucher memory voucher = _voucher(second, 1, _root(job));
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IChannel.NothingToClaim.selector, second, 0, 0));
        channels.claim(voucher, signature, _skipped(second, 1, 1));
    }

    function testFuzz_checks_pay_and_rest_are_the_deposit(uint128 depositSeed, uint8 countSeed, uint8 claimSeed)
        public
    {
        uint128 deposit = uint128(_within(depositSeed, 1, 8 * (WINDOW_WEI + BUDGET_WEI)));
        uint64 count = countSeed % 6;
        bytes32 channelId = _channel(deposit);
        uint256 budgetedWei;
        uint64 announced;
        for (uint64 w = 1; w <= count; ++w) {
            if (budgetedWei + BUDGET_WEI + w * WINDOW_WEI > deposit) break;
            budgetedWei += BUDGET_WEI;
            announced = w;
            _announce(channelId, w);
        }
        uint256 paidWei;
        if (announced != 0) {
            // Nothing is held back of one of them: it is paid at once.
            IChannel.Voucher memory voucher = _voucher(channelId, 1, COMMITMENT);
            voucher.heldBack = 0;
            voucher.cumulative = uint128(_within(claimSeed, 1, deposit - budgetedWei));
            paidWei = voucher.cumulative;
            bytes memory signature = _sign(voucher);
            vm.prank(PROVIDER);
            channels.claim(voucher, signature, _skipped(channelId, 1, 1));
        }
        vm.prank(PROVIDER);
        channels.close(channelId);
        vm.assertEq(channels.channel(channelId).budgeted, budgetedWei);
        vm.assertEq(channels.credit(PROVIDER, KST), paidWei);
        vm.assertEq(channels.credit(CUSTOMER, KST), deposit - budgetedWei - paidWei);
        vm.assertEq(address(channels).balance, deposit - budgetedWei);
        vm.assertEq(address(audit).balance, budgetedWei);
    }

    function _announce(IChannel.Voucher memory voucher, Job memory job) private returns (Job memory) {
        vm.assertEq(_announce(voucher, _root(job)), job.id);
        return job;
    }

    function _mismatched(IChannel.Voucher memory voucher, bytes32 commitment, bytes32 steps) private {
        bytes32 got = _auditedRoot(commitment, steps);
        _refused(voucher, commitment, steps, abi.encodeWithSelector(IChannel.RootMismatch.selector, got, voucher.root));
    }

    function _refusedTerms(address token, IAuditTypes.Terms memory terms, bytes memory expected) private {
        IChannel.Terms memory channelTerms = _channelTerms();
        channelTerms.token = token;
        vm.prank(CUSTOMER);
        vm.expectRevert(expected);
        channels.openAudited{value: DEPOSIT}(channelTerms, _agreed(terms), DEPOSIT);
    }
}
