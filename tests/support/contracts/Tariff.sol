// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity ^0.8.0;

/// What a test needs to be linked with.
library Rounding {
    function up(uint256 value, uint256 step) external pure returns (uint256) {
        return ((value + step - 1) / step) * step;
    }
}

/// A contract of a user's, with something of everything that a contract can have.
contract Tariff {
    struct Terms {
        address owner;
        uint16[2] open;
    }

    uint256 public immutable limit;
    bytes4 public immutable region;
    uint256 public price;
    Terms private terms_;
    string[] private names;

    error TooDear(uint256 limit, uint256 asked);

    event PriceSet(address indexed by, string indexed text, uint256 price, Terms terms);

    constructor(uint256 limit_, bytes4 region_, Terms memory agreed, string[] memory names_) payable {
        require(limit_ > 0, "a tariff without a limit");
        limit = limit_;
        region = region_;
        terms_ = agreed;
        names = names_;
    }

    function setPrice(uint256 asked) external payable {
        require(msg.sender == terms_.owner, "only the owner sets the price");
        if (asked > limit) revert TooDear(limit, asked);
        price = Rounding.up(asked, 10);
        emit PriceSet(msg.sender, "price", price, terms_);
    }

    /// What may fail after it was sent: the second of two in one block does.
    function raise(uint256 from, uint256 to) external {
        require(price == from, "the price is another by now");
        price = to;
    }

    function terms() external view returns (Terms memory) {
        return terms_;
    }

    function quote(uint256 energy) external view returns (uint256 total, bool cheap) {
        return (energy * price, price < limit / 2);
    }

    function quote(string calldata name) external view returns (uint256, string memory) {
        return (price, name);
    }

    function name(uint256 place) external view returns (string memory) {
        return names[place];
    }

    function asker() external view returns (address) {
        return msg.sender;
    }
}
