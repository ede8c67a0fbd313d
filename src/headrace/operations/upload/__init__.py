"""`headrace upload`: a local system's data, moved to the same system on AWS.

| file | what it does |
|---|---|
| `target.py` | which tables and buckets on AWS; looks that they are there |
| `items.py` | a table's items, a page at a time: what AWS lacks is put there, then read back |
| `objects.py` | a bucket's objects, in the order of their keys, checked by their digests |
| `manifests.py` | the archive's catalogue, made one with AWS's own; pure |
| `journal.py` | how far it is, so that it goes on where it was |
| `estimate.py` | how much there is, and about what moving it costs |
| `run.py` | all of it, in an order that can be cut off anywhere |

Nothing on AWS is replaced by anything older: identities and versions decide. So it may be run again at any time, and is
to be run once more when the last device has been switched over.
"""
