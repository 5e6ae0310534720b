"""A large workspace on its way into an archive and out of one, beside `tar | zstd` of the same tree."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench.figures import heading, median, table
from opensessions.archives import Source
from sandbox_task.workspace.processes import Packing, Unpacking

FILES, BYTES, ROUNDS = 60_000, 10**9, 2
_LIMIT = 2 * BYTES


def measure() -> None:
    """Print seconds, processor seconds and the largest process, as medians of runs by turns."""
    where = _place()
    heading(f"Archives: {FILES:,} files with {BYTES / 1e9:.0f} GB", f"All files are in {where}.")
    if shutil.which("zstd") is None or shutil.which("tar") is None:
        print("There is no tar or no zstd here, so nothing was measured.")
        return
    with tempfile.TemporaryDirectory(prefix="opensessions-bench-", dir=where) as made:
        folder = Path(made)
        try:
            _plant(folder / "tree")
            runs = [_round(folder) for _ in range(ROUNDS)]
        finally:
            subprocess.run(["rm", "-rf", *folder.iterdir()], check=True)
    rows = [["", "seconds", "of tar | zstd", "processor", "of it", "MB at most"]]
    for name, other in (("archive", "tar"), ("unpack", "untar"), ("tar", "tar"), ("untar", "untar")):
        seconds, processor, peak = (median([run[name][n] for run in runs]) for n in range(3))
        ratios = [f"{median([run[name][n] / run[other][n] for run in runs]):.2f}" for n in range(2)]
        shown = {"tar": "tar | zstd -3 -T2", "untar": "zstd -d | tar -x"}.get(name, name)
        figures = [f"{seconds:.1f}", ratios[0], f"{processor:.1f}", ratios[1], f"{peak / 1e6:.0f}"]
        rows.append([shown, *figures])
    table(rows)
    sizes = [f"{median([run[name][0] for run in runs]) / 1e6:.0f} MB" for name in ("size", "tar size")]
    print(f"The archive has {sizes[0]}, that of tar {sizes[1]}.")


def _place() -> Path:
    """Where no disk is measured, if there is room: everything is there three times and a bit."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 8 * BYTES
    return memory if roomy else Path(tempfile.gettempdir())


def _round(folder: Path) -> dict[str, tuple[float, float, float]]:
    """What each action took, and how large the results are."""
    results = {name: _apart(name, folder) for name in ("archive", "tar", "unpack", "untar")}
    for name, file in (("size", "archive.zst"), ("tar size", "tar.zst")):
        results[name] = ((folder / file).stat().st_size, 0, 0)
    subprocess.run(["rm", "-rf", folder / "unpack", folder / "untar"], check=True)
    return results


def _apart(name: str, folder: Path) -> tuple[float, float, float]:
    """An action in a process of its own, so that the peak is that of its children."""
    told = subprocess.check_output([sys.executable, "-m", "bench.archives", name, folder])
    seconds, processor, peak = json.loads(told)
    return seconds, processor, peak


def _archive(folder: Path) -> None:
    packing = Packing(folder / "tree", "full", _LIMIT)
    with closing(packing), (folder / "archive.zst").open("wb") as out:
        while part := packing.part():
            out.write(part)
        packed = packing.packed()
    (folder / "packed").write_text(json.dumps([packed.size, packed.files]))


def _unpack(folder: Path) -> None:
    (folder / "unpack").mkdir()
    size, files = json.loads((folder / "packed").read_text())
    source = Source(id="0" * 32, kind="full", parts=[], bytes=size, files=files)
    unpacking = Unpacking(folder / "unpack", source)
    with closing(unpacking), (folder / "archive.zst").open("rb") as file:
        while part := file.read(2**20):
            unpacking.take(memoryview(part))
        unpacking.end()


def _tar(folder: Path) -> None:
    subprocess.run("tar -C tree -cf - . | zstd -q -3 -T2 > tar.zst", shell=True, check=True, cwd=folder)


def _untar(folder: Path) -> None:
    (folder / "untar").mkdir()
    subprocess.run("zstd -q -dc tar.zst | tar -C untar -xf -", shell=True, check=True, cwd=folder)


_ACTIONS: dict[str, Callable[[Path], None]] = {
    "archive": _archive, "unpack": _unpack, "tar": _tar, "untar": _untar
}  # fmt: skip


def _plant(root: Path) -> None:
    """Text that compresses as code does, most of it in node_modules, ten files to a folder."""
    source = random.Random(8)
    words = [f"w{source.randrange(10**6)}" for _ in range(5000)]
    text, each = " ".join(source.choices(words, k=200_000)).encode(), BYTES // FILES
    for number in range(FILES):
        top = "app/src" if number // 10 % 4 == 0 else "app/node_modules"
        folder = root / top / f"package{number // 100}" / f"lib{number // 10 % 10}"
        if number % 10 == 0:
            folder.mkdir(parents=True)
        start = source.randrange(len(text) - each)
        (folder / f"file{number}.js").write_bytes(text[start : start + each])


def _main() -> None:
    start, before = time.monotonic(), os.times()
    _ACTIONS[sys.argv[1]](Path(sys.argv[2]))
    seconds, after = time.monotonic() - start, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps([seconds, processor, peak]))


if __name__ == "__main__":
    _main()
