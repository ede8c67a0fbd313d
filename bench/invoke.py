"""Synchronous invokes a second of a function that only computes, on 4 connections: Headrace beside MiniStack.

The same function, the same requests, in turn; load generator and server share all cores. Every answer is checked to be
what the function computed from its request. Nothing is to be kept, so nothing is synced by either.
"""

import argparse
import io
import statistics
import sys
import zipfile
from pathlib import Path

import boto3

import wire
from bodies import EVENT_BYTES
from peers import MINISTACK, installed, running
from results import HEADRACE, Figure, Result, save, scratch
from support.backend import Backend, wait_until
from support.load import Ledger, send

CONNECTIONS = 4
PATH = "/2015-03-31/functions/adder/invocations"
CODE = """
def handler(event, context):
    return {"sum": sum(event["numbers"])}
"""
TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Adder:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: adder, Runtime: python3.11, Handler: adder.handler, CodeUri: code/, MemorySize: 256}
"""
REQUEST = b'{"numbers":[1,2,39],"note":"%b"}'
ANSWER = b"42"


def request(_: int) -> bytes:
    """Return an invoke's payload, as long as an event."""
    return REQUEST % (b"x" * (EVENT_BYTES - len(REQUEST)))


def deploy(url: str) -> None:
    """Make the function on MiniStack."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("adder.py", CODE)
    client = boto3.client(
        "lambda", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_function(
        FunctionName="adder",
        Runtime="python3.11",
        Handler="adder.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": archive.getvalue()},
        MemorySize=256,
    )
    wait_until(lambda: client.get_function(FunctionName="adder")["Configuration"].get("State", "Active") == "Active")


def invoke(url: str, seconds: float) -> Ledger:
    """Invoke as fast as it is answered; every answer is right in the end, the others are errors."""
    return send(url, request, per_request=1, duration_s=seconds, connections=CONNECTIONS, operation=PATH, expect=ANSWER)


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, list[Ledger]]:
    """Invoke everyone in turn, `rounds` times."""
    (folder / "code").mkdir()
    (folder / "code" / "adder.py").write_text(CODE)
    (folder / "template.yaml").write_text(TEMPLATE)
    runs: dict[str, list[Ledger]] = {}
    with running(installed(MINISTACK), folder) as peers:
        backend = Backend(folder / "data", folder / "template.yaml").start()
        try:
            urls = {HEADRACE: backend.url} | {name: peer.url for name, peer in peers.items()}
            for peer in peers.values():
                deploy(peer.url)
            for url in urls.values():
                wire.call(url, PATH, {"numbers": [1]})  # raises where it does not work at all
                invoke(url, 1.0)  # environments exist
            for _ in range(rounds):
                for name, url in urls.items():
                    runs.setdefault(name, []).append(invoke(url, seconds))
        finally:
            backend.stop()
    return runs


def main() -> int:
    """Measure; print and keep medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    arguments = parser.parse_args()
    rounds, seconds = (1, 1.0) if arguments.quick else (arguments.rounds, arguments.seconds)
    with scratch() as folder:
        runs = measure(folder, rounds, seconds)
    rates = {name: statistics.median(one.requests / seconds for one in found) for name, found in runs.items()}
    middles = {
        name: statistics.median(1000 * statistics.median(one.latencies_s) for one in found)
        for name, found in runs.items()
    }
    figures = []
    for name, unit, values in (
        ("synchronous invokes, 4 connections", "invokes/s", rates),
        ("latency of an invoke, p50", "ms", middles),
    ):
        own = values.pop(HEADRACE)
        figures.append(Figure(name=name, value=own, unit=unit, beside=values))
    figures[0].least, figures[0].ratio_to = 1_000, {MINISTACK: 20}
    errors = {name: sum(one.errors for one in found) for name, found in runs.items()}
    notes = [f"{name}: {count} answers were errors" for name, count in errors.items() if count]
    return save(
        Result(section="invoke", figures=figures, verified=not any(errors.values()), notes=notes, quick=arguments.quick)
    )


if __name__ == "__main__":
    sys.exit(main())
