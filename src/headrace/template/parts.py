"""The parts of the System that stand alone: a method a type of resource."""

from pathlib import Path
from typing import Any, NamedTuple

from headrace.system import Alarm, AsyncInvoke, Bucket, Function, Ignored, Stream, Table
from headrace.template import handlers, lifecycle, properties
from headrace.template.document import Members, did_you_mean
from headrace.template.intrinsics import Resolver
from headrace.template.references import IDENTITIES
from headrace.template.resources import left_out
from headrace.template.rules import Rule, Site

FAILURES = "failures"  # the bucket of what is given up where the template names no other
ON_DEMAND_SHARDS = 4  # what AWS gives a new on-demand stream
_MEASURED = ("AWS/DynamoDB", "AWS/Kinesis", "AWS/Lambda")  # AWS's namespaces that this machine has metrics in


class Resource(NamedTuple):
    """A resource of the template that is created."""

    logical_id: str
    type: str
    properties: Members
    line: int

    def at(self, site: Site, name: str) -> Site:
        """Return the site of one of its properties."""
        return site._replace(name=name, line=self.properties.lines.get(name, self.line))


class Parts:
    """Collects the parts, by name. `base` is the template's folder."""

    def __init__(self, base: Path, resolver: Resolver) -> None:
        self.resolver = resolver
        self.streams: dict[str, Stream] = {}
        self.functions: dict[str, Function] = {}
        self.tables: dict[str, Table] = {}
        self.buckets: dict[str, Bucket] = {}
        self.alarms: dict[str, Alarm] = {}
        self.ignored: list[Ignored] = []
        self._base = base
        self._types = {
            "AWS::CloudWatch::Alarm": self._alarm,
            "AWS::DynamoDB::Table": self._table,
            "AWS::Kinesis::Stream": self._stream,
            "AWS::Lambda::Function": self._function,
            "AWS::S3::Bucket": self._bucket,
            "AWS::Serverless::Function": self._function,
            "AWS::Serverless::SimpleTable": self._simple_table,
        }

    def add(self, resource: Resource) -> None:
        """Add what a resource declares; links between resources are not looked at. Raises TemplateError."""
        reason = left_out(resource.type)
        if reason is not None:
            self.leave_out(resource.logical_id, resource.type, reason)
        elif resource.type in self._types:
            self._types[resource.type](resource)
            for name, why in properties.LEFT_OUT.get(resource.type, {}).items():
                if name in resource.properties and not self.resolver.absent(resource.properties[name]):
                    self._note(resource, name, why)

    def leave_out(self, logical_id: str, kind: str, reason: str) -> None:
        """List something that one machine leaves out."""
        self.ignored.append(Ignored(logical_id=logical_id, type=kind, reason=reason))

    def checked(self, resource: Resource, rule: Rule) -> tuple[dict[str, Any], Site]:
        """Return a resource's properties, checked, and where they stand."""
        site = Site(self.resolver, resource.logical_id, "Properties", resource.line)
        return rule(resource.properties, site), site

    def asynchronous(self, logical_id: str, found: dict[str, Any]) -> AsyncInvoke:
        """Return what happens to Event invokes, from a checked EventInvokeConfig."""
        return AsyncInvoke(
            retries=found.get("MaximumRetryAttempts", 2),
            age_s_max=found.get("MaximumEventAgeInSeconds", 21_600),
            failures_bucket=self.failures_bucket(logical_id, found),
        )

    def failures_bucket(self, logical_id: str, found: dict[str, Any]) -> str:
        """Return the bucket of what is given up: the one named, else `failures`, so that nothing is lost."""
        arn = str(found.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""))
        if arn and not arn.startswith("arn:aws:s3:::"):
            service = arn.split(":")[2]
            reason = f"one machine has no {service}; what is given up goes to the bucket `{FAILURES}`"
            self.leave_out(logical_id, "OnFailure", reason)
            return FAILURES
        return arn.rpartition(":")[2] or FAILURES

    def _stream(self, resource: Resource) -> None:
        found, site = self.checked(resource, properties.STREAM)
        shards = found.get("ShardCount")
        mode = found.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
        if mode == "PROVISIONED" and shards is None:
            raise site.error(
                "ShardCount is missing.", "Add ShardCount, or StreamModeDetails with StreamMode ON_DEMAND."
            )
        if mode == "ON_DEMAND" and shards is not None:
            raise resource.at(site, "ShardCount").error("an ON_DEMAND stream has no ShardCount.", "Take it out.")
        stream = Stream(
            logical_id=resource.logical_id,
            name=self._new_name(resource, self.streams, site),
            shards=ON_DEMAND_SHARDS if shards is None else shards,
            mode=mode,
            retention_hours=found.get("RetentionPeriodHours", 24),
        )
        self.streams[stream.name] = stream

    def _function(self, resource: Resource) -> None:
        serverless = resource.type == "AWS::Serverless::Function"
        if "ImageUri" in resource.properties or "PackageType" in resource.properties:
            self._refuse_image(resource)
        rule = properties.SERVERLESS_FUNCTION if serverless else properties.LAMBDA_FUNCTION
        found, site = self.checked(resource, rule)
        handlers.check_runtime(found["Runtime"], resource.at(site, "Runtime"))
        where = "CodeUri" if serverless else "Code"
        if "InlineCode" in found:
            raise resource.at(site, "InlineCode").error(
                "inline code is not run on one machine.", "Put it in a file, and write CodeUri: FOLDER."
            )
        if where not in found:
            raise site.error(f"{where} is missing.", f"Write a folder, for example {where}: functions/")
        folder = handlers.code_folder(self._base, found[where], resource.at(site, where))
        handlers.check_handler(folder, found["Handler"], resource.at(site, "Handler"))
        url = found.get("FunctionUrlConfig")
        function = Function(
            logical_id=resource.logical_id,
            name=self._new_name(resource, self.functions, site),
            handler=found["Handler"],
            code=str(folder),
            runtime=found["Runtime"],
            timeout_s=found.get("Timeout", 3),
            memory_mb=found.get("MemorySize", 128),
            environment=found.get("Environment", {}).get("Variables", {}),
            reserved_concurrency=found.get("ReservedConcurrentExecutions"),
            url=url is not None,
            url_auth=url["AuthType"] if url else "NONE",
            asynchronous=self.asynchronous(resource.logical_id, found.get("EventInvokeConfig", {})),
        )
        self.functions[function.name] = function

    def _refuse_image(self, resource: Resource) -> None:
        name = "ImageUri" if "ImageUri" in resource.properties else "PackageType"
        site = resource.at(Site(self.resolver, resource.logical_id, name, resource.line), name)
        if name == "ImageUri" or self.resolver.text(resource.properties[name], site.line) == "Image":
            raise site.error(
                "container images are not run on one machine.", "Write a folder of Python: CodeUri: FOLDER"
            )

    def _table(self, resource: Resource) -> None:
        found, site = self.checked(resource, properties.TABLE)
        keys = {key["KeyType"]: key["AttributeName"] for key in found["KeySchema"]}
        here = resource.at(site, "KeySchema")
        if "HASH" not in keys or len(keys) != len(found["KeySchema"]):
            raise here.error("KeySchema has one HASH key, and at most one RANGE key.", "Write KeyType: HASH once.")
        self._check_attributes(resource, found, keys, site)
        expiry = found.get("TimeToLiveSpecification", {})
        if expiry.get("Enabled") and "AttributeName" not in expiry:
            raise resource.at(site, "TimeToLiveSpecification").error("AttributeName is missing.", "Add AttributeName.")
        units = found.get("ProvisionedThroughput")
        on_demand = found.get("BillingMode", "PROVISIONED") == "PAY_PER_REQUEST"
        if on_demand == (units is not None):
            raise resource.at(site, "ProvisionedThroughput" if units else "BillingMode").error(
                "ProvisionedThroughput goes with BillingMode PROVISIONED.",
                "Take ProvisionedThroughput out." if on_demand else "Add it, or write BillingMode: PAY_PER_REQUEST.",
            )
        name = self._new_name(resource, self.tables, site)
        self.tables[name] = Table(
            logical_id=resource.logical_id,
            name=name,
            partition_key=keys["HASH"],
            sort_key=keys.get("RANGE"),
            ttl_attribute=expiry["AttributeName"] if expiry.get("Enabled") else None,
            read_units=units["ReadCapacityUnits"] if units else None,
            write_units=units["WriteCapacityUnits"] if units else None,
        )

    def _check_attributes(self, resource: Resource, found: dict[str, Any], keys: dict[str, str], site: Site) -> None:
        defined = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}
        for key in keys.values():
            if key not in defined:
                raise resource.at(site, "KeySchema").error(
                    f"the key {key} is not among the AttributeDefinitions.", did_you_mean(key, defined)
                )
            if defined[key] != "S":
                self._note(resource, "AttributeDefinitions", f"the key {key} is kept as text")
        if not any(name in resource.properties for name in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")):
            for name in defined.keys() - set(keys.values()):
                raise resource.at(site, "AttributeDefinitions").error(
                    f"the attribute {name} is no key of the table.", "Define the keys only: take it out."
                )

    def _simple_table(self, resource: Resource) -> None:
        found, site = self.checked(resource, properties.SIMPLE_TABLE)
        units = found.get("ProvisionedThroughput", {})
        key = found.get("PrimaryKey", {"Name": "id", "Type": "String"})
        if key["Type"] != "String":
            self._note(resource, "PrimaryKey", f"the key {key['Name']} is kept as text")
        name = self._new_name(resource, self.tables, site)
        self.tables[name] = Table(
            logical_id=resource.logical_id,
            name=name,
            partition_key=key["Name"],
            read_units=units.get("ReadCapacityUnits"),
            write_units=units.get("WriteCapacityUnits"),
        )

    def _bucket(self, resource: Resource) -> None:
        found, site = self.checked(resource, properties.BUCKET)
        name = self._new_name(resource, self.buckets, site)
        configuration = found.get("LifecycleConfiguration", {})
        rules = tuple(configuration.get("Rules", ()))
        minimum = configuration.get("TransitionDefaultMinimumObjectSize", "all_storage_classes_128K")
        self.buckets[name] = Bucket(
            logical_id=resource.logical_id, name=name, lifecycle=rules, transition_minimum=minimum
        )
        for each in lifecycle.VERSIONED:
            if any(each in rule for rule in rules):
                self._note(resource, each, "an object has its last version only")

    def _alarm(self, resource: Resource) -> None:
        found, site = self.checked(resource, properties.ALARM)
        if "EvaluationCriteria" in resource.properties:
            self.leave_out(resource.logical_id, resource.type, "one machine has plain alarms only")
            return
        if ("Metrics" in found) == ("MetricName" in found):
            raise site.error("an alarm watches either MetricName or Metrics.", "Write one of the two.")
        needed = ["ComparisonOperator", "EvaluationPeriods"]
        if "MetricName" in found:
            statistic = "ExtendedStatistic" if "ExtendedStatistic" in found else "Statistic"
            needed += ["Namespace", "Period", statistic, "Threshold"]
        for name in needed:
            if name not in found:
                raise site.error(f"{name} is missing.", f"Add {name}.")
        if found.get("DatapointsToAlarm", 1) > found["EvaluationPeriods"]:
            raise resource.at(site, "DatapointsToAlarm").error(
                "DatapointsToAlarm is more than EvaluationPeriods.", f"Write 1 to {found['EvaluationPeriods']}."
            )
        stats = [each.get("MetricStat", {}).get("Metric", {}) for each in found.get("Metrics", ())]
        for namespace in (each.get("Namespace", "") for each in (found, *stats)):
            if namespace.startswith("AWS/") and namespace not in _MEASURED:
                self.leave_out(resource.logical_id, resource.type, f"one machine has no metrics of {namespace}")
                return
        name = self._new_name(resource, self.alarms, site)
        self.alarms[name] = Alarm(logical_id=resource.logical_id, name=name, properties=found)

    def _new_name(self, resource: Resource, taken: dict[str, Any], site: Site) -> str:
        name = self.resolver.name(resource.logical_id, resource.line)
        if name in taken:
            raise resource.at(site, IDENTITIES[resource.type].name_property).error(
                f"the name {name} is taken by {taken[name].logical_id}.", "Give one of the two another name."
            )
        return name

    def _note(self, resource: Resource, name: str, reason: str) -> None:
        self.leave_out(resource.logical_id, f"{resource.type}.{name}", reason)
