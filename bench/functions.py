"""What a cold start of each Lambda function pays for: importing its module, and the size of the bundle."""

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import heading, median, ms, table
from bench.processes import folder

_ROUNDS = 7
_IMPORT = """
import sys, time
sys.path[:0] = [sys.argv[1]]
start = time.perf_counter(), time.process_time()
__import__(sys.argv[2])
print(time.perf_counter() - start[0], time.process_time() - start[1], len(sys.modules))
"""
_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "TABLE_NAME": "table",
    "BUCKET_NAME": "bucket",
    "CLUSTER": "cluster",
    "SANDBOX_TASK_DEFINITION": "sandbox",
    "SANDBOX_SUBNETS": "subnet-1",
    "SANDBOX_SECURITY_GROUP": "sg-1",
    "SANDBOX_PUBLIC_IP": "DISABLED",
    "TASKS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/0/tasks",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "bench",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One import: seconds, seconds of processor time, modules."""

    wall: float
    cpu: float
    modules: int


API_TARGET, ZIP_TARGET = 0.4, 20e6
"""Seconds for `functions.api`; bytes."""


def measure() -> None:
    """Print the time that each function's module takes to import in a new process, from a bundle as it is
    deployed (but with wheels for this machine), beside importing boto3 and FastAPI alone: as medians, and the
    shortest, which load lengthens least. `compiled` is with bytecode at hand, `from source` without,
    as on Lambda, whose bundle is read-only and was made by another Python. Then the size of the bundle.
    """
    heading("Cold start of the functions", f"{_ROUNDS} new processes each, in turn.")
    try:
        from infra.bundle import Bundling
    except ImportError:
        print("The bundle is made with the CDK, which is not set up here: `make test-infra` does that.")
        return
    with folder() as made:
        _imports(_bundled(Bundling(host=True), made / "host"))
        _size(_bundled(Bundling(host=False), made / "lambda"), made / "bundle.zip")


def _bundled(bundling: Any, target: Path) -> Path:
    target.mkdir()
    bundling.try_bundle(str(target), None)
    return target


def _imports(bundle: Path) -> None:
    modules = [f"functions.{path.stem}" for path in sorted((bundle / "functions").glob("[!_]*.py"))]
    runs: dict[str, list[Run]] = {name: [] for name in [*modules, "boto3", "fastapi"]}
    sources = {name: _imported(bundle, name, "-B") for name in runs}
    for name in runs:
        _imported(bundle, name)
    for _ in range(_ROUNDS):
        for name, taken in runs.items():
            taken.append(_imported(bundle, name))
    rows = [["import", "compiled: median", "shortest", "processor", "from source", "modules"]]
    for name, taken in runs.items():
        walls = [run.wall for run in taken]
        cpu = min(run.cpu for run in taken)
        rows.append(
            [name, ms(median(walls)), ms(min(walls)), ms(cpu), ms(sources[name].wall), str(taken[0].modules)]
        )
    table(rows)
    api = min(run.wall for run in runs["functions.api"])
    print(f"  functions.api, shortest: {ms(api)}, {_verdict(api, API_TARGET)} of {ms(API_TARGET)}")


def _imported(bundle: Path, module: str, *options: str) -> Run:
    """In a process that sees the bundle and the standard library alone."""
    command = [sys.executable, "-I", "-S", *options, "-c", _IMPORT, str(bundle), module]
    environment = {**_ENVIRONMENT, "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    wall, cpu, modules = done.stdout.split()
    return Run(float(wall), float(cpu), int(modules))


def _size(bundle: Path, archive: Path) -> None:
    files = [path for path in sorted(bundle.rglob("*")) if path.is_file()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in files:
            zipped.write(path, path.relative_to(bundle))
    packed, whole = archive.stat().st_size, sum(path.stat().st_size for path in files)
    verdict = f"{packed / 1e6:.1f} MB zipped, {_verdict(packed, ZIP_TARGET)} of {ZIP_TARGET / 1e6:.0f} MB"
    heaviest = sorted(((_weight(path), path.name) for path in bundle.iterdir()), reverse=True)[:5]
    print(f"  The bundle: {verdict}; {whole / 1e6:.1f} MB unpacked, most of it "
          + ", ".join(f"{name} {size / 1e6:.1f}" for size, name in heaviest))  # fmt: skip


def _weight(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _verdict(value: float, most: float) -> str:
    return "inside the target" if value <= most else "over the target"
