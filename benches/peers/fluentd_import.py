#!/usr/bin/env python3
"""Runs every case of fixtures/fluentd/records/*.cases through a real Fluentd and writes down what it printed;
then imports the same configurations, runs the agent with them, and shows where the records differ.

Usage: FLUENTD="ruby -Ilib bin/fluentd -p PLUGINS" fluentd_import.py [--check] [WORD ...]

WORD picks the cases whose name holds it; --check writes nothing. AGENT names the program under test; by
default target/debug/kansoku-agent. A part `told` lists what the import has to say where the agent's records,
in the part `ours`, are others; both are kept as they are. agent/tests/import.rs checks the same without a Fluentd.
"""
import calendar, concurrent.futures, glob, json, os, re, shlex, signal, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "fixtures/fluentd/records")
AGENT = os.environ.get("AGENT", os.path.join(ROOT, "target/debug/kansoku-agent"))
ENVIRONMENT = {"PATH": os.environ["PATH"], "TZ": "UTC", "SET": "set", "KUBECONFIG": "/nonexistent", "HOME": "/nonexistent"}
# A time that is nearer than this to the clock's is when a record was read.
DAY = 86400
PRINTED = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{9}) \+0000 (\S+): (\{.*\})$")
WRITTEN = re.compile(r"^(\S+): \[(\d+)\.(\d+), (\{.*\})\]$")


def read(text):
    cases, case, part = [], None, None
    for line in text.split("\n"):
        if line.startswith("=== "):
            case = {"name": line[4:], "conf": [], "files": {}, "out": [], "told": [], "ours": []}
            cases.append(case)
            part = case["conf"]
        elif line.startswith("--- in "):
            part = case["files"].setdefault(line[7:], [])
        elif line.startswith("--- "):
            part = case[line[4:]]
        elif line:
            part.append(line)
        elif part is not None and part in case["files"].values():
            part.append(line)
    return cases


def lay(case, folder):
    for name, lines in case["files"].items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write("".join(l.replace("DIR", folder) + "\n" for l in lines))
    with open(folder + "/fluent.conf", "w") as f:
        f.write("".join(l.replace("DIR", folder) + "\n" for l in case["conf"]))


def line(tag, seconds, nanoseconds, record, folder):
    """A record in one form: places and times of the run taken out, keys in order."""
    tag = tag.replace(folder.strip("/").replace("/", "."), "DIR")
    record = json.dumps(json.loads(record.replace(folder, "DIR")), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    when = "now" if abs(seconds - time.time()) < DAY else f"{seconds}.{nanoseconds:09}"
    return f"{tag}: [{when}, {record}]"


def fluentd(case):
    with tempfile.TemporaryDirectory() as folder:
        lay(case, folder)
        command = shlex.split(os.environ["FLUENTD"]) + ["--no-supervisor", "-q", "-c", folder + "/fluent.conf"]
        with open(folder + "/stdout", "w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **ENVIRONMENT})
        size, since, start = 0, time.time(), time.time()
        while process.poll() is None and time.time() - start < 40:
            now = os.path.getsize(folder + "/stdout")
            if now != size:
                size, since = now, time.time()
            if time.time() - since > (3 if size else 9):
                break
            time.sleep(0.1)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        lines, rest = [], []
        for printed in open(folder + "/stdout").read().split("\n"):
            found = PRINTED.match(printed)
            if not found:
                rest.append(printed)
                continue
            when, fraction, tag, record = found.groups()
            if not tag.startswith("fluent."):
                seconds = calendar.timegm(time.strptime(when, "%Y-%m-%d %H:%M:%S"))
                lines.append(line(tag, seconds, int(fraction), record, folder))
        return sorted(lines), [r for r in rest if re.search(r"\[error\]|Error\)|LoadError", r)]


def agent(case):
    with tempfile.TemporaryDirectory() as folder:
        lay(case, folder)
        done = subprocess.run([AGENT, "import", "fluentd", "fluent.conf", "-o", "ours"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
        told = done.stderr.replace(folder, "DIR").splitlines()
        if done.returncode:
            return [], told, ""
        path = folder + "/ours/kansoku.conf"
        conf = open(path).read()
        with open(path, "w") as f:
            f.write(prepared(conf, folder))
        run = subprocess.run([AGENT, "-c", "kansoku.conf"], cwd=folder + "/ours", env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        out = folder + "/out.txt"
        found = [WRITTEN.match(l) for l in (open(out).read().splitlines() if os.path.exists(out) else [])]
        lines = [line(m[1], int(m[2]), int(m[3]), m[4], folder) for m in found if m]
        parsers = folder + "/ours/parsers.conf"
        conf += open(parsers).read() if os.path.exists(parsers) else ""
        return sorted(lines), told, conf + (run.stderr if run.returncode else "")


def prepared(conf, folder):
    """The result with a state folder of its own, inputs that end, and outputs that show tag and time."""
    conf = conf.replace("/var/lib/kansoku", folder).replace("    Path ", "    Exit_on_Eof on\n    Path ")
    head, *outputs = conf.split("[OUTPUT]\n")
    shown = []
    for output in outputs:
        if re.search(r"^ *Name +stdout$", output, re.M):
            output = re.sub(r"^( *Name +)stdout$", rf"\1file\n    Path {folder}\n    File out.txt", output, flags=re.M)
            output = re.sub(r"^( *Format +)json_lines$", r"\1out_file", output, flags=re.M)
            output = re.sub(r"^ *json_date_key .*\n", "", output, flags=re.M)
        shown.append(output)
    return "[OUTPUT]\n".join([head, *shown])


def both(case):
    (theirs, mistakes), (ours, told, conf) = fluentd(case), agent(case)
    return case, theirs, mistakes, ours, told, conf


def main():
    check = "--check" in sys.argv
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    if not os.environ.get("FLUENTD"):
        sys.exit(__doc__)
    bad = total = 0
    for path in sorted(glob.glob(FOLDER + "/*.cases")):
        text = open(path).read()
        cases = read(text)
        picked = [c for c in cases if not words or any(w in c["name"] or w in path for w in words)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for case, theirs, mistakes, ours, told, conf in pool.map(both, picked):
                total += 1
                case["out"] = theirs
                expected = case["ours"] if case["told"] else theirs
                lacking = [t for t in case["told"] if not any(t in line for line in told)]
                if ours == expected and not lacking and not mistakes:
                    continue
                bad += 1
                print(f"=== {os.path.basename(path)}: {case['name']}")
                for title, lines in [("fluentd", theirs), ("fluentd says", mistakes), ("agent", ours), ("told", told), ("not told", lacking)]:
                    print("".join(f"{title:>12}: {l}\n" for l in lines), end="")
                if os.environ.get("SHOW"):
                    print(conf)
        if not check and picked:
            with open(path, "w") as f:
                f.write("".join(written(case) for case in cases))
    print(f"{total} cases, {bad} with a difference")
    sys.exit(bool(bad))


def written(case):
    lines = ["=== " + case["name"], *case["conf"]]
    for name, content in case["files"].items():
        lines += ["--- in " + name, *content]
    lines += ["--- out", *case["out"]]
    if case["told"]:
        lines += ["--- told", *case["told"], "--- ours", *case["ours"]]
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    main()
