"""The quick form: gateways are processes with addresses of their own, and sandboxes walled ones."""

import secrets
from pathlib import Path

from tests.rehearsal.deployment import Stack
from tests.rehearsal.gateway_process import GatewayProcess, environment
from tests.rehearsal.system import System


class QuickSystem(System):
    """Everything else in it is as the template says. Logs go to `folder`; `model` is where the model is."""

    def __init__(self, stack: Stack, key: str, model: str, folder: Path, gateways: int = 2) -> None:
        super().__init__(stack, key)
        told, network = environment(stack), f"127.{70 + secrets.randbelow(180)}.255"
        hosts = [f"{network}.{number + 1}" for number in range(gateways)]
        instead = {"MODEL_URL": model, "PEERS": ",".join(hosts)}
        self.gateways = [
            GatewayProcess(host, told, folder / f"gateway-{host}.log", **instead) for host in hosts
        ]
        try:
            for gateway in self.gateways:
                gateway.start()
        except BaseException:
            self.close()
            raise
        self.lead(*self.gateways)

    def lead(self, *gateways: GatewayProcess) -> None:
        """From now on visitors and sandboxes are led to these."""
        self.front_door.gateways = [each.public for each in gateways]
        self.emulator.tell("/gateways", gateways=[each.ports for each in gateways])

    def log(self) -> str:
        files = [each.log for each in self.gateways if each.log.exists()]
        return "\n".join([super().log(), *(file.read_text(errors="replace") for file in files)])

    def close(self) -> None:
        """Raises AssertionError when a gateway did not end well."""
        codes = [gateway.stop() for gateway in self.gateways if gateway.process]
        super().close()
        assert codes == [0] * len(codes), self.log()[-3000:]
