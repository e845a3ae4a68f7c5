# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page is made of, as it is sent: bytes that are made and compressed once, whoever asks for them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from aiohttp import web

__all__ = ["Document", "json_document", "page_files", "respond"]

JSON = "application/json"
LEAST_GZIP_BYTES = 1000
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A body of a type, its tag, and the body compressed where that is worth it."""

    body: bytes
    content_type: str
    tag: str
    zipped: bytes | None

    @classmethod
    def of(cls, body: bytes, content_type: str) -> Document:
        """The document with this body."""
        zipped = gzip.compress(body, 6, mtime=0) if len(body) >= LEAST_GZIP_BYTES else None
        return cls(body, content_type, hashlib.sha256(body).hexdigest()[:32], zipped)


def json_document(content: Any) -> Document:
    """What has been put into words that JSON knows, as a document."""
    return Document.of(json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), JSON)


def respond(request: web.Request, document: Document) -> web.Response:
    """The response with a document, or 304 to who has it already."""
    # Weak, because the compressed bytes have the same tag.
    headers = {"ETag": f'W/"{document.tag}"', "Vary": "Accept-Encoding"}
    if any(tag.value in (document.tag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    body = document.body
    if document.zipped is not None and _takes_gzip(request.headers.get("Accept-Encoding", "")):
        body = document.zipped
        headers["Content-Encoding"] = "gzip"
    charset = None if document.content_type == JSON else "utf-8"
    return web.Response(body=body, content_type=document.content_type, charset=charset, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def page_files() -> Mapping[str, Document]:
    """The files of the page by name, read once."""
    return {
        file.name: Document.of(file.read_bytes(), _TYPES[PurePath(file.name).suffix])
        for file in files("energy_bridge").joinpath("page").iterdir()
        if file.is_file() and PurePath(file.name).suffix in _TYPES
    }
