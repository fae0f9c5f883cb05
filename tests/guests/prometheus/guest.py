"""Reads the figures of a node as Prometheus' own library does, and prints what it understood, one family a line."""

import json
import os
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from steps import HOST, PORT

request = urllib.request.Request(f"http://{HOST}:{PORT}/metrics")
request.add_header("Authorization", f"Bearer {os.environ['METRICS_TOKEN']}")
with urllib.request.urlopen(request, timeout=10) as answer:
    text = answer.read().decode()

for family in text_string_to_metric_families(text):
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    print(json.dumps({"name": family.name, "type": family.type, "help": family.documentation, "samples": samples}))
