"""logcli, all commands and the flags that change a request, against the aggregator and, with LOKI set, against Loki over the same lines: what it prints and how it ends must be equal. By hand:
    LOGCLI=logcli LOKI=loki AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/logcli.py
"""
import difflib, glob, json, os, re, shlex, subprocess, sys, tempfile, threading, time

from logql import OURS, THEIRS, streams
from loki_pair import BEGIN, LOGCLI, LOKI, aggregator, loki, ns


def at(second):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + second))


SPAN = f"--from={at(0)} --to={at(600)}"
# What is asked; {SPAN} and {PARTS} are filled in, and what begins with ! must fail. Lines of one time are left out: their order is free.
COMMANDS = """
query {SPAN} '{app="api"}'
query {SPAN} --limit=5 '{app="api"}'
query {SPAN} --limit=0 '{app="api"}'
query {SPAN} --limit=50 --batch=7 '{app="numbers"}'
query {SPAN} --limit=50 --batch=7 --forward '{app="numbers"}'
query {SPAN} --forward --limit=20 '{app="api"} | json | level="error"'
query {SPAN} -o raw '{app="web"}'
query {SPAN} -o jsonl '{app="web"}'
query {SPAN} -o default '{app="web"}'
query {SPAN} -o jsonl '{app="meta"}'
query {SPAN} '{app="meta"}'
query {SPAN} --no-labels '{app="web"}'
query {SPAN} --exclude-label=env --exclude-label=app '{app="api"}'
query {SPAN} --include-label=zone '{app="api"}'
query {SPAN} --include-common-labels '{app="api"}'
query {SPAN} --labels-length=60 '{app=~"api|web"} |= "1"' --limit=3
query {SPAN} --colored-output '{app="web"}' --limit=3
query {SPAN} --output-timestamp-format=rfc3339nano '{app="meta"}'
query {SPAN} --output-timestamp-format=unixdate '{app="meta"}'
query {SPAN} --interval=60s --forward '{app="numbers"}'
query {SPAN} --step=60s 'sum by (app) (rate({app=~"api|web"}[1m]))'
query {SPAN} 'sum(count_over_time({app="api"}[1m]))'
query --since=2h --limit=3 '{app="api"}'
query {SPAN} --stats -q -o raw --limit=1 '{app="none"}'
-q query {SPAN} '{app="api"}' --limit=2
--timezone=UTC query {SPAN} '{app="api"}' --limit=2
!query {SPAN} '{app="api"' --limit=2
!query {SPAN} '{}'
!query {SPAN} --limit=6000 --batch=6000 '{app="api"}'
query {SPAN} --parallel-duration=2m --parallel-max-workers=3 --part-path-prefix={PARTS} --merge-parts -o raw '{app="numbers"}'
query {SPAN} --parallel-duration=2m --parallel-max-workers=3 --part-path-prefix={PARTS} --merge-parts --keep-parts -o raw --forward '{app="numbers"}'
query {SPAN} --parallel-duration=2m --parallel-max-workers=3 --part-path-prefix={PARTS} --overwrite-completed-parts --merge-parts -o raw '{app="numbers"}'
instant-query --now={T600} 'sum by (app) (count_over_time({app=~".+"}[5m]))'
instant-query --now={T600} 'topk(2, sum by (app) (count_over_time({app=~"odd|packed|api"}[9m])))'
instant-query --now={T600} '1 + 1'
instant-query --now={T600} 'vector(5)'
!instant-query --now={T600} '{app="api"}'
!instant-query --now={T600} 'rate({app="api"}[5m]) and 1'
labels {SPAN}
labels {SPAN} app
labels {SPAN} nothing
labels --since=2h env
series {SPAN} '{app="api"}'
series {SPAN} '{}'
series {SPAN} --analyze-labels '{app=~".+"}'
series {SPAN} --analyze-labels '{}'
!series {SPAN} '{app='
volume {SPAN} '{app=~"api|web"}'
volume {SPAN} --targetLabels=app '{app=~".+"}'
volume {SPAN} --aggregateByLabels '{app=~".+"}'
volume {SPAN} --limit=2 '{app=~".+"}'
volume_range {SPAN} --step=5m '{app=~".+"}'
volume_range {SPAN} --step=5m --targetLabels=app '{app=~".+"}'
detected-fields {SPAN} '{app="web"}'
detected-fields {SPAN} --limit=3 '{app="web"}'
detected-fields {SPAN} --line-limit=5 '{app="api"}'
detected-fields {SPAN} '{app="web"}' caller
detected-fields {SPAN} -o jsonl '{app="web"}'
stats {SPAN} '{app="api"}'
--compress query {SPAN} '{app="api"}' --limit=5
--org-id=x query {SPAN} '{app="api"}' --limit=2
--query-tags=a=b query {SPAN} '{app="api"}' --limit=2
--nocache query {SPAN} '{app="api"}' --limit=2
--header='X-Test: 1' query {SPAN} '{app="api"}' --limit=2
--retries=1 query {SPAN} '{app="api"}' --limit=2
delete list
""".strip().split("\n")
# Bytes and chunks of an index are each program's own, as is the order of equal volumes.
OWN = ("stats ", "volume")
FMT = ['sum by(a)(rate({b="c"}|json[5m]))', '{a="b"} |= "c" | logfmt', "sum("]


def run(peer, arguments, parts="no part", stdin=None, timeout=60):
    """How it ended, what it printed, and what it said of it, without the server's address and the times of the log."""
    done = subprocess.run([LOGCLI, f"--addr={peer.base}", *arguments], capture_output=True, text=True, timeout=timeout, input=stdin)
    err = re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "", done.stderr, flags=re.M)
    err = "\n".join(line for line in err.splitlines() if peer.base not in line)
    return done.returncode, done.stdout.replace(peer.base, "ADDR").replace(parts, "PARTS"), err.replace(parts, "PARTS")


def tail(peer):
    """What a tail prints of lines that come in while it runs."""
    process = subprocess.Popen([LOGCLI, f"--addr={peer.base}", "query", "--tail", "-q", "-o", "raw", "--since=10s", '{app="tail"} |= "kept"'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = []
    reader = threading.Thread(target=lambda: found.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        for n in range(100):
            peer.push([{"stream": {"app": "tail"}, "values": [[str(time.time_ns()), f"{'kept' if n % 2 else 'passed'} {n}"]]}])
            time.sleep(0.2)
            if len(found) >= 10:
                break
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
    lines = [line.strip() for line in found][:10]
    first = int(lines[0].split()[1]) if lines else 0
    return lines == [f"kept {first + 2 * i}" for i in range(10)], lines


def deletes(peer):
    """Asks for a delete, lists it, and takes it back."""
    told = []
    arguments = shlex.split(f"""delete create --from={at(0)} --to={at(60)} '{{app="odd"}} |= "one"'""")
    told.append(run(peer, arguments))
    told += [run(peer, ["delete", "list"]), run(peer, ["-q", "-o", "jsonl", "delete", "list"])]
    # logcli does not show the ids that it wants.
    ids = [d["request_id"] for d in json.loads(peer.ask("/loki/api/v1/delete")[1])]
    for one in ids:
        told.append(str(run(peer, ["delete", "cancel", "--request-id", one])).replace(one, "ID"))
    told.append(run(peer, ["delete", "list"]))
    told.append(run(peer, ["delete", "cancel", "--request-id", "none"]))
    # Loki says no more than that it is none.
    told.append(run(peer, shlex.split(f"""delete create --from={at(0)} '{{app='"""))[0])
    return told


def main():
    ours = aggregator(OURS)
    peers = [ours] + ([loki(THEIRS)] if LOKI else [])
    n, failed = 0, 0

    def judge(name, answers):
        nonlocal n, failed
        n += 1
        if len({str(a) for a in answers}) == 1:
            return
        failed += 1
        print(f"--- {name}")
        a, b = (json.dumps(x, indent=1, ensure_ascii=False).replace("\\n", "\n").splitlines() for x in answers[:2])
        print("\n".join(list(difflib.unified_diff(b, a, "loki", "kansoku", lineterm="", n=0))[:30]))

    try:
        for peer in peers:
            status, text = peer.push([s for s in streams() if s["stream"]["app"] != "odd"] + [{"stream": {"app": "odd"}, "values": [[str(ns(24)), "ERROR one"], [str(ns(25)), "error two"]]}])
            assert status == 204, f"{peer.name}: {status} {text}"
        time.sleep(1)
        for command in COMMANDS:
            answers, must_fail, command = [], command.startswith("!"), command.lstrip("!")
            for peer in peers:
                with tempfile.TemporaryDirectory() as folder:
                    parts = f"{folder}/part"
                    arguments = shlex.split(command.replace("{SPAN}", SPAN).replace("{PARTS}", parts).replace("{T600}", at(600)))
                    code, out, err = run(peer, arguments, parts)
                    files = sorted(os.path.basename(f) for f in glob.glob(parts + "*"))
                if command.startswith(OWN):
                    out, err = re.sub(r'[\d.]+( ?[kM]?B)?|\s+', " ", out), ""
                    out = sorted(re.findall(r'"metric": \{[^}]*\}', out)) if "volume" in command else out
                if "--stats" in command:
                    err = ""
                if command.startswith(("detected-fields", "series")):
                    out = sorted(out.splitlines())
                if "--limit=3 '{app=\"web\"}'" in command and command.startswith("detected-fields"):
                    # Which of them is not said.
                    out = len(out)
                if "1 + 1" in command:
                    # The date of a number, which Loki tells a thousand times too late.
                    out = re.sub(r"\d{10,}", "DATE", out)
                answers.append((code, out, err, files))
                if (code != 0) != must_fail:
                    failed += 1
                    print(f"--- {command}: {peer.name} ends with {code}: {err[-300:]}")
            judge(command, answers)
        for query in FMT:
            judge(f"fmt {query}", [run(peer, ["fmt"], stdin=query) for peer in peers])
        judge("delete", [deletes(peer) for peer in peers])
        for peer in peers:
            good, lines = tail(peer)
            n += 1
            if not good:
                failed += 1
                print(f"--- tail of {peer.name}: {lines}")
    finally:
        for peer in peers:
            peer.stop()
    print(f"{n} commands, {failed} {'differ' if LOKI else 'failed'}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
