"""What webhooks are to be told: from the deliveries queue, each message by itself."""

from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from opensessions.aws import errands, telemetry

_deliveries = errands.deliveries()
_processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False, logger=errands.log)


def _record(record: SQSRecord) -> None:
    errands.act(record.body, _deliveries)


@telemetry.observed()
def handler(event: Any, context: Any) -> Any:
    return process_partial_response(event, _record, _processor, context)
