import time

import pytest

from opensessions.sessions.titles import framework, title


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Build a todo app with Next.js and Tailwind", "Build a todo app"),
        ("Build a blog using Astro", "Build a blog"),
        ("Make a page. It shows the weather.", "Make a page"),
        ("  Fix\tthe   bug \n and more", "Fix the bug"),
        ("with", "with"),
        ("word " * 50, "word word word word word word word word word word word…"),
    ],
)
def test_title(prompt: str, expected: str) -> None:
    assert title(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a todo app with Next.js and Tailwind", "nextjs"),
        ("a NextJS app", "nextjs"),
        ("a SvelteKit shop", "sveltekit"),
        ("Flask API", "flask"),
        ("I will react to this", "react"),
        ("a revue", None),
        ("no framework at all", None),
    ],
)
def test_framework(prompt: str, expected: str | None) -> None:
    assert framework(prompt) == expected


def test_o28_a_huge_prompt_costs_no_more_than_its_beginning() -> None:
    huge = "Build a " * 131_072
    began = time.thread_time()
    title(huge), framework(huge)
    assert time.thread_time() - began < 0.1
