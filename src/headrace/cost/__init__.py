"""What a template costs a month on AWS: `headrace cost`. Everything here is pure but the reading of the price file.

| file | what it knows |
|---|---|
| `prices.toml`, `prices.py` | prices, dated, with their sources |
| `assumptions.py` | traffic, and everything assumed beside it |
| `design.py`, `project.py` | what the template decides |
| `model.py` | quantity × price, line by line |
| `choices.py` | which way is cheaper, and the parameters that follow |
"""
