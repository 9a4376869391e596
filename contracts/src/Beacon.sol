// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "./IBeacon.sol";

/// @title Randomness that nobody can predict or choose
/// @notice See `IBeacon`.
/// @dev Invariant: slot `1 + h mod RING` holds the randomness of `h` for every `h` from `oldest()` to `newest()`.
contract Beacon is IBeacon {
    /// @inheritdoc IBeacon
    uint256 public constant RING = 8192;

    /// @dev Who makes a chain's own calls: no key has this address (EIP-4788, EIP-2935).
    address private constant SYSTEM = 0xffffFFFfFFffffffffffffffFfFFFfffFFFfFFfE;

    /// @dev Slot 0. Spec: specs/0007-beacon.md section 5; light clients and the node read it and the ring directly.
    uint256 private _newest;

    /// @dev Slots 1 to RING.
    bytes32[RING] private _ring;

    /// @inheritdoc IBeacon
    function record(uint256 first, bytes32[] calldata values) external {
        if (msg.sender != SYSTEM) revert NotSystem(msg.sender);
        uint256 expected = _newest + 1;
        if (first != expected) revert OutOfOrder(first, expected);
        for (uint256 i = 0; i < values.length; ++i) {
            _ring[(first + i) % RING] = values[i];
        }
        _newest = _newest + values.length;
    }

    /// @inheritdoc IBeacon
    function randomness(uint256 height) external view returns (bytes32) {
        uint256 last = _newest;
        if (height > last) revert NotYet(height, last);
        uint256 first = _oldest(last);
        if (height < first) revert TooOld(height, first);
        return _ring[height % RING];
    }

    /// @inheritdoc IBeacon
    function has(uint256 height) external view returns (bool) {
        uint256 last = _newest;
        return height <= last && height >= _oldest(last);
    }

    /// @inheritdoc IBeacon
    function newest() external view returns (uint256) {
        return _newest;
    }

    /// @inheritdoc IBeacon
    function oldest() external view returns (uint256) {
        return _oldest(_newest);
    }

    function _oldest(uint256 last) private pure returns (uint256) {
        return last < RING ? 1 : last - RING + 1;
    }
}
