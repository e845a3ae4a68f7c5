// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

interface IERC165 {
    function supportsInterface(bytes4 interfaceId) external view returns (bool);
}

interface IERC1155Receiver is IERC165 {
    function onERC1155Received(address operator, address from, uint256 id, uint256 value, bytes calldata data)
        external
        returns (bytes4);
    function onERC1155BatchReceived(
        address operator,
        address from,
        uint256[] calldata ids,
        uint256[] calldata values,
        bytes calldata data
    ) external returns (bytes4);
}

/// @title Energy that was bought, as an ERC-1155 token: the id is the day of delivery, the unit is the Wh
/// @notice Who holds it may transfer or retire it once its day is closed; until then a shortfall may burn it.
/// @dev A day is a number of days since the epoch in UTC. One deviation from ERC-1155: no receiver is called when
///      energy is minted. An actor with code says once, when it is registered, that it takes such tokens.
abstract contract EnergyToken is IERC165 {
    /*//////////////////////////////////////////////////////////////
                             EVENTS, ERRORS
    //////////////////////////////////////////////////////////////*/

    event TransferSingle(
        address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value
    );
    event TransferBatch(
        address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values
    );
    event ApprovalForAll(address indexed account, address indexed operator, bool approved);
    event Retired(address indexed account, uint256 indexed day, uint256 energyWh, address by);

    error ZeroAddress();
    error NotApproved(address account, address caller);
    error DayIsOpen(uint256 day);
    error InsufficientEnergy(address account, uint256 day, uint256 missingWh);
    error LengthsDiffer(uint256 left, uint256 right);
    error ReceiverRefused(address receiver);

    /*//////////////////////////////////////////////////////////////
                                STORAGE
    //////////////////////////////////////////////////////////////*/

    /// @notice Whether an account lets another one transfer and retire all that it holds.
    mapping(address account => mapping(address operator => bool)) public isApprovedForAll;

    /// @dev What each account holds, but for what its actor bought for the last day, which still is in its word.
    mapping(uint256 day => mapping(address account => uint256)) internal _heldWh;

    /*//////////////////////////////////////////////////////////////
                             LEFT TO OTHERS
    //////////////////////////////////////////////////////////////*/

    /// @notice Energy that an account holds of a day, in Wh.
    function balanceOf(address account, uint256 day) public view virtual returns (uint256);

    /// @dev Bring all that an account holds into _heldWh. Revert if another account came in its place.
    function _enter(address account) internal virtual;

    /// @dev Revert unless a day is closed.
    function _requireClosed(uint256 day) internal view virtual;

    /// @dev Count what was retired.
    function _count(uint256 day, uint256 retiredWh) internal virtual;

    /*//////////////////////////////////////////////////////////////
                                ERC-1155
    //////////////////////////////////////////////////////////////*/

    /// @notice balanceOf for each pair of an account and a day.
    function balanceOfBatch(address[] calldata accounts, uint256[] calldata ids)
        external
        view
        returns (uint256[] memory balances)
    {
        _requireEqual(accounts.length, ids.length);
        balances = new uint256[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            balances[i] = balanceOf(accounts[i], ids[i]);
        }
    }

    /// @notice Let another account transfer and retire all that the caller holds, or end that.
    function setApprovalForAll(address operator, bool approved) external {
        isApprovedForAll[msg.sender][operator] = approved;
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    /// @notice Transfer energy of a closed day. A receiver with code has to accept it.
    function safeTransferFrom(address from, address to, uint256 id, uint256 value, bytes calldata data) external {
        _move(from, to, id, value);
        emit TransferSingle(msg.sender, from, to, id, value);
        _offer(to, abi.encodeCall(IERC1155Receiver.onERC1155Received, (msg.sender, from, id, value, data)));
    }

    /// @notice Transfer energy of several closed days, all or none. A receiver with code has to accept it.
    function safeBatchTransferFrom(
        address from,
        address to,
        uint256[] calldata ids,
        uint256[] calldata values,
        bytes calldata data
    ) external {
        _requireEqual(ids.length, values.length);
        for (uint256 i = 0; i < ids.length; ++i) {
            _move(from, to, ids[i], values[i]);
        }
        emit TransferBatch(msg.sender, from, to, ids, values);
        _offer(to, abi.encodeCall(IERC1155Receiver.onERC1155BatchReceived, (msg.sender, from, ids, values, data)));
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId || interfaceId == 0xd9b67a26; // ERC-1155
    }

    /*//////////////////////////////////////////////////////////////
                                RETIRING
    //////////////////////////////////////////////////////////////*/

    /// @notice Use up energy of a closed day that the caller holds: nobody can have it any more.
    /// @param energyWh How much, in Wh.
    function retire(uint256 day, uint256 energyWh) external {
        retireFor(msg.sender, day, energyWh);
    }

    /// @notice Retire energy of an account that has approved the caller.
    function retireFor(address account, uint256 day, uint256 energyWh) public {
        _requireApproved(account);
        _requireClosed(day);
        _enter(account);
        _take(account, day, energyWh);
        _count(day, energyWh);
        emit TransferSingle(msg.sender, account, address(0), day, energyWh);
        emit Retired(account, day, energyWh, msg.sender);
    }

    /*//////////////////////////////////////////////////////////////
                                 BOOKS
    //////////////////////////////////////////////////////////////*/

    function _move(address from, address to, uint256 day, uint256 energyWh) private {
        require(to != address(0), ZeroAddress());
        _requireApproved(from);
        _requireClosed(day);
        _enter(from);
        _take(from, day, energyWh);
        // What was ever minted of a day is far below 2^256 Wh.
        unchecked {
            _heldWh[day][to] += energyWh;
        }
    }

    /// @dev Expects that _enter was called.
    function _take(address account, uint256 day, uint256 energyWh) internal {
        uint256 heldWh = _heldWh[day][account];
        if (energyWh > heldWh) revert InsufficientEnergy(account, day, energyWh - heldWh);
        unchecked {
            _heldWh[day][account] = heldWh - energyWh;
        }
    }

    function _requireApproved(address account) private view {
        require(
            account == msg.sender || isApprovedForAll[account][msg.sender], NotApproved(account, msg.sender)
        );
    }

    function _requireEqual(uint256 left, uint256 right) private pure {
        require(left == right, LengthsDiffer(left, right));
    }

    /// @dev Whether an account takes such tokens: one without code does, one with code has to say so.
    function _takesTokens(address account) internal view returns (bool) {
        if (account.code.length == 0) return true;
        (bool done, bytes memory answer) =
            account.staticcall(abi.encodeCall(IERC165.supportsInterface, (type(IERC1155Receiver).interfaceId)));
        return done && answer.length >= 32 && uint256(bytes32(answer)) == 1;
    }

    /// @dev Ask a receiver with code; it accepts by answering with the selector of what it is asked.
    function _offer(address to, bytes memory question) private {
        if (to.code.length == 0) return;
        (bool done, bytes memory answer) = to.call(question);
        // Not decoded: what cannot be would revert without a word.
        bool accepted = done && answer.length >= 32 && bytes32(answer) == bytes32(bytes4(question));
        require(accepted, ReceiverRefused(to));
    }
}
