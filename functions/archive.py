"""Archives the stream's records as they arrived: one compressed object a batch and arrival hour.

Environment: ARCHIVE_BUCKET.

Nothing is rejected here: what is no JSON is kept in base64. Safe to repeat: the same batch makes the same objects.
"""

import os
from typing import Any

from headrace import connect
from headrace.archive import raw


def handler(batch: dict[str, Any], context: Any) -> None:
    bucket = connect.bucket(os.environ["ARCHIVE_BUCKET"])
    for key, body in raw.objects(batch["Records"]):
        bucket.put(key, body)
