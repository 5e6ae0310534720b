"""`make run`: the whole system in one process, on one public port and three sockets of its own."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import uvloop

from gateway.dataplane.tuning import tune
from gateway.listeners import Listeners, front, unix_socket
from opensessions import traces
from opensessions.errors import LaunchFailed
from opensessions.local.announcement import announcement
from opensessions.local.demo_model import demo_model
from opensessions.local.run_folder import run_folder
from opensessions.local.settings import Settings, SettingsError, claim, from_environment
from opensessions.local.wiring import Sockets, System
from opensessions.logbook import Plain, Subjects

log = logging.getLogger(__name__)

TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
SWEEP_SECONDS = 5.0
RECHECK_SECONDS = 5.0


async def serve(settings: Settings, stop: asyncio.Event, wire: Callable[..., System] = System) -> None:
    """Serve until `stop` is set, then end every sandbox.

    Raises SettingsError and LaunchFailed when it cannot start.
    """
    with (
        claim(settings.data_dir),
        contextlib.closing(_public_socket(settings.port)) as public,
        run_folder(settings.data_dir) as run,
    ):
        sockets, port = Sockets(run), public.getsockname()[1]
        listeners, system = Listeners(), wire(settings, sockets, port)
        try:
            await _open_inside(listeners, system, sockets, demo=settings.demo)
            await asyncio.to_thread(system.runtime.check)
            await asyncio.to_thread(system.supervisor.sweep, FOREVER)
            listeners.open(system.public_app, public, front(system.gateway.previews))
            tune()
            print(announcement(settings, system.api_key, port), flush=True)
            previews = system.gateway.previews.watch(RECHECK_SECONDS)
            await _until(stop, _sweep(system), previews, system.courier.watch())
            system.courier.close()
            for timers in (system.timers, system.refills):
                await timers.aclose()  # who is launched while the runtime closes would seem to have failed
            await asyncio.gather(system.drain(), asyncio.to_thread(system.runtime.close))
        finally:
            system.courier.close()
            await asyncio.to_thread(system.runtime.close)
            await listeners.close()
            system.store.close()


async def _open_inside(listeners: Listeners, system: System, sockets: Sockets, *, demo: bool) -> None:
    """Open what sandboxes reach, and the demo model if it is the one that answers."""
    await listeners.open_plain(system.gateway.egress, unix_socket(str(sockets.egress)))
    listeners.open(system.gateway.sandbox_app, unix_socket(str(sockets.gateway)))
    if demo:
        listeners.open(demo_model, unix_socket(str(sockets.demo)))


async def _until(stop: asyncio.Event, *chores: Coroutine[Any, Any, None]) -> None:
    running = [asyncio.create_task(chore) for chore in chores]
    await stop.wait()
    for chore in running:
        chore.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _sweep(system: System) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await asyncio.to_thread(system.supervisor.sweep)
        except Exception:
            log.exception("the sweep failed; it is tried again in %s s", SWEEP_SECONDS)


def _public_socket(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sock.close()
        reason = f"Port {port} is taken; choose another: PORT={port + 1} make run"
        raise SettingsError(reason) from error
    return sock


async def _main(wire: Callable[..., System]) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await serve(from_environment(), stop, wire)


def _log_plainly() -> None:
    lines = logging.StreamHandler()
    lines.setFormatter(Plain())
    lines.addFilter(Subjects())
    logging.basicConfig(level=logging.INFO, handlers=[lines])


def _trace() -> None:
    """Send spans to where OpenTelemetry's own variables say, if they do. Raises SettingsError."""
    if not (os.environ.get(TRACES) or os.environ.get(TRACES.replace("TRACES_", ""))):
        return
    try:
        from opensessions.local.otlp import Otlp
    except ImportError as missing:
        reason = f"Traces are wanted ({TRACES}), but not all is installed: pip install 'opensessions[otel]'"
        raise SettingsError(reason) from missing
    traces.listen(Otlp())


def main(wire: Callable[..., System] = System) -> int:
    """Run until SIGTERM or Ctrl-C. Exit status 0, or 1 with a sentence on standard error."""
    _log_plainly()
    for noisy in ("httpx2", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    print("opensessions is starting", flush=True)
    try:
        _trace()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main(wire))
    except (SettingsError, LaunchFailed) as error:
        print(f"opensessions cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
