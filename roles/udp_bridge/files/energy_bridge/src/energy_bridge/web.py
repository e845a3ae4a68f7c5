# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: POST /readings as another way in, GET /metrics and GET /healthz for who looks after the bridge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from energy_bridge.health import View, notes, problems
from energy_bridge.intake import Intake, Unanswered
from energy_bridge.metrics import Metrics, Rejected, Way
from energy_bridge.receiver import Allowed
from energy_bridge.wire import MAC_BYTES, MAX_DATAGRAM_BYTES

__all__ = ["MAC_HEADER", "Web"]

MAC_HEADER = "X-HMAC-SHA256"
SHUTDOWN_S = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

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
    ) -> None:
        """View says what the bridge last saw; clock returns seconds since the epoch."""
        self._intake = intake
        self._allowed = allowed
        self._authenticated = authenticated
        self._metrics = metrics
        self._view = view
        self._period_s = period_s
        self._clock = clock
        application = web.Application(client_max_size=MAX_DATAGRAM_BYTES + 1)
        application.router.add_post("/readings", self._readings)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/healthz", self._show_health)
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
        await self._runner.cleanup()

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
