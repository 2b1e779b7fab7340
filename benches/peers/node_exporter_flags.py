#!/usr/bin/env python3
"""Compares the command line of `kansoku-agent node-exporter` with that of a real node_exporter.

  node_exporter_flags.py --peer /usr/bin/prometheus-node-exporter [--source DIR] [--program PATH]

Reads `--help` of both and lists the flags that only one of them has, and those whose form
(switch, value, list), default or collector's default differs. With --source, a checkout of
node_exporter, it also asks our program for every flag that the code for Linux registers, hidden
ones too. Ends with 1 when a flag of the peer is missing or different here.
"""

import argparse
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
FLAG = re.compile(r"^  (?:-h, |    )--(\[no-\])?([A-Za-z0-9_.-]+?)(?:=(.*?))?(?:\s+\.\.\.)?(?:\s{2,}.*|\s*)$")
# Of the command line library itself.
LIBRARY = {"help"}
# Not in code for Linux.
OTHER_SYSTEMS = re.compile(r"_(darwin|freebsd|netbsd|openbsd|dragonfly|solaris|aix|bsd|windows)\.go$|_test\.go$|_other\.go$")


def flags(text):
    """Name of each flag -> (form, default, rest of its text)."""
    found, name = {}, None
    for line in text.split("\n"):
        match = FLAG.match(line)
        if not match:
            if name and line.startswith("   "):
                found[name][2] += " " + line.strip()
            continue
        switch, name, value = match.groups()
        rest = line[match.end(2) :]
        is_list = "..." in rest.split("  ")[0]
        default = ""
        if value and value.startswith('"'):
            default = re.match(r'"((?:[^"\\]|\\.)*)"', value).group(1)
        elif value and not value.isupper():
            default = value.split()[0]  # A number, a duration or a word of a choice.
        help_text = re.split(r"\s{2,}", rest, maxsplit=1)
        found[name] = [
            "switch" if switch or value is None and not is_list else "list" if is_list else "value",
            default,
            help_text[1] if len(help_text) > 1 else "",
        ]
    return found


def help_of(program):
    done = subprocess.run([*program, "--help"], capture_output=True, text=True)
    return flags(done.stdout or done.stderr)


def registered(folder):
    """Flags that the files for Linux register, hidden ones too."""
    names = {}
    for path in glob.glob(os.path.join(folder, "**/*.go"), recursive=True):
        relative = os.path.relpath(path, folder)
        if relative.startswith("vendor") or OTHER_SYSTEMS.search(path):
            continue
        text = open(path, encoding="utf-8").read()
        constraint = re.search(r"^//go:build (.*)$", text, re.M)
        if constraint and "linux" not in constraint.group(1) and not re.match(r"!no", constraint.group(1)):
            continue
        for match in re.finditer(r'kingpin\.Flag\(\s*"([^"]+)"', text):
            tail = text[match.end() : match.end() + 400].split("kingpin.Flag")[0]
            names[match.group(1)] = ".Bool()" in tail.split("\n\n")[0]
    return names


def is_known(program, name, is_switch):
    """Whether our program takes the flag: help is printed when everything before it is understood."""
    argument = f"--{name}" if is_switch else f"--{name}=1"
    done = subprocess.run([*program, argument, "--help"], capture_output=True, text=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", required=True)
    parser.add_argument("--source")
    parser.add_argument("--program", default=os.path.join(ROOT, "target/debug/kansoku-agent"))
    options = parser.parse_args()
    ours_command = [options.program, "node-exporter"]
    theirs, ours = help_of([options.peer]), help_of(ours_command)
    n_faults = 0
    for name in sorted(theirs.keys() - LIBRARY):
        form, default, _ = theirs[name]
        if name not in ours:
            known = is_known(ours_command, name, form == "switch")
            print(f"{'not in our help' if known else 'MISSING'}: --{name}")
            n_faults += not known
            continue
        if [form, default] == ours[name][:2]:
            continue
        print(f"DIFFERENT: --{name}: {[form, default]} and ours {ours[name][:2]}")
        n_faults += 1
    for name in sorted(theirs.keys() & ours.keys()):
        if re.fullmatch(r"collector\.\w+", name):
            state = re.search(r"default:\s*(enabled|disabled)", theirs[name][2])
            mine = re.search(r"default:\s*(enabled|disabled)", ours[name][2])
            if state and mine and state.group(1) != mine.group(1):
                print(f"DIFFERENT: --{name}: {state.group(1)} there, {mine.group(1)} here")
                n_faults += 1
    for name in sorted(ours.keys() - theirs.keys()):
        print(f"only ours: --{name}")
    if options.source:
        names = registered(options.source)
        for name, is_switch in sorted(names.items()):
            if not is_known(ours_command, name, is_switch):
                print(f"MISSING in the code's list: --{name}")
                n_faults += 1
        print(f"{len(names)} flags in the code for Linux")
    print(f"{len(theirs)} flags there, {len(ours)} here, {n_faults} faults")
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    main()
