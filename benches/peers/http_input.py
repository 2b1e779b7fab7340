"""Clients of the http input: urllib with every compression, Fluent Bit's out_http. Run by hand."""
import gzip, json, os, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request, zlib

from agent import Agent, free_port

FLUENT_BIT = os.environ.get("FLUENT_BIT", "fluent-bit")


def check(name, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), name, got)
    return got == wanted


def post(port, path, body, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, method="POST")
    for k, v in {"content_type": "application/json", **headers}.items():
        request.add_header(k.replace("_", "-"), v)
    try:
        with urllib.request.urlopen(request, timeout=40) as r:
            return r.status, dict(r.headers)
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


port = free_port()
a = Agent(f"[INPUT]\n    Name http\n    Listen 127.0.0.1\n    Port {port}\n    Success_Header X-Done yes\n    Add_Remote_Addr On\n    Tag_Key $meta['tag']\n")
results = []
status, headers = post(port, "/a/b-c", b'{"i":0}')
results.append(check("object", (status, headers.get("x-done")), (201, "yes")))
body = b'[{"i":1},{"i":2,"meta":{"tag":"x/y"}}]'
results.append(check("gzip array", post(port, "/", gzip.compress(body), content_encoding="gzip", x_forwarded_for="1.2.3.4, 5.6.7.8")[0], 201))
results.append(check("deflate lines", post(port, "/", zlib.compress(b'{"i":3}\n{"i":4}\n'), content_encoding="deflate")[0], 201))
results.append(check("form", post(port, "/", b"i=5&text=a+b%21", content_type="application/x-www-form-urlencoded")[0], 201))
results.append(check("broken", post(port, "/", b'[{"i":6},{"i":'), (400, "error: JSON data is incomplete from byte 0 on\n")))
results.append(check("not JSON", post(port, "/", b"x")[0], 400))
results.append(check("type", post(port, "/", b"x", content_type="text/plain"), (400, "error: invalid 'Content-Type'\n")))
results.append(check("too large", post(port, "/", gzip.compress(b" " * 70_000_000), content_encoding="gzip")[0], 413))
got = a.lines(6)
got = [{k: v for k, v in r.items() if k != "date"} for r in got]
results.append(check("records", got, [{"i": 0}, {"i": 1, "REMOTE_ADDR": "1.2.3.4"}, {"i": 2, "meta": {"tag": "x/y"}, "REMOTE_ADDR": "1.2.3.4"}, {"i": 3}, {"i": 4}, {"i": "5", "text": "a b!"}]))
a.stop()

for compress in ("", "    Compress gzip\n", "    Compress snappy\n", "    Compress zstd\n"):
    port = free_port()
    a = Agent(f"[INPUT]\n    Name http\n    Listen 127.0.0.1\n    Port {port}\n")
    conf = tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False)
    conf.write(f"[SERVICE]\n    Flush 0.2\n    Grace 2\n[INPUT]\n    Name dummy\n    Rate 500\n    Samples 500\n[OUTPUT]\n    Name http\n    Match *\n    Host 127.0.0.1\n    Port {port}\n    Format json\n    Uri /x\n{compress}")
    conf.close()
    p = subprocess.Popen([FLUENT_BIT, "-q", "-c", conf.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    got = a.lines(500, patience=8)
    p.terminate()
    p.wait()
    a.stop()
    results.append(check(f"Fluent Bit http {compress.strip()}", len(got), 500))

# The destination is away: what was taken is answered when it is delivered and not before, and nothing more is taken.
port, dead = free_port(), free_port()
a = Agent(f"[INPUT]\n    Name http\n    Listen 127.0.0.1\n    Port {port}\n    Mem_Buf_Limit 1M\n", output=f"    Name http\n    Match *\n    Host 127.0.0.1\n    Port {dead}\n")
answers = []


def first():
    try:
        answers.append(post(port, "/", json.dumps([{"x": "y" * 1000}] * 2000).encode())[0])
    except OSError as error:
        answers.append(type(error).__name__)


waiting = threading.Thread(target=first)
waiting.start()
time.sleep(1)
results.append(check("full", post(port, "/", b"{}")[0], 503))
results.append(check("taken and waiting", answers, []))
a.stop()
waiting.join()
# The agent has left: whatever it says, it is not that the records arrived.
results.append(check("left", 201 in answers, False))
sys.exit(not all(results))
