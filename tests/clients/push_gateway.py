"""prometheus_client pushing what a batch job has to tell."""

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, push_to_gateway
from prometheus_client import delete_from_gateway, pushadd_to_gateway

gateway = sys.argv[1]
registry = CollectorRegistry()
Gauge("job_last_success_unixtime", "Last time a batch job successfully finished", registry=registry).set(1234.5)
Counter("job_records", "Records", ["kind"], registry=registry).labels("good").inc(7)
Histogram("job_seconds", "Time", buckets=(1, 10), registry=registry).observe(3)
push_to_gateway(gateway, job="batch/a", registry=registry, grouping_key={"instance": "i 1"})
pushadd_to_gateway(gateway, job="other", registry=registry)
delete_from_gateway(gateway, job="other")
