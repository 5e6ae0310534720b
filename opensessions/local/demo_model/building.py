"""The scenes that build an app and that change it."""

import shlex
from collections.abc import Generator, Iterator
from pathlib import PurePosixPath
from typing import Any

from opensessions.local.demo_model import asks, pages
from opensessions.local.demo_model.conversation import Conversation, Step
from opensessions.local.demo_model.reply import Call
from opensessions.local.demo_model.scenes import WHO, Scene

# Skills that come with the agent's program: they are listed too, and are not the session's own.
_BUNDLED_SKILLS = frozenset(
    {
        *(
            "batch",
            "claude-api",
            "code-review",
            "dataviz",
            "debug",
            "deep-research",
            "doctor",
            "init",
            "loop",
        ),
        *("fewer-permission-prompts", "keybindings-help", "plugin-authoring", "review", "run", "schedule"),
        *("security-review", "simplify", "update-config", "verify", "workflow-authoring"),
    }
)


def build(conversation: Conversation, ask: str) -> Scene:
    """Writes a page and a server for it, starts the server and looks at the page."""
    missing = [tool for tool in ("Write", "Bash") if tool not in conversation.tools]
    if missing:
        return _unable("build", missing, conversation)
    name = asks.title(ask)
    say = f"{WHO} I will write “{name}” from a template, with real tools in a real sandbox."
    if (skill := _own_skill(conversation)) is not None:
        yield Call("Skill", {"skill": skill}, say)
        first_line = conversation.skill_text.partition("\n")[0]
        say = f"I read the skill “{skill}” (“{first_line}”). A script cannot follow it. Now the page."
    folder = conversation.folder or (yield Call("Bash", {"command": "pwd"})).result or "."
    written = yield from _write(conversation, _page_path(folder), pages.page(ask), say)
    if written.failed:
        return f"I could not write the page: {written.result}"
    server = pages.server(asks.port(ask))
    yield from _write(conversation, f"{folder}/server.py", server, "And a small server for it.")
    seen = yield from _serve(folder)
    if seen.failed:
        return f"I wrote “{name}”, but its server did not start: {seen.result}"
    return _built(ask, name)


def change(conversation: Conversation, ask: str) -> Scene:
    """Edits the page that stands in the session's folder; builds one if there is none."""
    if not {"Edit", "Write"} & set(conversation.tools):
        return _unable("change the app", ["Edit", "Write"], conversation)
    path, content = _known_page(conversation)
    if content is None:
        content = yield from _look(path, "Let me see what is here already.")
    if content is None:
        return (yield from build(conversation, ask))
    for _ in range(2):
        wanted = pages.edits(ask, content)
        failed = yield from _edit(conversation, path, content, wanted)
        if failed is None:
            break
        content = (yield from _look(path, "The file is not as I knew it. Let me read it.")) or ""
    if failed is not None or not wanted:
        return f"I could not change {path}: {failed.result if failed else 'it is not a page that I know.'}"
    yield from _keep_serving(conversation, str(PurePosixPath(path).parent))
    done = "; ".join(dict.fromkeys(edit.what for edit in wanted))
    return f"Done: {done}. (I am still the demo model: a script that knows a few words, and no AI.)"


def _built(ask: str, name: str) -> str:
    stack = asks.stack(ask)
    plain = f"You asked for {stack}; I work offline from a template, so it is plain HTML. " if stack else ""
    return (
        f"“{name}” is running on port {asks.port(ask)}. {plain}The page is index.html; it reloads when it "
        "changes. Try “make the header blue”, “call it Groceries” or “dark mode”. I am a demo model: "
        "everything here is real but me. Configure a model key to work with an AI."
    )


def _unable(what: str, missing: list[str], conversation: Conversation) -> str:
    offered = ", ".join(sorted(conversation.tools)) or "none"
    return f"{WHO} I cannot {what} without {' and '.join(missing)}. The tools offered here: {offered}."


def _own_skill(conversation: Conversation) -> str | None:
    if "Skill" not in conversation.tools:
        return None
    return next((skill for skill in conversation.skills if skill not in _BUNDLED_SKILLS), None)


def _page_path(folder: str) -> str:
    return f"{folder.strip().rstrip('/')}/index.html"


def _write(conversation: Conversation, path: str, content: str, say: str) -> Generator[Call, Step, Step]:
    call = {"file_path": path, "content": content}
    step = yield Call("Write", call, say)
    if step.failed and "Read" in conversation.tools:
        # A file that is there already must have been read before it may be replaced.
        yield Call("Read", {"file_path": path})
        step = yield Call("Write", call)
    return step


def _look(path: str, say: str) -> Generator[Call, Step, str | None]:
    step = yield Call("Read", {"file_path": path}, say)
    return None if step.failed else pages.from_read(step.result or "")


def _edit(
    conversation: Conversation, path: str, content: str, wanted: list[pages.Edit]
) -> Generator[Call, Step, Step | None]:
    """Carries the edits out; the step that failed, or None."""
    for edit in wanted:
        call = Call("Edit", {"file_path": path, "old_string": edit.old, "new_string": edit.new})
        content = content.replace(edit.old, edit.new, 1)
        if "Edit" not in conversation.tools:
            call = Call("Write", {"file_path": path, "content": content})
        step = yield call
        if step.failed:
            return step
    return None


def _serve(folder: str) -> Generator[Call, Step, Step]:
    here = f"cd {shlex.quote(folder)} && "
    start = f"{here}(setsid nohup python3 server.py >server.log 2>&1 </dev/null &)"
    yield Call("Bash", {"command": start, "description": "Start the dev server"}, "Now I start it.")
    return (yield _check(folder, seconds=3))


def _check(folder: str, seconds: int) -> Call:
    command = f"cd {shlex.quote(folder)} && python3 server.py --check {seconds}"
    return Call("Bash", {"command": command, "description": "Check that the app answers"})


def _keep_serving(conversation: Conversation, folder: str) -> Generator[Call, Step, None]:
    if "Bash" in conversation.tools and (yield _check(folder, seconds=0)).failed:
        yield from _serve(folder)


def _known_page(conversation: Conversation) -> tuple[str, str | None]:
    """The page's path and, if the conversation tells, its text before the current ask."""
    path = _page_path(conversation.folder or ".")
    content: str | None = None
    for step in _done_before(conversation):
        target = str(step.input.get("file_path", ""))
        if step.tool == "Write" and target.endswith("/index.html"):
            path, content = target, str(step.input.get("content"))
        elif target == path and step.tool == "Read":
            content = pages.from_read(step.result or "")
        elif target == path and step.tool == "Edit" and content is not None:
            content = _edited(content, step.input)
    return path, content


def _done_before(conversation: Conversation) -> Iterator[Step]:
    for exchange in conversation.exchanges[:-1]:
        yield from (step for step in exchange.steps if step.result is not None and not step.failed)


def _edited(content: str, edit: dict[str, Any]) -> str:
    return content.replace(str(edit.get("old_string")), str(edit.get("new_string")), 1)
