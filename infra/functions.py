"""The functions: each file of `functions/` is one, all from one bundle."""

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import bundle
from infra.bucket import DELETE, SESSIONS, Bucket
from infra.bucket import READ as READ_OBJECTS
from infra.bucket import WRITE as WRITE_OBJECTS
from infra.logs import month_of_logs
from infra.sandbox import Sandbox, allow_stopping
from infra.secrets import secrets_below
from infra.table import PURGE, READ, WRITE, Table

SECONDS = {"api": 29, "callback": 15, "task_state": 60, "deliver": 60, "sweep": 55}
AT_ONCE = 10
"""Calls of `deliver`: receivers that stall must not use the account's functions up."""
TRACED = ("api", "task_state")
"""A trace costs more than a call of `callback`, which comes with every batch of events."""


class Functions(Construct):
    """What each may do is what it needs: `callback`, which strangers' words reach, can launch nothing; it can
    ask `task_state` to, which decides for itself.
    """

    def __init__(
        self,
        scope: Construct,
        cluster: ecs.Cluster,
        sandbox: Sandbox,
        table: Table,
        bucket: Bucket,
        storage: dict[str, str],
        placing: dict[str, str],
        retention_days: int | None,
        host_bundle: bool,
    ) -> None:
        super().__init__(scope, "Functions")
        code = bundle.code(host_bundle)
        self.dead = sqs.Queue(self, "Dead", enforce_ssl=True, retention_period=cdk.Duration.days(14))
        self.tasks, self.deliveries = self._queue("Tasks", "task_state"), self._queue("Deliveries", "deliver")
        storage = {
            **storage,
            "TASKS_QUEUE_URL": self.tasks.queue_url,
            "DELIVERIES_QUEUE_URL": self.deliveries.queue_url,
        }
        supervising = {**storage, **placing, "RETENTION_DAYS": str(retention_days or 0)}
        self.api = self._function("api", code, supervising)
        self.callback = self._function("callback", code, storage)
        self.task_state = self._function("task_state", code, supervising)
        self.deliver = self._function("deliver", code, storage)
        self.sweep = self._function("sweep", code, supervising)
        self._let_store(table, bucket)
        self._let_run(cluster, sandbox)
        self._listen(cluster)
        events.Rule(
            self,
            "EveryMinute",
            schedule=events.Schedule.rate(cdk.Duration.minutes(1)),
            targets=[targets.LambdaFunction(self.sweep, retry_attempts=0)],
        )

    def let_keep_keys(self, prefix: str) -> None:
        """Accounts put model keys of their own into secrets whose names begin so; no function reads one."""
        self.api.add_environment("MODEL_KEYS", prefix)
        verbs = ("CreateSecret", "DeleteSecret", "DescribeSecret", "PutSecretValue")
        actions, secrets = [f"secretsmanager:{verb}" for verb in verbs], secrets_below(self, prefix)
        self.api.add_to_role_policy(iam.PolicyStatement(actions=actions, resources=[secrets]))

    def _let_store(self, table: Table, bucket: Bucket) -> None:
        for function in (self.api, self.callback, self.task_state, self.sweep):
            table.grant(function, *READ, "dynamodb:BatchGetItem", *WRITE)
        table.grant(self.deliver, *READ, *WRITE)
        for lister in (self.api, self.sweep):
            table.grant_listing(lister)
        for keeper in (self.api, self.callback):
            bucket.grant(keeper, READ_OBJECTS, WRITE_OBJECTS, *DELETE)
            bucket.grant_listing(keeper)
        bucket.grant(self.sweep, *DELETE, beneath=(SESSIONS,))
        bucket.grant_listing(self.sweep)
        for purger in (self.api, self.sweep):
            table.grant(purger, PURGE)

    def _let_run(self, cluster: ecs.Cluster, sandbox: Sandbox) -> None:
        for launcher in (self.api, self.task_state):
            sandbox.allow_launching(launcher, cluster)
        tellers = (self.api, self.callback, self.task_state, self.sweep)
        for queue, senders in ((self.tasks, tellers), (self.deliveries, (*tellers, self.deliver))):
            for sender in senders:
                sender.add_to_role_policy(
                    iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn])
                )
        for stopper in (self.api, self.task_state):
            allow_stopping(stopper, cluster)
        allow_stopping(self.sweep, cluster, "ecs:DescribeTasks")

    def _function(self, name: str, code: lambda_.Code, environment: dict[str, str]) -> lambda_.Function:
        log = month_of_logs(self, f"{name}_logs")
        role = iam.Role(self, f"{name}_role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log.grant_write(role)
        return lambda_.Function(
            self,
            name.title().replace("_", ""),
            role=role,
            description=f"opensessions: functions/{name}.py",
            runtime=bundle.RUNTIME,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"functions.{name}.handler",
            code=code,
            memory_size=1024 if name == "api" else 512,
            timeout=cdk.Duration.seconds(SECONDS[name]),
            tracing=lambda_.Tracing.ACTIVE if name in TRACED else lambda_.Tracing.DISABLED,
            environment={
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_METRICS_NAMESPACE": "opensessions",
                "LOG_LEVEL": "INFO",
                **environment,
            },
            log_group=log,
        )

    def _queue(self, name: str, reader: str) -> sqs.Queue:
        return sqs.Queue(
            self,
            name,
            enforce_ssl=True,
            visibility_timeout=cdk.Duration.seconds(SECONDS[reader] * 6),
            retention_period=cdk.Duration.days(1),
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=3, queue=self.dead),
        )

    def _listen(self, cluster: ecs.Cluster) -> None:
        events.Rule(
            self,
            "TaskStopped",
            event_pattern=events.EventPattern(
                source=["aws.ecs"],
                detail_type=["ECS Task State Change"],
                detail={"clusterArn": [cluster.cluster_arn], "lastStatus": ["STOPPED"]},
            ),
            targets=[targets.SqsQueue(self.tasks, dead_letter_queue=self.dead)],
        )
        self.task_state.add_event_source(
            sources.SqsEventSource(self.tasks, batch_size=10, report_batch_item_failures=True)
        )
        self.deliver.add_event_source(
            sources.SqsEventSource(
                self.deliveries, batch_size=1, max_concurrency=AT_ONCE, report_batch_item_failures=True
            )
        )
