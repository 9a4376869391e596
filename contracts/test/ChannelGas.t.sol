// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannel} from "../src/IChannel.sol";
import {ChannelAuditFixture} from "./ChannelAuditFixture.sol";
import {ChannelFixture} from "./ChannelFixture.sol";

/// @title What each call of the channels costs
/// @dev Run with the profile `gas`: each call is then its own transaction. "(first)" is the call that makes words
/// non-zero that stay so: a first credit, a count.
contract ChannelGasTest is ChannelFixture {
    function test_gas_of_a_channels_life() public {
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? " (first)" : "";
            bytes32 channelId = _open(false);
            _note(string.concat("open", suffix));
            vm.prank(CUSTOMER);
            channels.topUp{value: 1}(channelId, 1);
            _note(string.concat("topUp", suffix));
            _claim(channelId, 1, false);
            _note(string.concat("claim", suffix));
            _claimAndClose(channelId, 2, false);
            _note(string.concat("claimAndClose", suffix));
        }
        vm.prank(PROVIDER);
        channels.withdraw(KST);
        _note("withdraw");
    }

    function test_gas_of_audited_windows() public {
        bytes32 channelId = _open(true);
        uint64[3] memory windows = [uint64(1), 2, 259];
        string[3] memory names =
            ["claim audited (first)", "claim audited, next window", "claim audited, 256 windows skipped"];
        _release(channelId, 1, 259);
        for (uint256 i = 0; i < windows.length; ++i) {
            _claim(channelId, windows[i], true);
            _note(names[i]);
        }
    }

    function test_gas_of_the_other_ends() public {
        bytes32 channelId = _open(false);
        vm.prank(PROVIDER);
        channels.close(channelId);
        _note("close (first)");
        channelId = _open(false);
        vm.prank(PROVIDER);
        channels.close(channelId);
        _note("close");
        channelId = _open(false);
        _request(channelId);
        _note("requestClose");
        vm.warp(block.timestamp + CHALLENGE_SECONDS + 1);
        channels.finish(channelId);
        _note("finish");
    }

    function test_gas_with_a_token() public {
        bytes32 channelId = _openWithToken();
        _note("open with token (first)");
        _claimAndClose(channelId, 2, false);
        vm.prank(PROVIDER);
        channels.withdraw(address(token));
        _note("withdraw token");
    }

    function _claimAndClose(bytes32 channelId, uint64 window, bool audited) private {
        IChannel.Voucher memory voucher = _voucher(channelId, window, audited);
        bytes memory signature = _sign(voucher);
        vm.prank(PROVIDER);
        channels.claimAndClose(voucher, signature, _skipped(0, 0));
    }

    function _note(string memory name) private {
        vm.snapshotGasLastCall("Channel", name);
    }
}

/// @title What an audited channel's calls cost with the real audit
contract ChannelAuditGasTest is ChannelAuditFixture {
    function test_gas_of_announcements() public {
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? " (first)" : "";
            bytes32 channelId = _channel(DEPOSIT);
            _note(string.concat("openAudited", suffix));
            _announce(_voucher(channelId, 1, keccak256("root")), keccak256("root"));
            _note(string.concat("announce", suffix));
            _announce(_voucher(channelId, 2, keccak256("root")), keccak256("root"));
            _note(string.concat("announce, next window", suffix));
        }
    }

    function _note(string memory name) private {
        vm.snapshotGasLastCall("Channel", name);
    }
}
