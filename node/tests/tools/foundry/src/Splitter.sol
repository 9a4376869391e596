// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.37;

import {Shares} from "./Shares.sol";

/// @title Money for several, by shares
contract Splitter {
    event Received(address indexed from, uint256 value);
    event Released(address indexed payee, uint256 value);

    error NothingDue(address payee);

    uint256 public immutable total;
    uint256 public given;
    mapping(address payee => uint256) public share;
    mapping(address payee => uint256) public released;

    constructor(address[] memory payees, uint256[] memory shares) payable {
        uint256 sum;
        for (uint256 index = 0; index < payees.length; index++) {
            share[payees[index]] += shares[index];
            sum += shares[index];
        }
        total = sum;
    }

    receive() external payable {
        emit Received(msg.sender, msg.value);
    }

    function due(address payee) public view returns (uint256) {
        return Shares.due(address(this).balance + given, share[payee], total, released[payee]);
    }

    function release(address payable payee) external {
        uint256 value = due(payee);
        if (value == 0) revert NothingDue(payee);
        released[payee] += value;
        given += value;
        emit Released(payee, value);
        (bool sent,) = payee.call{value: value}("");
        require(sent, "not taken");
    }
}

/// @title Makes splitters at addresses that are known before
contract Factory {
    event Made(address splitter);

    function make(bytes32 salt, address[] calldata payees, uint256[] calldata shares) external returns (Splitter splitter) {
        splitter = new Splitter{salt: salt}(payees, shares);
        emit Made(address(splitter));
    }
}
