"""`python -m infra.app`: synthesises the stack into cdk.out. Needs node, and neither AWS nor Docker."""

import sys

import aws_cdk as cdk

from infra.context import ContextError, read
from infra.stack import Opensessions


def main() -> int:
    app = cdk.App()
    try:
        context = read(app.node.try_get_context)
    except ContextError as error:
        print(f"The stack cannot be synthesised: {error}", file=sys.stderr)
        return 1
    Opensessions(app, context)
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
