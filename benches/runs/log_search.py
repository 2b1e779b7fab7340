#!/usr/bin/env python3
"""Time to the first lines of a search in many gigabytes of logs, by the HTTP API and on the page.

    benches/runs/log_search.py --loggen BINARY [--pieces 5] [--piece-bytes 2g] [--out results.json]

Pieces follow each other in time, each of its own seed: at five of 2 GB the store has 10 GB of messages of a day and a half. Then the
server is started anew. Each search is asked once with the system's file cache dropped (as root; "cold") and five times with it
("warm", the median), as the page asks it: the newest 500 lines of the whole span. First bytes and last bytes of the answer are timed;
CPU is the server's for one warm answer. With `--page` the page itself is opened in headless Chromium at that search, by
`log_search_page.mjs`: from the address to the first line on the screen.
"""
import argparse, http.client, json, os, pathlib, shutil, statistics, subprocess, tempfile, time, urllib.parse

from store_logs import ALL, ROOT, Server, send

# The generator is told six hours and takes up to a sixth more.
SPAN_S, TOLD_S = 25_200, 21_600
LIMIT = 500


def searches(truth):
    """Name and LogQL."""
    return [
        ("newest of all", ALL),
        ("a word few lines have", f'{ALL} |= "{truth["rare_text"]}"'),
        ("part of a word", f'{ALL} |= "{truth["needle_text"]}"'),
        ("a trace id", f'{ALL} |= "{truth["trace_id"]}"'),
        ("a text no line has", f'{ALL} |= "no line says this"'),
        ("an id no line has", f'{ALL} |= "0123456789abcdef0123456789abcdef"'),
        ("a regular expression", f'{ALL} |~ "duration: [0-9]{{4,}}[.][0-9]+ ms"'),
        ("any case", f'{ALL} |~ "(?i)connection reset by peer"'),
        ("errors of JSON lines", '{namespace=~"auth|payments|search|shop"} | json | level="error"'),
        ("one namespace", '{namespace="payments"} |= "timed out"'),
    ]


def drop_file_cache():
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    except OSError:
        return False


def timed(server, path):
    """Milliseconds to the first bytes of the answer and to the last, and its lines."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    begin = time.time()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read(1)
    first = time.time()
    body += answer.read()
    last = time.time()
    assert answer.status == 200, (answer.status, body[:300])
    lines = sum(len(s["values"]) for s in json.loads(body)["data"]["result"])
    return (first - begin) * 1e3, (last - begin) * 1e3, lines


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--loggen", required=True)
    p.add_argument("--aggregator", default=ROOT / "target" / "release" / "kansoku-aggregator")
    p.add_argument("--pieces", type=int, default=5)
    p.add_argument("--piece-bytes", default="2g")
    p.add_argument("--scratch", default="/dev/shm", help="folder for one piece at a time")
    p.add_argument("--page", action="store_true", help="also on the page; needs the modules of tests/browser")
    p.add_argument("--out")
    a = p.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="log-search-"))
    server = Server("kansoku", work, {"kansoku": a.aggregator})
    server.start()
    begin_s = int(time.time()) - a.pieces * SPAN_S - 60
    totals, truth = {"lines": 0, "msg_bytes": 0}, None
    for piece in range(a.pieces):
        frames, answers = pathlib.Path(a.scratch) / f"log-search-{os.getpid()}.bin", work / "truth.json"
        subprocess.run([a.loggen, "--seed", str(piece + 1), "--bytes", a.piece_bytes, "--start", str(begin_s + piece * SPAN_S), "--span", str(TOLD_S),
                        "--loki", frames, "--truth", answers], check=True, stdout=subprocess.DEVNULL)
        truth = json.loads(answers.read_text())
        sent = send(server, frames)
        assert sent == truth["lines"], (sent, truth["lines"])
        frames.unlink()
        for key in totals:
            totals[key] += truth[key]
    server.settle()
    results = totals | {"bytes_per_line": round(server.disk_bytes() / totals["lines"], 2), "searches": {}}
    start, end = begin_s * 10**9, (truth["end_ns"] + 10**9)
    print(json.dumps({k: v for k, v in results.items() if k != "searches"}), flush=True)
    print("| search | lines | cold, first / last ms | warm, first / last ms | CPU ms |\n|---|---|---|---|---|")
    for name, query in searches(truth):
        path = "/loki/api/v1/query_range?" + urllib.parse.urlencode({"query": query, "start": start, "end": end, "limit": LIMIT, "direction": "backward"})
        is_cold = drop_file_cache()
        cold = timed(server, path)
        timed(server, path)
        cpu = server.cpu_s()
        warm = [timed(server, path) for _ in range(5)]
        cpu = (server.cpu_s() - cpu) / 5
        row = {"lines": cold[2], "cold_first_ms": round(cold[0], 1) if is_cold else None, "cold_last_ms": round(cold[1], 1) if is_cold else None,
               "warm_first_ms": round(statistics.median(w[0] for w in warm), 1), "warm_last_ms": round(statistics.median(w[1] for w in warm), 1), "cpu_ms": round(cpu * 1e3, 1)}
        results["searches"][name] = row
        print(f"| {name} | {row['lines']} | {row['cold_first_ms']} / {row['cold_last_ms']} | {row['warm_first_ms']} / {row['warm_last_ms']} | {row['cpu_ms']} |", flush=True)
    if a.page:
        asked = json.dumps({"base": f"http://127.0.0.1:{server.port}", "range": f"{(end - start) // 3_600_000_000_000 + 1}h",
                            "searches": [list(s) for s in searches(truth) if results["searches"][s[0]]["lines"]]})
        answer = subprocess.run(["node", pathlib.Path(__file__).parent / "log_search_page.mjs", asked], check=True, capture_output=True, text=True).stdout
        results["page"] = json.loads(answer)
        print("\n| search on the page | first line on the screen, ms |\n|---|---|")
        for name, ms in results["page"].items():
            print(f"| {name} | {ms} |")
    results["peak_rss_mb"] = server.memory_mb("VmHWM")
    server.stop()
    shutil.rmtree(work)
    if a.out:
        pathlib.Path(a.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
