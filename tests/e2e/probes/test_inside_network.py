"""Where a program in a sandbox tries to connect to.

The numbers are the threat model's: a probe passes when it is refused and the host is unchanged.
"""

import base64
import socket
from statistics import median

from tests.e2e.probes.hostile import Answer, Inside, Model, canary


def test_i14_the_hosts_loopback_and_sockets_are_out_of_reach(inside: Inside, model: Model) -> None:
    with socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0{canary()}"
        abstract.bind(name)
        abstract.listen()
        doors = list(inside.server.data.glob("opensessions-*/**/*.sock"))
        program = f"""
import json, socket
tries = [(2, ("127.0.0.1", port)) for port in {[inside.server.port, model.port]!r}]
tries += [(10, ("::1", {inside.server.port})), (1, {name!r})]
tries += [(1, path) for path in {[str(door) for door in doors]!r}]
tries += [(1, path) for path in ("/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket")]
told = []
for family, address in tries:
    with socket.socket(family) as each:
        told.append([str(address), each.connect_ex(address)])
print(json.dumps(told))
"""
        told = inside.python(program)
    assert doors and all(number for _, number in told), told


def test_i15_no_route_and_no_names(inside: Inside) -> None:
    program = """
import json, socket, time
begun, told = time.monotonic(), []
for family, kind, address in ((2, 1, ("192.0.2.1", 443)), (2, 2, ("192.0.2.1", 53)),
                              (10, 1, ("2001:db8::1", 443)), (2, 1, ("169.254.169.254", 80)),
                              (2, 1, ("169.254.170.2", 80)), (2, 1, ("10.0.0.1", 80))):
    with socket.socket(family, kind) as each:
        told.append(each.connect_ex(address))
try:
    socket.getaddrinfo("example.com", 80)
    told.append(0)
except OSError:
    told.append(1)
print(json.dumps([told, time.monotonic() - begun]))
"""
    told, seconds = inside.python(program)
    assert all(told) and seconds < 2, told


def through_proxy(inside: Inside, *targets: str, more: str = "") -> list[Answer]:
    """What the way out answers to a CONNECT to each of these."""
    proxy = inside.environment()["HTTPS_PROXY"].removeprefix("http://")
    credentials, _, address = proxy.rpartition("@")
    sign = f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"
    heads = [f"CONNECT {each} HTTP/1.1\r\nHost: x\r\n{sign}\r\n{more}\r\n" for each in targets]
    return inside.ask(address, *heads)


def test_i16_addresses_in_every_spelling_are_refused(inside: Inside) -> None:
    hosts = ["127.1", "0x7f.1", "2130706433", "0", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"]
    hosts += ["[64:ff9b::a9fe:a9fe]", "169.254.169.254", "169.254.170.2", "100.64.0.1", "10.0.0.1"]
    hosts += ["localhost", "①②⑦.⓪.⓪.①", "0177.0.0.1", "192.0.2.1", "[::]", "metadata", "127.0.0.1."]
    targets = [f"{host}:{port}" for host in hosts for port in (80, 443)]
    answers = through_proxy(inside, *targets)
    assert median(answer.seconds for answer in answers) < 1
    for target, answer in zip(targets, answers, strict=True):
        assert answer.status == 403, (target, answer)
        assert "IP addresses are refused" in answer.text or "without a dot" in answer.text, (target, answer)


def test_i16_plain_requests_for_addresses_are_refused(inside: Inside) -> None:
    proxy = inside.environment()["HTTPS_PROXY"].removeprefix("http://")
    credentials, _, address = proxy.rpartition("@")
    sign = f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"
    urls = ["http://169.254.169.254/latest/meta-data/", f"http://127.0.0.1:{inside.server.port}/v1/sessions"]
    urls += ["http://[::1]/", "http://example.com@127.0.0.1/", "http://localhost/", "/v1/sessions"]
    heads = [f"GET {url} HTTP/1.1\r\nHost: example.com\r\n{sign}\r\n\r\n" for url in urls]
    answers = inside.ask(address, *heads)
    assert [answer.status for answer in answers] == [403, 403, 403, 400, 403, 400], answers


def test_i16_the_way_out_wants_its_own_token(inside: Inside) -> None:
    own = inside.environment()
    address = own["HTTPS_PROXY"].rpartition("@")[2]
    tokens = ["", own["ANTHROPIC_API_KEY"], "osw_" + "0" * 32 + "_" + "0" * 40]
    head = "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer"
    heads = [f"{head} {token}\r\n\r\n" for token in tokens]
    assert [a.status for a in inside.ask(address, *heads)] == [407] * 3


def test_i19_other_ports_are_closed(inside: Inside) -> None:
    ports = (22, 25, 465, 587, 6379, 8080, 0, 65535, 99999)
    answers = through_proxy(inside, *(f"example.com:{port}" for port in ports))
    assert [answer.status for answer in answers] == [403] * len(ports), answers


def test_i20_the_servers_own_names_are_refused(inside: Inside, neighbour: Inside) -> None:
    preview = neighbour.session["previewUrl"].removeprefix("http://").partition(":")[0]
    names = (preview, preview.upper(), preview + ".", "preview.localhost", "a.localhost", "b.a.localhost")
    answers = through_proxy(inside, *(f"{name}:80" for name in names))
    assert [answer.status for answer in answers] == [403] * len(names), answers


def test_i21_a_sessions_list_only_narrows(neighbour: Inside) -> None:
    names = ["evilexample.com", "example.com.evil.test", "example.com\0.x", "x.example.com", "example.net"]
    names += ["example.com%00.x", "www.example.org", "sub.example.org", "example.com@evil.test", "a.b.c"]
    answers = through_proxy(neighbour, *(f"{name}:443" for name in names))
    assert all(answer.status in (400, 403) for answer in answers), answers
    assert "OPENSESSIONS_EGRESS_ALLOW" in answers[4].text and "allowed_hosts" in answers[6].text


def test_i21_an_empty_list_means_nothing(attacker: Inside) -> None:
    answers = through_proxy(attacker, "example.com:443", "www.example.org:443", "www.example.net:443")
    assert [answer.status for answer in answers] == [403] * 3


def test_i23_nothing_may_follow_a_connect(inside: Inside) -> None:
    [early] = through_proxy(inside, "example.invalid:443", more="Content-Length: 3\r\n")
    both_lengths = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    [both] = through_proxy(inside, "x.example.org:443", more=both_lengths)
    assert early.status == both.status == 400
