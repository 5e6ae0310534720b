"""One page that tells whether it works, how fast, and how much runs."""

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.alarms import Alarms
from infra.api import Api
from infra.functions import Functions
from infra.gateway import Gateway


class Dashboard(Construct):
    def __init__(
        self, scope: Construct, api: Api, functions: Functions, gateway: Gateway, alarms: Alarms
    ) -> None:
        super().__init__(scope, "Dashboard")
        each = (functions.api, functions.callback, functions.task_state, functions.sweep)
        targets, service, rest = gateway.targets.metrics, gateway.service, api.rest
        slow = targets.target_response_time(statistic="p99")
        rows: list[list[cloudwatch.GraphWidget]] = [
            [
                _graph("API: requests", rest.metric_count(), rest.metric_server_error()),
                _graph("API: latency", *(rest.metric_latency(statistic=p) for p in ("p50", "p99"))),
                _graph("Functions: errors", *(function.metric_errors() for function in each)),
            ],
            [
                _graph(
                    "Gateway: load", service.metric_cpu_utilization(), service.metric_memory_utilization()
                ),
                _graph("Gateway: requests", targets.request_count(), slow),
                _graph("What alarms watch", *alarms.metrics.values()),
            ],
        ]
        cloudwatch.Dashboard(self, "Page", widgets=rows)


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)
