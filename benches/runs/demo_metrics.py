"""Samples as three instances of a demo service give them: counters, gauges and classic histograms, in remote-write requests.

4086 series, 15 s apart, deterministic. Scrapes lie beside whole seconds, so that no window of a question ends at a sample: which
of both ends counts is the one thing in which Prometheus 2 and 3 differ for every range."""
import random, struct

SERIES_PER_INSTANCE = 1362
INTERVAL_MS = 15_000
BOUNDS = [round(0.0001 * 1.5**i, 10) for i in range(25)]
STALE = struct.pack("<Q", 0x7FF0000000000002)
# Samples of a series in one request.
PER_REQUEST = 20


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def labels(name, instance, **more):
    pairs = sorted({"__name__": name, "instance": instance, "job": "demo", **more}.items())
    return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs)


class Instance:
    """Series of one instance: label bytes, and what the next values are."""

    def __init__(self, number):
        self.random = random.Random(number)
        self.name = f"demo.example.com:1000{number}"
        self.offset_ms = 1_137 + 3_713 * number
        self.histograms, self.plain, self.t = [], [], 0
        add = lambda name, step, start=0.0, **more: self.plain.append([labels(name, self.name, **more), step, start])
        r = self.random
        for type in ("buffers", "cached", "free", "used"):
            add("demo_memory_usage_bytes", lambda v: max(1e8, v + r.gauss(0, 4e6)), r.uniform(1e9, 4e9), type=type)
        for mode, rate in (("idle", 3.1), ("system", 0.2), ("user", 0.7)):
            add("demo_cpu_usage_seconds_total", lambda v, rate=rate: v + rate * 15 * r.uniform(0.7, 1.3), r.uniform(0, 1e5), mode=mode)
        add("demo_num_cpus", lambda v: v, 4.0)
        add("demo_disk_usage_bytes", lambda v: v + r.uniform(0, 2e6), 5e10)
        add("demo_disk_total_bytes", lambda v: v, 1e11)
        add("demo_batch_last_success_timestamp_seconds", lambda v: self.t if r.random() < 0.1 else v or self.t)
        add("demo_batch_last_run_timestamp_seconds", lambda v: self.t if r.random() < 0.2 else v or self.t)
        add("demo_batch_last_run_duration_seconds", lambda v: r.uniform(3, 7))
        add("demo_items_shipped_total", lambda v: v + float(r.randrange(50)))
        add("demo_is_holiday", lambda v: 0.0)
        add("up", lambda v: 1.0)
        add("process_start_time_seconds", lambda v: 1.7e9)
        add("demo_intermittent_metric", lambda v: 1.0 if int(self.t) // 300 % 2 else None)
        for path in range(8):
            for method in ("GET", "POST"):
                for status in ("200", "404", "500"):
                    more = dict(path=f"/api/{path}", method=method, status=status)
                    name = "demo_api_request_duration_seconds"
                    series = [labels(name + "_bucket", self.name, le=f"{b:g}", **more) for b in BOUNDS]
                    series += [labels(name + "_bucket", self.name, le="+Inf", **more), labels(name + "_count", self.name, **more), labels(name + "_sum", self.name, **more)]
                    self.histograms.append([series, [0] * 26, 0.0, {"200": 20, "404": 2, "500": 1}[status] * r.uniform(0.2, 2)])

    def scrape(self, t_ms):
        """Label bytes and the eight bytes of the value, of all series."""
        self.t = t_ms / 1000
        pack, r = struct.Struct("<d").pack, self.random
        for one in self.plain:
            before, one[2] = one[2], one[1](one[2])
            if one[2] is not None:
                yield one[0], pack(one[2])
            elif before is not None:
                yield one[0], STALE
        for one in self.histograms:
            series, counts, _, rate = one
            for _ in range(int(rate * r.random() * 2)):
                took = 0.002 * r.lognormvariate(0, 1)
                one[2] += took
                counts[next((i for i, b in enumerate(BOUNDS) if took <= b), 25)] += 1
            total = 0
            for at, count in enumerate(counts):
                total += count
                yield series[at], pack(total)
            yield series[26], pack(total)
            yield series[27], pack(one[2])


def requests(start_ms, n_scrapes):
    """Bodies of requests, packed as snappy that copies nothing, and their samples."""
    instances = [Instance(i) for i in range(3)]
    for first in range(0, n_scrapes, PER_REQUEST):
        for instance in instances:
            samples = {}
            for at in range(first, min(first + PER_REQUEST, n_scrapes)):
                t_ms = start_ms + instance.offset_ms + at * INTERVAL_MS
                time = b"\x10" + varint(t_ms)
                for series, value in instance.scrape(t_ms):
                    samples.setdefault(series, []).append(field(2, b"\x09" + value + time))
            body = b"".join(field(1, series + b"".join(all)) for series, all in samples.items())
            yield snappy(body), sum(map(len, samples.values()))


def snappy(raw):
    out = [varint(len(raw))]
    for at in range(0, len(raw), 65536):
        piece = raw[at : at + 65536]
        out.append(b"\xf4" + struct.pack("<H", len(piece) - 1) + piece)
    return b"".join(out)
