"""How a gateway task is put together."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import boto3
import httpx2

from gateway.assembly import Behind, Gateway, Manners
from gateway.egress_policy import EgressPolicy, authority_of
from gateway.model_body import ModelRules
from gateway.model_upstream import Upstream, no_own_key
from gateway.previews import NoPreviews, Previews
from gateway.resolver import PublicResolver, SystemResolver
from gateway.trial import TrialPreviews
from opensessions.aws.doors import Doors
from opensessions.aws.gateway_settings import GatewaySettings
from opensessions.aws.invoke import FunctionTransport
from opensessions.aws.model_keys import OwnKeys
from opensessions.aws.s3 import S3Blobs
from opensessions.aws.secrets import KeyOfModel, Secret
from opensessions.aws.settings import SettingsError
from opensessions.aws.signing import SigV4
from opensessions.aws.wiring import QUICK, admission, client, store, testimony
from opensessions.sessions.reading import Reading

CALLBACK_SECONDS = 20.0
"""Longer than the function's own limit, a cold start included: who gives up before the answer comes has used
a boot ticket up and cannot show it again."""
PREVIEWS: dict[str, type[Previews]] = {"domain": Previews, "trial": TrialPreviews, "off": NoPreviews}
INBOX_POLL_SECONDS = 1.0
"""A follow-up is written by a function, which cannot tell the gateway: so it is looked for."""


def gateway(settings: GatewaySettings) -> Gateway:
    """Make it inside the running loop. Reads the master key; raises what botocore raises when it may not."""
    sessions, blobs = store(), S3Blobs(client("s3", QUICK), settings.storage.bucket, lists=False)
    doors = Doors(sessions.find, settings.door_port)
    behind = Behind(
        find=doors.find,
        events=sessions.events,
        latest_events=sessions.latest_events,
        assignments=testimony(),
        sessions=Reading(sessions, admission()),
        blobs=blobs,
        dial=doors.dial,
        callback=_callback(settings),
    )
    secrets = client("secretsmanager", QUICK)
    manners = Manners(
        master=_master(Secret(secrets, settings.master_key_secret)),
        preview_domain=settings.preview_domain,
        preview_url=settings.storage.preview,
        previews=PREVIEWS[settings.previews],
        upstream=_upstream(settings, secrets),
        own_key=OwnKeys(secrets, settings.model_keys) if settings.model_keys else no_own_key,
        policy=EgressPolicy(
            settings.egress_allow,
            settings.own_names,
            settings.own_networks,
            bucket=authority_of(blobs.download_url("any")),
        ),
        resolve=PublicResolver(settings.resolvers) if settings.resolvers else SystemResolver(),
        models=ModelRules(models=settings.models),
        allow_query_key=settings.allow_query_key,
        inbox_poll_seconds=INBOX_POLL_SECONDS,
    )
    return Gateway(behind, manners, _peers(settings) if settings.peers else None)


def _master(secret: Secret) -> bytes:
    try:
        return bytes.fromhex(secret.read())
    except ValueError:
        raise SettingsError("What MASTER_KEY_SECRET names is no key: it must hold hex digits.") from None


def _signed(service: str, region: str) -> httpx2.Auth:
    if (credentials := boto3.Session().get_credentials()) is None:
        raise SettingsError("There are no AWS credentials; a task has them by its role.")
    return SigV4(credentials, service, region)


def _callback(settings: GatewaySettings) -> httpx2.AsyncClient:
    api: Any = client("lambda", QUICK)
    signing = httpx2.AsyncClient(auth=_signed("lambda", settings.region), trust_env=False)
    way = FunctionTransport(signing, api.meta.endpoint_url, settings.callback_function)
    return httpx2.AsyncClient(transport=way, base_url="http://callback", timeout=CALLBACK_SECONDS)


def _upstream(settings: GatewaySettings, secrets: Any) -> Upstream:
    if settings.model_secret is None:
        url = settings.model_url or f"https://bedrock-runtime.{settings.region}.amazonaws.com/anthropic"
        return Upstream(url, auth=_signed("bedrock", settings.region))
    key = KeyOfModel(Secret(secrets, settings.model_secret))
    return Upstream(settings.model_url or "https://api.anthropic.com", auth=key)


def _peers(settings: GatewaySettings) -> Callable[[], Any]:
    async def addresses() -> Sequence[str]:
        found: list[str] = []
        for name in settings.peers:
            host, _, port = name.partition(":")
            number = int(port or settings.ports.sandbox)
            answers = await asyncio.get_running_loop().getaddrinfo(
                host, number, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
            found += [f"http://{address[0]}:{number}" for *_, address in answers]
        return list(dict.fromkeys(found))

    return addresses
