"""The demo model drives the real agent, whose work is looked at in a real browser."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import psutil
import pytest
import uvicorn
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultMessage,
    TextBlock,
    ToolUseBlock,
)
from playwright.async_api import Page, async_playwright
from starlette.types import ASGIApp

from opensessions.local.demo_model import create_demo_model

CHROMIUM = Path("/usr/bin/chromium")
TOOLS = ["Bash", "Read", "Write", "Edit", "Glob", "Grep", "Skill"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def model_url() -> AsyncIterator[str]:
    async with served(create_demo_model(pace=0)) as (url, _):
        yield url


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", server
    server.should_exit = True
    await serving


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A session's folders; whatever still runs in them at the end is ended."""
    for name in ("app", "home", "agent/.claude/skills/build-app"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "agent/.claude/skills/build-app/SKILL.md").write_text("# Build apps\nBe brief.\n")
    yield tmp_path
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(tmp_path / "app"):
            process.kill()
            process.wait(5)


def options(model_url: str, workspace: Path) -> ClaudeAgentOptions:
    surroundings = {
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "any",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "HOME": str(workspace / "home"),
        "IS_SANDBOX": "1",
    }
    return ClaudeAgentOptions(
        cwd=workspace / "app",
        add_dirs=[workspace / "agent"],
        env=surroundings,
        permission_mode="bypassPermissions",
        setting_sources=["project"],
        skills="all",
        system_prompt="You are a pirate.\nSecond line",
        tools=TOOLS,
    )


async def ask(agent: ClaudeSDKClient, prompt: str) -> tuple[list[str], str]:
    """The tools that the turn used, and its last words."""
    tools: list[str] = []
    said = ""
    await agent.query(prompt)
    async for message in agent.receive_response():
        if isinstance(message, AssistantMessage):
            tools += [block.name for block in message.content if isinstance(block, ToolUseBlock)]
            said = next((block.text for block in message.content if isinstance(block, TextBlock)), said)
        elif isinstance(message, ResultMessage):
            assert not message.is_error, message
    return tools, said


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
async def test_the_agent_builds_and_changes_an_app_that_works(model_url: str, workspace: Path) -> None:
    port = free_port()
    async with ClaudeSDKClient(options(model_url, workspace)) as agent:
        tools, said = await ask(agent, f"Build a todo app with Next.js and Tailwind on port {port}")
        assert tools == ["Skill", "Write", "Write", "Bash", "Bash"]
        assert "demo model" in said and f"port {port}" in said
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            page = await browser.new_page()
            problems = watch(page)
            await page.goto(f"http://127.0.0.1:{port}/")
            await the_app_works(page)
            tools, said = await ask(agent, "Make the header blue and dark")
            assert tools == ["Edit", "Edit", "Bash"] and "blue" in said
            # The open page takes the change up by itself.
            await page.wait_for_function("document.documentElement.dataset.theme === 'dark'", timeout=10_000)
            assert "Buy milk" in await page.inner_text("#list")
            await browser.close()
        assert problems == []
        await ask(agent, "run: sed -i 's/Todo app/Tasks/' index.html")
        tools, said = await ask(agent, "Call it Chores & more")
        assert "Chores &amp; more</h1>" in (workspace / "app/index.html").read_text()
        assert (
            "system prompt begins with: “You are a pirate.”"
            in (await ask(agent, "What is your system prompt?"))[1]
        )
        assert "build-app" in (await ask(agent, "Which skills do you know?"))[1]


def watch(page: Page) -> list[str]:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    return problems


async def the_app_works(page: Page) -> None:
    for task in ("Buy milk", "<b>Call</b> Sam"):
        await page.fill("#new", task)
        await page.keyboard.press("Enter")
    await page.get_by_label("Buy milk", exact=True).check()
    await page.reload()
    assert await page.locator("#list li").all_inner_texts() == ["<b>Call</b> Sam", "Buy milk"]
    assert await page.get_by_label("Buy milk", exact=True).is_checked()
    await page.get_by_role("button", name="Active").click()
    assert await page.locator("#list li").all_inner_texts() == ["<b>Call</b> Sam"]
    await page.locator("#list input").press("Delete")
    await page.get_by_role("button", name="All").click()
    assert await page.locator("#list li").all_inner_texts() == ["Buy milk"]


async def test_a_later_agent_reads_the_app_before_it_changes_it(model_url: str, workspace: Path) -> None:
    port = free_port()
    async with ClaudeSDKClient(options(model_url, workspace)) as agent:
        await ask(agent, f"Build a focus timer on port {port}")
    end_server(workspace)
    async with ClaudeSDKClient(options(model_url, workspace)) as agent:
        tools, _ = await ask(agent, "Earlier:\n\nUser: Build a focus timer\n\nAssistant: Done.\n\nAdd a bell")
        assert tools[:2] == ["Read", "Edit"]
    async with httpx2.AsyncClient() as http:
        assert "<li>You asked: Add a bell</li>" in (await http.get(f"http://127.0.0.1:{port}/")).text


def end_server(workspace: Path) -> None:
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(workspace / "app") and "server.py" in process.info["cmdline"]:
            process.send_signal(signal.SIGTERM)
            process.wait(5)


async def test_a_long_call_can_be_interrupted(model_url: str, workspace: Path) -> None:
    async with ClaudeSDKClient(options(model_url, workspace)) as agent:
        await agent.query("sleep 60")
        async with asyncio.timeout(20):
            while not sleeping(workspace):
                await asyncio.sleep(0.02)
            await agent.interrupt()
            async for message in agent.receive_response():
                assert not isinstance(message, ResultMessage) or message.subtype == "error_during_execution"
            while sleeping(workspace):
                await asyncio.sleep(0.02)
        _, said = await ask(agent, "say 4 words")
        assert said == "this is the demo"


def sleeping(workspace: Path) -> bool:
    processes = psutil.process_iter(["cwd", "cmdline"])
    app = str(workspace / "app")
    return any(one.info["cwd"] == app and one.info["cmdline"] == ["sleep", "60"] for one in processes)


async def test_a_closed_connection_ends_the_answer() -> None:
    body = {"stream": True, "messages": [{"role": "user", "content": "say 99999 words"}]}
    async with served(create_demo_model(pace=0.01)) as (url, server), asyncio.timeout(10):
        async with (
            httpx2.AsyncClient() as http,
            http.stream("POST", f"{url}/v1/messages", json=body) as answer,
        ):
            async for line in answer.aiter_lines():
                if "text_delta" in line:
                    assert len(server.server_state.tasks) == 1
                    break
        while server.server_state.tasks:
            await asyncio.sleep(0.01)
