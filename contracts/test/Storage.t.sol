// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {IProviders} from "../src/IProviders.sol";
import {WildToken} from "./ChannelTokens.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The storage words of a real order, as the vector that Rust and TypeScript read
/// @dev Spec: specs/0004-market.md section 6. `KEYSTEAD_BLESS=true forge test --match-contract Storage` writes the
/// vector anew, which approves a change of the proof format.
contract StorageTest is MarketFixture {
    string private constant VECTOR = "../specs/vectors/market-storage.json";
    uint256 private constant ORDER_FIELDS = 8;

    function test_the_storage_words_are_those_of_the_vector() public {
        string memory text = _vector();
        if (vm.envOr("KEYSTEAD_BLESS", false)) vm.writeFile(VECTOR, text);
        vm.assertEq(vm.readFile(VECTOR), text);
    }

    function test_an_order_that_does_not_exist_has_only_zero_words() public {
        _place();
        for (uint256 i = 0; i < ORDER_FIELDS; ++i) {
            vm.assertEq(vm.load(address(market), _orderSlot(2, i)), bytes32(0));
        }
    }

    function test_the_first_word_alone_tells_the_status() public {
        for (uint8 s = uint8(IMarket.Status.Ordered); s <= uint8(type(IMarket.Status).max); ++s) {
            uint256 orderId = _orderIn(IMarket.Status(s));
            vm.assertEq(uint256(vm.load(address(market), _orderSlot(orderId, 0))) & 0xff, s);
        }
    }

    /// @dev A rejected order as number 2, so that every field of it is set, and an open one before it.
    function _vector() private returns (string memory) {
        _place();
        vm.warp(START + 3);
        vm.prank(CUSTOMER);
        market.placeOrder{value: ESCROW_WEI}(_terms());
        vm.warp(START + 5);
        _do(Action.Lease, 2);
        vm.warp(START + 100);
        _do(Action.Commit, 2);
        vm.warp(START + 101);
        _do(Action.Deliver, 2);
        vm.warp(START + 120);
        vm.prank(CUSTOMER);
        market.reject(2, IMarket.Reason.Malformed, EVIDENCE);

        string memory json =
            '{\n  "about": "storage words after the scenario of contracts/test/Storage.t.sol; specs/0004-market.md section 6",\n';
        json = string.concat(json, _limits());
        json = string.concat(json, _pair("  ", "customer", vm.toString(CUSTOMER), ",\n"));
        json = string.concat(json, _pair("  ", "provider", vm.toString(PROVIDER), ",\n"));
        json = string.concat(json, '  "order_id": 2,\n  "market": {\n');
        json = string.concat(json, _pair("    ", "address", vm.toString(address(market)), ",\n"));
        string[8] memory names =
            ["progress", "terms", "job_hash", "commitment", "result_root", "evidence_hash", "customer", "provider"];
        for (uint256 i = 0; i < ORDER_FIELDS; ++i) {
            json = string.concat(json, _word(address(market), names[i], _orderSlot(2, i), ",\n"));
        }
        json = string.concat(json, _word(address(market), "order_count", bytes32(0), ",\n"));
        json = string.concat(json, _word(address(market), "credit_of_customer", _mapSlot(CUSTOMER, 2), ",\n"));
        json = string.concat(json, _word(address(market), "record_of_provider", _mapSlot(PROVIDER, 3), ",\n"));
        json = string.concat(json, _word(address(market), "record_of_customer", _mapSlot(CUSTOMER, 4), "\n"));
        return string.concat(json, "  },\n", _audited(), _inToken(), _register(), "}\n");
    }

    /// @dev Order 3: audited, stopped by the customer, committed to two units, which were paid.
    function _audited() private returns (string memory json) {
        uint256 orderId = _placeAudited(_auditTerms());
        _do(Action.Lease, orderId);
        vm.prank(CUSTOMER);
        market.stop(orderId);
        vm.prank(PROVIDER);
        market.commitPartial(orderId, COMMITMENT, 2);
        _do(Action.Deliver, orderId);
        vm.roll(block.number + 3);
        audit.touch(market.windowOf(orderId), 0, 0);
        vm.warp(block.timestamp + 1000);
        audit.close(market.windowOf(orderId));
        market.settle(orderId);
        json = '  "audited": {\n';
        json = string.concat(json, _number("order_id", orderId));
        json = string.concat(json, _word(address(market), "progress", _orderSlot(orderId, 0), ",\n"));
        json = string.concat(json, _word(address(market), "terms", _orderSlot(orderId, 1), ",\n"));
        return string.concat(json, _word(address(market), "provider", _orderSlot(orderId, 7), "\n"), "  },\n");
    }

    /// @dev Order 4, paid in a token; declined, so that its customer has credit in it.
    function _inToken() private returns (string memory json) {
        address token = address(new WildToken());
        WildToken(token).mint(CUSTOMER, ESCROW_WEI);
        vm.prank(CUSTOMER);
        uint256 orderId = market.placeOrderIn(token, _terms());
        _do(Action.Decline, orderId);
        json = '  "in_token": {\n';
        json = string.concat(json, _number("order_id", orderId));
        json = string.concat(json, _pair("    ", "token", vm.toString(token), ",\n"));
        json = string.concat(json, _word(address(market), "customer", _orderSlot(orderId, 6), ",\n"));
        json = string.concat(json, _word(address(market), "provider", _orderSlot(orderId, 7), ",\n"));
        bytes32 slot = keccak256(abi.encode(token, keccak256(abi.encode(CUSTOMER, uint256(6)))));
        return string.concat(json, _word(address(market), "credit_of_customer", slot, "\n"), "  },\n");
    }

    function _register() private view returns (string memory json) {
        json = string.concat('  "providers": {\n', _pair("    ", "address", vm.toString(address(providers)), ",\n"));
        string[3] memory names = ["node_id", "capability_hash", "offer"];
        for (uint256 i = 0; i < names.length; ++i) {
            bytes32 slot = bytes32(uint256(_mapSlot(PROVIDER, 1)) + i);
            json = string.concat(json, _word(address(providers), names[i], slot, ",\n"));
        }
        json = string.concat(json, _word(address(providers), "provider_count", bytes32(0), "\n"), "  }\n");
    }

    function _limits() private view returns (string memory json) {
        json = '  "limits": {\n';
        json = string.concat(json, _number("units_max", market.UNITS_MAX()));
        json = string.concat(json, _number("lease_seconds_max", market.LEASE_SECONDS_MAX()));
        json = string.concat(json, _number("deliver_seconds_max", market.DELIVER_SECONDS_MAX()));
        json = string.concat(json, _number("check_seconds_max", market.CHECK_SECONDS_MAX()));
        json = string.concat(json, _number("leave_delay_seconds", bond.LEAVE_DELAY_SECONDS()));
        json = string.concat(json, _number("endpoint_bytes_max", providers.ENDPOINT_BYTES_MAX()));
        json = string.concat(json, _number("page_count_max", providers.PAGE_COUNT_MAX()));
        string memory price = vm.toString(providers.PRICE_WEI_PER_UNIT_MAX());
        return string.concat(json, _pair("    ", "price_wei_per_unit_max", price, "\n"), "  },\n");
    }

    function _orderSlot(uint256 orderId, uint256 field) private pure returns (bytes32) {
        return bytes32(uint256(keccak256(abi.encode(orderId, uint256(1)))) + field);
    }

    function _mapSlot(address account, uint256 position) private pure returns (bytes32) {
        return keccak256(abi.encode(account, position));
    }

    function _word(address account, string memory name, bytes32 slot, string memory end)
        private
        view
        returns (string memory)
    {
        bytes32 word = vm.load(account, slot);
        string memory head = string.concat('    "', name, '": { "slot": "', vm.toString(slot));
        return string.concat(head, '", "word": "', vm.toString(word), '" }', end);
    }

    function _pair(string memory indent, string memory name, string memory value, string memory end)
        private
        pure
        returns (string memory)
    {
        return string.concat(indent, '"', name, '": "', value, '"', end);
    }

    function _number(string memory name, uint256 value) private pure returns (string memory) {
        return string.concat('    "', name, '": ', vm.toString(value), ",\n");
    }
}
