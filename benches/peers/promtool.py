"""All query commands of promtool against Prometheus and the aggregator over the same samples: exit codes and output must be equal,
numbers but for the last digit. Run by hand."""
import re, subprocess, sys

from prometheus_api import T, near
from prometheus_read import BEGIN, SERIES, STEP, floats
from prometheus_wire import Server, snappy

URL = object()
WINDOW = ["--start", str(BEGIN // 1000), "--end", str(T)]
STEPS = ["--start", str(T), "--end", str(T + 300), "--step", "30s"]
COMMANDS = [
    ["query", "instant", "--time", str(T), URL, "up"],
    ["query", "instant", "-o", "json", "--time", str(T), URL, "sum(rate(chunk_counter[5m]))"],
    ["query", "instant", "--time", str(T), URL, "up{"],
    ["query", "range", *STEPS, URL, "up"],
    ["query", "range", "-o", "json", "--header", "X-A=b", *STEPS, URL, "sum by (job) (chunk_small)"],
    ["query", "range", *STEPS, URL, "sum("],
    ["query", "series", "--match", "up", "--match", "chunk_two", *WINDOW, URL],
    ["query", "series", "--match", "up{", *WINDOW, URL],
    ["query", "labels", *WINDOW, URL, "job"],
    ["query", "labels", "--match", "up", *WINDOW, URL, "__name__"],
    ["query", "analyze", "--server", URL, "--type", "histogram", "--duration", "1h", "--time", str(T), "--match", "chunk_histogram"],
    ["query", "analyze", "--server", URL, "--type", "histogram", "--match", "nothing"],
]


def output(server, command):
    arguments = [server.url if part is URL else part for part in command]
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    text = (done.stdout + done.stderr).replace(server.url, "URL")
    # 3.x names the parameter of a mistake.
    text = text.replace('invalid parameter "query": ', "")
    return [str(done.returncode), *(word for line in sorted(text.splitlines()) for word in re.split(r'[\s",]+', line))]


theirs, ours = Server(False), Server(True)
times = [BEGIN + i * STEP for i in range(60)]
body = snappy(b"".join([*SERIES, floats("up", [1.0] * 60, times), floats("up", [0.0] * 60, times, job="b")]))
failed = 0
for server in (theirs, ours):
    server.write(body)
for command in COMMANDS:
    want, got = output(theirs, command), output(ours, command)
    print(("ok  " if near(want, got) else "FAIL"), " ".join("URL" if part is URL else part for part in command))
    if not near(want, got):
        failed += 1
        print("  theirs", want, "\n  ours  ", got)
theirs.stop()
ours.stop()
sys.exit(failed > 0)
