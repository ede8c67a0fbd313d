"""What spark-submit is given on the cluster: `spark-submit … job.py --job compact,aggregate_hourly …`."""

import sys

from headrace.emr.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
