// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Draw} from "../src/Draw.sol";
import {Test} from "./Test.sol";

/// @title What a seed draws, as the vector that programs off the chain read
/// @dev Spec: specs/0008-audit.md sections 5 and 6. `KEYSTEAD_BLESS=true forge test --match-contract AuditVectors`
/// writes the vector anew, which approves a change of the draw.
contract AuditVectorsTest is Test {
    string private constant VECTOR = "../specs/vectors/audit.json";
    uint32 private constant UNITS = 256;
    uint32 private constant SEGMENTS = 100;
    uint32 private constant PLACES = 37;

    function test_the_draws_are_those_of_the_vector() public {
        string memory text = _vector();
        if (vm.envOr("KEYSTEAD_BLESS", false)) vm.writeFile(VECTOR, text);
        vm.assertEq(vm.readFile(VECTOR), text);
    }

    function test_a_rate_of_all_draws_all_and_the_first_unit_drawn_by_a_rate_is_drawn_by_a_higher_one() public pure {
        for (uint32 s = 0; s < 8; ++s) {
            bytes32 seed = keccak256(abi.encode(s));
            for (uint32 unit = 0; unit < UNITS; ++unit) {
                vm.assertTrue(Draw.isDrawn(seed, unit, 1_000_000), "all");
                if (Draw.isDrawn(seed, unit, 30_000)) vm.assertTrue(Draw.isDrawn(seed, unit, 60_000), "monotone");
            }
        }
    }

    function test_about_as_many_units_are_drawn_as_the_rate_says() public pure {
        uint256 count;
        for (uint32 unit = 0; unit < 20_000; ++unit) {
            if (Draw.isDrawn(keccak256("rate"), unit, 30_000)) ++count;
        }
        // 600 expected, with a deviation of 24: within four of them.
        vm.assertTrue(count > 504 && count < 696, "a rate is a rate");
    }

    function _vector() private pure returns (string memory json) {
        bytes32 id = Draw.windowId(address(0x4b53540000000000000000000000000000000002), 7, 0);
        bytes32 randomness = keccak256("randomness of a height");
        json =
            '{\n  "about": "draws of a seed, from contracts/test/AuditVectors.t.sol; specs/0008-audit.md sections 5, 6",\n';
        json = string.concat(
            json, '  "source": "0x4b53540000000000000000000000000000000002",\n  "number": 7,\n  "window": 0,\n'
        );
        json = string.concat(json, '  "window_id": "', vm.toString(id), '",\n');
        json = string.concat(json, '  "randomness": "', vm.toString(randomness), '",\n');
        json = string.concat(json, '  "units": 256,\n  "segments": 100,\n  "places": 37,\n  "rounds": [\n');
        for (uint8 round = 0; round < 5; ++round) {
            json = string.concat(json, _round(Draw.seed(randomness, id, round), round), round < 4 ? ",\n" : "\n");
        }
        return string.concat(json, "  ]\n}\n");
    }

    function _round(bytes32 seed, uint8 round) private pure returns (string memory json) {
        json = string.concat('    {\n      "round": ', vm.toString(uint256(round)));
        json = string.concat(json, ',\n      "seed": "', vm.toString(seed), '",\n');
        if (round == 0) {
            json = string.concat(json, _drawn(seed, 30_000), _drawn(seed, 100_000));
        }
        if (round >= 2) return string.concat(json, _panel(seed, round), "    }");
        json = string.concat(json, '      "slots_of_unit_5": [');
        for (uint8 j = 0; j < 16; ++j) {
            json = string.concat(json, j == 0 ? "" : ", ", vm.toString(uint256(Draw.place(seed, 5, j, PLACES))));
        }
        return string.concat(json, "]\n    }");
    }

    /// @dev The first two places of every slot of a panel.
    function _panel(bytes32 seed, uint8 round) private pure returns (string memory) {
        string memory first = "";
        string memory second = "";
        uint256 size = (uint256(1) << (round + 3)) - 1;
        for (uint8 j = 0; j < size; ++j) {
            string memory comma = j == 0 ? "" : ", ";
            first = string.concat(first, comma, vm.toString(uint256(Draw.panelPlace(seed, 5, j, 0, PLACES))));
            second = string.concat(second, comma, vm.toString(uint256(Draw.panelPlace(seed, 5, j, 1, PLACES))));
        }
        return
            string.concat(
                '      "panel_of_unit_5": [', first, '],\n      "second_places_of_its_slots": [', second, "]\n"
            );
    }

    function _drawn(bytes32 seed, uint32 rate) private pure returns (string memory json) {
        string memory segments = "";
        string memory units = "";
        bool first = true;
        for (uint32 unit = 0; unit < UNITS; ++unit) {
            if (!Draw.isDrawn(seed, unit, rate)) continue;
            units = string.concat(units, first ? "" : ", ", vm.toString(uint256(unit)));
            segments =
                string.concat(segments, first ? "" : ", ", vm.toString(uint256(Draw.segment(seed, unit, SEGMENTS))));
            first = false;
        }
        string memory name = vm.toString(uint256(rate));
        json = string.concat('      "drawn_at_', name, '_ppm": [', units, "],\n");
        return string.concat(json, '      "their_segments_at_', name, '_ppm": [', segments, "],\n");
    }
}
