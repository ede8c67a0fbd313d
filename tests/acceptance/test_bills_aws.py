"""`headrace bills --aws` answers what a backend with the same objects answers: its bucket is moto's."""

import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from moto import mock_aws

from headrace.cli.bills_on_aws import Bills
from headrace.deploy.aws import Aws
from headrace.deployed import Deployed
from headrace.errors import NotFound
from headrace.operations.bills import Wanted
from headrace.operations.bills_on_aws import Place, answer
from support.bill_site import BillSite
from support.bills import Held, Tier, event

OCTOBER, NOVEMBER = "2026-10", "2026-11"
TEMPLATE = {
    "Parameters": {
        "ArtifactsBucket": {"Type": "String", "Default": "code"},
        "ArtifactsPrefix": {"Type": "String", "Default": "jobs/1"},
    },
    "Resources": {"Archive": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "archive-1"}}},
    "Outputs": {"ArchiveBucketName": {"Value": {"Ref": "Archive"}}},
}

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")


def client(service: str) -> Any:
    return botocore.session.get_session().create_client(
        service, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> BillSite:
    made = BillSite(tmp_path_factory.mktemp("site"))
    tiers = [Tier("basic", "2026-09-01", "EUR", "events", 0, "0.10", "2", "1.00")]
    made.prepare(tiers, [Held("a", "acme", "basic", "2026-09-01")])
    made.add([*event("a", "2026-10-05T10:00:00", 12), *event("a", "2026-11-05T10:00:00", 3)])
    made.close(OCTOBER)
    return made


@pytest.fixture(scope="module")
def system(site: BillSite) -> Iterator[Deployed]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
            patch.delenv(name, raising=False)
        client("cloudformation").create_stack(StackName="headrace", TemplateBody=json.dumps(TEMPLATE))
        s3 = client("s3")
        s3.create_bucket(Bucket="code")
        for path in site.reports.iterdir():
            s3.put_object(Bucket="code", Key=f"jobs/1/reports/{path.name}", Body=path.read_bytes())
        for info in site.bucket.list():
            s3.put_object(Bucket="archive-1", Key=info.key, Body=site.bucket.get(info.key))
        clients = {name: client(name) for name in ("s3", "cloudformation")}
        yield Deployed(Aws(region="us-east-1", clients=clients), "headrace")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(OCTOBER),
        Wanted(NOVEMBER),
        Wanted(OCTOBER, True, days=True),
        Wanted(NOVEMBER, True, "acme", "a"),
    ],
)
def test_answers_are_those_of_one_machine(site: BillSite, system: Deployed, wanted: Wanted) -> None:
    now_ms = int(site.now.timestamp() * 1000)
    place = Place(system.client("s3"), "archive-1", ("code", "jobs/1"))
    here = site.read(wanted.month, usage=wanted.usage, tenant=wanted.tenant, device=wanted.device, days=wanted.days)
    assert answer(place, wanted, now_ms) == here
    assert here


def test_what_the_command_line_asks(system: Deployed) -> None:
    bills = Bills(system)
    found = bills.get(f"bills/{OCTOBER}", [("tenant", "acme")])
    assert found["state"] == "closed" and found["tenants"][0]["totals"] == {"EUR": "1.00"}
    assert {each["month"] for each in bills.get("bills")["bills"]} >= {OCTOBER, NOVEMBER}
    assert bills.get(f"bills/{OCTOBER}/usage", [("days", "1")])["devices"][0]["days"]
    with pytest.raises(NotFound):
        bills.get("bills/2020-01")
    with pytest.raises(NotFound):
        bills.get(f"bills/{OCTOBER}", [("tenant", "' OR 1=1 --")])
