"""The stack: one construct for each part that runs, under the part's name."""

import os

QUIET = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "18,20,21,23"}
"""The CDK's runtime warns of old versions of node in a banner whenever it starts; they do here."""

os.environ.update(QUIET)
