import pytest

from tests.images.building import built


@pytest.fixture(scope="session")
def gateway_image() -> str:
    return built("gateway")


@pytest.fixture(scope="session")
def sandbox_image() -> str:
    return built("sandbox")
