"""Which properties each type of resource has, and which values they take: AWS's names and limits, a rule a line.

A name under `*_unread(…)` is a property of AWS's that says nothing to one machine. What it leaves out that somebody
may miss is told by `LEFT_OUT`.
"""

from typing import Any

from headrace.template import lifecycle
from headrace.template.document import Members
from headrace.template.rules import (
    Mapped,
    Rules,
    Site,
    boolean,
    integer,
    items,
    number,
    one_of,
    only,
    refused,
    resolved,
    text,
    variables,
)


def _unread(names: str) -> Rules:
    """Return properties that are known but not read."""
    return dict.fromkeys(names.split())


_ARN = text(r"arn:aws[a-z-]*:.+", "an ARN, for example !GetAtt Name.Arn")
_DESTINATION: Rules = {
    "Destination": _ARN,
    "Type": one_of("SQS", "SNS", "S3", "S3Bucket", "Kafka", "Lambda", "EventBridge"),
}
_ON_FAILURE = Mapped({"OnFailure": Mapped(_DESTINATION), **_unread("OnSuccess")})

STREAM = Mapped(
    {
        "Name": text(r"[A-Za-z0-9_.-]+", "letters, digits, _, . and -", 1, 128),
        "RetentionPeriodHours": integer(24, 8760),
        "ShardCount": integer(1, 100_000),
        "StreamModeDetails": Mapped({"StreamMode": one_of("ON_DEMAND", "PROVISIONED")}, required=["StreamMode"]),
        **_unread(
            "DesiredShardLevelMetrics MaxRecordSizeInKiB RecordDistributionStrategy StreamEncryption Tags "
            "WarmThroughputMiBps"
        ),
    }
)

EVENT_INVOKE: Rules = {
    "DestinationConfig": _ON_FAILURE,
    "MaximumEventAgeInSeconds": integer(60, 21_600),
    "MaximumRetryAttempts": integer(0, 2),
}
EVENT_INVOKE_CONFIG = Mapped(
    {**EVENT_INVOKE, "FunctionName": text(), **_unread("Qualifier")}, required=["FunctionName", "Qualifier"]
)

_AUTH_TYPE = one_of("AWS_IAM", "NONE")
URL = Mapped(
    {"AuthType": _AUTH_TYPE, "TargetFunctionArn": text(), **_unread("Cors InvokeMode Qualifier")},
    required=["AuthType", "TargetFunctionArn"],
)

_FUNCTION: Rules = {
    "Environment": Mapped({"Variables": variables}),
    "FunctionName": text(r"[A-Za-z0-9_-]+", "letters, digits, _ and -", 1, 64),
    "Handler": text(r"\S+\.\w+", "module.function, for example store.handler", 1, 128),
    "MemorySize": integer(128, 32_768),
    "PackageType": one_of("Zip", "Image"),
    "ReservedConcurrentExecutions": integer(0),
    "Runtime": text(),
    "Timeout": integer(1, 5_400),
    **_unread(
        "Architectures CapacityProviderConfig CodeSigningConfigArn Description DurableConfig EphemeralStorage "
        "FileSystemConfigs FunctionScalingConfig ImageConfig KmsKeyArn Layers LoggingConfig PublishToLatestPublished "
        "RecursiveLoop Role RuntimeManagementConfig SnapStart Tags TenancyConfig VpcConfig"
    ),
}
LAMBDA_FUNCTION = Mapped(
    {**_FUNCTION, "Code": resolved, **_unread("DeadLetterConfig TracingConfig")},
    required=["Code", "Handler", "Role", "Runtime"],
)
SERVERLESS_FUNCTION = Mapped(
    {
        **_FUNCTION,
        "CodeUri": resolved,
        "EventInvokeConfig": Mapped(EVENT_INVOKE),
        "FunctionUrlConfig": Mapped({"AuthType": _AUTH_TYPE, **_unread("Cors InvokeMode")}, required=["AuthType"]),
        "ImageUri": text(),
        "InlineCode": text(),
        **_unread(
            "AssumeRolePolicyDocument AutoPublishAlias AutoPublishAliasAllProperties AutoPublishCodeSha256 "
            "DeadLetterQueue DeploymentPreference Events PermissionsBoundary Policies PropagateTags "
            "ProvisionedConcurrencyConfig RolePath SourceKMSKeyArn Tracing VersionDeletionPolicy VersionDescription"
        ),
    },
    required=["Handler", "Runtime"],
)

_MAPPING: Rules = {
    "BatchSize": integer(1, 10_000),
    "BisectBatchOnFunctionError": boolean,
    "DestinationConfig": _ON_FAILURE,
    "Enabled": boolean,
    "FilterCriteria": refused("is not built yet", "Filter in the handler instead, and take FilterCriteria out."),
    "FunctionResponseTypes": items(one_of("ReportBatchItemFailures"), 0, 1),
    "MaximumBatchingWindowInSeconds": integer(0, 300),
    "MaximumRecordAgeInSeconds": integer(60, 604_800, also=-1),
    "MaximumRetryAttempts": integer(-1, 10_000),
    "ParallelizationFactor": only(1, integer(1, 10), "parallel batches of a shard are not built yet", "Write 1."),
    "StartingPosition": one_of("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"),
    "StartingPositionTimestamp": number,
    "TumblingWindowInSeconds": only(0, integer(0, 900), "tumbling windows are not built yet", "Write 0."),
    **_unread("KmsKeyArn LoggingConfig MetricsConfig"),
}


def _check_position(found: dict[str, Any], value: Members, site: Site) -> None:
    if (found["StartingPosition"] == "AT_TIMESTAMP") != ("StartingPositionTimestamp" in found):
        raise site._replace(line=value.lines["StartingPosition"]).error(
            "StartingPosition AT_TIMESTAMP and StartingPositionTimestamp go together.", "Write both, or neither."
        )


KINESIS_EVENT = Mapped(
    {**_MAPPING, "Stream": text()}, required=["Stream", "StartingPosition"], together=_check_position
)
EVENT_SOURCE_MAPPING = Mapped(
    {
        **_MAPPING,
        "EventSourceArn": text(),
        "FunctionName": text(),
        **_unread(
            "AmazonManagedKafkaEventSourceConfig DocumentDBEventSourceConfig ProvisionedPollerConfig Queues "
            "ScalingConfig SelfManagedEventSource SelfManagedKafkaEventSourceConfig SourceAccessConfigurations Tags "
            "Topics"
        ),
    },
    required=["EventSourceArn", "FunctionName", "StartingPosition"],
    together=_check_position,
)

_TABLE_NAME = text(r"[A-Za-z0-9_.-]+", "letters, digits, _, . and -", 3, 255)
_UNITS = Mapped(
    {"ReadCapacityUnits": integer(1), "WriteCapacityUnits": integer(1)},
    required=["ReadCapacityUnits", "WriteCapacityUnits"],
)
_ATTRIBUTE_NAME = text(low=1, high=255)
TABLE = Mapped(
    {
        "AttributeDefinitions": items(
            Mapped(
                {"AttributeName": _ATTRIBUTE_NAME, "AttributeType": one_of("S", "N", "B")},
                required=["AttributeName", "AttributeType"],
            )
        ),
        "BillingMode": one_of("PAY_PER_REQUEST", "PROVISIONED"),
        "KeySchema": items(
            Mapped(
                {"AttributeName": _ATTRIBUTE_NAME, "KeyType": one_of("HASH", "RANGE")},
                required=["AttributeName", "KeyType"],
            ),
            1,
            2,
        ),
        "ProvisionedThroughput": _UNITS,
        "TableName": _TABLE_NAME,
        "TimeToLiveSpecification": Mapped({"AttributeName": _ATTRIBUTE_NAME, "Enabled": boolean}, required=["Enabled"]),
        **_unread(
            "ContributorInsightsSpecification DeletionProtectionEnabled GlobalSecondaryIndexes "
            "ImportSourceSpecification KinesisStreamSpecification LocalSecondaryIndexes OnDemandThroughput "
            "PointInTimeRecoverySpecification ResourcePolicy SSESpecification StreamSpecification TableClass Tags "
            "VectorIndexes WarmThroughput"
        ),
    },
    required=["AttributeDefinitions", "KeySchema"],
)
SIMPLE_TABLE = Mapped(
    {
        "PrimaryKey": Mapped(
            {"Name": _ATTRIBUTE_NAME, "Type": one_of("String", "Number", "Binary")}, required=["Name", "Type"]
        ),
        "ProvisionedThroughput": _UNITS,
        "TableName": _TABLE_NAME,
        **_unread("PointInTimeRecoverySpecification SSESpecification Tags"),
    }
)

BUCKET = Mapped(
    {
        "BucketName": text(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", "small letters, digits, . and -", 3, 63),
        "LifecycleConfiguration": lifecycle.CONFIGURATION,
        **_unread(
            "AbacStatus AccelerateConfiguration AccessControl AnalyticsConfigurations BucketEncryption "
            "BucketNamePrefix BucketNamespace CorsConfiguration IntelligentTieringConfigurations "
            "InventoryConfigurations LoggingConfiguration MetadataConfiguration MetadataTableConfiguration "
            "MetricsConfigurations NotificationConfiguration ObjectLockConfiguration ObjectLockEnabled "
            "OwnershipControls PublicAccessBlockConfiguration ReplicationConfiguration Tags VersioningConfiguration "
            "WebsiteConfiguration"
        ),
    }
)

STATE_MACHINE = Mapped(
    _unread(
        "AutoPublishAlias Definition DefinitionSubstitutions DefinitionUri DeploymentPreference Events Logging Name "
        "PermissionsBoundary Policies PropagateTags Role RolePath Tags Tracing Type UseAliasAsEventTarget"
    )
)
SCHEDULE_EVENT = Mapped(
    {
        "Input": text(),
        "ScheduleExpression": text(),
        "ScheduleExpressionTimezone": one_of("UTC"),
        "State": one_of("ENABLED", "DISABLED"),
        **_unread(
            "DeadLetterConfig Description EndDate FlexibleTimeWindow GroupName KmsKeyArn Name OmitName "
            "PermissionsBoundary RetryPolicy RoleArn StartDate"
        ),
    },
    required=["Input", "ScheduleExpression"],
)


def _period(value: Any, site: Site) -> int:
    """Check a metric's period in seconds."""
    found: int = integer(10, 604_800)(value, site)
    if found not in (10, 20, 30) and found % 60:
        raise site.wrong(found, "10, 20, 30 or a multiple of 60")
    return found


_DIMENSIONS = items(Mapped({"Name": text(low=1), "Value": text(low=1)}, required=["Name", "Value"]), 0, 30)
_METRIC_STAT = Mapped(
    {
        "Metric": Mapped({"Dimensions": _DIMENSIONS, "MetricName": text(low=1), "Namespace": text(low=1)}),
        "Period": _period,
        "Stat": text(),
        "Unit": text(),
    },
    required=["Metric", "Period", "Stat"],
)
ALARM = Mapped(
    {
        "ActionsEnabled": boolean,
        "AlarmDescription": text(high=1024),
        "AlarmName": text(low=1, high=255),
        "ComparisonOperator": one_of(
            "GreaterThanOrEqualToThreshold",
            "GreaterThanThreshold",
            "GreaterThanUpperThreshold",
            "LessThanLowerOrGreaterThanUpperThreshold",
            "LessThanLowerThreshold",
            "LessThanOrEqualToThreshold",
            "LessThanThreshold",
        ),
        "DatapointsToAlarm": integer(1),
        "Dimensions": _DIMENSIONS,
        "EvaluateLowSampleCountPercentile": one_of("evaluate", "ignore"),
        "EvaluationPeriods": integer(1),
        "ExtendedStatistic": text(),
        "MetricName": text(low=1, high=255),
        "Metrics": items(
            Mapped(
                {
                    "Expression": text(low=1, high=2048),
                    "Id": text(r"[a-z]\w*", "letters, digits and _, a small letter first", 1, 255),
                    "Label": text(),
                    "MetricStat": _METRIC_STAT,
                    "Period": _period,
                    "ReturnData": boolean,
                    **_unread("AccountId"),
                },
                required=["Id"],
            ),
            1,
            20,
        ),
        "Namespace": text(low=1, high=255),
        "Period": _period,
        "Statistic": one_of("Average", "Maximum", "Minimum", "SampleCount", "Sum"),
        "Threshold": number,
        "ThresholdMetricId": text(),
        "TreatMissingData": one_of("breaching", "ignore", "missing", "notBreaching"),
        "Unit": text(),
        **_unread(
            "ActionConfiguration AlarmActions EvaluationCriteria EvaluationInterval EvaluationWindow "
            "InsufficientDataActions OKActions Tags WarmUpConfiguration"
        ),
    }
)

# Properties of resources that are realised which one machine leaves out, and what that means.
_FUNCTION_LEFT_OUT = {
    "DeadLetterConfig": "what is given up goes to the bucket `failures`",
    "DeadLetterQueue": "what is given up goes to the bucket `failures`",
    "DurableConfig": "durable executions are not built",
    "FileSystemConfigs": "mount the file system on this machine",
    "Layers": "install the layer's packages in this environment",
    "VpcConfig": "functions use this machine's network",
}
_TABLE_LEFT_OUT = {
    "GlobalSecondaryIndexes": "the table has its primary key only",
    "KinesisStreamSpecification": "changes of the table are not streamed",
    "LocalSecondaryIndexes": "the table has its primary key only",
    "StreamSpecification": "changes of the table are not streamed",
}
LEFT_OUT: dict[str, dict[str, str]] = {
    "AWS::CloudWatch::Alarm": {"AlarmActions": "nobody is told of an alarm; its state is shown"},
    "AWS::DynamoDB::Table": _TABLE_LEFT_OUT,
    "AWS::Lambda::Function": _FUNCTION_LEFT_OUT,
    "AWS::S3::Bucket": {
        "NotificationConfiguration": "nothing is called when objects change",
        "ReplicationConfiguration": "objects stay on this machine",
        "VersioningConfiguration": "an object has its last version only",
    },
    "AWS::Serverless::Function": _FUNCTION_LEFT_OUT,
}
