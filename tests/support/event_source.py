"""An event source mapping over any Kinesis: reads it by boto3 and calls a function, by the rules of runtime/mapping.py.

What those rules decide is tested elsewhere; this drives them with what Kinesis answers: shards, iterators, records.
What a function prints in the embedded metric format goes to CloudWatch, as its agent would put it.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from headrace.runtime import mapping as rules
from headrace.runtime.kinesis_event import INVOKE_IDENTITY_ARN
from headrace.system import Mapping
from support.lambda_runtime import FunctionError, LambdaFunction

Record = dict[str, Any]
RECORD_BYTES = 700  # of one in the event, beside its key and data
METRICS_A_CALL = 150


class EventSource:
    """The mapping of one function. `documents` are those that Lambda would have written of what was given up."""

    def __init__(self, kinesis: Any, stream: str, mapping: Mapping, function: LambdaFunction) -> None:
        self._kinesis = kinesis
        self._stream = stream
        self.mapping = mapping
        self._function = function
        summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
        self._arn: str = summary["StreamARN"]
        self.calls = 0
        self._taken: dict[str, str] = {}  # a shard's last sequence number that was delivered
        self.documents: list[rules.Ending] = []

    def drain(self, told: Callable[[list[str]], None]) -> int:
        """Have the function take everything that has come since; `told` gets the lines it printed.

        Returns the number of records.
        """
        count = 0
        for page in self._kinesis.get_paginator("list_shards").paginate(StreamName=self._stream):
            for shard in page["Shards"]:
                records = list(self._records(shard["ShardId"]))
                self._deliver(shard["ShardId"], records, told)
                count += len(records)
        return count

    def _records(self, shard: str) -> Iterator[Record]:
        start = {"ShardIteratorType": self.mapping.starting_position}
        if shard in self._taken:
            start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self._taken[shard]}
        at: str | None = self._kinesis.get_shard_iterator(StreamName=self._stream, ShardId=shard, **start)[
            "ShardIterator"
        ]
        while at is not None:
            page = self._kinesis.get_records(ShardIterator=at, Limit=10_000)
            yield from page["Records"]
            if not page["Records"] and not page["MillisBehindLatest"]:
                return
            at = page.get("NextShardIterator")

    def _deliver(self, shard: str, records: list[Record], told: Callable[[list[str]], None]) -> None:
        state = rules.State(0, 0)
        while state.next < len(records):
            if not state.count:
                state = rules.begin(state, self._gathered(records[state.next :]))
            batch = records[state.next : state.next + state.count]
            state = rules.after(self.mapping, state, self._called(shard, batch, state.next), 0, "request")
            told(self._function.printed())
            if state.ending is not None:
                self.documents.append(state.ending)
                state = rules.settled(state)
        if records:
            self._taken[shard] = records[-1]["SequenceNumber"]

    def _gathered(self, records: Iterable[Record]) -> int:
        gathering = rules.Gathering(self.mapping, RECORD_BYTES)
        for record in records:
            if gathering.full:
                break
            gathering.add_each([len(record["Data"]) + len(record["PartitionKey"].encode())], 0)
        return gathering.count

    def _called(self, shard: str, batch: list[Record], first: int) -> rules.Outcome:
        self.calls += 1
        numbers = {record["SequenceNumber"]: first + place for place, record in enumerate(batch)}
        try:
            answer = self._function.invoke(lambda_event(shard, self._arn, batch))
        except FunctionError as error:
            return rules.Outcome(failed=True, function_error=str(error))
        try:
            return rules.Outcome(reported=rules.reported(answer, numbers.get))
        except rules.BadAnswer:
            return rules.Outcome(failed=True)


def lambda_event(shard: str, arn: str, batch: Iterable[Record]) -> Any:
    """Return the event that Lambda makes of records that GetRecords answered."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record["PartitionKey"],
                    "sequenceNumber": record["SequenceNumber"],
                    "data": base64.b64encode(record["Data"]).decode(),
                    "approximateArrivalTimestamp": round(record["ApproximateArrivalTimestamp"].timestamp(), 3),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard}:{record['SequenceNumber']}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": INVOKE_IDENTITY_ARN,
                "awsRegion": "us-east-1",
                "eventSourceARN": arn,
            }
            for record in batch
        ]
    }


class MetricAgent:
    """Puts what lines in the embedded metric format say to CloudWatch; other lines are a function's log."""

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        self._data: dict[str, list[dict[str, Any]]] = {}
        self.log: list[str] = []

    def __call__(self, lines: list[str]) -> None:
        for line in lines:
            if line.startswith('{"_aws":'):
                self._take(json.loads(line))
            else:
                self.log.append(line)

    def _take(self, document: dict[str, Any]) -> None:
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                values = document[metric["Name"]]
                values = values if isinstance(values, list) else [values]
                datum = {"MetricName": metric["Name"], "Values": values, "Counts": [1.0] * len(values)}
                datum["Timestamp"] = document["_aws"]["Timestamp"] / 1000
                self._data.setdefault(directive["Namespace"], []).append(datum)

    def flush(self) -> None:
        """Put what was taken."""
        for namespace, data in self._data.items():
            for at in range(0, len(data), METRICS_A_CALL):
                self._cloudwatch.put_metric_data(Namespace=namespace, MetricData=data[at : at + METRICS_A_CALL])
        self._data.clear()
