"""Tasks that stopped, and launches that were put off: from the tasks queue, each message by itself."""

from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from opensessions.aws import tasks, telemetry, wiring

_supervisor = wiring.supervisor()
_processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False, logger=tasks.log)


def _record(record: SQSRecord) -> None:
    tasks.act(record.body, _supervisor)


@telemetry.observed()
def handler(event: Any, context: Any) -> Any:
    return process_partial_response(event, _record, _processor, context)
