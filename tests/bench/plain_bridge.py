# SPDX-License-Identifier: GPL-3.0-or-later
"""What one would write in an hour: one datagram, one commit, one answer. Arguments: port, database, secrets."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import struct
import sys
from pathlib import Path
from typing import Any

BINARY = struct.Struct("<9d")


class PlainBridge(asyncio.DatagramProtocol):
    def __init__(self, database: str, keys: dict[str, bytes]) -> None:
        self.keys = keys
        self.by_id = dict(enumerate(keys, 1))
        self.db = sqlite3.connect(database, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE readings (source TEXT, boot INTEGER, seq INTEGER, time REAL, slot INTEGER, energy REAL,"
            " price REAL, PRIMARY KEY (source, boot, seq))"
        )

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        body, mac = data[:-32], data[-32:]
        if len(body) == BINARY.size:
            _, _, number, *rest = BINARY.unpack(body)
            values = [self.by_id[int(number)], *rest]
        else:
            reading = json.loads(body)
            names = ("source", "boot", "seq", "time", "slot", "energy_kwh", "price_ether_per_kwh")
            values = [reading[name] for name in names]
        source, boot, seq, _, slot, *_ = values
        key = self.keys[source]
        if not hmac.compare_digest(mac, hmac.digest(key, body, hashlib.sha256)):
            return
        self.db.execute("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        answer = json.dumps(
            {"version": 1, "source": source, "boot": int(boot), "seq": int(seq), "status": "stored", "slot": int(slot)}
        ).encode()
        self.transport.sendto(answer + hmac.digest(key, answer, hashlib.sha256), addr)


async def main(port: str, database: str, secrets: str) -> None:
    keys = {name: bytes.fromhex(secret) for name, secret in json.loads(Path(secrets).read_text()).items()}
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: PlainBridge(database, keys), local_addr=("127.0.0.1", int(port))
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
