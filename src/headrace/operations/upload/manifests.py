"""The archive's catalogue here and on AWS, made one. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from headrace.archive.catalogue import Manifest, Replaced


def joined(local: Manifest, theirs: Manifest | None, put_before: Collection[str], now_ms: int) -> Manifest:
    """Return a day's manifest on AWS: what AWS has compacted itself, and all that is compacted here.

    `put_before` are the files that an earlier upload put there: those that are no longer here were replaced since, and
    those that are no longer there AWS has taken into files of its own. Where it has such, an event may be in both, so
    ours are to be checked against them by readers.
    """
    if theirs is None:
        return msgspec.structs.replace(local, replaced=())
    own = {file.key for file in local.files}
    there = {file.key for file in theirs.files}
    others = tuple(file for file in theirs.files if file.key not in own and file.key not in put_before)
    files = tuple(file for file in local.files if file.key in there or file.key not in put_before)
    if others:
        files = tuple(msgspec.structs.replace(file, unchecked=True) for file in files)
    known = {each.key for each in theirs.replaced}
    gone = sorted(key for key in put_before if key not in own and key in there and key not in known)
    return Manifest(local.date, others + files, theirs.replaced + tuple(Replaced(key, now_ms) for key in gone))


def joined_erasures(local: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the list of erased devices of both: of a device that is in both, what erases more."""
    found: dict[str, Any] = {}
    for each in [*(theirs or {}).get("erasures", ()), *local.get("erasures", ())]:
        before = found.get(each["device_id"])
        if before is None or each["before_us"] > before["before_us"]:
            found[each["device_id"]] = each
    return {**(theirs or {}), **local, "erasures": list(found.values())}
