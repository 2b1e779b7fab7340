"""Sends the same records with kansoku-agent and with Fluent Bit, and compares what arrives byte by byte.

    FLUENT_BIT=/path/to/fluent-bit python3 benches/peers/out_bytes.py
"""
import concurrent.futures, glob, json, os, socket, subprocess, sys, tempfile, threading, time

from agent import AGENT

FLUENT_BIT = os.environ.get("FLUENT_BIT", "fluent-bit")
RECORDS = [
    {"log": "plain"},
    {"log": "q\"uo\\te\ttab e", "n": 7, "neg": -200, "f": 1.5, "big": 4294967296, "t": True, "no": None},
    {"log": "nested", "m": {"z": 1, "a": {"k": [1, "x", 2.25, False]}, "s": "v"}, "l": ["a", {"b": 1}]},
    {"log": "x" * 300, "level": "warning", "host": "h1", "sd": {"a b": "q\"]", "n": 3}},
]
TEXT = "    json_date_format iso8601\n"
TCP = {
    "tcp msgpack": "name tcp\n    format msgpack",
    "tcp json_lines": "name tcp\n    format json_lines",
    "tcp json": "name tcp\n    format json\n    json_date_format epoch_ms",
    "tcp json_stream": "name tcp\n    format json_stream\n    json_date_key false",
    "tcp raw": "name tcp\n    raw_message_key $log",
    "syslog 5424": "name syslog\n    mode tcp\n    syslog_message_key log\n    syslog_hostname_key host\n    syslog_severity_key level\n    syslog_sd_key sd\n    syslog_procid_key n",
    "syslog 3164": "name syslog\n    mode tcp\n    syslog_format rfc3164\n    syslog_message_key log\n    syslog_hostname_key host\n    syslog_appname_preset app\n    syslog_procid_key n\n    syslog_maxsize 60",
    "gelf": "name gelf\n    mode tcp\n    gelf_short_message_key log\n    gelf_host_key host",
    "forward": "name forward",
    "forward options": "name forward\n    send_options on\n    add_option a b",
    "forward integer": "name forward\n    time_as_integer on",
    "forward message": "name forward\n    tag x.$log",
}
FILE = {f"file {f}": f"name file\n    file out\n    format {f}" for f in ["out_file", "plain", "csv", "ltsv", "msgpack"]}
FILE["file template"] = "name file\n    file out\n    format template\n    template {time} {log} {nope}"


def sink(server, got):
    server.settimeout(6)
    try:
        while True:
            stream, _ = server.accept()
            stream.settimeout(4)
            try:
                while data := stream.recv(65536):
                    got.append(data)
            except OSError:
                pass
    except OSError:
        pass


def run(program, output, is_tcp):
    folder, got = tempfile.mkdtemp(), []
    # Open before anybody else can be given the port.
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    thread = threading.Thread(target=sink, args=(server, got))
    if is_tcp:
        thread.start()
    with open(f"{folder}/in.log", "w") as f:
        for i, record in enumerate(RECORDS):
            f.write(json.dumps(dict(record, time=f"{1700000000 + i}.250"), ensure_ascii=False, separators=(",", ":")) + "\n")
    with open(f"{folder}/p.conf", "w") as f:
        f.write("[PARSER]\n    name j\n    format json\n    time_key time\n    time_format %s.%L\n")
    where = f"    host 127.0.0.1\n    port {port}\n" if is_tcp else f"    path {folder}\n"
    with open(f"{folder}/c.conf", "w") as f:
        f.write(f"[SERVICE]\n    flush 0.3\n    parsers_file {folder}/p.conf\n[INPUT]\n    name tail\n    tag t.a\n    path {folder}/in.log\n"
                f"    read_from_head on\n    parser j\n[OUTPUT]\n    match *\n    {output}\n{where}")
    process = subprocess.Popen([program, "-c", f"{folder}/c.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    files = lambda: b"".join(open(p, "rb").read() for p in glob.glob(f"{folder}/out"))
    arrived = lambda: sum(map(len, got)) if is_tcp else len(files())
    last = -1
    for _ in range(20):
        time.sleep(1.5)
        if arrived() == last > 0:
            break
        last = arrived()
    process.terminate()
    process.wait(20)
    if is_tcp:
        thread.join()
        return b"".join(got)
    return files()


def both(item):
    return [run(p, item[1], item[0] in TCP) for p in (AGENT, FLUENT_BIT)]


def plain(name, data):
    """Fluent Bit writes maps with wide headers: msgpack is compared by what it says."""
    if "msgpack" not in name and "forward" not in name:
        return data
    import msgpack
    reader = msgpack.Unpacker(raw=True, strict_map_key=False)
    reader.feed(data)
    return repr(list(reader)).encode()


failed = 0
cases = {**TCP, **FILE}
for name, (ours, theirs) in zip(cases, concurrent.futures.ThreadPoolExecutor(5).map(both, cases.items())):
    ours, theirs = plain(name, ours), plain(name, theirs)
    same = ours == theirs and ours
    failed += not same
    print("ok  " if same else "DIFF", name, len(ours), len(theirs), flush=True)
    if not same:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        print("   ours  ", ours[max(0, at - 60):at + 60])
        print("   theirs", theirs[max(0, at - 60):at + 60])
sys.exit(failed)
