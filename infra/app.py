"""`python -m infra.app`: synthesises the stack into cdk.out. Needs node, and neither AWS nor Docker."""

import os
import sys

# The CDK's runtime warns of old versions of node in a banner on every run; they do here.
os.environ["JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION"] = "18,20,21,23"

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
