"""Real clients of the forward input: fluent-logger (PyPI), @fluent-org/logger and fluent-logger (npm),
Fluent Bit's out_forward in all modes. Run by hand:

    NODE_PATH=.../node_modules FLUENT_BIT=/path/to/fluent-bit python benches/peers/forward_input.py
"""
import os, subprocess, sys, tempfile, time

from agent import Agent, free_port

FLUENT_BIT = os.environ.get("FLUENT_BIT", "fluent-bit")


def check(name, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), name, got if got != wanted else f"({wanted})")
    return got == wanted


def section(port, more=""):
    return f"[INPUT]\n    Name forward\n    Listen 127.0.0.1\n    Port {port}\n{more}"


def python_logger():
    from fluent import sender
    port = free_port()
    a = Agent(section(port))
    logger = sender.FluentSender("app", host="127.0.0.1", port=port, nanosecond_precision=True)
    for i in range(1000):
        assert logger.emit("x", {"i": i, "text": "観測", "nested": {"a": [1, None]}})
    logger.close()
    got = a.lines(1000)
    a.stop()
    return check("PyPI fluent-logger", [(r["i"], r["text"], r["nested"]) for r in got], [(i, "観測", {"a": [1, None]}) for i in range(1000)])


NODE_NEW = """
const { FluentClient } = require('@fluent-org/logger');
const [port, key, user] = process.argv.slice(2);
const security = key ? { clientHostname: 'c', sharedKey: key, ...(user ? { username: user, password: 'secret' } : {}) } : undefined;
(async () => {
  for (const eventMode of ['Message', 'Forward', 'PackedForward', 'CompressedPackedForward']) {
    const c = new FluentClient('t', { socket: { host: '127.0.0.1', port: +port, timeout: 5000 }, security, eventMode, ack: { ackTimeout: 5000 } });
    c.connect && await c.connect();
    const all = [];
    for (let i = 0; i < 50; i++) all.push(c.emit('x', { mode: eventMode, i }));
    await Promise.all(all);
    await c.shutdown();
  }
  console.log('acknowledged');
})().catch(e => { console.log('failed', e.message); process.exit(1); });
"""

NODE_OLD = """
const logger = require('fluent-logger').createFluentSender('t', { host: '127.0.0.1', port: +process.argv[2], requireAckResponse: true, timeout: 3.0,
  eventMode: process.argv[3] });
let left = 20;
for (let i = 0; i < 20; i++) logger.emit('x', { i }, (e) => { if (e) { console.log(e.message); process.exit(1); } if (--left == 0) { console.log('acknowledged'); logger.end(); } });
"""


def node(name, script, arguments, more="", n=200, wanted="acknowledged"):
    port = free_port()
    a = Agent(section(port, more))
    with tempfile.NamedTemporaryFile("w", suffix=".js") as f:
        f.write(script)
        f.flush()
        r = subprocess.run(["node", f.name, str(port), *arguments], capture_output=True, text=True, timeout=60)
    got = a.lines(n, patience=3)
    a.stop()
    ok = check(f"{name} answer", r.stdout.strip().split(" ")[0], wanted)
    return check(f"{name} records", len(got), n) and ok


def fluent_bit(name, output, more="", n=500):
    port = free_port()
    a = Agent(section(port, more))
    conf = tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False)
    conf.write(f"[SERVICE]\n    Flush 0.2\n    Grace 2\n[INPUT]\n    Name dummy\n    Tag fb.one\n    Rate 500\n    Samples 500\n    Dummy {{\"a\":1,\"b\":{{\"c\":[true]}}}}\n    Metadata {{\"m\":\"n\"}}\n"
               f"[OUTPUT]\n    Name forward\n    Match *\n    Host 127.0.0.1\n    Port {port}\n    Retry_Limit False\n{output}")
    conf.close()
    p = subprocess.Popen([FLUENT_BIT, "-q", "-c", conf.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    got = a.lines(n, patience=8)
    p.terminate()
    p.wait()
    a.stop()
    return check(f"Fluent Bit {name}", (len(got), all(r["b"] == {"c": [True]} for r in got)), (n, True))


KEY = "    Shared_Key k\n    Self_Hostname server\n"
USERS = KEY + "    Security.Users other nothing\n    Security.Users me secret\n"
results = [
    python_logger(),
    node("@fluent-org/logger", NODE_NEW, []),
    node("@fluent-org/logger shared key", NODE_NEW, ["k"], KEY),
    node("@fluent-org/logger user", NODE_NEW, ["k", "me"], USERS),
    node("@fluent-org/logger wrong key", NODE_NEW, ["wrong"], KEY, n=0, wanted=""),
    *[node(f"fluent-logger {m}", NODE_OLD, [m], n=20) for m in ("Message", "PackedForward", "CompressedPackedForward")],
    fluent_bit("plain", ""),
    fluent_bit("acknowledged", "    Require_Ack_Response On\n    Send_Options On\n"),
    fluent_bit("gzip", "    Compress gzip\n    Require_Ack_Response On\n"),
    fluent_bit("shared key and user", "    Shared_Key k\n    Self_Hostname c\n    Username me\n    Password secret\n    Require_Ack_Response On\n", USERS),
    fluent_bit("fluentd_compat", "    Fluentd_Compat On\n"),
    fluent_bit("metadata kept", "    Retain_Metadata_In_Forward_Mode On\n"),
]
sys.exit(not all(results))
