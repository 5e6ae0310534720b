"""Which tool finds which mistake: `python -m tests.rehearsal.mutation_table [WORD…]` tries them all, or those
with a word in their names.

`lint` is cfn-lint; `assertions` are those of tests/infra that judge a template; `rehearsal` deploys it and
has it do its job.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.infra import reach
from tests.infra.roles import grants
from tests.infra.soundness import faults
from tests.rehearsal.assembly import Template
from tests.rehearsal.mutations import ASSERTIONS, LINT, MUTATIONS, REHEARSAL
from tests.rehearsal.trial import Trials


def lint(body: Template) -> list[str]:
    """cfn-lint's errors, and the one warning that is one."""
    from cfnlint.api import lint as run  # type: ignore[import-untyped]
    from cfnlint.config import ManualArgs  # type: ignore[import-untyped]

    found = run(json.dumps(body), config=ManualArgs(regions=["us-east-1"]))
    return [str(match) for match in found if match.rule.severity == "error" or match.rule.id == "W3037"]


def assertions(body: Template, sound: Template) -> list[str]:
    """What tests/infra has against it: faults, and rights and ways that are not those which are listed."""
    views: Iterable[Callable[[Template], Any]] = (
        grants,
        reach.from_sandbox,
        reach.to_door,
        reach.from_anywhere,
    )
    found = [view.__name__ for view in views if _seen(view, body) != _seen(view, sound)]
    return [*faults(body), *found]


def _seen(view: Callable[[Template], Any], body: Template) -> Any:
    try:
        return view(body)
    except (AssertionError, KeyError, TypeError) as error:
        return repr(error)


def main() -> int:
    """Print a table of all. Exit status 1 when one is not found, or not by those that it names."""
    words = sys.argv[1:]
    chosen = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    wrong = []
    with tempfile.TemporaryDirectory() as folder, Trials(Path(folder)) as trials:
        for each in chosen:
            body = trials.template()
            each.change(body)
            said = {
                LINT: lint(body),
                ASSERTIONS: assertions(body, trials.template()),
                REHEARSAL: trials.run(body),
            }
            found = {tool for tool, words in said.items() if words}
            row = [f"{each.name:<50}", *(f"{tool if tool in found else '-':<12}" for tool in said)]
            print("".join(row) + " ".join("; ".join(said[REHEARSAL]).split())[:110], flush=True)
            if found != each.by:
                wrong.append(f"{each.name}: {sorted(found)}, not {sorted(each.by)}")
    print("\n".join(wrong) or f"{len(chosen)} mutations, each found.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
