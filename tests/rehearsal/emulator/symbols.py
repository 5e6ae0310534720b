"""Everything of ministack that is patched or called here, by name.

Its internals move with every release. Each of these is looked up by `get`, and `missing` names all that are
gone at once, so that a new pin fails in one sentence and not somewhere in a deployment.
"""

import importlib
from collections.abc import Callable
from typing import Any

PIN = "ministack==1.5.33"

_NAMES: dict[str, tuple[str, ...]] = {
    "app": ("main", "pin_request_origin", "SERVICE_HANDLERS"),
    "core.iam_actions": ("access_denied_response", "extract_resource_arn", "request_tag_context"),
    "core.iam_evaluator": ("enforce",),
    "core.lambda_runtime": ("_detect_runtime_binary", "execution_credentials"),
    "core.responses": (
        "error_response_json", "get_account_id", "get_region", "json_response", "request_scope",
    ),
    "services.cloudformation.provisioners": (
        "_RESOURCE_HANDLERS", "_cw_metric_alarm_record", "_ec2_sg_permissions", "_ecs_task_def_create",
        "_sm_secret_string",
    ),
    "services.alb": ("_lbs",),
    "services.ec2": ("_route_tables", "_security_groups"),
    "services.ecr": ("_describe_images", "_find_image"),
    "services.ecs": (
        "_build_run_kwargs", "_cleanup_task_resources", "_describe_task_definition", "_get_docker",
        "_mark_task_pending", "_mark_task_running", "_mark_task_stopped", "_register_task_definition",
        "_requested_subnet", "_resolve_cluster_name", "_resolve_task", "_run_task", "_sanitize",
        "_start_task_worker", "_stop_task", "_tasks",
    ),
    "services.eventbridge": ("_put_events",),
    "services.sqs": ("_act_send_message",),
    "services.sts": ("register_session",),
}  # fmt: skip

SYMBOLS = tuple(f"{module}.{name}" for module, names in _NAMES.items() for name in names)


def get(symbol: str) -> Any:
    """The object behind a name of `SYMBOLS`."""
    if symbol not in SYMBOLS:
        raise KeyError(f"{symbol} is not listed in SYMBOLS")
    owner, name = _owner(symbol)
    return getattr(owner, name)


def missing(symbols: tuple[str, ...] = SYMBOLS) -> str:
    """A sentence that names what is gone and the pin; "" when everything is there."""
    gone = [symbol for symbol in symbols if not _exists(symbol)]
    if not gone:
        return ""
    return f"The rehearsal patches {PIN}; in the one that is installed there is no {', '.join(gone)}."


def wrap(symbol: str) -> Callable[[Callable[[Any], Any]], Any]:
    """Put `make(original)` in the original's place, in its module and in the tables of that module."""

    def decorate(make: Callable[[Any], Any]) -> Any:
        original = get(symbol)
        owner, name = _owner(symbol)
        replacement = make(original)
        setattr(owner, name, replacement)
        for table in [found for found in vars(owner).values() if type(found) is dict]:
            table.update({key: replacement for key, value in table.items() if value is original})
        return replacement

    return decorate


def _owner(symbol: str) -> tuple[Any, str]:
    module, _, name = symbol.rpartition(".")
    return importlib.import_module(f"ministack.{module}"), name


def _exists(symbol: str) -> bool:
    try:
        owner, name = _owner(symbol)
    except ImportError:
        return False
    return hasattr(owner, name)
