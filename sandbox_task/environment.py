"""The environment of the agent, and of every program that it starts."""

import os
from urllib.parse import urlsplit

from opensessions.events import Assign
from sandbox_task.relays import with_credentials
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings


def environment(assign: Assign, around: Surroundings, paths: Paths) -> dict[str, str]:
    """What it has beside the worker's own environment."""
    proxy = with_credentials(around.egress_url, "sandbox", around.egress_token)
    direct = ",".join(
        dict.fromkeys(["localhost", "127.0.0.1", "::1", urlsplit(around.model_url).hostname or ""])
    )
    return {
        "HOME": str(paths.home),
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "ANTHROPIC_BASE_URL": around.model_url,
        "ANTHROPIC_API_KEY": around.model_token,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), direct),
        "NODE_USE_ENV_PROXY": "1",
        "PREVIEW_URL": assign.preview_url.replace("{port}", "3000"),
        "PREVIEW_URL_TEMPLATE": assign.preview_url,
        "BROWSER": "none",
    }
