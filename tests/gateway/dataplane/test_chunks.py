import random

import pytest

from gateway.dataplane.chunks import BadChunk, ChunkReader, frame

BAD_CHUNKS = {
    "hex-prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "signed": b"+5\r\nhello\r\n0\r\n\r\n",
    "bare-lf": b"5\nhello\r\n0\r\n\r\n",
    "bare-cr": b"5\rhello\r\n0\r\n\r\n",
    "lf-in-extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "nul-in-extension": b"5;a\x00\r\nhello\r\n0\r\n\r\n",
    "space-before-size": b" 5\r\nhello\r\n0\r\n\r\n",
    "space-after-size": b"5 \r\nhello\r\n0\r\n\r\n",
    "overflow": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "empty-size": b"\r\nhello\r\n0\r\n\r\n",
    "longer-than-it-says": b"4\r\nhello\r\n0\r\n\r\n",
    "lf-after-data": b"5\r\nhello\n0\r\n\r\n",
    "endless-size-line": b"5;" + b"a" * 5000,
    "folded-trailer": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "trailer-without-colon": b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
    "framing-as-trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "endless-trailers": b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 5000,
}


def _read(body: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool]:
    reader, payload, rest = ChunkReader(), b"", b""
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        if reader.done:
            rest += body[start:end]
            continue
        piece, surplus = reader.feed(body[start:end])
        payload, rest = payload + piece, rest + surplus
    return payload, rest, reader.done


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_a_chunked_body_that_two_parsers_could_read_in_two_ways_is_refused(body: bytes) -> None:
    for cuts in ([], list(range(1, len(body)))):
        with pytest.raises(BadChunk):
            _read(body, cuts)


def test_a_body_is_the_same_in_whatever_pieces_it_comes() -> None:
    body = b"5;x=y\r\nhello\r\n0A\r\n0123456789\r\n000\r\nA: b\r\nC:\r\n\r\nGET /next"
    rng = random.Random(1)
    for _ in range(300):
        cuts = sorted(rng.sample(range(1, len(body)), rng.randrange(12)))
        assert _read(body, cuts) == (b"hello0123456789", b"GET /next", True)
    assert _read(body, list(range(1, len(body)))) == (b"hello0123456789", b"GET /next", True)


def test_what_is_framed_can_be_read() -> None:
    assert _read(frame(b"abc") + frame(b"") + frame(b"d", last=True), []) == (b"abcd", b"", True)
