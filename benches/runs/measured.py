"""A store as a process that is measured from outside: what the scripts of this folder that compare stores share."""
import http.client, pathlib, socket, subprocess, sys, time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Measured:
    """One store on a folder of its own. Whoever derives from it sets `kind`, `folder`, `port`, `command`, `log` and `ready`, the path that
    answers 200 once requests are taken, and has `get`, which answers status and body of a path."""

    def start(self):
        """Starts and answers how long it took until ready, in seconds."""
        begin = time.time()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        while time.time() - begin < 300:
            try:
                if self.get(self.ready)[0] == 200:
                    return round(time.time() - begin, 3)
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"{self.kind} ended: see {self.log.name}")
            time.sleep(0.005)
        sys.exit(f"{self.kind} does not get ready")

    def cpu_s(self):
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory_mb(self, key):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return round(int(line.split()[1]) / 1000, 1)

    def disk_bytes(self):
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())


def post(connection, path, body, headers):
    """Sends a body until it is neither too much nor too early; answers what was wrong, or nothing."""
    while True:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (429, 503):
            return f"{answer.status} {text[:600]}" if answer.status >= 300 else None
        time.sleep(0.05)
