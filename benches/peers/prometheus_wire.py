"""What the scripts beside Prometheus share: its messages as bytes, snappy, and both programs on free ports."""
import json, os, socket, struct, subprocess, tempfile, time, urllib.error, urllib.request

PROMETHEUS = os.environ.get("PROMETHEUS", "prometheus")
AGGREGATOR = os.environ.get("AGGREGATOR", "target/debug/kansoku-aggregator")
WRITE = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n >= 0x80:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def zigzag(n):
    return n << 1 if n >= 0 else (-n << 1) - 1


def integer(field, n):
    return varint(field << 3) + varint(n)


def double(field, x):
    return varint(field << 3 | 1) + struct.pack("<d", x)


def raw(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def labels(pairs):
    return b"".join(raw(1, raw(1, name) + raw(2, value)) for name, value in sorted(pairs.items()))


def snappy(plain):
    """Valid snappy of literals only."""
    out = varint(len(plain))
    for at in range(0, len(plain), 65536):
        piece = plain[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return out


def unsnappy(data):
    at, size, shift = 0, 0, 0
    while True:
        size, shift, at = size | (data[at] & 0x7F) << shift, shift + 7, at + 1
        if data[at - 1] < 0x80:
            break
    out = bytearray()
    while at < len(data):
        tag, at = data[at], at + 1
        if tag & 3 == 0:
            n = tag >> 2
            if n >= 60:
                extra = n - 59
                n, at = int.from_bytes(data[at:at + extra], "little"), at + extra
            out, at = out + data[at:at + n + 1], at + n + 1
            continue
        if tag & 3 == 1:
            n, offset, at = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at], at + 1
        else:
            width = 2 if tag & 3 == 2 else 4
            n, offset, at = (tag >> 2) + 1, int.from_bytes(data[at:at + width], "little"), at + width
        for _ in range(n):
            out.append(out[-offset])
    assert len(out) == size
    return bytes(out)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(url, body=None, headers=None, method=None):
    """Status, headers and body, whatever the status."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Server:
    """One of the two programs, ready, over a folder of its own; ADDRESS in the configuration is its own."""

    def __init__(self, ours, flags=(), config="", test_mode=True):
        self.folder = tempfile.mkdtemp(prefix="beside-prometheus-")
        self.url = f"http://127.0.0.1:{free_port()}"
        address = self.url[len("http://"):]
        path = f"{self.folder}/config.yml"
        with open(path, "w") as file:
            file.write(config.replace("ADDRESS", address))
        if ours:
            command = [AGGREGATOR, f"--web.listen-address={address}", f"--storage.path={self.folder}/data"] + ["--query.test-mode"] * test_mode
            command += [f"--config.file={path}"] if config else []
        else:
            command = [PROMETHEUS, f"--config.file={path}", f"--web.listen-address={address}", f"--storage.tsdb.path={self.folder}/data",
                       "--web.enable-remote-write-receiver", "--enable-feature=native-histograms,exemplar-storage,promql-at-modifier,promql-negative-offset"]
        self.log = open(f"{self.folder}/log", "w")
        self.process = subprocess.Popen(command + list(flags), stdout=self.log, stderr=self.log)
        for _ in range(200):
            try:
                if ask(self.url + "/-/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit(f"{command[0]} did not become ready: {open(self.folder + '/log').read()[-2000:]}")

    def write(self, body):
        status, _, text = ask(self.url + "/api/v1/write", body, WRITE)
        assert status in (200, 204), (status, text)

    def read(self, body):
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Read-Version": "0.1.0"}
        return ask(self.url + "/api/v1/read", body, headers)

    def get(self, path):
        return ask(self.url + path)

    def json(self, path):
        return json.loads(self.get(path)[2])

    def stop(self):
        self.process.terminate()
        self.process.wait()
