# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: POST /readings as another way in, the page and its API, /metrics and /healthz for who looks after it.

Nothing but readings changes anything here, and these are signed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from energy_bridge.api import Api, ApiError
from energy_bridge.documents import page_files, respond
from energy_bridge.health import View, notes, problems
from energy_bridge.intake import Intake, Unanswered
from energy_bridge.metrics import Metrics, Rejected, Way
from energy_bridge.receiver import Allowed
from energy_bridge.store import StoreError
from energy_bridge.wire import MAC_BYTES, MAX_DATAGRAM_BYTES

__all__ = ["HEADERS", "MAC_HEADER", "Web"]

log = logging.getLogger(__name__)

MAC_HEADER = "X-HMAC-SHA256"
SHUTDOWN_S = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
READINGS = "/readings"
# The page needs nothing but its own files, and nobody else's page needs anything of it.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

_BY_STATUS = {"rejected": HTTPStatus.BAD_REQUEST, "conflict": HTTPStatus.CONFLICT}
_BY_SILENCE = {
    Unanswered.UNPROVEN: HTTPStatus.UNAUTHORIZED,
    Unanswered.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    Unanswered.NOT_DURABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Web:
    """One HTTP server in the running event loop; readings go the way of all datagrams."""

    def __init__(
        self,
        intake: Intake,
        *,
        allowed: Allowed,
        authenticated: bool,
        metrics: Metrics,
        view: Callable[[], View],
        period_s: float,
        clock: Callable[[], float],
        web_names: Collection[str] = (),
        api: Api | None = None,
    ) -> None:
        """View says what the bridge last saw; clock returns seconds since the epoch.

        web_names are the host names, in small letters, at which more than readings is to be had, as at all addresses.
        """
        self._intake = intake
        self._allowed = allowed
        self._authenticated = authenticated
        self._metrics = metrics
        self._view = view
        self._period_s = period_s
        self._clock = clock
        self._names = {"localhost", *web_names}
        self._api = api
        application = web.Application(client_max_size=MAX_DATAGRAM_BYTES + 1, middlewares=[self._guard])
        application.on_response_prepare.append(_add_headers)
        application.router.add_post(READINGS, self._readings)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/healthz", self._show_health)
        if api is not None:
            api.add_to(application.router)
            self._files = page_files()
            application.router.add_get("/", self._show_page)
            application.router.add_get("/page/{name}", self._show_page)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; raises OSError with a sentence."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise OSError(error.errno, f"TCP {host}:{port} cannot be used: {error.strerror}") from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish what is being answered and close; the intake has to run until then."""
        if self._api is not None:
            await self._api.close()
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer only under names that were given, so that no other site's name leads here, and always in sentences."""
        # Readings are signed, and their sources may know this host by any name.
        if request.path != READINGS and not self._is_ours(request.headers.get("Host", "")):
            return _error(
                HTTPStatus.MISDIRECTED_REQUEST,
                "This bridge does not answer under that host name: use its address, or add the name to web_names.",
            )
        try:
            return await handler(request)
        except (ApiError, StoreError, web.HTTPNotFound) as error:
            return _error(*_in_words(error))
        except web.HTTPMethodNotAllowed as error:
            allowed = " or ".join(sorted(error.allowed_methods))
            response = _error(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not for this path: use {allowed}.")
            response.headers["Allow"] = error.headers["Allow"]
            return response
        except web.HTTPException:
            raise
        except Exception:
            log.exception("not_answered path=%s", request.path)
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "The bridge made a mistake; its log has more.")

    def _is_ours(self, host: str) -> bool:
        """An address cannot be somebody else's name for this host; a name can."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
            return name in self._names or ipaddress.ip_address(name) is not None
        except ValueError:
            return False

    async def _show_page(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.match_info.get("name", "index.html"))
        if file is None:
            raise web.HTTPNotFound
        return respond(request, file)

    async def _readings(self, request: web.Request) -> web.Response:
        if request.remote not in self._allowed:
            self._metrics.received[Way.HTTP].inc()
            self._metrics.rejected[Rejected.STRANGER].inc()
            return _refusal(HTTPStatus.FORBIDDEN, "listen_allow does not name this address")
        try:
            datagram = await request.read() + self._mac(request)
        except web.HTTPRequestEntityTooLarge:
            datagram = b" " * (MAX_DATAGRAM_BYTES + 1)
        except ValueError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        if len(datagram) > MAX_DATAGRAM_BYTES:
            reason = f"longer than {MAX_DATAGRAM_BYTES} bytes, its MAC included: send one reading at a time"
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        asker = _HttpAsker(asyncio.get_running_loop(), authenticated=self._authenticated)
        self._intake.offer([(datagram, asker)], Way.HTTP)
        return await asker.response

    def _mac(self, request: web.Request) -> bytes:
        """The MAC that stands in the header, where that is not at the end of the body."""
        mac = request.headers.get(MAC_HEADER)
        if mac is None or not self._authenticated:
            return b""
        try:
            decoded = bytes.fromhex(mac)
        except ValueError:
            decoded = b""
        if len(decoded) != MAC_BYTES:
            raise ValueError(f"{MAC_HEADER} has to be {2 * MAC_BYTES} hex digits")
        return decoded

    async def _show_metrics(self, _: web.Request) -> web.Response:
        text = await asyncio.to_thread(self._metrics.text)
        return web.Response(body=text, headers={"Content-Type": METRICS_TYPE})

    async def _show_health(self, _: web.Request) -> web.Response:
        view = self._view()
        found = problems(view, now=self._clock(), period_s=self._period_s)
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        return web.json_response({"healthy": not found, "problems": found, "notes": notes(view)}, status=status)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def _in_words(error: ApiError | StoreError | web.HTTPNotFound) -> tuple[HTTPStatus, str]:
    """Status and sentence."""
    if isinstance(error, ApiError):
        return error.status, str(error)
    if isinstance(error, StoreError):
        text = str(error)
        return HTTPStatus.SERVICE_UNAVAILABLE, f"{text[:1].upper()}{text[1:]}."
    return HTTPStatus.NOT_FOUND, "There is nothing at this path."


def _error(status: HTTPStatus, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


class _HttpAsker:
    """A request that waits for its response; implements intake.Asker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, authenticated: bool) -> None:
        self._loop = loop
        self._authenticated = authenticated
        self.response: asyncio.Future[web.Response] = loop.create_future()

    def answer(self, datagram: bytes, status: str) -> None:
        """Respond with the answer, its MAC in a header."""
        headers = {"Content-Type": "application/json"}
        if self._authenticated:
            headers[MAC_HEADER] = datagram[-MAC_BYTES:].hex()
            datagram = datagram[:-MAC_BYTES]
        self._respond(web.Response(body=datagram, status=_BY_STATUS.get(status, HTTPStatus.OK), headers=headers))

    def leave(self, why: Unanswered, reason: str) -> None:
        """Respond with the reason, which nobody's key proves."""
        status = _BY_SILENCE[why]
        if why is Unanswered.UNPROVEN and not self._authenticated:
            status = HTTPStatus.BAD_REQUEST
        self._respond(_refusal(status, reason))

    def _respond(self, response: web.Response) -> None:
        def settle() -> None:
            if not self.response.done():  # a source that asked over HTTP is told only once
                self.response.set_result(response)

        self._loop.call_soon_threadsafe(settle)


def _refusal(status: HTTPStatus, reason: str) -> web.Response:
    text = json.dumps({"status": "rejected", "reason": reason})
    return web.Response(text=text, status=status, content_type="application/json")
