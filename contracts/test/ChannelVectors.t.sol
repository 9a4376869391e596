// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannel} from "../src/IChannel.sol";
import {ChannelFixture} from "./ChannelFixture.sol";

/// @title Vouchers and storage words of a real channel, as the vectors that Rust reads; claims that Rust makes
/// @dev Spec: specs/0009-channel.md sections 5, 6 and 8. `KEYSTEAD_BLESS=true forge test --match-contract ChannelVectors`
/// writes them anew, which approves a change of the formats.
contract ChannelVectorsTest is ChannelFixture {
    string private constant VOUCHERS = "../specs/vectors/channel.json";
    string private constant CLAIMS = "../specs/vectors/channel-claims.json";
    string private constant STORAGE = "../specs/vectors/channel-storage.json";
    uint256 private constant FIELDS = 8;
    uint256 private constant AUDIT_FIELDS = 6;

    function test_the_vouchers_are_those_of_the_vector() public {
        vm.chainId(19283);
        _same(VOUCHERS, _vouchers());
    }

    function test_the_storage_words_are_those_of_the_vector() public {
        vm.chainId(19283);
        _same(STORAGE, _storage());
    }

    /// @dev The calls were made by the Rust package `keystead-payment` from its own vouchers; here they meet the contract.
    function test_the_claims_that_rust_advises_are_paid() public {
        vm.chainId(19283);
        string memory json = vm.readFile(CLAIMS);
        bytes32 channelId = _open(true);
        vm.assertEq(channelId, _bytes32(json, ".channel_id"));
        _windowsOf(json, channelId);
        _release(channelId, 1, 3);
        vm.prank(PROVIDER);
        (bool ok,) = address(channels).call(vm.parseJsonBytes(json, ".first_claim"));
        vm.assertTrue(ok, "the first claim");
        vm.assertEq(channels.credit(PROVIDER, KST), vm.parseJsonUint(json, ".first_amount"));
        vm.prank(PROVIDER);
        (ok,) = address(channels).call(vm.parseJsonBytes(json, ".last_claim"));
        vm.assertTrue(!ok, "windows 4 to 6 are not released");
        _release(channelId, 4, 6);
        vm.prank(PROVIDER);
        (ok,) = address(channels).call(vm.parseJsonBytes(json, ".last_claim"));
        vm.assertTrue(ok, "the last claim");
        vm.assertEq(channels.credit(PROVIDER, KST), vm.parseJsonUint(json, ".last_amount"));
        vm.assertEq(uint256(channels.channel(channelId).status), uint256(IChannel.Status.Closed));
    }

    function test_a_channel_that_does_not_exist_has_only_zero_words() public {
        _open(true);
        for (uint256 i = 0; i < FIELDS; ++i) {
            vm.assertEq(vm.load(address(channels), _slot(keccak256("nothing"), i)), bytes32(0));
        }
    }

    /// @dev The links of the history are Rust's; the audit knows the same windows by the ids that `_release` takes.
    function _windowsOf(string memory json, bytes32 channelId) private view {
        bytes32 history;
        for (uint64 w = 1; w <= 6; ++w) {
            string memory key = string.concat(".window_ids[", vm.toString(uint256(w) - 1), "]");
            history = keccak256(abi.encode(history, _bytes32(json, key)));
            vm.assertEq(channels.auditWindow(channelId, w), _auditId(channelId, w));
        }
        vm.assertTrue(history != 0, "six windows");
    }

    function _bytes32(string memory json, string memory key) private pure returns (bytes32) {
        return bytes32(vm.parseJsonBytes(json, key));
    }

    function _same(string memory path, string memory text) private {
        if (vm.envOr("KEYSTEAD_BLESS", false)) vm.writeFile(path, text);
        vm.assertEq(vm.readFile(path), text);
    }

    function _vouchers() private view returns (string memory json) {
        string memory about = "vouchers of contracts/test/ChannelVectors.t.sol; specs/0009-channel.md sections 5, 6";
        json = string.concat("{\n", _text("  ", "about", about), '  "chain_id": 19283,\n');
        json = string.concat(json, _text("  ", "contract", vm.toString(address(channels))));
        json = string.concat(json, _text("  ", "domain_separator", vm.toString(channels.domainSeparator())));
        json = string.concat(json, _text("  ", "signer_key", vm.toString(bytes32(SIGNER_KEY))));
        json = string.concat(json, _text("  ", "signer", vm.toString(vm.addr(SIGNER_KEY))), _auditedRoot());
        bytes32 channelId = keccak256("channel");
        json = string.concat(json, _case(_voucher(channelId, 1, true)), ",\n");
        json = string.concat(json, _case(_voucher(channelId, 2, true)), ",\n");
        json = string.concat(json, _case(_voucher(channelId, 3, false)), ",\n");
        IChannel.Voucher memory extreme = IChannel.Voucher({
            channelId: bytes32(type(uint256).max),
            window: type(uint64).max,
            units: type(uint32).max,
            cumulative: type(uint128).max,
            heldBack: type(uint128).max - 1,
            root: bytes32(type(uint256).max),
            history: bytes32(uint256(1))
        });
        json = string.concat(json, _case(extreme), "\n  ]\n}\n");
    }

    /// @dev What the root of the first voucher is made of.
    function _auditedRoot() private view returns (string memory json) {
        bytes32 root = channels.auditedRoot(_commitment(1), _listName(1));
        vm.assertEq(root, _root(1));
        json = string.concat('  "audited_root": {\n', _text("    ", "commitment", vm.toString(_commitment(1))));
        json = string.concat(json, _text("    ", "steps", vm.toString(_listName(1))));
        return string.concat(json, '    "root": "', vm.toString(root), '"\n  },\n  "vouchers": [\n');
    }

    function _case(IChannel.Voucher memory voucher) private view returns (string memory json) {
        json = string.concat("    {\n", _text("      ", "channel_id", vm.toString(voucher.channelId)));
        json = string.concat(json, _text("      ", "window", vm.toString(voucher.window)));
        json = string.concat(json, _text("      ", "units", vm.toString(voucher.units)));
        json = string.concat(json, _text("      ", "cumulative", vm.toString(voucher.cumulative)));
        json = string.concat(json, _text("      ", "held_back", vm.toString(voucher.heldBack)));
        json = string.concat(json, _text("      ", "root", vm.toString(voucher.root)));
        json = string.concat(json, _text("      ", "history", vm.toString(voucher.history)));
        bytes32 id = channels.windowId(voucher.channelId, voucher.window, voucher.units, voucher.root);
        bytes32 after_ = keccak256(abi.encode(voucher.history, id));
        json = string.concat(json, _text("      ", "window_id", vm.toString(id)));
        json = string.concat(json, _text("      ", "history_after", vm.toString(after_)));
        json = string.concat(json, _text("      ", "struct_hash", vm.toString(_structHash(voucher))));
        json = string.concat(json, _text("      ", "digest", vm.toString(channels.voucherDigest(voucher))));
        json = string.concat(json, '      "signature": "', vm.toString(_sign(voucher)), '"\n    }');
    }

    /// @dev Field by field from the type's text, beside the contract's way.
    function _structHash(IChannel.Voucher memory v) private view returns (bytes32 hash) {
        bytes32 kind = keccak256(
            "Voucher(bytes32 channelId,uint64 window,uint32 units,uint128 cumulative,uint128 heldBack,bytes32 root,bytes32 history)"
        );
        bytes memory head = abi.encode(kind, v.channelId, uint256(v.window), uint256(v.units));
        bytes memory tail = abi.encode(uint256(v.cumulative), uint256(v.heldBack), v.root, v.history);
        hash = keccak256(bytes.concat(head, tail));
        bytes memory typed = bytes.concat(hex"1901", channels.domainSeparator(), hash);
        vm.assertEq(keccak256(typed), channels.voucherDigest(v));
    }

    /// @dev A channel with every field set but the token: audited, announced and claimed for, closed after a request. And one in a token.
    function _storage() private returns (string memory json) {
        bytes32 channelId = _open(true);
        bytes32 other = _openWithToken();
        vm.warp(START + 5);
        for (uint64 w = 1; w <= 4; ++w) {
            vm.assertEq(_announce(channelId, w), _auditId(channelId, w));
        }
        _release(channelId, 1, 3);
        _claim(channelId, 3, true);
        _claim(other, 2, false);
        vm.warp(START + 7);
        _request(channelId);
        vm.warp(START + 9);
        vm.prank(PROVIDER);
        channels.close(channelId);
        string memory about = "storage words after contracts/test/ChannelVectors.t.sol; specs/0009-channel.md section 8";
        json = string.concat("{\n", _text("  ", "about", about), '  "limits": {\n');
        json = string.concat(json, _number("challenge_seconds_max", channels.CHALLENGE_SECONDS_MAX(), ",\n"));
        json = string.concat(json, _number("life_seconds_max", channels.LIFE_SECONDS_MAX(), ",\n"));
        json = string.concat(json, _number("windows_per_claim_max", channels.WINDOWS_PER_CLAIM_MAX(), "\n"), "  },\n");
        json = string.concat(json, _text("  ", "channel_id", vm.toString(channelId)));
        json = string.concat(json, _text("  ", "customer", vm.toString(CUSTOMER)));
        json = string.concat(json, _text("  ", "provider", vm.toString(PROVIDER)));
        json = string.concat(json, _text("  ", "signer", vm.toString(vm.addr(SIGNER_KEY))));
        json = string.concat(json, _text("  ", "token", vm.toString(address(token))));
        json = string.concat(json, _text("  ", "history_of_three_windows", vm.toString(_history(channelId, 3))));
        json = string.concat(json, _meaning(channelId));
        json = string.concat(json, _words(channelId));
        json = string.concat(json, _text("  ", "channel_id_in_token", vm.toString(other)), '  "channel_in_token": {\n');
        json = string.concat(json, _word("progress", _slot(other, 0), ",\n"), _word("token", _slot(other, 6), ",\n"));
        json = string.concat(json, _word("signer", _slot(other, 5), ",\n"), _word("budget", _slot(other, 7), ",\n"));
        return string.concat(json, _word("credit_of_provider", _creditSlot(PROVIDER, address(token)), "\n"), "  }\n}\n");
    }

    /// @dev What the words say, and what the audit knows the windows by.
    function _meaning(bytes32 channelId) private view returns (string memory json) {
        IChannel.Entry memory entry = channels.channel(channelId);
        IChannel.Audit memory agreed = channels.auditOf(channelId);
        json = _text("  ", "announced", vm.toString(uint256(entry.announced)));
        json = string.concat(json, _text("  ", "number", vm.toString(uint256(entry.number))));
        json = string.concat(json, _text("  ", "budgeted", vm.toString(uint256(entry.budgeted))));
        json = string.concat(json, _text("  ", "job_hash", vm.toString(agreed.jobHash)));
        json = string.concat(json, _text("  ", "price_wei_per_unit", vm.toString(uint256(agreed.priceWeiPerUnit))));
        json = string.concat(
            json, _text("  ", "bond_wei", vm.toString(uint256(agreed.terms.bondWei))), '  "audit_ids": [\n'
        );
        for (uint64 w = 1; w <= 4; ++w) {
            json =
                string.concat(json, '    "', vm.toString(channels.auditWindow(channelId, w)), w == 4 ? '"\n' : '",\n');
        }
        return string.concat(json, "  ],\n");
    }

    function _words(bytes32 channelId) private view returns (string memory json) {
        json = string.concat('  "channel": {\n', _text("    ", "address", vm.toString(address(channels))));
        string[8] memory names = ["progress", "money", "history", "customer", "provider", "signer", "token", "budget"];
        for (uint256 i = 0; i < FIELDS; ++i) {
            json = string.concat(json, _word(names[i], _slot(channelId, i), ",\n"));
        }
        json = string.concat(json, _word("channel_count", bytes32(0), ",\n"));
        json = string.concat(json, _word("credit_of_provider", _creditSlot(PROVIDER, KST), ",\n"));
        json =
            string.concat(json, _word("credit_of_customer", _creditSlot(CUSTOMER, KST), "\n"), '  },\n  "audit": {\n');
        string[6] memory parts = ["job_hash", "price_wei_per_unit", "terms", "bond_wei", "named", "canary"];
        for (uint256 i = 0; i < AUDIT_FIELDS; ++i) {
            json = string.concat(json, _word(parts[i], _auditSlot(channelId, i), i + 1 == AUDIT_FIELDS ? "\n" : ",\n"));
        }
        return string.concat(json, "  },\n");
    }

    function _auditSlot(bytes32 channelId, uint256 field) private pure returns (bytes32) {
        return bytes32(uint256(keccak256(abi.encode(channelId, uint256(3)))) + field);
    }

    function _slot(bytes32 channelId, uint256 field) private pure returns (bytes32) {
        return bytes32(uint256(keccak256(abi.encode(channelId, uint256(1)))) + field);
    }

    function _creditSlot(address account, address which) private pure returns (bytes32) {
        return keccak256(abi.encode(which, keccak256(abi.encode(account, uint256(2)))));
    }

    function _word(string memory name, bytes32 slot, string memory end) private view returns (string memory) {
        bytes32 word = vm.load(address(channels), slot);
        string memory head = string.concat('    "', name, '": { "slot": "', vm.toString(slot));
        return string.concat(head, '", "word": "', vm.toString(word), '" }', end);
    }

    function _text(string memory indent, string memory name, string memory value) private pure returns (string memory) {
        return string.concat(indent, '"', name, '": "', value, '",\n');
    }

    function _number(string memory name, uint256 value, string memory end) private pure returns (string memory) {
        return string.concat('    "', name, '": ', vm.toString(value), end);
    }
}
