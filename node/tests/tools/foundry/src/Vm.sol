// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.37;

/// @title The cheat codes that the script and the fork tests use
/// @notice forge answers these calls at a fixed address; there is no contract behind it.
interface Vm {
    function startBroadcast(uint256 key) external;
    function stopBroadcast() external;
    function addr(uint256 key) external pure returns (address account);
    function signAndAttachDelegation(address implementation, uint256 key) external;
    function envAddress(string calldata name) external view returns (address account);
    function envUint(string calldata name) external view returns (uint256 number);
    function createSelectFork(string calldata url, uint256 height) external returns (uint256 fork);
    function envString(string calldata name) external view returns (string memory text);
    function rollFork(uint256 height) external;
    function prank(address caller) external;
}

/// @dev The address that forge watches: the low 20 bytes of keccak256("hevm cheat code").
Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
