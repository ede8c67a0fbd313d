"""The process of `headrace up`, which starts all others.

| file | what it knows |
|---|---|
| `supervise.py` | starting, watching, restarting and stopping the processes |
| `data_directory.py` | the data directory: whose it is, and of which version |
| `plan.py` | what a changed template means for data that is there; pure |
| `listener.py` | the sockets that outlive the processes which accept on them |
| `import_errors.py` | functions that can't be imported |
| `code_watch.py` | saved code, with `--watch` |
"""
