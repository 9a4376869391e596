// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Channel} from "../src/Channel.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IChannel} from "../src/IChannel.sol";
import {MockAudit, WildToken} from "./ChannelTokens.sol";
import {Test} from "./Test.sol";

/// @title The contract as genesis puts it, a mock of the audit, one customer, one provider, one signer's key
abstract contract ChannelFixture is Test {
    IChannel internal constant channels = IChannel(0x4B53540000000000000000000000000000000006);
    MockAudit internal constant audit = MockAudit(0x4b53540000000000000000000000000000000005);
    address internal constant KST = address(0);

    address internal constant CUSTOMER = address(0xC0FFEE);
    address internal constant PROVIDER = address(0xBEEF);
    address internal constant STRANGER = address(0x57A6E);
    uint256 internal constant SIGNER_KEY = 0xA11CE;

    uint256 internal constant START = 1_800_000_000;
    uint128 internal constant DEPOSIT = 1_000_000 gwei;
    uint128 internal constant PRICE = 1_000 gwei;
    uint32 internal constant UNITS = 64;
    uint128 internal constant PRICE_PER_UNIT = PRICE / UNITS;
    uint32 internal constant CHALLENGE_SECONDS = 7_200;
    uint32 internal constant LIFE_SECONDS = 86_400;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    WildToken internal token;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(100);
        // Runtime code over empty storage, as genesis does it: no constructor runs.
        vm.etch(address(channels), type(Channel).runtimeCode);
        vm.etch(address(audit), type(MockAudit).runtimeCode);
        token = new WildToken();
        vm.deal(CUSTOMER, 1e36);
        token.mint(CUSTOMER, 1e36);
    }

    function _terms() internal pure returns (IChannel.Terms memory) {
        return IChannel.Terms({
            provider: PROVIDER,
            signer: vm.addr(SIGNER_KEY),
            token: KST,
            challengeSeconds: CHALLENGE_SECONDS,
            lifeSeconds: LIFE_SECONDS
        });
    }

    /// @dev Class exact, one checker. The numbers differ from each other where they can, for the vectors of the layout.
    function _audit() internal pure returns (IChannel.Audit memory) {
        return IChannel.Audit({
            jobHash: keccak256("job"),
            priceWeiPerUnit: PRICE_PER_UNIT,
            terms: IAuditTypes.Terms({
                class: 1,
                checkers: 1,
                abilities: 2,
                ratePpm: 30_000,
                feePpm: 1_000_000,
                checkSeconds: 100,
                revealSeconds: 60,
                appealSeconds: 3600,
                segments: 1,
                bondWei: 100 * PRICE_PER_UNIT,
                named: 0,
                canary: 0
            })
        });
    }

    function _open(bool audited) internal returns (bytes32 channelId) {
        if (audited) return _openAudited(DEPOSIT);
        vm.prank(CUSTOMER);
        channelId = channels.open{value: DEPOSIT}(_terms(), DEPOSIT);
    }

    function _openAudited(uint128 deposit) internal returns (bytes32 channelId) {
        vm.prank(CUSTOMER);
        channelId = channels.openAudited{value: deposit}(_terms(), _audit(), deposit);
    }

    function _openWithToken() internal returns (bytes32 channelId) {
        IChannel.Terms memory terms = _terms();
        terms.token = address(token);
        vm.prank(CUSTOMER);
        channelId = channels.open(terms, DEPOSIT);
    }

    function _commitment(uint64 window) internal pure returns (bytes32) {
        return keccak256(abi.encode("commitment", window));
    }

    function _listName(uint64 window) internal pure returns (bytes32) {
        return keccak256(abi.encode("list", window));
    }

    /// @dev That of an audited channel; a channel without audit takes it like any other.
    function _root(uint64 window) internal pure returns (bytes32) {
        return keccak256(bytes.concat(_commitment(window), _listName(window)));
    }

    function _id(bytes32 channelId, uint64 window) internal pure returns (bytes32) {
        return keccak256(abi.encode(channelId, window, UNITS, _root(window)));
    }

    /// @dev What the audit knows a window by. Spec: specs/0008-audit.md, section 5.
    function _auditId(bytes32 channelId, uint64 window) internal view returns (bytes32) {
        uint256 number = channels.channel(channelId).number;
        return keccak256(abi.encodePacked("keystead/window/v1", address(channels), number, window));
    }

    /// @dev The hash over the windows 1 to `window`.
    function _history(bytes32 channelId, uint64 window) internal pure returns (bytes32 history) {
        for (uint64 w = 1; w <= window; ++w) {
            history = keccak256(abi.encode(history, _id(channelId, w)));
        }
    }

    function _skipped(uint64 first, uint64 end) internal pure returns (IChannel.Window[] memory windows) {
        windows = new IChannel.Window[](end > first ? end - first : 0);
        for (uint64 w = first; w < end; ++w) {
            windows[w - first] = IChannel.Window({units: UNITS, root: _root(w)});
        }
    }

    /// @dev The ordinary voucher: every window costs `PRICE`, all of which is held back in an audited channel.
    function _voucher(bytes32 channelId, uint64 window, bool audited) internal pure returns (IChannel.Voucher memory) {
        return IChannel.Voucher({
            channelId: channelId,
            window: window,
            units: UNITS,
            cumulative: uint128(window) * PRICE,
            heldBack: audited ? PRICE : 0,
            root: _root(window),
            history: _history(channelId, window - 1)
        });
    }

    function _sign(IChannel.Voucher memory voucher) internal view returns (bytes memory) {
        return _signAs(SIGNER_KEY, voucher);
    }

    function _signAs(uint256 key, IChannel.Voucher memory voucher) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, channels.voucherDigest(voucher));
        return abi.encodePacked(r, s, v);
    }

    function _claim(bytes32 channelId, uint64 window, bool audited) internal {
        uint64 last = channels.channel(channelId).window;
        IChannel.Voucher memory voucher = _voucher(channelId, window, audited);
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        channels.claim(voucher, signature, audited ? _skipped(last + 1, window) : _skipped(0, 0));
    }

    /// @dev A claim as the provider that must fail with exactly this error.
    function _refusedClaim(
        IChannel.Voucher memory voucher,
        bytes memory signature,
        IChannel.Window[] memory skipped,
        bytes memory expected
    ) internal {
        vm.prank(PROVIDER);
        vm.expectRevert(expected);
        channels.claim(voucher, signature, skipped);
    }

    function _announce(bytes32 channelId, uint64 window) internal returns (bytes32 auditId) {
        IChannel.Voucher memory voucher = _voucher(channelId, window, true);
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        auditId = channels.announce(voucher, signature, _commitment(window), _listName(window));
    }

    function _release(bytes32 channelId, uint64 first, uint64 last) internal {
        for (uint64 w = first; w <= last; ++w) {
            audit.set(_auditId(channelId, w), MockAudit.Answer.Released);
        }
    }

    function _convict(bytes32 channelId, uint64 window) internal {
        audit.set(_auditId(channelId, window), MockAudit.Answer.Convicted);
    }

    function _request(bytes32 channelId) internal {
        vm.prank(CUSTOMER);
        channels.requestClose(channelId);
    }
}
