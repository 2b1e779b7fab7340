#!/usr/bin/env python3
"""What is lost and what comes twice under faults, every line numbered.

    benches/runs/faults.py [SCENARIO ...] [--to http|es|native] [--agent BINARY] [--aggregator BINARY] [--seconds 6] [--out results.json]

Each scenario starts the release agent on CRI files that a writer fills meanwhile, and does something bad. Then
everything that was written must have arrived: `lost` counts lines that did not, `repeated` those that came more than
once, `repeated_by_id` those that a receiver could not drop although it looks at the Idempotency-Key (http), the
document id (es) or the source position (native: the aggregator itself). A key that comes with another body is an
error in every scenario. `--agent` may be a Fluent Bit, for comparison.
"""
import argparse, collections, ctypes, gzip, hashlib, http.server, json, os, pathlib, random, re, resource, shutil, signal, socket
import subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target" / "release"
SEQUENCE = re.compile(rb"seq=(\w+):(\d+);")
PAD = ("the quick brown fox jumps over the lazy dog " * 5)[:150]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sink:
    """An HTTP destination that counts numbered lines and can misbehave in every way a server can."""

    def __init__(self, kind):
        self.kind, self.port, self.mode, self.lock = kind, free_port(), "ok", threading.Lock()
        self.counts, self.by_id, self.bodies, self.n_requests, self.changed_bodies = collections.Counter(), collections.Counter(), {}, 0, 0
        self.order, self.out_of_order, self.server = {}, 0, None
        self.documents = set()
        self.up()

    def up(self):
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                with sink.lock:
                    sink.n_requests += 1
                    n, mode = sink.n_requests, sink.mode
                if mode == "500" or (mode == "500_some" and n % 3 == 0):
                    return self.answer(500, b"broken")
                if mode == "429":
                    return self.answer(429, b"slow down", {"Retry-After": "1"})
                while sink.mode == "hang":
                    time.sleep(0.1)
                    if sink.mode != "hang":
                        self.close_connection = True
                        return self.connection.close()
                if mode == "slow":
                    time.sleep(0.3)
                reply = sink.take(body, self.headers.get("Idempotency-Key"))
                if mode == "reset_after" and n % 5 == 0:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    self.close_connection = True
                    return self.connection.close()
                self.answer(200, reply)

            def answer(self, status, body, headers={}):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size, allow_reuse_address = True, 128, True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    def take(self, body, key):
        with self.lock:
            known = key is not None and key in self.bodies
            if known and self.bodies[key] != hashlib.sha1(body).digest():
                self.changed_bodies += 1
            if key is not None:
                self.bodies[key] = hashlib.sha1(body).digest()
            if self.kind == "es":
                return self.take_bulk(body)
            for name, n in SEQUENCE.findall(body):
                n = int(n)
                self.counts[name, n] += 1
                if not known:
                    self.by_id[name, n] += 1
                    if n < self.order.get(name, -1):
                        self.out_of_order += 1
                    self.order[name] = max(n, self.order.get(name, -1))
            return b""

    def take_bulk(self, body):
        items, rows = [], body.split(b"\n")
        for action, source in zip(rows[::2], rows[1::2]):
            head = json.loads(action)
            op, = head
            identity = head[op].get("_id")
            for name, n in SEQUENCE.findall(source):
                self.counts[name, int(n)] += 1
                if identity is None or identity not in self.documents:
                    self.by_id[name, int(n)] += 1
            status = 409 if identity in self.documents else 201
            self.documents.add(identity)
            items.append({op: {"_id": identity, "status": status}})
        return json.dumps({"took": 1, "errors": any(i[o]["status"] == 409 for i in items for o in i), "items": items}).encode()

    def result(self, written):
        with self.lock:
            lost = [k for k in written if not self.counts[k]]
            return {"lost": len(lost), "repeated": sum(n - 1 for n in self.counts.values() if n > 1),
                    "repeated_by_id": sum(n - 1 for n in self.by_id.values() if n > 1), "changed_bodies": self.changed_bodies,
                    "out_of_order": self.out_of_order, "first_lost": [f"{a.decode()}:{b}" for a, b in lost[:3]]}

    def arrived(self):
        with self.lock:
            return len(self.counts)


class Native:
    """The real aggregator as destination, asked with LogQL."""

    def __init__(self, work, binary):
        self.port, self.work, self.kind, self.binary = free_port(), work, "native", binary
        self.up()

    def up(self):
        log = open(self.work / "aggregator.log", "ab")
        self.process = subprocess.Popen([self.binary, f"--web.listen-address=127.0.0.1:{self.port}",
                                         f"--storage.path={self.work}/store"], stdout=log, stderr=log)

    def down(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def query(self):
        found, start = collections.Counter(), time.time_ns() - 3_600_000_000_000
        while True:
            parameters = urllib.parse.urlencode({"query": '{tag=~".+"}', "start": start,
                                                 "end": time.time_ns() + 3_600_000_000_000, "limit": 5000, "direction": "forward"})
            page = json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/loki/api/v1/query_range?{parameters}", timeout=60))
            rows = [(int(ts), line) for s in page["data"]["result"] for ts, line in s["values"]]
            last = len(rows) < 5000
            newest = max((t for t, _ in rows), default=0)
            # Whatever has the page's last time comes again with the next page, with the rest of that time.
            for _, line in [r for r in rows if last or r[0] < newest]:
                for name, n in SEQUENCE.findall(line.encode()):
                    found[name, int(n)] += 1
            if last:
                return found
            if newest == start:
                sys.exit("more than a page of records of one time: the query cannot tell them apart")
            start = newest

    def total(self):
        try:
            page = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read().decode()
            return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("kansoku_ingest_records_total"))
        except OSError:
            return -1

    arrived = total


class Agent:
    def __init__(self, work, binary, config, limit=None):
        self.work, self.binary, self.limit = work, binary, limit
        (work / "agent.conf").write_text(config)
        self.rss_mb = 0
        self.start()

    def start(self):
        log = open(self.work / "agent.log", "ab")
        self.process = subprocess.Popen([self.binary, "-c", str(self.work / "agent.conf")], stdout=log, stderr=log, cwd=self.work, preexec_fn=self.limit)

    def peak(self):
        try:
            for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.rss_mb = max(self.rss_mb, int(line.split()[1]) / 1000)
        except OSError:
            pass

    def kill(self):
        self.peak()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.peak()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


class Log:
    """One container's log file: numbered CRI lines, rotated as the kubelet or logrotate would."""

    def __init__(self, folder, name):
        self.folder, self.name, self.n, self.generation = folder, name, 0, 0
        self.path = folder / f"{name}.log"
        self.file = open(self.path, "ab", buffering=0)

    def text(self):
        line = f"seq={self.name}:{self.n}; {PAD}"
        self.n += 1
        return line

    def stamp(self, later=0):
        t = time.time_ns() + later
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t // 10**9)) + ".%09dZ" % (t % 10**9)

    def lines(self, n):
        for i in range(0, n, 100):
            # Of one time there must be less than a page of the query.
            stamp = self.stamp(i)
            self.file.write("".join(f"{stamp} stdout F {self.text()}\n" for _ in range(min(n - i, 100))).encode())

    def rename(self):
        self.generation += 1
        self.file.close()
        old = self.folder / f"{self.name}.log.20261121-{self.generation:06d}"
        self.path.rename(old)
        self.file = open(self.path, "ab", buffering=0)
        return old

    def copytruncate(self, pause=0.0):
        self.generation += 1
        shutil.copyfile(self.path, self.folder / f"{self.name}.log.20261121-{self.generation:06d}")
        time.sleep(pause)
        os.truncate(self.path, 0)


def compress(path):
    packed = path.with_name(path.name + ".tmp")
    with open(path, "rb") as plain, gzip.open(packed, "wb", 1) as out:
        shutil.copyfileobj(plain, out)
    packed.rename(path.with_name(path.name + ".gz"))
    path.unlink()


class Bench:
    """One scenario's surroundings."""

    def __init__(self, arguments, name):
        self.a, self.name, self.work = arguments, name, pathlib.Path(tempfile.mkdtemp(prefix="faults-"))
        self.logs = self.work / "logs"
        self.logs.mkdir()
        self.sink = Native(self.work, arguments.aggregator) if arguments.to == "native" else Sink(arguments.to)
        self.files, self.agent, self.extra_written, self.http = [], None, set(), free_port()

    def start(self, tail="", output="", service="", path="*.log", flush=0.2, limit=None, parser="multiline.parser cri"):
        name = {"http": "http\n    URI /x\n    Format json_lines", "es": "es\n    Suppress_Type_Name On", "native": "kansoku"}[self.a.to]
        config = (f"[SERVICE]\n    Flush {flush}\n    Grace 10\n    Log_Level info\n    HTTP_Server On\n    HTTP_Listen 127.0.0.1\n    HTTP_Port {self.http}\n    Hot_Reload On\n"
                  f"    storage.path {self.work}/storage\n    scheduler.base 1\n    scheduler.cap 3\n{service}"
                  f"[INPUT]\n    Name tail\n    Tag t.*\n    Path {self.logs}/{path}\n    DB {self.work}/tail.db\n    Read_from_Head On\n    Refresh_Interval 1\n"
                  f"    Rotate_Wait 30\n    Buffer_Max_Size 3M\n    Skip_Long_Lines On\n    {parser}\n{tail}"
                  f"[OUTPUT]\n    Name {name}\n    Match *\n    Host 127.0.0.1\n    Port {self.sink.port}\n    Retry_Limit no_limits\n{output}")
        self.agent = Agent(self.work, self.a.agent, config, limit)
        time.sleep(1)

    def open(self, n):
        self.files = [Log(self.logs, f"f{i}") for i in range(n)]

    def write(self, seconds, mb_per_s=8.0, each=None):
        begin, written, last = time.time(), 0, time.time()
        per = 20
        while time.time() - begin < seconds:
            # A writer that is too slow must come to an end, too.
            while written < min(time.time() - begin, seconds) * mb_per_s * 1e6:
                for f in self.files:
                    f.lines(per)
                written += per * len(self.files) * 220
            if each and time.time() - last > 0.05:
                each(time.time() - begin)
                last = time.time()
            time.sleep(0.004)

    def written(self):
        return {(f.name.encode(), n) for f in self.files for n in range(f.n)} | self.extra_written

    def finish(self):
        wanted, still, before = len(self.written()), 0, -1
        while still < 120:
            time.sleep(0.1)
            now = self.sink.arrived()
            if now >= wanted:
                break
            still = still + 1 if now == before else 0
            before = now
        time.sleep(1.5)
        self.agent.stop()
        if self.a.to == "native":
            found = self.sink.query()
            lost = [k for k in self.written() if not found[k]]
            repeated = sum(n - 1 for n in found.values() if n > 1)
            result = {"lost": len(lost), "repeated": repeated, "repeated_by_id": repeated, "first_lost": [f"{a.decode()}:{b}" for a, b in lost[:3]]}
        else:
            result = self.sink.result(self.written())
        result |= {"written": wanted, "rss_mb": round(self.agent.rss_mb, 1)}
        self.sink.down()
        said = (self.work / "agent.log").read_text(errors="replace")
        if result["lost"] or result["repeated_by_id"] or self.a.keep:
            keep = pathlib.Path(tempfile.gettempdir()) / f"faults-{self.name}-{os.getpid()}.log"
            keep.write_text(said)
            result["log"] = str(keep)
        if "panicked" in said:
            result["panicked"] = True
        if not self.a.keep:
            shutil.rmtree(self.work, ignore_errors=True)
        return result


def steady(b):
    b.open(4), b.start(), b.write(b.a.seconds)


def rename_fast(b):
    b.open(4), b.start()
    due = [1.0]

    def rotate(t):
        if t > due[0]:
            due[0] += 0.25
            b.files[int(t * 4) % 4].rename()
    b.write(b.a.seconds, each=rotate)


def rename_burst(b):
    b.open(1), b.start()
    for _ in range(40):
        b.files[0].lines(5000)
        b.files[0].rename()


def copytruncate(b):
    b.open(4), b.start()
    due = [1.0]

    def rotate(t):
        if t > due[0]:
            due[0] += 1.0
            b.files[int(t) % 4].copytruncate()
    b.write(b.a.seconds, each=rotate)


def copytruncate_stall(b):
    """The agent stands still during each rotation: of files that it has not begun, and in the middle of others."""
    b.open(4), b.start()
    # Still, rotate, go on, and again.
    steps = iter([(0.25 * n, n) for n in range(1, int(b.a.seconds * 4))])
    following = [next(steps)]
    b.agent.process.send_signal(signal.SIGSTOP)

    def rotate(t):
        while following[0] and t > following[0][0]:
            n = following[0][1]
            if n % 3 == 1:
                b.files[n // 3 % 4].copytruncate()
            else:
                b.agent.process.send_signal(signal.SIGCONT if n % 3 == 2 else signal.SIGSTOP)
            following[0] = next(steps, None)
    b.write(b.a.seconds, each=rotate)
    b.agent.process.send_signal(signal.SIGCONT)


def copytruncate_pause(b):
    b.open(4), b.start()
    due = [1.0]

    def rotate(t):
        if t > due[0]:
            due[0] += 1.0
            b.files[int(t) % 4].copytruncate(0.2)
    b.write(b.a.seconds, 4, each=rotate)


def down_rotate(b):
    b.open(3), b.start(), b.write(2)
    b.agent.stop()
    for _ in range(4):
        b.write(0.5)
        for f in b.files:
            f.rename()
    b.write(0.5)
    b.agent.start()


def down_rotate_gz(b):
    b.open(3), b.start(), b.write(2)
    b.agent.stop()
    old = {f.name: [] for f in b.files}
    for _ in range(4):
        b.write(0.5)
        for f in b.files:
            old[f.name].append(f.rename())
    for paths in old.values():
        for path in paths[:-1]:
            compress(path)
    b.write(0.5)
    b.agent.start()


def kills(b, n, during):
    rng, due = random.Random(b.a.seed), [1.0]

    def hit(t):
        if t > due[0] and n[0] > 0:
            n[0] -= 1
            due[0] = t + rng.uniform(0.3, 1.2)
            b.agent.kill()
            b.agent.start()
    during(hit)


def kill9_live(b):
    b.open(4), b.start()
    kills(b, [8], lambda hit: b.write(max(b.a.seconds, 8), each=hit))


def kill9_rotate(b):
    b.open(4), b.start()
    due = [1.0]

    def during(hit):
        def both(t):
            if t > due[0]:
                due[0] += 0.5
                b.files[int(t * 2) % 4].rename()
            hit(t)
        b.write(max(b.a.seconds, 8), each=both)
    kills(b, [8], during)


def kill9_rotate_gz(b):
    b.open(3), b.start()
    due, old = [1.0], []

    def during(hit):
        def both(t):
            if t > due[0]:
                due[0] += 0.7
                old.append(b.files[int(t * 2) % 3].rename())
                if len(old) > 4:
                    compress(old.pop(0))
            hit(t)
        b.write(max(b.a.seconds, 8), each=both)
    kills(b, [6], during)


def kill9_catchup(b):
    b.open(5)
    for f in b.files:
        for _ in range(30):
            f.lines(5000)
    b.start()
    rng = random.Random(b.a.seed)
    for _ in range(10):
        time.sleep(rng.uniform(0.05, 0.3))
        b.agent.kill()
        b.agent.start()


def kill9_partial(b):
    b.open(2), b.start()
    rng = random.Random(b.a.seed)
    for round_ in range(60):
        for f in b.files:
            text, stamp = f.text(), f.stamp()
            third = len(text) // 3
            for flag, part in (("P", text[:third]), ("P", text[third:2 * third]), ("F", text[2 * third:])):
                f.file.write(f"{stamp} stdout {flag} {part}\n".encode())
                if flag == "P" and rng.random() < 0.1:
                    f.rename()
                time.sleep(0.005)
                if rng.random() < 0.03:
                    b.agent.kill()
                    b.agent.start()
                    time.sleep(0.3)


def kill9_multiline(b):
    b.open(2)
    b.start(parser="multiline.parser cri, java")
    rng = random.Random(b.a.seed)
    for round_ in range(150):
        for f in b.files:
            stamp = f.stamp()
            f.file.write(f"{stamp} stdout F {f.text()} java.lang.IllegalStateException: broken\n".encode())
            for k in range(6):
                f.file.write(f"{stamp} stdout F \tat com.example.shop.Order.store(Order.java:{k})\n".encode())
                if rng.random() < 0.01:
                    b.agent.kill()
                    b.agent.start()
            time.sleep(0.01)
    for f in b.files:
        f.lines(1)


def sigterm(b):
    b.open(4), b.start()
    for _ in range(4):
        b.write(1.2)
        b.agent.stop()
        b.agent.start()


def reload(b):
    b.open(4), b.start()
    for _ in range(4):
        b.write(1.2)
        b.agent.process.send_signal(signal.SIGHUP)


def sink_mode(mode, seconds, mb_per_s=4.0):
    def scenario(b):
        b.open(4), b.start(), b.write(2, mb_per_s)
        b.sink.mode = mode
        b.write(seconds, mb_per_s)
        b.sink.mode = "ok"
        b.write(1, mb_per_s)
    return scenario


def down(seconds):
    def scenario(b):
        b.open(4), b.start(), b.write(2, 4)
        b.sink.down()
        b.write(seconds, 4)
        b.agent.peak()
        b.sink.up()
        b.write(1, 4)
    return scenario


def down_kill9(b):
    b.open(4), b.start(), b.write(2, 3)
    b.sink.down()
    for _ in range(2):
        b.write(4, 3)
        b.agent.kill()
        b.agent.start()
    b.sink.up()
    b.write(1, 3)


def down_rename_delete(b):
    """While the sink is away files rotate and the oldest rotated ones are deleted; only the spill can save those."""
    b.open(2)
    b.start(tail="    storage.type filesystem\n")
    b.write(2, 3)
    b.sink.down()
    gone = []
    for _ in range(6):
        b.write(1, 3)
        for f in b.files:
            gone.append(f.rename())
        time.sleep(1)
        while len(gone) > 4:
            gone.pop(0).unlink()
    b.sink.up()
    b.write(1, 3)


def disk_limit(b):
    b.open(4)
    b.start(tail="    storage.type filesystem\n", output="    storage.total_limit_size 2M\n")
    b.write(2, 4)
    b.sink.down()
    b.write(10, 4)
    b.sink.up()
    b.write(1, 4)


def disk_full(b):
    small = b.work / "storage"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]).returncode == 0
    b.open(4)
    b.start(tail="    storage.type filesystem\n")
    b.write(2, 4)
    b.sink.down()
    b.write(10, 4)
    b.sink.up()
    b.write(1, 4)
    if mounted:
        b.cleanup = lambda: subprocess.run(["umount", "-l", str(small)])


def deleted(b):
    b.open(4), b.start(), b.write(2)
    time.sleep(1.5)
    for f in b.files[:2]:
        f.lines(2000)
        f.path.unlink()
    b.write(2)


def truncated(b):
    b.open(4), b.start()
    for _ in range(3):
        b.write(1)
        time.sleep(1.5)
        for f in b.files:
            os.truncate(f.path, 0)


def inode_reuse(b):
    b.open(2), b.start()
    for _ in range(10):
        b.write(0.3)
        time.sleep(0.8)
        for f in b.files:
            f.file.close()
            f.path.unlink()
            f.file = open(f.path, "ab", buffering=0)


def symlinks(b):
    real, middle = b.work / "pods", b.work / "middle"
    real.mkdir(), middle.mkdir()
    for i in range(3):
        f = Log(real, f"f{i}")
        (middle / f"f{i}.log").symlink_to(f.path)
        (b.logs / f"f{i}.log").symlink_to(middle / f"f{i}.log")
        b.files.append(f)
    b.start()
    due = [1.0]

    def rotate(t):
        if t > due[0]:
            due[0] += 1.0
            b.files[int(t) % 3].rename()
    b.write(b.a.seconds, each=rotate)


def files2000(b):
    b.start()
    b.open(2000)
    for _ in range(10):
        for f in b.files:
            f.lines(5)
        time.sleep(0.3)


def inotify_low(b):
    def limit():
        pass
    value = pathlib.Path("/proc/sys/fs/inotify/max_user_instances").read_text()
    pathlib.Path("/proc/sys/fs/inotify/max_user_instances").write_text("0")
    try:
        b.open(4), b.start(limit=limit)
    finally:
        pathlib.Path("/proc/sys/fs/inotify/max_user_instances").write_text(value)
    b.write(4)
    b.files[0].rename()
    b.write(2)


def torn_writes(b):
    b.open(2), b.start()
    for _ in range(300):
        for f in b.files:
            line = f"{f.stamp()} stdout F {f.text()}\n".encode()
            cut = random.Random(f.n).randrange(1, len(line))
            f.file.write(line[:cut])
            time.sleep(0.002)
            f.file.write(line[cut:])


def long_lines(b):
    b.open(2), b.start()
    for i in range(20):
        for f in b.files:
            f.file.write(f"{f.stamp()} stdout F {f.text()} {'x' * 1_000_000}\n".encode())
            f.lines(20)
        time.sleep(0.1)


def dirty(b):
    b.open(2), b.start()
    for i in range(200):
        for f in b.files:
            f.file.write(f"{f.stamp()} stdout F ".encode() + b"\0\xff\xfe\xc3( " + f.text().encode() + b" \x00\x80\n")
            f.file.write(b"\n" + b"\0" * 64 + b"no cri line at all\n")
            f.lines(3)
        time.sleep(0.01)


def kill_both(b):
    """Both programs killed again and again (native only)."""
    b.open(4), b.start()
    rng, due = random.Random(b.a.seed), [1.0]

    def hit(t):
        if t > due[0]:
            due[0] = t + rng.uniform(0.3, 1.0)
            if rng.random() < 0.5:
                b.agent.kill()
                b.agent.start()
            else:
                b.sink.down()
                b.sink.up()
    b.write(max(b.a.seconds, 8), each=hit)


SCENARIOS = {
    "steady": steady, "rename_fast": rename_fast, "rename_burst": rename_burst, "copytruncate": copytruncate,
    "copytruncate_stall": copytruncate_stall, "copytruncate_pause": copytruncate_pause, "down_rotate": down_rotate, "down_rotate_gz": down_rotate_gz,
    "kill9_catchup": kill9_catchup, "kill9_live": kill9_live, "kill9_rotate": kill9_rotate, "kill9_rotate_gz": kill9_rotate_gz,
    "kill9_partial": kill9_partial, "kill9_multiline": kill9_multiline, "sigterm": sigterm, "reload": reload,
    "sink_down60": down(60), "sink_down_kill9": down_kill9, "sink_down_delete": down_rename_delete,
    "sink_500": sink_mode("500", 8), "sink_500_some": sink_mode("500_some", 6), "sink_429": sink_mode("429", 6),
    "sink_hang": sink_mode("hang", 8), "reset_after": sink_mode("reset_after", 8), "sink_slow": sink_mode("slow", 8),
    "disk_limit": disk_limit, "disk_full": disk_full, "deleted": deleted, "truncated": truncated, "inode_reuse": inode_reuse,
    "symlink_chain": symlinks, "files2000": files2000, "inotify_low": inotify_low, "torn_writes": torn_writes,
    "long_lines": long_lines, "dirty": dirty, "kill_both": kill_both,
}
NEEDS_MODES = {"sink_500", "sink_500_some", "sink_429", "sink_hang", "reset_after", "sink_slow"}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    arguments.add_argument("--to", choices=["http", "es", "native"], default="http")
    arguments.add_argument("--agent", default=str(RELEASE / "kansoku-agent"))
    arguments.add_argument("--aggregator", default=str(RELEASE / "kansoku-aggregator"))
    arguments.add_argument("--seconds", type=float, default=6)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--keep", action="store_true", help="leave the folder of each scenario")
    arguments.add_argument("--out")
    a = arguments.parse_args()
    results = {}
    for name in a.scenarios:
        if (a.to == "native" and name in NEEDS_MODES) or (a.to != "native" and name == "kill_both"):
            continue
        bench = Bench(a, name)
        try:
            SCENARIOS[name](bench)
            results[name] = bench.finish()
        finally:
            getattr(bench, "cleanup", lambda: None)()
            if bench.agent and bench.agent.process.poll() is None:
                bench.agent.process.kill()
        print(name, a.to, json.dumps(results[name]), flush=True)
        if a.out:
            pathlib.Path(a.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
