"""What `make run` prints when it serves: the address, the key, and a curl that one can paste."""

import json

from opensessions.local.settings import Settings

EXAMPLE = {"prompt": "Build a todo app with Next.js and Tailwind", "user_id": "user_42"}


def announcement(settings: Settings, api_key: str, port: int) -> str:
    """Several lines for a person. The key is shown only when it is the generated one of this machine."""
    url, key = f"http://127.0.0.1:{port}", "$OPENSESSIONS_API_KEY" if settings.api_key else api_key
    if settings.demo:
        model = "the built-in demo model: scripted, no AI. For a real one: ANTHROPIC_API_KEY=… make run"
    else:
        model = settings.model_url or "the Anthropic API"
    return f"""
  opensessions   {url}   (API reference: {url}/docs)
  API key        {key}
  Model          {model}
  Data           {settings.data_dir}

  Try it:

  curl -s {url}/v1/sessions \\
    -H "X-API-Key: {key}" -H "Content-Type: application/json" \\
    -d '{json.dumps(EXAMPLE)}'

  then open the previewUrl of the answer, and follow along with

  curl -N {url}/v1/sessions/SESSION_ID/events -H "X-API-Key: {key}"

  Ctrl-C ends all sandboxes and stops.
"""
