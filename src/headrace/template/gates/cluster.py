"""Gate `cluster`: an EMR cluster is one of several kinds of Spot instances, falls back, and always ends.

And gate `ends`: every way on from where a cluster was made leads to where it is terminated, whatever fails.
"""

import re
from collections.abc import Iterator
from typing import Any

from headrace.template.gates import states
from headrace.template.gates.calls import Call, calls_of
from headrace.template.gates.finding import Finding
from headrace.template.gates.jsonata import literal
from headrace.template.gates.model import Model
from headrace.template.gates.policies import matches

GATE = "cluster"
_KINDS_MIN = 3
_IDLE_S_MAX = 604_800
_GRAVITON = re.compile(r"[a-z]+\d+g[a-z]*\.\w+")
_INSTANCE_TYPE = re.compile(r"[a-z]+\d+[a-z-]*\.(nano|micro|small|medium|large|\d*xlarge|metal(-\d+xl)?)")
_RELEASE = re.compile(r"emr-(spark-)?\d+\.\d+\.\d+")
_V2 = "for-use-with-amazon-emr-managed-policies"


def gate(model: Model) -> Iterator[Finding]:
    """Check every createCluster."""
    for call in calls_of(model):
        if call.action == "addStep":
            yield from _step(call)
        if call.action != "createCluster":
            continue
        yield from _whole(model, call)
        instances = call.arguments.get("Instances")
        fleets = instances.get("InstanceFleets") if isinstance(instances, dict) else None
        fleets = [each for each in fleets if isinstance(each, dict)] if isinstance(fleets, list) else []
        kinds = [fleet.get("InstanceFleetType") for fleet in fleets]
        if sorted(map(str, kinds))[:2] != ["CORE", "MASTER"] or len(set(kinds)) < len(kinds):
            yield call.finding(GATE, "InstanceFleets are one MASTER, one CORE and at most one TASK.", "Declare them.")
        if not any(_amount(fleet, "TargetSpotCapacity") for fleet in fleets):
            yield call.finding(GATE, "no fleet has Spot instances.", "Write TargetSpotCapacity for CORE.")
        architectures = set()
        for fleet in fleets:
            yield from _fleet(call, fleet)
            architectures |= {bool(_GRAVITON.fullmatch(kind)) for kind in _types(fleet)}
        if len(architectures) > 1:
            yield call.finding(
                GATE, "instances of two architectures share it.", "Choose Graviton all through, or none."
            )


def _whole(model: Model, call: Call) -> Iterator[Finding]:
    arguments = call.arguments
    given = arguments.get("Instances")
    instances: dict[str, Any] = given if isinstance(given, dict) else {}
    if not _RELEASE.fullmatch(str(arguments.get("ReleaseLabel"))):
        yield call.finding(GATE, f"ReleaseLabel is {arguments.get('ReleaseLabel')}.", "Write one such as emr-7.10.0.")
    if instances.get("KeepJobFlowAliveWhenNoSteps") is not True:
        yield call.finding(GATE, "it would end before it gets a step.", "Write KeepJobFlowAliveWhenNoSteps: true.")
    idle_s = (arguments.get("AutoTerminationPolicy") or {}).get("IdleTimeout", 60)
    if isinstance(idle_s, int) and not 60 <= idle_s <= _IDLE_S_MAX:
        yield call.finding(GATE, f"IdleTimeout is {idle_s}.", f"Write 60 to {_IDLE_S_MAX} (seconds).")
    if instances.get("TerminationProtected") not in (None, False):
        yield call.finding(GATE, "it is protected from being terminated.", "Write TerminationProtected: false.")
    if "Spark" not in [each.get("Name") for each in arguments.get("Applications") or ()]:
        yield call.finding(GATE, "it has no Spark, which the jobs need.", "Write Applications: [{Name: Spark}].")
    if "Steps" in arguments:
        yield call.finding(GATE, "createCluster takes no Steps.", "Write an addStep.")
    if not (isinstance(arguments.get("AutoTerminationPolicy"), dict) and arguments["AutoTerminationPolicy"]):
        yield call.finding(GATE, "nothing ends it if the execution is stopped.", "Write an AutoTerminationPolicy.")
    service = model.named(arguments.get("ServiceRole"), "AWS::IAM::Role")
    profile = model.named(arguments.get("JobFlowRole"), "AWS::IAM::InstanceProfile")
    for name, found in (("ServiceRole", service), ("JobFlowRole", profile)):
        if found is None:
            kind = "an instance profile" if name == "JobFlowRole" else "a role"
            yield call.finding(GATE, f"{name} is {arguments.get(name)}, not {kind} of the template.", "Write !Ref.")
    if service and not service.properties.get("ManagedPolicyArns"):
        yield call.finding(
            GATE, "EMR's role does not allow it to make instances.", "Give it AmazonEMRServicePolicy_v2."
        )
    if service and any("EMRServicePolicy_v2" in str(arn) for arn in service.properties.get("ManagedPolicyArns") or ()):
        tags = {(tag.get("Key"), str(tag.get("Value")).lower()) for tag in arguments.get("Tags") or ()}
        if (_V2, "true") not in tags:
            yield call.finding(GATE, f"AmazonEMRServicePolicy_v2 works with the tag {_V2} only.", "Add it to Tags.")
    for name in ("EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup", "ServiceAccessSecurityGroup"):
        if name in instances and model.named(instances[name], "AWS::EC2::SecurityGroup") is None:
            yield call.finding(GATE, f"{name} is no security group of the template.", "Write !Ref.")
    for subnet in instances.get("Ec2SubnetIds") or ():
        if model.named(subnet, "AWS::EC2::Subnet") is None and not matches("subnet-*", str(subnet)):
            yield call.finding(GATE, f"{subnet} is no subnet.", "Write !Ref of a subnet.")


def _step(call: Call) -> Iterator[Finding]:
    step = call.arguments.get("Step")
    step = step if isinstance(step, dict) else {}
    jar = (step.get("HadoopJarStep") or {}).get("Jar")
    yield from _arguments(call, (step.get("HadoopJarStep") or {}).get("Args") or ())
    if step.get("ActionOnFailure", "CONTINUE") not in ("CONTINUE", "CANCEL_AND_WAIT"):
        yield call.finding(GATE, "the cluster is ended by the step, not by the state machine.", "Write CONTINUE.")
    if jar != "command-runner.jar" and not str(jar).startswith("s3://"):
        yield call.finding(GATE, f"there is no program {jar}.", "Write Jar: command-runner.jar.")
    if not call.sync:
        yield call.finding(GATE, "nobody waits for the step, and the cluster goes before it is done.", "Write .sync.")


def _arguments(call: Call, arguments: Any) -> Iterator[Finding]:
    """Check a spark-submit: each option has a value, those of the script too."""
    texts = [str(each) for each in arguments]
    if not texts or texts[0] != "spark-submit":
        yield call.finding(GATE, f"the program is {texts[0] if texts else 'none'}.", "Begin Args with spark-submit.")
        return
    script = next((place for place, each in enumerate(texts) if each.endswith((".py", ".jar"))), None)
    if script is None:
        yield call.finding(GATE, "spark-submit runs no script.", "Name it after the options.")
    for options in (texts[1:script], texts[(script or len(texts)) + 1 :]):
        for name, value in zip(options[::2], [*options[1::2], "--"], strict=False):
            if not name.startswith("--") or value.startswith("--"):
                yield call.finding(GATE, f"{name} {value}: an option and its value go together.", "Write both.")
                break
            if name == "--conf" and "=" not in value:
                yield call.finding(GATE, f"--conf {value} sets nothing.", "Write --conf name=value.")


def _fleet(call: Call, fleet: dict[str, Any]) -> Iterator[Finding]:
    name = fleet.get("InstanceFleetType")
    spot, on_demand = _amount(fleet, "TargetSpotCapacity"), _amount(fleet, "TargetOnDemandCapacity")
    types = _types(fleet)
    if not spot and not on_demand:
        yield call.finding(GATE, f"the fleet {name} has no capacity.", "Write TargetSpotCapacity.")
    if name == "MASTER" and (spot or 0) + (on_demand or 0) != 1:
        yield call.finding(GATE, "the fleet MASTER has a capacity of 1.", "Write TargetOnDemandCapacity: 1.")
    for kind in types:
        if not _INSTANCE_TYPE.fullmatch(kind):
            yield call.finding(GATE, f"there is no instance type {kind}.", "Write one such as m7g.xlarge.")
    if len(set(types)) < len(types) or not types:
        yield call.finding(GATE, f"the fleet {name} names no instance type, or one twice.", "Name several.")
    if not spot:
        return
    if len(set(types)) < _KINDS_MIN:
        yield call.finding(GATE, f"the fleet {name} has {len(types)} instance types to choose from.", "Name several.")
    given = fleet.get("LaunchSpecifications")
    specification = given.get("SpotSpecification") if isinstance(given, dict) else None
    specification = specification if isinstance(specification, dict) else {}
    if specification.get("TimeoutAction") != "SWITCH_TO_ON_DEMAND":
        yield call.finding(GATE, f"the fleet {name} has no fallback.", "Write TimeoutAction: SWITCH_TO_ON_DEMAND.")
    minutes = specification.get("TimeoutDurationMinutes")
    if not isinstance(minutes, int) or not 5 <= minutes <= 1440:
        yield call.finding(GATE, f"TimeoutDurationMinutes of {name} is {minutes}.", "Write 5 to 1440.")
    if specification.get("AllocationStrategy") != "price-capacity-optimized":
        strategy = specification.get("AllocationStrategy")
        problem = f"AllocationStrategy of {name} is {strategy}: it is interrupted more often."
        yield call.finding(GATE, problem, "Write price-capacity-optimized.")


def _types(fleet: dict[str, Any]) -> list[str]:
    configs = fleet.get("InstanceTypeConfigs")
    return (
        [str(each.get("InstanceType")) for each in configs if isinstance(each, dict)]
        if isinstance(configs, list)
        else []
    )


def _amount(fleet: dict[str, Any], name: str) -> float:
    value = fleet.get(name, 0)
    found = literal(value) if isinstance(value, str) else value
    return 1 if found is None else float(found)


def ends(model: Model) -> Iterator[Finding]:
    """Check that a cluster is terminated on every way."""
    calls = list(calls_of(model))
    for made in (call for call in calls if call.action == "createCluster"):
        scope = made.scope
        closing = {each.state for each in calls if each.action == "terminateCluster" and each.scope.place == scope.place
                   and each.scope.machine.logical_id == scope.machine.logical_id}  # fmt: skip
        for each in closing:
            if "Retry" not in scope.states[each]:
                yield made.finding("ends", f"{each} is not tried again if it fails.", "Add Retry.")
        waiting = [step.to for step in states.steps(scope.states[made.state]) if not step.on_error]
        seen: set[object] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name in closing or name not in scope.states:
                continue
            seen.add(name)
            state = scope.states[str(name)]
            if not closing or state.get("Type") in ("Fail", "Succeed") or state.get("End") is True:
                yield made.finding(
                    "ends", f"a way over {name} leaves the cluster running.", "Lead it to terminateCluster."
                )
            elif state.get("Type") in ("Task", "Map", "Parallel") and not _catches_all(state):
                yield made.finding("ends", f"if {name} fails, the cluster is left running.", "Catch States.ALL there.")
            if state.get("Type") == "Task" and "TimeoutSeconds" not in state:
                yield made.finding("ends", f"{name} may last for ever, and the cluster with it.", "Add TimeoutSeconds.")
            waiting += [step.to for step in states.steps(state)]


def _catches_all(state: dict[str, Any]) -> bool:
    catches = state.get("Catch")
    return isinstance(catches, list) and any(
        "States.ALL" in (each.get("ErrorEquals") or ()) for each in catches if isinstance(each, dict)
    )
