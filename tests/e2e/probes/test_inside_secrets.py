"""What a program in a sandbox can find out.

The numbers are the threat model's: a probe passes when it is refused and the host is unchanged.
"""

import base64
import json
import re
from contextlib import suppress

import psutil

from tests.e2e.probes.hostile import CANARY, MODEL_KEY, Inside, on_x86, system_calls
from tests.e2e.server import KEY


def test_i01_i44_the_agents_bash_sees_nothing_of_the_server(inside: Inside) -> None:
    seen = inside.bash("(tr '\\0' '\\n' </proc/1/environ; cat /proc/1/cmdline; env; set) | base64 -w0")
    text = base64.b64decode(seen).decode(errors="replace")
    assert "HOME=/workspace/home" in text
    for secret in (CANARY, MODEL_KEY, KEY, str(inside.server.data), "CANARY_SECRET"):
        assert secret not in text
    assert not re.search(r"^(AWS|ECS|OPENSESSIONS|SANDBOX)_", text, re.MULTILINE)
    assert inside.run("wc -c </proc/1/environ") == (0, "0\n")


def test_i01_no_secret_in_the_hosts_process_list(inside: Inside) -> None:
    for process in inside.processes[:3]:
        words = " ".join(process.cmdline())
        with suppress(psutil.AccessDenied):  # the worker's is closed to all but root
            words += str(process.environ())
        assert not re.search(rf"osw_|{CANARY}|{MODEL_KEY}|{KEY}", words)


def test_i02_only_the_agents_own_two_tokens_are_found(neighbour: Inside) -> None:
    """In no memory, environment or file is there a key, a canary or the worker's token.

    In the neighbour: into the other, tests carry secrets themselves.
    """
    own = neighbour.environment()
    egress = own["HTTPS_PROXY"].split(":")[2].split("@")[0]
    secrets = " ".join(secret[::-1] for secret in (CANARY, MODEL_KEY, KEY))
    status, output = neighbour.run(f"python3 -I /workspace/agent/probes/secrets_found.py {secrets}", 90)
    assert status == 0, output
    told = json.loads(output)
    assert set(told["found"]) == {own["ANTHROPIC_API_KEY"], egress}
    assert str(neighbour.worker()) in told["closed"] and told["read"] > 10_000_000


def test_i02_h1_the_worker_is_closed_to_the_tools(inside: Inside) -> None:
    pid = inside.worker()
    for name in ("environ", "mem", "maps", "fd/0", "root/etc/passwd", "cwd/."):
        assert inside.run(f"head -c1 /proc/{pid}/{name}")[0] != 0, name
    assert inside.run(f"ls /proc/{pid}/fd")[0] != 0


@on_x86
def test_i02_h1_the_worker_cannot_be_traced(inside: Inside) -> None:
    pid = inside.worker()
    attach, seize, open_pidfd = 16, 0x4206, 434
    calls = ((101, attach, pid, 0, 0), (101, seize, pid, 0, 0), (310, pid, 0, 0, 0, 0, 0), (438, 0, 0, 0))
    assert system_calls(inside, *calls) == ["EPERM"] * 4
    assert system_calls(inside, (open_pidfd, pid, 0)) == ["0"]


def test_i44_the_transcript_holds_no_token(inside: Inside) -> None:
    answer = inside.bash("env | grep -E 'ANTHROPIC_API_KEY|HTTPS_PROXY'")
    assert "ANTHROPIC_API_KEY=" in answer
    last = inside.server.get(inside.session)["lastSeq"]
    seen = []
    for event in inside.server.stream(inside.session):
        seen.append(event)
        if event["seq"] >= last:
            break
    assert not re.search(r"osw_[0-9a-f]{32}_", json.dumps(seen))


def test_i44_the_servers_log_holds_no_secret(inside: Inside) -> None:
    assert not re.search(rf"osw_[0-9a-f]{{32}}_|{CANARY}|{MODEL_KEY}|{KEY}", inside.server.log())
