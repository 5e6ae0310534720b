"""How the files' routes look in the OpenAPI document. The gateway serves them: bytes pass through it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from opensessions.http.views import SESSION_ID, Time, View


class File(View):
    """Something in a folder. Links are not followed; a file with several names counts as one."""

    path: str = Field(examples=["app/package.json"])
    kind: Literal["file", "folder", "link"]
    size: int = Field(ge=0, description="Bytes; 0 for what is no file.")
    modified_at: Time


class FileList(BaseModel):
    """What is in a folder, by name; at most 5,000 entries, `truncated` when there are more."""

    data: list[File]
    truncated: bool


def _parameter(name: str, place: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {"name": name, "in": place, "required": place == "path", "schema": schema, **about}


_SESSION = _parameter("session_id", "path", {"type": "string", "pattern": SESSION_ID})
_USER = _parameter(
    "user_id", "query", {"type": "string", "minLength": 1}, "Must be the session's when given."
)
_PATH = _parameter(
    "path",
    "path",
    {"type": "string", "minLength": 1, "maxLength": 4096},
    "Relative to the workspace, slashes as they are: `app/src/index.ts`. Without `..`, backslashes and empty "
    "parts.",
)
_RANGE = [
    _parameter("Range", "header", {"type": "string"}, "One range of bytes: `bytes=0-99`."),
    _parameter("If-Range", "header", {"type": "string"}, "The `ETag` for which the range is meant."),
]
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_NOTE = (
    " Of a session that sleeps or has ended, its newest archive is read, as long as it is kept. The "
    "sandbox's own folders (`home`, `agent`, `.opensessions`) are not shown."
)

FOLDER = {
    "summary": "List Files",
    "description": f"What is in a folder; the workspace itself without `path`.{_NOTE}",
    "operationId": "list_files",
    "parameters": [
        _SESSION,
        _parameter("path", "query", {"type": "string", "maxLength": 4096}, "The folder, as in `app/src`."),
        _USER,
    ],
    "responses": {
        "200": {
            "description": "Done.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/FileList"}}},
        }
    },
}
READ = {
    "summary": "Read File",
    "description": f"A file's bytes, always as a download.{_NOTE}",
    "operationId": "read_file",
    "parameters": [_SESSION, _PATH, _USER, *_RANGE],
    "responses": {
        "200": {"description": "The file.", "content": _BYTES},
        "206": {"description": "The range of it that was asked for.", "content": _BYTES},
    },
}
WRITE = {
    "summary": "Write File",
    "description": "Writes a file of at most 16 MB (on AWS 10 MB, which is what API Gateway lets through), "
    "with the folders it needs. A file that is there is replaced and keeps its mode; a link is replaced, not "
    "written through. Only while the session's sandbox runs.",
    "operationId": "write_file",
    "parameters": [_SESSION, _PATH, _USER],
    "requestBody": {"required": True, "content": _BYTES},
    "responses": {"204": {"description": "Written."}},
}
ARCHIVE = {
    "summary": "Download Files",
    "description": "The user's files as `.tar.gz`: without what can be had anew, such as caches and "
    f"`node_modules`.{_NOTE}",
    "operationId": "download_files",
    "parameters": [_SESSION, _USER],
    "responses": {
        "200": {
            "description": "The archive.",
            "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
}

OPERATIONS: dict[str, dict[str, tuple[dict[str, Any], tuple[int, ...]]]] = {
    "/v1/sessions/{session_id}/files": {"get": (FOLDER, (400, 401, 404, 429, 503))},
    "/v1/sessions/{session_id}/files/{path}": {
        "get": (READ, (400, 401, 404, 416, 429, 503)),
        "put": (WRITE, (400, 401, 404, 409, 413, 415, 429, 503)),
    },
    "/v1/sessions/{session_id}/archive": {"get": (ARCHIVE, (400, 401, 404, 413, 429, 503))},
}
"""By path and method: the operation, and its failures."""
