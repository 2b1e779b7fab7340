"""Remote read beside Prometheus: both get the same samples and are read by both protocols; then Prometheus itself, without a
sample of its own, reads from the aggregator. UPDATE=1 writes what Prometheus answered into fixtures/wire. Its client learned to read histograms in
2.44, so they are compared as chunks only. Run by hand."""
import math, os, random, struct, sys, urllib.parse

from prometheus_wire import Server, double, integer, labels, raw, snappy, unsnappy, varint, zigzag

BEGIN, STEP, N = 1_700_000_000_000, 15_000, 100
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
WIRE = os.path.join(os.path.dirname(__file__), "../../fixtures/wire")
random.seed(7)


def floats(name, values, times=None, **more):
    times = times or [BEGIN + i * STEP for i in range(len(values))]
    samples = b"".join(raw(2, double(1, v) + integer(2, t)) for v, t in zip(values, times))
    return raw(1, labels({"__name__": name, "job": "a", **more}) + samples)


def spans(field, all):
    return b"".join(raw(field, integer(1, zigzag(offset)) + integer(2, length)) for offset, length in all)


def histogram(i, is_float, hint):
    """One of a series whose counts only grow."""
    positive, negative, zero = [3 + i, 1 + 2 * i, i % 3 + 3 * i], [1 + i], i // 2
    count, total = sum(positive) + sum(negative) + zero, 0.5 * i + i * i / 7
    deltas = [b - a for a, b in zip([0] + positive, positive)]
    message = b"" if is_float else integer(1, count)
    message += double(2, count + 1.25) if is_float else b""
    message += double(3, total) + integer(4, zigzag(2)) + double(5, 2.0 ** -128)
    message += double(7, zero + 0.25) if is_float else integer(6, zero)
    message += spans(8, [(1, 1)])
    message += raw(10, struct.pack("<d", negative[0] + 0.25)) if is_float else raw(9, varint(zigzag(negative[0])))
    message += spans(11, [(-2, 1), (3, 2)])
    message += raw(13, b"".join(struct.pack("<d", p + 0.25) for p in positive)) if is_float else raw(12, b"".join(varint(zigzag(d)) for d in deltas))
    return message + (integer(14, hint) if hint else b"") + integer(15, BEGIN + i * STEP)


def histograms(name, is_float, hint=0):
    samples = b"".join(raw(4, histogram(i, is_float, hint)) for i in range(N))
    return raw(1, labels({"__name__": name, "job": "a"}) + samples)


jitter, at = [], BEGIN
for i in range(N):
    jitter.append(at)
    at += STEP + random.choice([0, 1, -3, 700, 9000, -14000, 200_000 if i == 50 else 0])
SERIES = [
    floats("chunk_counter", [7.0 * i for i in range(N)]),
    floats("chunk_equal", [42.0] * N),
    floats("chunk_random", [random.gauss(0, 1e6) for _ in range(N)]),
    floats("chunk_small", [1.5 + random.randrange(5) / 10 for _ in range(N)], **{"zone": "x\"é"}),
    floats("chunk_special", [1.0, -1.0, math.inf, -math.inf, 0.0, -0.0, math.nan, 5e-324, STALE, 1.7e308]),
    floats("chunk_times", [float(i % 9) for i in range(N)], jitter),
    floats("chunk_two", [3.0, 4.0]),
    histograms("chunk_histogram", False),
    histograms("chunk_histogram_float", True),
    # No gauges: 2.42 forgets in its chunks that they are.
]


def request(name, kinds):
    matcher = raw(3, integer(1, 2) + raw(2, "__name__") + raw(3, name))
    return snappy(raw(1, integer(1, BEGIN - 60_000) + integer(2, BEGIN + 3_600_000) + matcher) + b"".join(integer(2, k) for k in kinds))


def main():
    write = snappy(b"".join(SERIES))
    theirs, ours = Server(False), Server(True)
    for server in (theirs, ours):
        server.write(write)
    results = []

    def check(what, got, wanted):
        print(("ok  " if got == wanted else "FAIL"), what, len(wanted))
        if got != wanted:
            print("   wanted", wanted[:300] if not isinstance(wanted, bytes) else wanted[:150].hex())
            print("   got   ", got[:300] if not isinstance(got, bytes) else got[:150].hex())
        results.append(got == wanted)

    stream = theirs.read(request("chunk_.*", [1, 0]))
    check("streamed chunks, byte for byte", ours.read(request("chunk_.*", [1, 0]))[2], stream[2])
    check("their type", ours.read(request("chunk_.*", [1]))[1]["Content-Type"], stream[1]["Content-Type"])
    samples = [unsnappy(s.read(request("chunk_[a-gi-z].*", []))[2]) for s in (theirs, ours)]
    check("samples of the floats", sorted_series(samples[1]), sorted_series(samples[0]))
    if os.environ.get("UPDATE"):
        open(f"{WIRE}/remote_read_request.snappy", "wb").write(request("chunk_.*", [1, 0]))
        open(f"{WIRE}/remote_read_write.snappy", "wb").write(write)
        open(f"{WIRE}/remote_read_chunks.expected", "wb").write(stream[2])

    external = Server(True, config="external_labels:\n  cluster: eu\n")
    external.write(write)
    config = f"remote_read:\n  - url: {external.url}/api/v1/read\n    read_recent: true\n"
    reader = Server(False, config=config)
    end = (BEGIN + 40 * STEP) / 1000
    for query in ["rate(chunk_counter[5m])", "sum(chunk_small)", "changes(chunk_times[10m])", "count_over_time(chunk_special[1h] @ %d)" % (end + 3000), "chunk_random > 0", "chunk_counter{job=~\"a|b\"} offset 1m"]:
        path = f"/api/v1/query_range?start={end}&end={end + 300}&step=30&query=" + urllib.parse.quote(query)
        check("Prometheus reads " + query, strip(reader.json(path)), strip(theirs.json(path)))
    path = "/api/v1/query?time=%d&query=" % end
    external_query = urllib.parse.quote('chunk_counter{cluster="eu"}')
    check("by an external label", strip(reader.json(path + external_query)), strip(theirs.json(path + "chunk_counter")))
    check("labels of the answer", [r["metric"]["cluster"] for r in reader.json(path + "chunk_counter")["data"]["result"]], ["eu"])
    found = reader.json(f"/api/v1/series?match[]=chunk_two&start={BEGIN / 1000}&end={end}")["data"]
    check("series without samples", found, [{"__name__": "chunk_two", "cluster": "eu", "job": "a"}])
    for body, status in [(b"\xff\xff\xff\xff\x0f", 400), (b"", 400), (snappy(b"\x0a\xff"), 400), (request("(", []), 400), (request("x", [7]), 400)]:
        check(f"refused: {body[:6].hex()}", str(ours.read(body)[0]), str(status))
    for server in (theirs, ours, external, reader):
        server.stop()
    return all(results)


def strip(answer):
    for one in answer.get("data", {}).get("result", []):
        one["metric"].pop("cluster", None)
    return repr(answer)


def sorted_series(message):
    """The time series of the first result: Prometheus gives them in any order."""
    def fields(data):
        at, out = 0, []
        while at < len(data):
            key, at = read_varint(data, at)
            if key & 7 == 1:
                out, at = out + [(key, data[at:at + 8])], at + 8
            elif key & 7 == 0:
                n, at = read_varint(data, at)
                out.append((key, n))
            else:
                n, at = read_varint(data, at)
                out, at = out + [(key, data[at:at + n])], at + n
        return out

    def sample(data):
        got = dict(fields(data))
        # 2.42 sends minus zero as zero.
        return got.get(9, bytes(8)).replace(struct.pack("<d", -0.0), bytes(8)), got.get(16, 0)

    series = []
    for _, one in fields(fields(message)[0][1]):
        series.append([(key, sample(value) if key == 18 else value) for key, value in fields(one)])
    return repr(sorted(series, key=repr))


def read_varint(data, at):
    n, shift = 0, 0
    while True:
        n, shift, at = n | (data[at] & 0x7F) << shift, shift + 7, at + 1
        if data[at - 1] < 0x80:
            return n, at


if __name__ == "__main__":
    sys.exit(not main())
