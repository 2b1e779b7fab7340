"""Real clients of the syslog, tcp and udp inputs: logger(1) of util-linux, rsyslogd, nc. Run by hand."""
import os, shutil, socket, subprocess, sys, tempfile, time

from agent import Agent, free_port


def check(name, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), name, got)
    return got == wanted


def logger(name, mode, arguments, inputs, wanted, connect):
    a = Agent(inputs)
    for i in range(20):
        subprocess.run(["logger", *connect, *arguments, "-t", "app", f"message {i}"], check=True)
    got = a.lines(20, patience=5)
    a.stop()
    return check(name, (len(got), [r.get("ident") for r in got[:1]], got[-1].get("message") if got else None), wanted)


def rsyslog(name, action, inputs, n=100):
    a = Agent(inputs)
    folder = tempfile.mkdtemp()
    port = free_port()
    with open(f"{folder}/conf", "w") as f:
        f.write(f'module(load="imtcp")\ninput(type="imtcp" port="{port}" address="127.0.0.1")\nglobal(workDirectory="{folder}")\n{action}\n')
    p = subprocess.Popen(["rsyslogd", "-n", "-f", f"{folder}/conf", "-i", f"{folder}/pid"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(1)
    with socket.create_connection(("127.0.0.1", port)) as s:
        for i in range(n):
            s.sendall(f"<13>1 2026-01-02T03:04:05.678Z host app 12 - - message {i}\n".encode())
    got = [r for r in a.lines(n, patience=8) if r.get("ident") == "app"]
    p.terminate()
    p.wait()
    a.stop()
    return check(name, (len(got), [r["message"] for r in got] == [f"message {i}" for i in range(n)], got[0]["date"] if got else 0), (n, True, 1767323045.678))


def section(mode, port, more=""):
    return f"[INPUT]\n    Name syslog\n    Mode {mode}\n    Listen 127.0.0.1\n    Port {port}\n{more}"


results = []
port = free_port()
for name, mode, arguments in [("udp 5424", "udp", ["--rfc5424", "-d"]), ("tcp 5424", "tcp", ["--rfc5424", "-T"]), ("tcp 5424 counted", "tcp", ["--rfc5424", "-T", "--octet-count"])]:
    results.append(logger(f"logger {name}", mode, arguments, section(mode, port, "    Source_Address_Key from\n"), (20, ["app"], "message 19"), ["-n", "127.0.0.1", "-P", str(port), "-i"]))
for mode, flag in [("unix_udp", "-d"), ("unix_tcp", "-T")]:
    path = tempfile.mktemp()
    results.append(logger(f"logger {mode} 3164", mode, [flag], f"[INPUT]\n    Name syslog\n    Mode {mode}\n    Path {path}\n    Unix_Perm 0666\n    Raw_Message_Key raw\n", (20, ["app"], "message 19"), ["-u", path]))
if shutil.which("rsyslogd"):
    target = f'target="127.0.0.1" port="{port}" template="RSYSLOG_SyslogProtocol23Format"'
    results.append(rsyslog("rsyslog tcp newline", f'*.* action(type="omfwd" protocol="tcp" {target})', section("tcp", port)))
    results.append(rsyslog("rsyslog tcp counted", f'*.* action(type="omfwd" protocol="tcp" TCP_Framing="octet-counted" {target})', section("tcp", port, "    Format octet_counting\n")))
    results.append(rsyslog("rsyslog udp", f'*.* action(type="omfwd" protocol="udp" {target})', section("udp", port)))

a = Agent(f"[INPUT]\n    Name tcp\n    Listen 127.0.0.1\n    Port {port}\n    Source_Address_Key from\n    Buffer_Size 64\n")
with socket.create_connection(("127.0.0.1", port)) as s:
    s.sendall(b'{"a":1}{"a"')
    time.sleep(0.5)
    s.sendall(b":2}\n[1]\n")
got = [{k: v for k, v in r.items() if k != "date"} for r in a.lines(3, 5)]
a.stop()
results.append(check("tcp json", got, [{"a": 1, "from": "127.0.0.1"}, {"a": 2, "from": "127.0.0.1"}, {"msg": [1], "from": "127.0.0.1"}]))
a = Agent(f"[INPUT]\n    Name udp\n    Listen 127.0.0.1\n    Port {port}\n    Format none\n")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for i in range(100):
        s.sendto(f"one {i}\ntwo {i}".encode(), ("127.0.0.1", port))
got = [r["log"] for r in a.lines(200, 5)]
a.stop()
results.append(check("udp none", (len(got), got[-1]), (200, "two 99")))
sys.exit(not all(results))
