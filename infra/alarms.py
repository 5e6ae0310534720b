"""What somebody should be woken for."""

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.functions import Functions

NAMESPACE = "opensessions"


class Alarms(Construct):
    """Each tells a topic, to which an address of the operator's may be subscribed."""

    def __init__(self, scope: Construct, functions: Functions, email: str | None, daily_cost: int) -> None:
        super().__init__(scope, "Alarms")
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        self._let_in("cloudwatch.amazonaws.com", "budgets.amazonaws.com")
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))
        minute = cdk.Duration.minutes(1)
        self.metrics: dict[str, cloudwatch.Metric | cloudwatch.MathExpression] = {
            "OldestUnlaunched": _of_sweep("OldestUnlaunchedSeconds", "Maximum", minute),
            "OrphanedTasks": _of_sweep("OrphanedTasks", "Maximum", minute),
            "Sweeps": _done(functions.sweep, cdk.Duration.minutes(5)),
            "DeadLetters": functions.dead.metric_approximate_number_of_messages_visible(period=minute),
        }
        above = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
        self._alarm("OldestUnlaunched", "A session has waited for its sandbox for five minutes.", above, 300)
        self._alarm("OrphanedTasks", "A task ran for a session that had ended; it was stopped.", above, 0, 3)
        self._alarm("DeadLetters", "A message about a task or a delivery could not be handled.", above, 0)
        below = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
        missing = cloudwatch.TreatMissingData.BREACHING
        self._alarm("Sweeps", "The sweep is silent, or always fails.", below, 1, missing=missing)
        self._budget(daily_cost)

    def _let_in(self, *services: str) -> None:
        """A policy of its own, which TLS needs, replaces the one by which the account's alarms get in."""
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(service) for service in services],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
            )
        )

    def _alarm(
        self,
        name: str,
        description: str,
        comparison: cloudwatch.ComparisonOperator,
        threshold: float,
        periods: int = 1,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        alarm = self.metrics[name].create_alarm(
            self,
            name,
            alarm_description=description,
            comparison_operator=comparison,
            threshold=threshold,
            evaluation_periods=periods,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))

    def _budget(self, daily_cost: int) -> None:
        """The whole account's spend of a day."""
        subscriber = budgets.CfnBudget.SubscriberProperty(
            subscription_type="SNS", address=self.topic.topic_arn
        )
        told = budgets.CfnBudget.NotificationWithSubscribersProperty(
            notification=budgets.CfnBudget.NotificationProperty(
                notification_type="ACTUAL", comparison_operator="GREATER_THAN", threshold=100
            ),
            subscribers=[subscriber],
        )
        budgets.CfnBudget(
            self,
            "DailyCost",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="DAILY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=daily_cost, unit="USD"),
            ),
            notifications_with_subscribers=[told],
        )


def _done(function: lambda_.Function, period: cdk.Duration) -> cloudwatch.MathExpression:
    """Calls that went well, from what Lambda counts by itself: a metric of one's own costs more."""
    return cloudwatch.MathExpression(
        label="Sweeps",
        expression="calls - FILL(failures, 0)",
        using_metrics={
            "calls": function.metric_invocations(statistic="Sum"),
            "failures": function.metric_errors(statistic="Sum"),
        },
        period=period,
    )


def _of_sweep(name: str, statistic: str, period: cdk.Duration) -> cloudwatch.Metric:
    """A metric that `functions/sweep.py` emits, under the dimension that Powertools adds."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        statistic=statistic,
        period=period,
        dimensions_map={"service": "opensessions"},
    )
