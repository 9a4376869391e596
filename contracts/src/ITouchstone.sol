// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title When a machine answered a challenge to prove what it is
/// @notice A provider records two hashes for each challenge: the root over everything that the challenge made it compute,
/// and, once a later height's randomness is known, the root over the products that show that all of it is still there.
/// Each is recorded once, with the block in which that happened, so that nobody can answer late and say it was earlier.
/// What the hashes stand for is checked off the chain, by everybody who likes.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner, no money. An
/// account writes its own entries only, three words a challenge, and pays for them. Spec: specs/0010-capability.md,
/// section 6.5.
interface ITouchstone {
    /// @notice What is recorded of a challenge. All zero: nothing.
    /// @param root Root over the rows of all products.
    /// @param vectorsRoot Root over the vectors; zero until it is recorded.
    /// @param rootBlock Height of the block that recorded the root.
    /// @param rootTime Unix time of that block, seconds.
    /// @param vectorsBlock Height of the block that recorded the vectors' root; zero until then.
    /// @param vectorsTime Unix time of that block, seconds.
    struct Entry {
        bytes32 root;
        bytes32 vectorsRoot;
        uint64 rootBlock;
        uint40 rootTime;
        uint64 vectorsBlock;
        uint40 vectorsTime;
    }

    /// @notice A root was recorded.
    /// @param account The provider.
    /// @param challengeId The challenge.
    /// @param root The root.
    event RootRecorded(address indexed account, bytes32 indexed challengeId, bytes32 root);

    /// @notice A vectors' root was recorded; the challenge can be opened now.
    /// @param account The provider.
    /// @param challengeId The challenge.
    /// @param vectorsRoot The root.
    event VectorsRecorded(address indexed account, bytes32 indexed challengeId, bytes32 vectorsRoot);

    /// @notice A root is never zero.
    /// @param account The caller.
    /// @param challengeId The challenge.
    error RootZero(address account, bytes32 challengeId);

    /// @notice What was recorded stays.
    /// @param account The caller.
    /// @param challengeId The challenge.
    /// @param recordedBlock The block that recorded it.
    error AlreadyRecorded(address account, bytes32 challengeId, uint64 recordedBlock);

    /// @notice The vectors come after the root.
    /// @param account The caller.
    /// @param challengeId The challenge.
    error NoRoot(address account, bytes32 challengeId);

    /// @notice The randomness that the vectors are made of is that of the height after the root's block. Before it is known
    /// there are no vectors: ask again in a later block.
    /// @param account The caller.
    /// @param challengeId The challenge.
    /// @param height The height whose randomness is needed.
    error NotDrawnYet(address account, bytes32 challengeId, uint64 height);

    /// @notice Records the root of a challenge of the caller, once.
    /// @dev Reverts with `RootZero` or `AlreadyRecorded`.
    /// @param challengeId The challenge.
    /// @param root The root; not zero.
    function recordRoot(bytes32 challengeId, bytes32 root) external;

    /// @notice Records the vectors' root of a challenge whose root is there, once.
    /// @dev Reverts with `RootZero`, `NoRoot`, `AlreadyRecorded` or `NotDrawnYet`.
    /// @param challengeId The challenge.
    /// @param vectorsRoot The root; not zero.
    function recordVectors(bytes32 challengeId, bytes32 vectorsRoot) external;

    /// @notice What is recorded of a challenge.
    /// @param account The provider.
    /// @param challengeId The challenge.
    /// @return The entry; all zero if there is none.
    function entryOf(address account, bytes32 challengeId) external view returns (Entry memory);
}
