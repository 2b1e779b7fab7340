"""prometheus_scrape, prometheus_remote_write and fluentbit_metrics against Fluent Bit: its exporter is scraped, its remote
write is taken. Run by hand."""
import os, subprocess, sys, tempfile, time

from agent import Agent, free_port

FLUENT_BIT = os.environ.get("FLUENT_BIT", "fluent-bit")
STDOUT = "    Name stdout\n    Match *\n"


def check(name, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), name, got)
    return got == wanted


def fluent_bit(output):
    conf = tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False)
    conf.write(f"[SERVICE]\n    Flush 0.5\n    Grace 1\n[INPUT]\n    Name node_exporter_metrics\n    Tag m\n    Scrape_Interval 1\n[OUTPUT]\n    Match *\n{output}")
    conf.close()
    return subprocess.Popen([FLUENT_BIT, "-q", "-c", conf.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def names(text):
    return {word for line in text.splitlines() for word in ("node_load1", "node_memory_MemTotal_bytes", "node_cpu_seconds_total") if word in line}


ALL = {"node_load1", "node_memory_MemTotal_bytes", "node_cpu_seconds_total"}
results = []
port = free_port()
f = fluent_bit(f"    Name prometheus_exporter\n    Host 127.0.0.1\n    Port {port}\n")
time.sleep(3)
a = Agent(f"[INPUT]\n    Name prometheus_scrape\n    Host 127.0.0.1\n    Port {port}\n    Scrape_Interval 1\n", STDOUT)
a.lines(1, patience=3)
results.append(check("scrape of Fluent Bit's exporter", (names(a.raw()), "were not read" in a.log()), (ALL, False)))
a.stop()
f.terminate()
f.wait()

port = free_port()
a = Agent(f"[INPUT]\n    Name prometheus_remote_write\n    Listen 127.0.0.1\n    Port {port}\n    Uri /write\n", STDOUT)
f = fluent_bit(f"    Name prometheus_remote_write\n    Host 127.0.0.1\n    Port {port}\n    Uri /write\n")
a.lines(1, patience=5)
results.append(check("Fluent Bit's remote write", (names(a.raw()), "not taken" in a.log()), (ALL, False)))
f.terminate()
f.wait()
a.stop()

a = Agent("[INPUT]\n    Name fluentbit_metrics\n    Scrape_On_Start On\n", STDOUT)
a.lines(1, patience=2)
results.append(check("fluentbit_metrics", "fluentbit_input_records_total" in a.raw(), True))
a.stop()
sys.exit(not all(results))
