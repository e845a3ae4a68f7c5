// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

interface IMarket {
    function deposit() external payable;
    function withdraw(uint256 wei_) external;
}

/// @notice An actor that asks for its money again while it is being paid.
contract Robber {
    IMarket private immutable _market;
    bool public triedAgain;
    bool public gotMore;

    constructor(IMarket market) payable {
        _market = market;
    }

    function deposit(uint256 wei_) external {
        _market.deposit{value: wei_}();
    }

    function rob(uint256 wei_) external {
        _market.withdraw(wei_);
    }

    receive() external payable {
        triedAgain = true;
        try _market.withdraw(msg.value) {
            gotMore = true;
        } catch {}
    }
}

/// @notice An actor that refuses to be paid.
contract Miser {
    IMarket private immutable _market;

    constructor(IMarket market) payable {
        _market = market;
    }

    function deposit(uint256 wei_) external {
        _market.deposit{value: wei_}();
    }

    function withdraw(uint256 wei_) external {
        _market.withdraw(wei_);
    }
}
