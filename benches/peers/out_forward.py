"""The forward output against a real Fluent Bit (in_forward), every mode, plain, gzipped, logged in.

    FLUENT_BIT=/path/to/fluent-bit python3 benches/peers/out_forward.py
"""
import json, os, subprocess, sys, tempfile, time

from agent import Agent, free_port

FLUENT_BIT = os.environ.get("FLUENT_BIT", "fluent-bit")
N = 3000
MODES = {
    "plain": ("", ""),
    "ack": ("    require_ack_response on\n", ""),
    "gzip": ("    compress gzip\n    require_ack_response on\n", ""),
    "integer": ("    time_as_integer on\n", ""),
    "message": ("    tag dyn.$f\n    require_ack_response on\n", ""),
    "v1": ("    retain_metadata_in_forward_mode off\n    send_options on\n    add_option k v\n", ""),
    "login": ("    shared_key s\n    username u\n    password p\n    self_hostname me\n    require_ack_response on\n",
              "    shared_key s\n    self_hostname them\n    security.users u p\n"),
    "unix": ("    unix_path {unix}\n    require_ack_response on\n", "    unix_path {unix}\n"),
}
failed = False
for name, (out_options, in_options) in MODES.items():
    folder, port = tempfile.mkdtemp(), free_port()
    unix = f"{folder}/socket"
    out_options, in_options = out_options.format(unix=unix), in_options.format(unix=unix)
    with open(f"{folder}/fb.conf", "w") as f:
        f.write(f"[SERVICE]\n    flush 0.2\n[INPUT]\n    name forward\n    listen 127.0.0.1\n    port {port}\n{in_options}"
                f"[OUTPUT]\n    name file\n    match *\n    path {folder}\n    file out\n    format plain\n")
    peer = subprocess.Popen([FLUENT_BIT, "-c", f"{folder}/fb.conf"], stdout=open(f"{folder}/fb.log", "w"), stderr=subprocess.STDOUT)
    time.sleep(1)
    with open(f"{folder}/in.log", "w") as f:
        f.writelines(json.dumps({"n": n, "f": f"k{n % 3}", "o": {"z": [1, None, 2.5], "a": "観"}}) + "\n" for n in range(N))
    a = Agent(f"[INPUT]\n    name tail\n    path {folder}/in.log\n    read_from_head on\n    parser json\n    tag t\n",
              f"    name forward\n    match *\n    host 127.0.0.1\n    port {port}\n{out_options}")
    end, seen = time.time() + 15, []
    while time.time() < end and len(seen) < N:
        time.sleep(0.3)
        if os.path.exists(f"{folder}/out"):
            seen = [json.loads(l) for l in open(f"{folder}/out") if l.endswith("\n")]
    a.stop()
    peer.terminate()
    peer.wait(10)
    good = [r.get("n") for r in seen] == list(range(N)) or sorted(r.get("n", -1) for r in seen) == list(range(N)) and name == "message"
    good = good and all(r["o"] == {"z": [1, None, 2.5], "a": "観"} for r in seen)
    failed |= not good
    print("ok  " if good else "FAIL", name, len(seen), "" if good else a.log()[-500:])
sys.exit(failed)
