"""Gate `network`: subnets without a way out reach S3 and DynamoDB by endpoints, and EMR's own groups let it in."""

from collections.abc import Iterator
from typing import Any

from headrace.system import REGION
from headrace.template.gates import calls
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import Model

GATE = "network"
_WAYS_OUT = ("AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::TransitGatewayAttachment")
_SERVICES = ("s3", "dynamodb")
_FROM_EMR, _TO_EMR = 8443, 9443
_TAG = {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}  # without it, EMR's policy allows nothing


def gate(model: Model) -> Iterator[Finding]:
    """Check the template's own subnets, if it has no way out, and the groups of its clusters."""
    subnets = list(model.of("AWS::EC2::Subnet"))
    if subnets and not any(model.of(*_WAYS_OUT)):
        tables = {str(each.properties.get("SubnetId")): str(each.properties.get("RouteTableId"))
                  for each in model.of("AWS::EC2::SubnetRouteTableAssociation")}  # fmt: skip
        for subnet in subnets:
            for service in _SERVICES:
                if tables.get(model.name(subnet.logical_id)) not in _reached(model, service):
                    yield subnet.finding(GATE, f"nothing in it reaches {service}.", "Add an endpoint for its routes.")
    for call in (each for each in calls.calls_of(model) if each.action == "createCluster"):
        instances = call.arguments.get("Instances") or {}
        yield from _tags(model, instances)
        service = str(instances.get("ServiceAccessSecurityGroup"))
        nodes = {str(instances.get(f"EmrManaged{name}SecurityGroup")) for name in ("Master", "Slave")}
        ingress = [each.properties for each in model.of("AWS::EC2::SecurityGroupIngress")]
        rules = {
            (str(each.get("GroupId")), str(each.get("SourceSecurityGroupId")), each.get("FromPort")) for each in ingress
        }
        if "EmrManagedMasterSecurityGroup" in instances and "ServiceAccessSecurityGroup" not in instances:
            yield call.finding(GATE, "EMR makes a group of its own, which outlives the stack.", "Name a service group.")
        for group in nodes if "ServiceAccessSecurityGroup" in instances else ():
            for to, source, port in ((group, service, _FROM_EMR), (service, group, _TO_EMR)):
                if (to, source, port) not in rules:
                    yield call.finding(GATE, f"{to} does not let {source} in on port {port}.", "EMR needs that.")


def _tags(model: Model, instances: dict[str, Any]) -> Iterator[Finding]:
    """Check that EMR may use the network of a cluster: its managed policy is limited to what has a tag."""
    named = [*(instances.get("Ec2SubnetIds") or ()), *(value for name, value in instances.items() if "Group" in name)]
    used = [model.named(name, "AWS::EC2::Subnet", "AWS::EC2::SecurityGroup") for name in named]
    for each in [*used, *model.of("AWS::EC2::VPC")]:
        if each is not None and _TAG not in (each.properties.get("Tags") or ()):
            yield each.finding(GATE, "EMR may not use it.", f"Add the tag {_TAG['Key']}: true.")


def _reached(model: Model, service: str) -> set[str]:
    """Return the route tables that have an endpoint of a service."""
    return {
        str(table)
        for each in model.of("AWS::EC2::VPCEndpoint")
        for table in each.properties.get("RouteTableIds") or ()
        if each.properties.get("ServiceName") == f"com.amazonaws.{REGION}.{service}"
    }
