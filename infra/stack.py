"""The whole: which part is given which."""

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from infra.acknowledged import acknowledge
from infra.alarms import Alarms
from infra.api import Api
from infra.bucket import READ as READ_OBJECTS
from infra.bucket import WRITE as WRITE_OBJECTS
from infra.bucket import Bucket
from infra.context import Context
from infra.dashboard import Dashboard
from infra.edge import Edge
from infra.functions import Functions
from infra.gateway import Gateway
from infra.images import Images
from infra.network import Network
from infra.sandbox import Sandbox
from infra.secrets import Secrets
from infra.table import READ, Table


class Opensessions(cdk.Stack):
    """Everything that one deployment consists of, in one region of one account."""

    def __init__(self, scope: Construct, context: Context) -> None:
        super().__init__(
            scope, context.stack, description="opensessions: sessions of coding agents, with previews"
        )
        table, bucket = Table(self, context.table_name), Bucket(self)
        secrets, images = Secrets(self, context.model), Images(self, context.images, context.isolated)
        network = Network(self, context)
        cluster = ecs.Cluster(
            self, "Cluster", vpc=network.vpc, container_insights_v2=ecs.ContainerInsights.DISABLED
        )
        sandbox, edge = Sandbox(self, images), Edge(self, context, network)
        gateway = Gateway(self, context, network, cluster, images, secrets)
        edge.open(gateway)
        storage = {
            "TABLE_NAME": table.name,
            "BUCKET_NAME": bucket.bucket.bucket_name,
            "PREVIEW_URL": edge.preview_url,
        }
        placing = {
            "CLUSTER": cluster.cluster_name,
            "SANDBOX_TASK_DEFINITION": sandbox.definition.family,
            "SANDBOX_REVISION": sandbox.definition.task_definition_arn,
            "WARM_POOL": str(context.warm_pool),
            "SANDBOX_SUBNETS": cdk.Fn.join(",", network.sandbox_subnets),
            "SANDBOX_SECURITY_GROUP": network.sandbox.security_group_id,
            "SANDBOX_PUBLIC_IP": "DISABLED" if context.isolated else "ENABLED",
        }
        functions = Functions(
            self,
            cluster,
            sandbox,
            table,
            bucket,
            {**storage, **context.bounds},
            placing,
            context.retention_days,
            context.bundle == "host",
        )
        if context.model_keys:
            functions.let_keep_keys(context.model_keys)
        api = Api(self, context, functions.api, network, gateway, edge)
        gateway.tell(
            **storage,
            CALLBACK_FUNCTION=functions.callback.function_name,
            API_NAMES=",".join([*api.names, gateway.balancer.load_balancer_dns_name]),
        )
        table.grant(gateway.definition.task_role, *READ)
        bucket.grant(gateway.definition.task_role, READ_OBJECTS, WRITE_OBJECTS)
        gateway.allow("lambda:InvokeFunction", functions.callback.function_arn)
        alarms = Alarms(self, functions, context.alarm_email, context.daily_cost_usd)
        Dashboard(self, api, functions, gateway, alarms)
        self._outputs(
            ApiUrl=f"https://{context.domain}" if context.domain else api.rest.url.rstrip("/"),
            PreviewUrl=edge.preview_url or "off",
            TableName=table.name,
            BucketName=bucket.bucket.bucket_name,
            ClusterName=cluster.cluster_name,
            GatewayService=gateway.service.service_name,
            SandboxTaskDefinition=sandbox.definition.family,
            TasksQueueUrl=functions.tasks.queue_url,
            DeliveriesQueueUrl=functions.deliveries.queue_url,
            CallbackFunction=functions.callback.function_name,
            SweepFunction=functions.sweep.function_name,
            ModelSecretName=secrets.model_key.secret_name if secrets.model_key else "none: Bedrock answers",
        )

        acknowledge(self, family=sandbox.definition.family)

    def _outputs(self, **values: str) -> None:
        for name, value in values.items():
            cdk.CfnOutput(self, name, value=value)
