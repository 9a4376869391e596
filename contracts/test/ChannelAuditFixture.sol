// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Channel} from "../src/Channel.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IChannel} from "../src/IChannel.sol";
import {AuditFixture} from "./AuditFixture.sol";
import {Tree} from "./Tree.sol";

/// @title Audited channels with the real audit, bond and referee
/// @dev A window here is a `Job` of the fixture without an order: its units are steps of one segment. Window `w` runs segment
/// `w` of four units of the job.
abstract contract ChannelAuditFixture is AuditFixture {
    IChannel internal constant channels = IChannel(0x4B53540000000000000000000000000000000006);
    address internal constant KST = address(0);
    uint256 internal constant SIGNER_KEY = 0xA11CE;
    uint32 internal constant STEPS = 4;
    /// @dev What a window of four steps costs.
    uint128 internal constant WINDOW_WEI = STEPS * PRICE_WEI;
    /// @dev In probation all four are drawn: 1.5 times them, and 40.
    uint128 internal constant BUDGET_WEI = 46 * FEE_WEI;
    uint128 internal constant DEPOSIT = 1_000_000 gwei;
    uint32 internal constant CHALLENGE_SECONDS = 7_200;
    uint32 internal constant LIFE_SECONDS = 86_400;

    function setUp() public virtual override {
        super.setUp();
        vm.etch(address(channels), type(Channel).runtimeCode);
    }

    function _channelTerms() internal pure returns (IChannel.Terms memory) {
        return IChannel.Terms({
            provider: PROVIDER,
            signer: vm.addr(SIGNER_KEY),
            token: KST,
            challengeSeconds: CHALLENGE_SECONDS,
            lifeSeconds: LIFE_SECONDS
        });
    }

    function _agreed(IAuditTypes.Terms memory terms) internal pure returns (IChannel.Audit memory) {
        return IChannel.Audit({jobHash: JOB_HASH, priceWeiPerUnit: PRICE_WEI, terms: terms});
    }

    function _channel(uint128 deposit) internal returns (bytes32 channelId) {
        return _channelWith(_bonded(), deposit);
    }

    function _channelWith(IAuditTypes.Terms memory terms, uint128 deposit) internal returns (bytes32 channelId) {
        vm.prank(CUSTOMER);
        channelId = channels.openAudited{value: deposit}(_channelTerms(), _agreed(terms), deposit);
    }

    /// @dev What the provider computed in a window; `wrongFrom` is the first step that it gets wrong.
    function _steps(bytes32 channelId, uint64 window, uint32 wrongFrom) internal view returns (Job memory job) {
        job.id = channels.auditWindow(channelId, window);
        job.units = STEPS;
        job.segments = 1;
        job.leaves = new bytes32[](STEPS);
        job.states = new bytes32[](STEPS);
        for (uint32 step = 0; step < STEPS; ++step) {
            job.states[step] = step < wrongFrom ? _right(step, uint32(window)) : _junk(step, uint32(window));
            job.leaves[step] = Tree.unitLeaf(step, _salt(step), job.states[step]);
        }
    }

    /// @dev The name of the list of a window's steps; the real one is a BLAKE3 hash, which no contract looks into.
    function _listName(uint64 window) internal pure returns (bytes32) {
        return keccak256(abi.encode("list", window));
    }

    /// @dev What a voucher of an audited channel carries, beside the contract's way. Spec: specs/0009-channel.md, section 6.1.
    function _auditedRoot(bytes32 commitment, bytes32 steps) internal pure returns (bytes32) {
        return keccak256(bytes.concat(commitment, steps));
    }

    /// @dev The audited root of an honest window.
    function _honestRoot(bytes32 channelId, uint64 window) internal view returns (bytes32) {
        return _auditedRoot(_root(_steps(channelId, window, STEPS)), _listName(window));
    }

    function _history(bytes32 channelId, uint64 window) internal view returns (bytes32 history) {
        for (uint64 w = 1; w <= window; ++w) {
            bytes32 id = channels.windowId(channelId, w, STEPS, _honestRoot(channelId, w));
            history = keccak256(abi.encode(history, id));
        }
    }

    /// @dev A voucher for a window with this commitment over its results and the ordinary list of steps.
    function _voucher(bytes32 channelId, uint64 window, bytes32 commitment)
        internal
        view
        returns (IChannel.Voucher memory voucher)
    {
        return IChannel.Voucher({
            channelId: channelId,
            window: window,
            units: STEPS,
            cumulative: uint128(window) * WINDOW_WEI,
            heldBack: WINDOW_WEI,
            root: _auditedRoot(commitment, _listName(window)),
            history: _history(channelId, window - 1)
        });
    }

    function _sign(IChannel.Voucher memory voucher) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, channels.voucherDigest(voucher));
        return abi.encodePacked(r, s, v);
    }

    /// @dev The provider announces an honest window.
    function _announce(bytes32 channelId, uint64 window) internal returns (Job memory job) {
        return _announce(channelId, window, STEPS);
    }

    function _announce(bytes32 channelId, uint64 window, uint32 wrongFrom) internal returns (Job memory job) {
        job = _steps(channelId, window, wrongFrom);
        _announce(_voucher(channelId, window, _root(job)), _root(job));
    }

    function _announce(IChannel.Voucher memory voucher, bytes32 commitment) internal returns (bytes32 auditId) {
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        auditId = channels.announce(voucher, signature, commitment, _listName(voucher.window));
    }

    function _refused(IChannel.Voucher memory voucher, bytes32 commitment, bytes memory expected) internal {
        _refused(voucher, commitment, _listName(voucher.window), expected);
    }

    function _refused(IChannel.Voucher memory voucher, bytes32 commitment, bytes32 steps, bytes memory expected)
        internal
    {
        _refusedAs(PROVIDER, voucher, _sign(voucher), commitment, steps, expected);
    }

    /// @dev A refusal leaves the channel and its money as they were.
    function _refusedAs(
        address caller,
        IChannel.Voucher memory voucher,
        bytes memory signature,
        bytes32 commitment,
        bytes32 steps,
        bytes memory expected
    ) internal {
        bytes32 before = _state(voucher.channelId);
        vm.prank(caller);
        vm.expectRevert(expected);
        channels.announce(voucher, signature, commitment, steps);
        vm.assertEq(_state(voucher.channelId), before);
    }

    function _state(bytes32 channelId) private view returns (bytes32) {
        bytes32 first = keccak256(abi.encode(channelId, uint256(1)));
        bytes memory words = abi.encode(address(channels).balance, address(audit).balance);
        for (uint256 i = 0; i < 8; ++i) {
            words = bytes.concat(words, vm.load(address(channels), bytes32(uint256(first) + i)));
        }
        return keccak256(words);
    }

    /// @dev Every step is drawn, checked and found as it was computed; then the window is closed.
    function _audited(Job memory job) internal {
        _draw(job);
        uint16[] memory masks = new uint16[](STEPS);
        for (uint32 step = 0; step < STEPS; ++step) {
            if (audit.drawn(job.id, step)) masks[step] = _commitAll(job, step, 0, 0, job.states[step]);
        }
        _afterCheck(job, 0, 0);
        for (uint32 step = 0; step < STEPS; ++step) {
            if (masks[step] == 0) continue;
            _open(job, step, 0);
            _revealAll(job, step, 0, masks[step], 0, job.states[step]);
        }
        _afterReveal(job, 0, 0);
        for (uint32 step = 0; step < STEPS; ++step) {
            if (masks[step] != 0) referee.conclude(job.id, step);
        }
        _closeNow(job);
    }

    /// @dev Two rounds find something else in the first step than the provider, which does not appeal.
    function _convicted(Job memory job, bytes32 found) internal {
        _draw(job);
        _round(job, 0, 0, found);
        _round(job, 0, 1, found);
        _is(job, 0, IAuditTypes.Stage.Condemned);
        vm.warp(audit.caseOf(job.id, 0).appealBy + 1);
        referee.conclude(job.id, 0);
        _closeNow(job);
    }

    function _closeNow(Job memory job) internal {
        vm.warp(block.timestamp + 200);
        audit.close(job.id);
    }

    function _claim(bytes32 channelId, uint64 window, uint64 last) internal {
        IChannel.Voucher memory voucher = _voucher(channelId, window, _root(_steps(channelId, window, STEPS)));
        bytes memory signature = _sign(voucher);
        IChannel.Window[] memory skipped = _skipped(channelId, last + 1, window);
        vm.prank(PROVIDER);
        channels.claim(voucher, signature, skipped);
    }

    function _skipped(bytes32 channelId, uint64 first, uint64 end)
        internal
        view
        returns (IChannel.Window[] memory windows)
    {
        windows = new IChannel.Window[](end - first);
        for (uint64 w = first; w < end; ++w) {
            windows[w - first] = IChannel.Window({units: STEPS, root: _honestRoot(channelId, w)});
        }
    }
}
