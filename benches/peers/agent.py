"""Runs a kansoku-agent (or a Fluent Bit) for the peer scripts: configuration in, records out.

Set AGENT to the program under test; by default target/debug/kansoku-agent.
"""
import json, os, socket, subprocess, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AGENT = os.environ.get("AGENT", os.path.join(ROOT, "target/debug/kansoku-agent"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Agent:
    """`inputs` is the text of the [INPUT] sections; records come out of `lines()`."""

    def __init__(self, inputs, output="    Name stdout\n    Match *\n    Format json_lines\n", program=None):
        self.folder = tempfile.mkdtemp()
        path = os.path.join(self.folder, "agent.conf")
        with open(path, "w") as f:
            f.write(f"[SERVICE]\n    Flush 0.2\n    Log_Level info\n    Parsers_File {self.folder}/parsers.conf\n\n{inputs}\n[OUTPUT]\n{output}")
        with open(os.path.join(self.folder, "parsers.conf"), "w") as f:
            f.write(PARSERS)
        self.out = open(os.path.join(self.folder, "out"), "w+")
        self.err = open(os.path.join(self.folder, "err"), "w+")
        self.process = subprocess.Popen([program or AGENT, "-c", path], stdout=self.out, stderr=self.err)
        time.sleep(0.7)
        assert self.process.poll() is None, self.log()

    def log(self):
        return open(self.err.name).read()

    def raw(self):
        return open(self.out.name).read()

    def lines(self, n, patience=15):
        """Waits for n records."""
        end = time.time() + patience
        while True:
            found = [json.loads(l) for l in self.raw().splitlines() if l.startswith("{") and l.endswith("}")]
            if len(found) >= n or time.time() > end:
                return found
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


# As in Fluent Bit's conf/parsers.conf.
PARSERS = r"""
[PARSER]
    Name        syslog-rfc5424
    Format      regex
    Regex       ^\<(?<pri>[0-9]{1,5})\>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<ident>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) (?<extradata>(\[(.*?)\]|-)) (?<message>.+)$
    Time_Key    time
    Time_Format %Y-%m-%dT%H:%M:%S.%L%z
    Time_Keep   On

[PARSER]
    Name        syslog-rfc3164-local
    Format      regex
    Regex       ^\<(?<pri>[0-9]+)\>(?<time>[^ ]* {1,2}[^ ]* [^ ]*) (?<ident>[a-zA-Z0-9_\/\.\-]*)(?:\[(?<pid>[0-9]+)\])?(?:[^\:]*\:)? *(?<message>.*)$
    Time_Key    time
    Time_Format %b %d %H:%M:%S
    Time_Keep   On
"""
