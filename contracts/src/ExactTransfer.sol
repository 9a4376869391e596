// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Moving exactly an amount of an ERC-20, or nothing
/// @dev The caller's balance is read before and after, so a token that keeps a fee, or lies, is refused. Whoever calls this
/// must hold a guard: the token may call back, and no other function may move the same token meanwhile.
library ExactTransfer {
    using SafeERC20 for IERC20;

    /// @notice The token moved another amount than it was told: it keeps a fee, or it lies.
    /// @param token The ERC-20.
    /// @param balanceBefore The contract's balance before.
    /// @param balanceAfter The contract's balance after.
    /// @param amount What should have moved.
    error TransferInexact(address token, uint256 balanceBefore, uint256 balanceAfter, uint256 amount);

    /// @dev From the caller of this call to this contract.
    function take(address token, uint256 amount) internal {
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 balanceAfter = IERC20(token).balanceOf(address(this));
        if (balanceAfter < balanceBefore || balanceAfter - balanceBefore != amount) {
            revert TransferInexact(token, balanceBefore, balanceAfter, amount);
        }
    }

    /// @dev From this contract; what leaves is exactly the amount, so nobody else's money can.
    function send(address token, address to, uint256 amount) internal {
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransfer(to, amount);
        uint256 balanceAfter = IERC20(token).balanceOf(address(this));
        if (balanceAfter > balanceBefore || balanceBefore - balanceAfter != amount) {
            revert TransferInexact(token, balanceBefore, balanceAfter, amount);
        }
    }
}
