"""What ministack uses of a Docker client's containers and images."""

import signal
import uuid
from collections.abc import Mapping
from typing import Any

NAME = "com.amazonaws.ecs.container-name"


class Container:
    """A record that runs until it is stopped."""

    def __init__(self, image: str, kwargs: Mapping[str, Any], address: str) -> None:
        self.id = uuid.uuid4().hex
        self.image = image
        self.name: str = kwargs["name"]
        self.labels: Mapping[str, str] = kwargs["labels"]
        self.environment: Mapping[str, str] = kwargs["environment"]
        self.attrs = {"NetworkSettings": {"Networks": {"rehearsal": {"IPAddress": address}}}}
        self.status = "running"
        self.code = 0

    def reload(self) -> None:
        pass

    def wait(self) -> dict[str, int]:
        return {"StatusCode": self.code}

    def logs(self, **options: Any) -> Any:
        return iter(()) if options.get("stream") else b""

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.status, self.code = "exited", 128 + number

    def stop(self, timeout: float = 10) -> None:
        self.status = "exited"

    def remove(self, **options: Any) -> None:
        pass


class Images:
    """Every image is here."""

    def get(self, name: str) -> "Images":
        return self

    def pull(self, name: str, **options: Any) -> "Images":
        return self

    def tag(self, *names: str, **options: str) -> bool:
        return True

    def get_registry_data(self, name: str, **options: Any) -> "Images":
        return self

    @property
    def id(self) -> str:
        return "sha256:" + "0" * 64
