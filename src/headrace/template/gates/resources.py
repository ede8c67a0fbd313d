"""Gates of single resources: `retention`, `security`, `trust`, `scaling`, `names`, `devices`, `warehouse`."""

import re
from collections.abc import Iterator
from typing import Any

from headrace.template.gates import calls, jsonata, policies, states
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import FUNCTIONS, Model, Resource
from headrace.template.references import IDENTITIES

_DATA = (
    "AWS::DynamoDB::Table",
    "AWS::Kinesis::Stream",
    "AWS::RedshiftServerless::Namespace",
    "AWS::S3::Bucket",
    "AWS::Serverless::SimpleTable",
)
_KEPT = ("Retain", "RetainExceptOnCreate", "Snapshot")


def retention(model: Model) -> Iterator[Finding]:
    """Check that what holds data stays when the stack, or the resource, goes."""
    for each in model.of(*_DATA):
        if each.raw.get("DeletionPolicy") not in _KEPT:
            yield each.finding("retention", "a deleted stack takes its data along.", "Write DeletionPolicy: Retain.")
        if each.raw.get("UpdateReplacePolicy") not in ("Retain", "Snapshot"):
            problem = "a change that replaces it takes its data along."
            yield each.finding("retention", problem, "Write UpdateReplacePolicy: Retain.")
    for table in model.of("AWS::DynamoDB::Table"):
        if not _is(table.properties.get("PointInTimeRecoverySpecification"), "PointInTimeRecoveryEnabled"):
            yield table.finding("retention", "it can't be brought back to an earlier state.", "Enable recovery.")
        protected = _true(table.properties.get("DeletionProtectionEnabled"))
        if "DeletionProtectionEnabled" not in table.properties or (
            not protected and model.parameters.get("Size") != "dev"
        ):
            yield table.finding(
                "retention", "anyone may delete it by mistake.", "Write DeletionProtectionEnabled: true."
            )


def security(model: Model) -> Iterator[Finding]:
    """Check who may come from outside, and that data is encrypted where it lies and on its way."""
    for bucket in model.of("AWS::S3::Bucket"):
        yield from _bucket(model, bucket)
    for stream in model.of("AWS::Kinesis::Stream"):
        key = str((stream.properties.get("StreamEncryption") or {}).get("KeyId"))
        if key != "alias/aws/kinesis" and not key.startswith("arn:") and model.named(key, "AWS::KMS::Key") is None:
            yield stream.finding("security", f"its records are encrypted with {key}.", "Write alias/aws/kinesis.")
    for function in model.of(*FUNCTIONS):
        if (function.properties.get("FunctionUrlConfig") or {"AuthType": "AWS_IAM"}).get("AuthType") != "AWS_IAM":
            yield function.finding("security", "anyone may call its URL.", "Write AuthType: AWS_IAM.")
    for url in model.of("AWS::Lambda::Url"):
        if url.properties.get("AuthType") != "AWS_IAM":
            yield url.finding("security", "anyone may call it.", "Write AuthType: AWS_IAM.")
    for each in model.of("AWS::Lambda::Permission"):
        if each.properties.get("Principal") == "*":
            yield each.finding("security", "anyone may invoke the function.", "Name who may.")
    for each in model.of("AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"):
        rules = (
            [each.properties] if each.type.endswith("Ingress") else each.properties.get("SecurityGroupIngress") or ()
        )
        if any(rule.get("CidrIp") == "0.0.0.0/0" or rule.get("CidrIpv6") == "::/0" for rule in rules):
            yield each.finding("security", "the whole internet may come in.", "Name a security group.")
    for each in model.of("AWS::RedshiftServerless::Workgroup"):
        if _true(each.properties.get("PubliclyAccessible")):
            yield each.finding("security", "it is on the internet.", "Write PubliclyAccessible: false.")
    for each in model.of("AWS::RedshiftServerless::Namespace"):
        if "AdminUserPassword" in each.properties:
            yield each.finding("security", "its password stands in the template.", "Write ManageAdminPassword: true.")


def _bucket(model: Model, bucket: Resource) -> Iterator[Finding]:
    properties = bucket.properties
    blocks = properties.get("PublicAccessBlockConfiguration") or {}
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    if not all(_true(blocks.get(name)) for name in names):
        yield bucket.finding("security", "it may be made public.", f"Write {', '.join(names)}: true.")
    if not (properties.get("BucketEncryption") or {}).get("ServerSideEncryptionConfiguration"):
        yield bucket.finding("security", "its encryption is not said.", "Write BucketEncryption.")
    owners = [rule.get("ObjectOwnership") for rule in (properties.get("OwnershipControls") or {}).get("Rules") or ()]
    if owners != ["BucketOwnerEnforced"] or "AccessControl" in properties:
        yield bucket.finding(
            "security", "access control lists may open it.", "Write BucketOwnerEnforced, no AccessControl."
        )
    if "WebsiteConfiguration" in properties:
        yield bucket.finding("security", "it is a web site.", "Take WebsiteConfiguration out.")
    name, arn = model.name(bucket.logical_id), model.arn(bucket.logical_id)
    wanted, denied = {arn, f"{arn}/*"}, set()
    for policy in model.of("AWS::S3::BucketPolicy"):
        if policy.properties.get("Bucket") != name:
            continue
        document = policy.properties.get("PolicyDocument") or {}
        for raw, statement in zip(document.get("Statement") or (), policies.statements(document), strict=True):
            condition = {test: str(value).lower() for test, value in (statement.condition.get("Bool") or {}).items()}
            everyone = raw.get("Principal") in ("*", {"AWS": "*"})
            if (
                statement.effect == "Deny"
                and everyone
                and condition == {"aws:SecureTransport": "false"}
                and "s3:*" in statement.actions
            ):
                denied |= set(statement.resources)
            elif statement.effect == "Allow" and everyone:
                yield policy.finding("security", "it lets anyone in.", "Name who may.")
            if not set(statement.resources) <= wanted:
                yield policy.finding("security", f"it is not about {name}.", f"Write !GetAtt {bucket.logical_id}.Arn.")
    if not wanted <= denied:
        yield bucket.finding(
            "security", "it answers without TLS.", "Deny s3:* without aws:SecureTransport in a BucketPolicy."
        )


def trust(model: Model) -> Iterator[Finding]:
    """Check that each role may be taken by the service that uses it, and by nobody else; and that it is used."""
    wanted: dict[str, set[str]] = {}
    for user, value, services, is_name in _role_users(model):
        role = model.named(value, "AWS::IAM::Role") if is_name else model.at(value, "AWS::IAM::Role")
        if role is None:
            hint = "Write !Ref Role." if is_name else "Write !GetAtt Role.Arn."
            yield user.finding("trust", f"{value} is no role of the template.", hint)
        else:
            wanted.setdefault(role.logical_id, set()).update(services)
    for role in model.of("AWS::IAM::Role"):
        document = role.properties.get("AssumeRolePolicyDocument") or {}
        found: set[str] = set()
        for statement in document.get("Statement") or ():
            principal = statement.get("Principal")
            if statement.get("Effect") != "Allow" or statement.get("Action") != "sts:AssumeRole":
                yield role.finding("trust", "a statement of its trust allows no sts:AssumeRole.", "Write that.")
            if not isinstance(principal, dict) or set(principal) != {"Service"}:
                yield role.finding("trust", f"{principal} may take it.", "Name a service.")
                continue
            services = principal["Service"]
            found |= set(services if isinstance(services, list) else [services])
            if "iot" in str(services) and "SourceAccount" not in str(statement.get("Condition")):
                yield role.finding(
                    "trust", "IoT of another account may take it.", "Add a condition on aws:SourceAccount."
                )
        expected = wanted.get(role.logical_id)
        if expected is None:
            yield role.finding("trust", "nothing uses it.", "Take it out.")
        elif found != expected:
            yield role.finding(
                "trust", f"{', '.join(sorted(found))} may take it.", f"Write {', '.join(sorted(expected))}."
            )


def _role_users(model: Model) -> Iterator[tuple[Resource, object, tuple[str, ...], bool]]:
    """Yield who uses which role, the services that it has to trust for that, and whether it goes by name."""
    plain = {
        "AWS::IoT::RoleAlias": ("RoleArn", "credentials.iot.amazonaws.com"),
        **dict.fromkeys(FUNCTIONS, ("Role", "lambda.amazonaws.com")),
        "AWS::Serverless::StateMachine": ("Role", "states.amazonaws.com"),
        "AWS::StepFunctions::StateMachine": ("RoleArn", "states.amazonaws.com"),
        "AWS::Scheduler::Schedule": ("Target.RoleArn", "scheduler.amazonaws.com"),
    }
    for each in model.resources.values():
        if each.type in plain:
            name, service = plain[each.type]
            if name in each.properties:
                yield each, each.properties[name], (service,), False
        elif each.type == "AWS::IAM::InstanceProfile":
            for role in each.properties.get("Roles") or ():
                yield each, role, ("ec2.amazonaws.com",), True
        elif each.type == "AWS::RedshiftServerless::Namespace":
            for role in [*(each.properties.get("IamRoles") or ()), each.properties.get("DefaultIamRoleArn")]:
                yield each, role, ("redshift.amazonaws.com", "redshift-serverless.amazonaws.com"), False
        elif each.type == "AWS::IoT::TopicRule":
            payload = each.properties.get("TopicRulePayload") or {}
            for action in [*(payload.get("Actions") or ()), payload.get("ErrorAction") or {}]:
                for settings in action.values():
                    yield each, settings.get("RoleArn"), ("iot.amazonaws.com",), False
    for call in calls.calls_of(model):
        if call.action == "createCluster":
            yield call.scope.machine, call.arguments.get("ServiceRole"), ("elasticmapreduce.amazonaws.com",), True


def scaling(model: Model) -> Iterator[Finding]:
    """Check that provisioned capacity follows the load: what is scaled, by which metric, between which bounds."""
    targets = {}
    for target in model.of("AWS::ApplicationAutoScaling::ScalableTarget"):
        found = target.properties
        dimension = str(found.get("ScalableDimension"))
        kind, _, name = str(found.get("ResourceId")).partition("/")
        table = model.named(name, "AWS::DynamoDB::Table") if kind == "table" else None
        if table is None:
            yield target.finding(
                "scaling", f"there is no table {found.get('ResourceId')}.", "Write table/ and its name."
            )
        elif table.properties.get("BillingMode") == "PAY_PER_REQUEST":
            yield target.finding("scaling", "a table on demand is not scaled.", "Add the table's condition.")
        if dimension not in ("dynamodb:table:ReadCapacityUnits", "dynamodb:table:WriteCapacityUnits"):
            yield target.finding(
                "scaling", f"there is no dimension {dimension}.", "Write dynamodb:table:WriteCapacityUnits."
            )
        if int(found.get("MinCapacity", 1)) > int(found.get("MaxCapacity", 1)):
            yield target.finding("scaling", "MinCapacity is more than MaxCapacity.", "Raise the latter.")
        if found.get("ServiceNamespace") != "dynamodb":
            yield target.finding("scaling", f"ServiceNamespace is {found.get('ServiceNamespace')}.", "Write dynamodb.")
        targets[model.name(target.logical_id)] = dimension
    scaled = set()
    for policy in model.of("AWS::ApplicationAutoScaling::ScalingPolicy"):
        tracking = policy.properties.get("TargetTrackingScalingPolicyConfiguration") or {}
        target_id = str(policy.properties.get("ScalingTargetId"))
        metric = (tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
        scaled.add(targets.get(target_id))
        if target_id not in targets:
            yield policy.finding("scaling", f"there is no target {target_id}.", "Write !Ref of a ScalableTarget.")
        elif metric != f"DynamoDB{targets[target_id].rpartition(':')[2].removesuffix('Units')}Utilization":
            yield policy.finding("scaling", f"{metric} does not measure {targets[target_id]}.", "Name the other.")
        if not 20 <= float(tracking.get("TargetValue", 0)) <= 90:
            yield policy.finding(
                "scaling", f"TargetValue is {tracking.get('TargetValue')}.", "Write 20 to 90 (percent)."
            )
    for table in model.of("AWS::DynamoDB::Table"):
        for name in ("ReadCapacityUnits", "WriteCapacityUnits"):
            if "ProvisionedThroughput" in table.properties and f"dynamodb:table:{name}" not in scaled:
                yield table.finding("scaling", f"{name} stays as it is, whatever the load.", "Add a scaling policy.")


def names(model: Model, prefixed: Model) -> Iterator[Finding]:
    """Check that every name begins with the parameter NamePrefix, so that two stacks can be in one account."""
    properties = {"AWS::Logs::LogGroup": "LogGroupName", "AWS::CloudWatch::Dashboard": "DashboardName"}
    properties |= {kind: identity.name_property for kind, identity in IDENTITIES.items() if identity.name_property}
    for each in model.resources.values():
        name = each.properties.get(properties.get(each.type, ""))
        other = prefixed.resources[each.logical_id].properties.get(properties.get(each.type, "")) if name else None
        if name and name == other:
            yield each.finding(
                "names", f"every stack's has the name {name}.", 'Write !Sub "${NamePrefix}…", or no name.'
            )


def devices(model: Model) -> Iterator[Finding]:
    """Check what brings devices in: rules of IoT Core, and the role that they may take."""
    for rule in model.of("AWS::IoT::TopicRule"):
        payload = rule.properties.get("TopicRulePayload") or {}
        if not re.fullmatch(
            r"(?is)select .+ from '[^'#]+(/#)?'( where .+)?|select .+ from '#'", str(payload.get("Sql"))
        ):
            yield rule.finding("devices", f"Sql is {payload.get('Sql')}.", "Write SELECT * FROM 'topic/+/filter'.")
        if payload.get("AwsIotSqlVersion") not in (None, "2015-10-08", "2016-03-23", "beta"):
            problem = f"there is no version {payload['AwsIotSqlVersion']} of its SQL."
            yield rule.finding("devices", problem, 'Write AwsIotSqlVersion: "2016-03-23".')
        if not payload.get("ErrorAction"):
            yield rule.finding("devices", "what it can't deliver is lost.", "Add an ErrorAction.")
        if _true(payload.get("RuleDisabled")):
            yield rule.finding("devices", "it is disabled.", "Write RuleDisabled: false.")
        for action in [*(payload.get("Actions") or ()), payload.get("ErrorAction") or {}]:
            for kind, settings in action.items():
                name, types = {
                    "Kinesis": ("StreamName", "AWS::Kinesis::Stream"),
                    "S3": ("BucketName", "AWS::S3::Bucket"),
                }.get(kind, ("", ""))
                if name and model.named(settings.get(name), types) is None:
                    yield rule.finding("devices", f"there is no {settings.get(name)} for {kind}.", "Write !Ref.")
                if kind == "Kinesis" and not str(settings.get("PartitionKey", "")).startswith("${"):
                    yield rule.finding(
                        "devices", "every record would go to one shard.", 'Write PartitionKey: "${clientid()}".'
                    )
    for alias in model.of("AWS::IoT::RoleAlias"):
        role = model.at(alias.properties.get("RoleArn"), "AWS::IAM::Role")
        for statement in policies.of_role(model, role) if role else ():
            for action in statement.actions:
                if action not in _DEVICE_ACTIONS:
                    yield alias.finding(
                        "devices", f"a device may do {action}.", f"Leave it {', '.join(_DEVICE_ACTIONS)}."
                    )
            for resource in statement.resources:
                if model.at(resource, "AWS::Kinesis::Stream", *FUNCTIONS) is None:
                    yield alias.finding("devices", f"a device may use {resource}.", "Name the stream, or the function.")


_DEVICE_ACTIONS = ("kinesis:PutRecord", "kinesis:PutRecords", "lambda:InvokeFunction", "lambda:InvokeFunctionUrl")


def warehouse(model: Model) -> Iterator[Finding]:
    """Check the warehouse, and that a state machine names what is there: workgroup, database and buckets."""
    databases = [each.properties.get("DbName") for each in model.of("AWS::RedshiftServerless::Namespace")]
    for group in model.of("AWS::RedshiftServerless::Workgroup"):
        found = group.properties
        rpus = int(found.get("BaseCapacity", 128))
        if model.named(found.get("NamespaceName"), "AWS::RedshiftServerless::Namespace") is None:
            yield group.finding("warehouse", f"there is no namespace {found.get('NamespaceName')}.", "Write !Ref.")
        if rpus != 4 and (rpus % 8 or not 8 <= rpus <= 1024):
            yield group.finding("warehouse", f"BaseCapacity is {rpus}.", "Write 4, or a multiple of 8.")
        subnets = [model.named(each, "AWS::EC2::Subnet") for each in found.get("SubnetIds") or ()]
        zones = {str(each.properties.get("AvailabilityZone")) for each in subnets if each is not None}
        if subnets and None not in subnets and (len(zones) < 3 or "None" in zones):
            yield group.finding("warehouse", "it takes subnets in three zones.", "Name three, each with its zone.")
    yield from _in_order(model)
    for call in calls.calls_of(model):
        arguments: dict[str, Any] = call.arguments
        database = arguments.get("Database")
        if (
            call.service == "redshift-data"
            and "WorkgroupName" in arguments
            and database not in (databases or [database])
        ):
            yield call.finding("warehouse", f"there is no database {database}.", f"Write {databases[0]}.")
        if call.operation in ("BatchExecuteStatement", "ExecuteStatement") and "ClientToken" not in arguments:
            yield call.finding("warehouse", "tried again, it would be done twice.", "Add a ClientToken.")
        bucket = arguments.get("Bucket")
        if (
            call.service == "s3"
            and not jsonata.is_expression(bucket)
            and model.named(bucket, "AWS::S3::Bucket") is None
        ):
            yield call.finding("warehouse", f"there is no bucket {bucket}.", "Write !Ref of a bucket.")


def _in_order(model: Model) -> Iterator[Finding]:
    """Check that batches of statements are executed one after the other, as they were planned."""
    places = {call.scope.place for call in calls.calls_of(model) if call.operation == "BatchExecuteStatement"}
    for scope in states.scopes(model):
        for name, state in scope.states.items():
            if state.get("Type") == "Map" and f"{scope.place}{name}." in places and state.get("MaxConcurrency") != 1:
                problem = f"{scope.place}{name}: batches would be executed at once."
                yield scope.machine.finding("warehouse", problem, "Write MaxConcurrency: 1.")


def _is(value: object, name: str) -> bool:
    return isinstance(value, dict) and _true(value.get(name))


def _true(value: object) -> bool:
    return str(value).lower() == "true"
