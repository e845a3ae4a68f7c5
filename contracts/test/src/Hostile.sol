// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";
import {ERC165Checker} from "@openzeppelin/contracts/utils/introspection/ERC165Checker.sol";

/// @notice A contract that does what it is told, with OpenZeppelin's way to take tokens. It takes no money back.
contract Puppet is ERC1155Holder {
    address internal immutable _market;

    constructor(address market) payable {
        _market = market;
    }

    /// @notice Call the market with these bytes and this money, and fail as it fails.
    function act(bytes calldata data, uint256 wei_) external {
        (bool done, bytes memory answer) = _market.call{value: wei_}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}

/// @notice An actor that, while it is being paid, does to the market whatever it was told to.
contract Robber is Puppet {
    bytes[] private _calls;
    bool[] private _succeeded;

    constructor(address market) payable Puppet(market) {}

    function plan(bytes[] memory calls) external {
        _calls = calls;
    }

    function succeeded() external view returns (bool[] memory) {
        return _succeeded;
    }

    function again() internal {
        for (uint256 i = 0; i < _calls.length; ++i) {
            (bool done,) = _market.call(_calls[i]);
            _succeeded.push(done);
        }
    }

    receive() external payable {
        again();
    }

    function onERC1155Received(address, address, uint256, uint256, bytes memory) public override returns (bytes4) {
        again();
        return this.onERC1155Received.selector;
    }

    function onERC1155BatchReceived(address, address, uint256[] memory, uint256[] memory, bytes memory)
        public
        override
        returns (bytes4)
    {
        again();
        return this.onERC1155BatchReceived.selector;
    }
}

/// @notice A receiver that says that it takes tokens, and then does not.
contract Refuser is Puppet {
    enum Manner {
        WrongAnswer,
        Revert,
        BurnGas
    }

    Manner private immutable _manner;

    constructor(address market, Manner manner) payable Puppet(market) {
        _manner = manner;
    }

    function onERC1155Received(address, address, uint256, uint256, bytes memory) public view override returns (bytes4) {
        return _refuse();
    }

    function onERC1155BatchReceived(address, address, uint256[] memory, uint256[] memory, bytes memory)
        public
        view
        override
        returns (bytes4)
    {
        return _refuse();
    }

    function _refuse() private view returns (bytes4) {
        require(_manner != Manner.Revert, "no");
        if (_manner == Manner.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        return 0x12345678;
    }
}

/// @notice A contract that is no receiver: it says nothing of interfaces.
contract Mute {
    uint256 public nothing;
}

/// @notice A contract that takes every call and answers nothing.
contract Wall {
    fallback() external payable {}
}

/// @notice What others ask of a contract before they send it tokens, or call it a token.
contract Checker {
    function knows(address account, bytes4 interfaceId) external view returns (bool) {
        return ERC165Checker.supportsInterface(account, interfaceId);
    }

    function knowsErc165(address account) external view returns (bool) {
        return ERC165Checker.supportsERC165(account);
    }
}
