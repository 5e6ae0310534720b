"""The network that containers of tasks are in: theirs, the load balancer's, and what is beyond it.

Tasks and the balancer have addresses of their own; what may pass between them is what the security groups
and routes in the emulated EC2 say. Beyond are AWS and the model, which are ports of this machine, and one
address of somebody else's.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.rehearsal.emulator.groups import Interface, rules
from tests.rehearsal.emulator.names import serve
from tests.rehearsal.emulator.namespaces import Member, Router, dialling, listening
from tests.rehearsal.emulator.relay import Reader, Writer, passing
from tests.rehearsal.emulator.symbols import get

T = TypeVar("T")
CIDR = "10.42"
RESOLVER, PUBLIC_RESOLVER = f"{CIDR}.0.2", "1.1.1.1"
AWS, FOREIGN, FOREIGN_NAME = "198.51.100.1", "93.184.216.34", "www.example.com"
FOREIGN_PORT = 80
GATEWAY, GATEWAY_NAME, PUBLIC = "gateway", "gateway.opensessions.internal", 8000
_SCOPE = "000000000000", "us-east-1"


class Vpc:
    """`aws` and `model` are URLs for who is within. The load balancer listens at `balancer`, on this machine;
    connections to gateways come from its own namespace, `balancer_namespace`.
    """

    def __init__(self, port: int, model: str) -> None:
        self.router = Router(f"osr{os.getpid()}")
        self._members: dict[str, tuple[str, Member, Interface]] = {}
        self._lock, self._numbers = threading.Lock(), iter(range(10, 65_000))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vpc", daemon=True).start()
        self._beyond = self.router.join(AWS, FOREIGN, RESOLVER, PUBLIC_RESOLVER)
        self._balancer = self.router.join(f"{CIDR}.0.4")
        self.balancer_namespace = self._balancer.namespace
        where = urlsplit(model)
        assert where.hostname and where.port
        self.aws, self.model = f"http://{AWS}:{port}", f"http://{AWS}:{where.port}"
        self.balancer = self._await(self._open(port, (where.hostname, where.port)))
        self.reload()

    def attach(self, container: str, subnet: str, groups: tuple[str, ...], public_ip: bool) -> Member:
        """A network of its own for a task, by the name of its container."""
        with self._lock:
            high, low = divmod(next(self._numbers), 250)
            member = self.router.join(f"{CIDR}.{high}.{low + 1}")
            routed = public_ip and _has_route(subnet)
            interface = Interface(member.link, member.addresses[0], groups, routed)
            self._members[member.namespace] = container, member, interface
        self.reload()
        return member

    def detach(self, member: Member) -> None:
        with self._lock:
            del self._members[member.namespace]
            self.router.leave(member)
        self.reload()

    def reload(self) -> None:
        """Read the security groups anew."""
        with self._lock, get("core.responses.request_scope")(*_SCOPE):
            balancers = get("services.alb._lbs").values()
            own = tuple(group for each in balancers for group in each["SecurityGroups"])
            address = self._balancer.addresses[0]
            all_ = [
                Interface(self._balancer.link, address, own),
                *(each[2] for each in self._members.values()),
            ]
            self.router.load(rules(all_, get("services.ec2._security_groups"), self._beyond.link, RESOLVER))

    def close(self) -> None:
        self.router.close()

    async def _open(self, port: int, model: tuple[str, int]) -> tuple[str, int]:
        beyond = self._beyond.namespace
        for name, known in ((RESOLVER, self._private), (PUBLIC_RESOLVER, _public)):
            await serve(listening(beyond, (name, 53), socket.SOCK_DGRAM), known)
        for here in (("127.0.0.1", port), model):
            served = passing(lambda here=here: asyncio.open_connection(*here))  # type: ignore[misc]
            await asyncio.start_server(served, sock=listening(beyond, (AWS, here[1])))
        await asyncio.start_server(_greet, sock=listening(beyond, (FOREIGN, FOREIGN_PORT)))
        balancer = await asyncio.start_server(passing(self._to_a_gateway), "127.0.0.1", 0, backlog=512)
        address: tuple[str, int] = balancer.sockets[0].getsockname()
        return address

    async def _to_a_gateway(self) -> tuple[Reader, Writer]:
        for address in self._gateways():
            made = dialling(self._balancer.namespace)
            made.setblocking(False)
            try:
                await asyncio.wait_for(self._loop.sock_connect(made, (address, PUBLIC)), 5)
                return await asyncio.open_connection(sock=made)
            except OSError:
                made.close()
        raise ConnectionRefusedError("no gateway lives")

    def _gateways(self) -> list[str]:
        return [each.address for name, _, each in list(self._members.values()) if name == GATEWAY]

    def _private(self, name: str) -> list[str] | None:
        return self._gateways() if name == GATEWAY_NAME else None

    def _await(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result()


def _public(name: str) -> list[str] | None:
    return [FOREIGN] if name == FOREIGN_NAME else None


async def _greet(reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 14\r\n\r\nsomebody else\n")
    await writer.drain()
    writer.close()


def _has_route(subnet: str) -> bool:
    """Whether a subnet has a way beyond the network. Needs the scope of a request."""
    tables: Mapping[str, Any] = get("services.ec2._route_tables")
    return any(
        str(route.get("GatewayId", "")).startswith("igw-")
        for table in tables.values()
        if any(each.get("SubnetId") == subnet for each in table["Associations"])
        for route in table["Routes"]
    )
