"""From a project to AWS: function packages, artifacts in a bucket, and CloudFormation's change sets.

| file | what it knows |
|---|---|
| `closure.py` | which modules a function reaches |
| `lock.json`, `lock.py` | the distributions that packages are made of, with their hashes |
| `wheels.py` | fetching wheels for another platform |
| `bundle.py` | archives that are the same, byte for byte, whenever their content is |
| `package.py` | a function's package; `environment.py` the jobs' |
| `aws.py` | credentials, region, and AWS's errors in words that say what to do |
| `rewrite.py`, `project.py` | the template as CloudFormation gets it, with its parameters |
| `artifacts.py` | the bucket of code |
| `changes.py`, `state.py` | a plan in plain words; what a stack's state allows; what a failure means |
| `stack.py`, `destroy.py` | change sets, events, and what a deletion leaves |
"""
