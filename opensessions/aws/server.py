"""`python -m opensessions.aws.server`: one task of the gateway, on three ports."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from gateway.assembly import Gateway
from gateway.dataplane.tuning import tune
from gateway.listeners import Listeners, front
from opensessions.aws import telemetry
from opensessions.aws.gateway import gateway
from opensessions.aws.gateway_settings import GatewaySettings, from_environment
from opensessions.aws.protection import Protection
from opensessions.aws.settings import SettingsError
from opensessions.logbook import Subjects

log = logging.getLogger(__name__)

RECHECK_SECONDS = 5.0
STREAMS_SECONDS, CALLS_SECONDS = 5.0, 100
"""How long a task that is told to stop waits for streams to end and for model calls to finish; ECS kills it
after 120."""
THREADS = 32
"""They wait for AWS most of the time; a task of a quarter processor would get five."""


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then let nobody in, tell streams to come back, and let model calls finish.

    Idle connections are closed at once, so that sandboxes find another task by the gateway's name.
    """
    made, listeners = gateway(settings), Listeners(graceful_seconds=CALLS_SECONDS)
    try:
        await _open(listeners, made, settings)
        tune()
        async with _doing(*_chores(made, settings)):
            log.info("the gateway listens on ports %s", settings.ports)
            await stop.wait()
            log.info("the gateway ends")
            draining = made.drain(streams=STREAMS_SECONDS, calls=CALLS_SECONDS)
            await asyncio.gather(draining, listeners.close())
    finally:
        await listeners.close()


async def _open(listeners: Listeners, made: Gateway, settings: GatewaySettings) -> None:
    host, ports = settings.bind_host, settings.ports
    await listeners.open_plain(made.egress, _socket(host, ports.egress))
    listeners.open(made.sandbox_app, _socket(host, ports.sandbox))
    way_in = front(made.previews, balanced=True)
    listeners.open(made.streams_app, _socket(host, ports.public), way_in, once=True)


def _chores(made: Gateway, settings: GatewaySettings) -> list[Coroutine[Any, Any, None]]:
    chores = [made.previews.watch(RECHECK_SECONDS)]
    if made.peers:
        chores.append(made.peers.run())
    if settings.ecs_agent:
        chores.append(Protection(settings.ecs_agent, lambda: made.model.busy).keep())
    return chores


@asynccontextmanager
async def _doing(*chores: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:  # one that fails ends the task, and ECS starts another
        running = [group.create_task(chore) for chore in chores]
        yield
        for chore in running:
            chore.cancel()


def _socket(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), backlog=1024)


async def _main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "work"))
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await serve(from_environment(), stop)


def _log() -> Logger:
    made = Logger(service="gateway", json_serializer=telemetry.line, serialize_stacktrace=False)
    made.registered_handler.addFilter(Subjects())
    return made


def main() -> int:
    """Run until SIGTERM. Exit status 0, or 1 with a line that says why it cannot start."""
    logging.basicConfig(level=logging.INFO, handlers=[_log().registered_handler])
    for noisy in ("httpx2", "uvicorn", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main())
    except (SettingsError, BotoCoreError, ClientError, OSError) as error:
        log.error("the gateway cannot start: %s", error)
        return 1
    except Exception:
        log.exception("the gateway failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
