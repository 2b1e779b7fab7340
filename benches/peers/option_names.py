#!/usr/bin/env python3
"""Compares the option names of every plugin that Fluent Bit and kansoku-agent both have.

Usage: option_names.py [FLUENT_BIT] [KANSOKU_AGENT]

Both print their options as JSON with -J. A name of Fluent Bit's that the agent's schema lacks is
then tried with --dry-run, for the agent takes some without listing them at every plugin (what the
core reads, and what the network has no use for). A name counts as missing when the agent calls it
an unknown key. Names that only the agent takes are no fault. The end status is 1 when one is missing.
"""
import json
import subprocess
import sys

FLUENT_BIT = sys.argv[1] if len(sys.argv) > 1 else "/opt/fb/build/bin/fluent-bit"
AGENT = sys.argv[2] if len(sys.argv) > 2 else "target/debug/kansoku-agent"
# A value that can be read as an option's type.
SAMPLES = {"boolean": "true", "integer": "1", "double": "1", "size": "1M", "time": "1s"}
# What a name with a prefix may look like.
PREFIXES = {"parser_": "parser_1", "rdkafka.": "rdkafka.linger.ms"}
FLAGS = {"inputs": "-i", "filters": "-F", "outputs": "-o", "processors": "-r"}


def schema(binary):
    printed = subprocess.run([binary, "-J"], capture_output=True, check=True).stdout
    return json.loads(printed)


def options(plugin):
    groups = plugin["properties"].values()
    return {o["name"].lower(): o["type"] for group in groups for o in group}


def is_unknown(kind, plugin, name, option_type):
    name = PREFIXES.get(name, name)
    setting = ["-p", f"{name}={SAMPLES.get(option_type, '1')}"]
    line = [AGENT, "--dry-run", "-i", "dummy"]
    if kind == "inputs":
        line = [AGENT, "--dry-run", "-i", plugin] + setting + ["-o", "null", "-m", "*"]
    elif kind == "filters":
        line += ["-F", plugin, "-m", "*"] + setting + ["-o", "null", "-m", "*"]
    else:
        line += [FLAGS[kind], plugin, "-m", "*"] + setting
    said = subprocess.run(line, capture_output=True, text=True)
    return "unknown key" in said.stderr + said.stdout


def main():
    real, ours = schema(FLUENT_BIT), schema(AGENT)
    n_plugins = n_names = n_unlisted = n_missing = 0
    for kind in ["inputs", "processors", "filters", "outputs"]:
        by_name = {p["name"].lower(): p for p in ours[kind]}
        absent = []
        for plugin in real[kind]:
            mine = by_name.get(plugin["name"].lower())
            if mine is None:
                absent.append(plugin["name"])
                continue
            wanted = options(plugin)
            listed = options(mine)
            unlisted = sorted(set(wanted) - set(listed))
            missing = [n for n in unlisted if is_unknown(kind, plugin["name"], n, wanted[n])]
            n_plugins += 1
            n_names += len(wanted)
            n_unlisted += len(unlisted)
            n_missing += len(missing)
            if missing:
                print(f"{kind} {plugin['name']}: {' '.join(missing)}")
        print(f"{kind} that the agent does not have: {' '.join(absent)}")
    print(
        f"{n_plugins} plugins, {n_names} options of Fluent Bit:"
        f" {n_unlisted} not listed at their plugin, {n_missing} missing"
    )
    return 1 if n_missing else 0


if __name__ == "__main__":
    sys.exit(main())
