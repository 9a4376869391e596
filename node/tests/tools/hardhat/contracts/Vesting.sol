// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.37;

/// @title Money that becomes free second by second
contract Vesting {
    event Released(address indexed beneficiary, uint256 value);
    event Moved(address indexed from, address indexed to);

    error NothingFree(uint256 time);
    error NotOwner(address caller);

    address public immutable owner;
    address public beneficiary;
    uint256 public immutable start;
    uint256 public immutable seconds_;
    uint256 public immutable total;
    uint256 public released;

    constructor(address to, uint256 duration) payable {
        require(msg.value > 0, "no money");
        (owner, beneficiary, start, seconds_, total) = (msg.sender, to, block.timestamp, duration, msg.value);
    }

    /// @notice What may be released now, wei.
    function free() public view returns (uint256) {
        uint256 passed = block.timestamp - start;
        return (passed >= seconds_ ? total : total * passed / seconds_) - released;
    }

    function release() external {
        uint256 value = free();
        if (value == 0) revert NothingFree(block.timestamp);
        released += value;
        emit Released(beneficiary, value);
        (bool sent,) = beneficiary.call{value: value}("");
        require(sent, "not taken");
    }

    function move(address to) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        emit Moved(beneficiary, to);
        beneficiary = to;
    }
}
