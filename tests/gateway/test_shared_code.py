"""The gateway's image holds what of the worker's code the gateway needs, and nothing else of it."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_ASK = (
    "import gateway.assembly, sys; "
    "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'sandbox_task'))"
)


def test_the_image_has_what_is_imported() -> None:
    found = subprocess.run([sys.executable, "-c", _ASK], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    needed = {str(Path(file).relative_to(REPOSITORY)) for file in found.stdout.decode().split()}
    dockerfile = (REPOSITORY / "gateway" / "Dockerfile").read_text()
    assert set(re.findall(r"sandbox_task/[\w/]+\.py", dockerfile)) == needed
