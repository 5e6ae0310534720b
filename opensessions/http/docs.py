"""`/docs`: the OpenAPI document as one page that loads nothing from anywhere."""

import json
from html import escape
from typing import Any

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8881; --dim: #777; --accent: #2563eb; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 0 auto; padding: 2rem 1rem 6rem; }
h1 { margin: 0; } h2 { margin: 3rem 0 .5rem; } a { color: var(--accent); }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; }
details { border: 1px solid var(--line); border-radius: 10px; margin: .6rem 0; padding: 0 1rem; }
summary { cursor: pointer; padding: .7rem 0; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4.2rem; color: var(--accent); }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
td { border-top: 1px solid var(--line); padding: .35rem .8rem .35rem 0; vertical-align: top; }
.dim { color: var(--dim); }
"""

_Json = dict[str, Any]


def page(document: _Json) -> str:
    """The page for an OpenAPI document that names its server."""
    operations = "".join(
        _operation(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    title, server = escape(document["info"]["title"]), escape(document["servers"][0]["url"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: the API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{_text(document['info']['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a></p>'
        f"<p>All paths are below <code>{server}</code></p>"
        f"<h2>Calls</h2>{operations}<h2>Objects</h2>{schemas}</body></html>"
    )


def _operation(method: str, path: str, operation: _Json) -> str:
    parts = [f"<p>{_text(operation.get('description', ''))}</p>"]
    if parameters := operation.get("parameters"):
        parts.append("<h4>Parameters</h4>" + _table([_parameter(each) for each in parameters]))
    if body := operation.get("requestBody"):
        parts.append("<h4>Body</h4>" + _content(body["content"]))
    rows = []
    for status, response in operation["responses"].items():
        parts += [f"<h4>Answer</h4>{_content(response['content'])}"] if status in ("200", "201") else []
        rows.append((f"<code>{escape(status)}</code>", _text(response["description"])))
    parts.append(_table(rows))
    call = f"<b>{escape(method.upper())}</b> <code>{escape(path)}</code>"
    summary = f'{call} <span class="dim">{escape(operation.get("summary", ""))}</span>'
    return f"<details><summary>{summary}</summary>{''.join(parts)}</details>"


def _parameter(parameter: _Json) -> tuple[str, str]:
    name = f"<code>{escape(parameter['name'])}</code> <span class='dim'>{escape(parameter['in'])}</span>"
    return name, _text(parameter.get("description", ""))


def _content(content: _Json) -> str:
    (kind, media), *_ = content.items()
    shown = f"<p><code>{escape(kind)}</code> {_type(media.get('schema', {}))}</p>"
    return shown + (_pre(media["example"]) if "example" in media else "")


def _schema(name: str, schema: _Json) -> str:
    rows = [
        (f"<code>{escape(field)}</code>", f"{_type(part)} {_text(part.get('description', ''))}")
        for field, part in schema.get("properties", {}).items()
    ]
    choices = " · ".join(_type(part) for part in schema.get("oneOf", []))
    about = f'<p id="{escape(name)}">{_text(schema.get("description", ""))}</p>{choices}{_table(rows)}'
    return f"<details><summary><code>{escape(name)}</code></summary>{about}</details>"


def _type(schema: _Json) -> str:
    """A schema's type in a few words, with links to named ones."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        words = schema.get("enum", [schema.get("const")])
        return " | ".join(f"<code>{escape(json.dumps(word))}</code>" for word in words)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return f'<span class="dim">{escape(str(schema.get("type", "anything")))}</span>'


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows)
    return f"<table>{cells}</table>" if rows else ""


def _pre(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"


def _text(markdown: str) -> str:
    """Plain text whose `code` is set as such."""
    pieces = escape(markdown).split("`")
    return "".join(f"<code>{piece}</code>" if n % 2 else piece for n, piece in enumerate(pieces))
