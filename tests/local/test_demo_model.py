"""The demo model as its callers see it: requests in, turns out."""

import json
from typing import Any

import httpx2
import pytest

from opensessions.local.demo_model import create_demo_model

ALL_TOOLS = ["Bash", "Edit", "Glob", "Grep", "Read", "Skill", "Write"]
SURROUNDINGS = (
    "# Environment\n - Primary working directory: /workspace/app\n\n"
    "The following skills are available for use with the Skill tool:\n\n"
    "- build-app: Build apps\n- dataviz: Charts\nand more: of it\n- plain\n\nToday is a day."
)
OWN_SYSTEM = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=1"},
    {"type": "text", "text": "You are a Claude agent, built on Anthropic's Claude Agent SDK."},
]


class Agent:
    """Holds a conversation with the model; `results` answer its tool calls, by tool, in turn."""

    def __init__(self, tools: list[str] = ALL_TOOLS, system: str = "You are a pirate.\nSecond line") -> None:
        self.tools = [{"name": name, "input_schema": {"type": "object"}} for name in tools]
        self.system = [*OWN_SYSTEM, {"type": "text", "text": system}]
        self.messages: list[dict[str, Any]] = []
        self.failing: dict[str, list[str]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def ask(self, text: str) -> str:
        """The final text of the turn; every tool call is answered with success unless it is `failing`."""
        self.calls = []
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}]})
        if len(self.messages) == 1:
            self.messages.append({"role": "system", "content": SURROUNDINGS})
        while True:
            answer = await post({"tools": self.tools, "system": self.system, "messages": self.messages})
            self.messages.append({"role": "assistant", "content": answer["content"]})
            uses = [block for block in answer["content"] if block["type"] == "tool_use"]
            if not uses:
                assert answer["stop_reason"] == "end_turn"
                return str(answer["content"][-1]["text"])
            assert answer["stop_reason"] == "tool_use"
            self.messages.append({"role": "user", "content": [self.carry_out(use) for use in uses]})

    def carry_out(self, use: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((use["name"], use["input"]))
        failures = self.failing.get(use["name"], [])
        result = {"type": "tool_result", "tool_use_id": use["id"], "content": "fine"}
        return {**result, "content": failures.pop(0), "is_error": True} if failures else result

    def written(self, name: str) -> str:
        return next(
            str(call["content"])
            for tool, call in self.calls
            if tool == "Write" and call["file_path"].endswith(name)
        )

    @property
    def tools_used(self) -> list[str]:
        return [tool for tool, _ in self.calls]


def client() -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(create_demo_model(pace=0))
    return httpx2.AsyncClient(transport=transport, base_url="http://model")


async def post(body: dict[str, Any]) -> dict[str, Any]:
    async with client() as http:
        answer = await http.post("/v1/messages", json={"model": "any", "max_tokens": 1000, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_documented_prompt_reads_the_skill_writes_serves_and_checks_the_app() -> None:
    agent = Agent()
    last = await agent.ask("Build a todo app with Next.js and Tailwind")
    assert agent.tools_used == ["Skill", "Write", "Write", "Bash", "Bash"]
    assert agent.calls[0][1] == {"skill": "build-app"}
    assert [call["file_path"] for tool, call in agent.calls if tool == "Write"] == [
        "/workspace/app/index.html",
        "/workspace/app/server.py",
    ]
    assert "<title>Todo app</title>" in agent.written("index.html")
    assert "PORT = 3000\n" in agent.written("server.py")
    assert "setsid nohup python3 server.py" in agent.calls[3][1]["command"]
    assert "port 3000" in last and "Next.js and Tailwind" in last and "demo model" in last
    first = agent.messages[2]["content"][0]["text"]
    assert "demo model: a script, not an AI" in first


@pytest.mark.parametrize(
    ("prompt", "title", "part"),
    [
        ("Build a todo app", "Todo app", 'id="list"'),
        ("please make me a shopping list, with sorting", "Shopping list", 'id="list"'),
        ("Create a pomodoro timer using React.", "Pomodoro timer", 'role="timer"'),
        ("Build a counter", "Counter", 'id="count"'),
        ("Build a landing page for a bakery", "Landing page for a bakery", 'id="contact"'),
        ('Build a website called "Crumb & Co"', "Crumb &amp; Co", "<h1>Crumb &amp; Co</h1>"),
        (
            "Build a <script>alert(1)</script> page",
            "&lt;script&gt;alert(1)&lt;/script&gt; page",
            'id="contact"',
        ),
        ("A recipe tracker", "Recipe tracker", 'id="contact"'),
    ],
)
async def test_the_app_fits_the_prompt(prompt: str, title: str, part: str) -> None:
    agent = Agent()
    agent.failing["Read"] = ["File does not exist."]
    await agent.ask(prompt)
    page = agent.written("index.html")
    assert f"<title>{title}</title>" in page
    assert part in page
    assert "{{" not in page and "http://" not in page and "https://" not in page


async def test_a_port_in_the_prompt_is_obeyed_and_is_not_in_the_title() -> None:
    agent = Agent()
    assert "port 4123" in await agent.ask("Build a todo app on port 4123")
    assert "PORT = 4123\n" in agent.written("server.py")
    assert "<title>Todo app</title>" in agent.written("index.html")


@pytest.mark.parametrize(
    ("ask", "new", "said"),
    [
        ("Make the header blue", "--accent: #2563eb; --on-accent: #ffffff;", "blue"),
        ("make it dark blue", "--accent: #2563eb;", "blue"),
        ("Use #FFEE00 please", "--accent: #ffee00; --on-accent: #1c1917;", "#ffee00"),
        ("dark mode", 'data-theme="dark"', "dark"),
        ("Make it lighter", 'data-theme="light"', "light"),
        ("Call it “Blue & co”, please.", "Blue &amp; co</", "Blue & co"),
        ("rename to Groceries", "Groceries</", "Groceries"),
        ("Add <confetti>", "<li>You asked: Add &lt;confetti&gt;</li>", "You asked: Add <confetti>"),
    ],
)
async def test_follow_up_edits_the_page(ask: str, new: str, said: str) -> None:
    agent = Agent()
    await agent.ask("Build a todo app")
    page = agent.written("index.html")
    assert said in await agent.ask(ask)
    edits = [call for tool, call in agent.calls if tool == "Edit"]
    assert edits
    for edit in edits:
        assert page.count(edit["old_string"]) == 1
        assert new in edit["new_string"]


@pytest.mark.parametrize(
    "ask", ["Make the list bigger", "Add a traffic light", "Create the share page", "What?"]
)
async def test_other_follow_ups_become_a_note_and_build_nothing(ask: str) -> None:
    agent = Agent()
    await agent.ask("Build a todo app")
    await agent.ask(ask)
    assert agent.tools_used == ["Edit", "Bash"]
    assert f"You asked: {ask}" in agent.calls[0][1]["new_string"]


async def test_another_app_takes_the_first_ones_place() -> None:
    agent = Agent()
    await agent.ask("Build a todo app")
    agent.failing["Write"] = ["File has not been read yet. Read it first before writing to it."]
    await agent.ask("Now build me a timer app instead")
    assert agent.tools_used[:4] == ["Skill", "Write", "Read", "Write"]
    assert 'role="timer"' in agent.written("index.html")


async def test_one_follow_up_builds_upon_another() -> None:
    agent = Agent()
    await agent.ask("Build a todo app")
    await agent.ask("make it red")
    await agent.ask("make it green and dark")
    edits = [call for tool, call in agent.calls if tool == "Edit"]
    assert "#dc2626" in edits[0]["old_string"] and "#15803d" in edits[0]["new_string"]
    assert 'data-theme="dark"' in edits[1]["new_string"]


async def test_follow_up_starts_a_server_that_is_gone() -> None:
    agent = Agent()
    await agent.ask("Build a todo app")
    agent.failing["Bash"] = ["No answer"]
    await agent.ask("make it red")
    assert agent.tools_used == ["Edit", "Bash", "Bash", "Bash"]
    assert "setsid" in agent.calls[2][1]["command"]


async def test_a_page_that_changed_on_disk_is_read_again() -> None:
    agent = Agent()
    await agent.ask("Build a todo app")
    agent.failing["Edit"] = ["String to replace not found"]
    assert "could not" in await agent.ask("make it red")
    assert agent.tools_used[:2] == ["Edit", "Read"]


@pytest.mark.parametrize(
    "history",
    [
        "make it red",
        "<history>\nUser: Build a todo app\n\nAssistant: done\n</history>\n\nmake it red",
        "Earlier in this conversation:\n\nUser: Build a todo app\n\nAssistant: done\n\nmake it red",
    ],
)
async def test_without_earlier_tool_calls_the_page_is_read_first(history: str) -> None:
    agent = Agent()
    agent.failing["Read"] = []
    numbered = '     1\t<html lang="en">\n     2\t  --accent: #5b4ee6; --on-accent: #ffffff;\n'
    agent.messages = [
        {"role": "user", "content": history},
        {"role": "system", "content": SURROUNDINGS},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": numbered}]},
    ]
    first = await post({"tools": agent.tools, "messages": agent.messages[:2]})
    assert first["content"][-1]["input"] == {"file_path": "/workspace/app/index.html"}
    second = await post({"tools": agent.tools, "messages": agent.messages})
    assert second["content"][-1]["name"] == "Edit"
    assert second["content"][-1]["input"]["old_string"] == "  --accent: #5b4ee6; --on-accent: #ffffff;"


async def test_interrupted_asks_do_not_run_together() -> None:
    answer = await post(
        {
            "tools": Agent().tools,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "sleep 100"},
                        {"type": "text", "text": "[Request interrupted by user]"},
                        {"type": "text", "text": "say 3 words"},
                    ],
                }
            ],
        }
    )
    assert answer["content"] == [{"type": "text", "text": "this is the"}]


async def test_aids() -> None:
    agent = Agent()
    assert "fine" in await agent.ask("run: echo earlier:\n\necho $HOME |\n\n  wc -c")
    assert agent.calls[0][1]["command"] == "echo earlier:\n\necho $HOME |\n\n  wc -c"
    agent.failing["Bash"] = ["Exit code 3"]
    assert "failed" in await agent.ask("run: exit 3")
    await agent.ask("sleep 45")
    assert agent.calls[0][1]["command"] == "echo started; sleep 45"
    assert len((await agent.ask("say 500 words")).split()) == 500
    assert "“You are a pirate.”" in await agent.ask("What is your system prompt?")
    assert ", ".join(ALL_TOOLS) in await agent.ask("Which tools do you have?")
    assert "build-app, dataviz, plain." in await agent.ask("which skills do you know?")
    assert "not an AI" in await agent.ask("hello!")


@pytest.mark.parametrize("prompt", ["Build a todo app", "A recipe tracker", "run: ls", "sleep 3"])
async def test_without_its_tools_it_says_so(prompt: str) -> None:
    agent = Agent(tools=["Read", "Skill"])
    last = await agent.ask(prompt)
    assert "cannot" in last
    assert agent.calls == []


async def test_side_requests_get_a_short_answer() -> None:
    titled = await post(
        {"system": "Generate a title", "messages": [{"role": "user", "content": "Build a todo app"}]}
    )
    assert titled["content"] == [{"type": "text", "text": "Todo app"}]
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    shaped = await post(
        {"output_config": wanted, "messages": [{"role": "user", "content": "Build a todo app"}]}
    )
    assert json.loads(shaped["content"][0]["text"]) == {"title": "Todo app"}


async def test_stream_adds_up_to_the_message() -> None:
    body = {"stream": True, "model": "m", "tools": Agent().tools}
    body["messages"] = [
        {"role": "system", "content": "Working directory: /w"},
        {"role": "user", "content": "sleep 1"},
    ]
    async with client() as http:
        raw = (await http.post("/v1/messages", json=body)).text
    frames = [frame.split("\n") for frame in raw.strip().split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name.removeprefix("event: ") for name, _ in frames] == [event["type"] for event in events]
    assert (events[0]["type"], events[-2]["type"], events[-1]["type"]) == (
        "message_start",
        "message_delta",
        "message_stop",
    )
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert len([delta for delta in deltas if delta["type"] == "text_delta"]) > 1
    assert (
        json.loads("".join(delta.get("partial_json", "") for delta in deltas))["command"]
        == "echo started; sleep 1"
    )
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["output_tokens"] > 1 and events[0]["message"]["usage"]["input_tokens"] > 1


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "words"),
    [
        ("/v1/messages", b"{", 400, "invalid_request_error", "JSON"),
        ("/v1/messages", b"[]", 400, "invalid_request_error", "object"),
        ("/v1/messages", b"{}", 400, "invalid_request_error", "messages"),
        ("/v1/messages", b'{"messages": [{"role": "x"}]}', 400, "invalid_request_error", "messages.0.role"),
        (
            "/v1/messages",
            b'{"messages": [{"role": "user"}]}',
            400,
            "invalid_request_error",
            "messages.0.content",
        ),
        ("/v1/messages/count_tokens", b"nonsense", 400, "invalid_request_error", "JSON"),
        ("/v1/complete", b"{}", 404, "not_found_error", "/v1/complete"),
    ],
)
async def test_errors_have_the_shape_of_the_api(
    path: str, body: bytes, status: int, kind: str, words: str
) -> None:
    async with client() as http:
        answer = await http.post(path, content=body)
    assert answer.status_code == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind
    assert words in answer.json()["error"]["message"]


async def test_tokens_are_counted() -> None:
    async with client() as http:
        answer = await http.post(
            "/v1/messages/count_tokens", json={"messages": [{"role": "user", "content": "x" * 400}]}
        )
    assert 100 <= answer.json()["input_tokens"] <= 130
