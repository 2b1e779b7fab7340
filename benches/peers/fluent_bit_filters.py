#!/usr/bin/env python3
"""Runs every case of fixtures/filters/*.cases through a real Fluent Bit and writes down what it printed.

Usage: fluent_bit_filters.py FLUENT_BIT [WORD ...]   (only files whose name holds a word)
Parts called `ours` are kept as they are.
"""
import glob
import os
import subprocess
import sys
import tempfile

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../fixtures/filters")
PARSER = "[PARSER]\n    Name j\n    Format json\n    Time_Key ts\n    Time_Format %s.%L\n    Time_Keep Off\n"


def parse(text):
    cases, case, part = [], None, None
    for line in text.split("\n"):
        if line.startswith("=== "):
            case = {"name": line[4:], "filter": [], "in": [], "out": [], "ours": [], "ours_head": ""}
            cases.append(case)
            part = "filter"
        elif case is None:
            continue
        elif line == "--- in":
            part = "in"
        elif line == "--- out":
            part = "out"
        elif line.startswith("--- ours"):
            part, case["ours_head"] = "ours", line
        elif line.strip() or part == "filter":
            case[part].append(line)
    return cases


def run(binary, case):
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/in.log", "w") as f:
            f.writelines(line + "\n" for line in case["in"])
        with open(folder + "/parsers.conf", "w") as f:
            f.write(PARSER)
        filters = "\n".join(case["filter"]).replace("DIR", FOLDER)
        with open(folder + "/main.conf", "w") as f:
            f.write(
                f"[SERVICE]\n    Flush 0.2\n    Grace 1\n    Log_Level error\n"
                f"    Parsers_File {folder}/parsers.conf\n"
                f"[INPUT]\n    Name tail\n    Path {folder}/in.log\n    Read_from_Head On\n"
                f"    Exit_On_Eof On\n    Parser j\n    Tag app.web.log\n{filters}\n"
                f"[OUTPUT]\n    Name file\n    Match *\n    Path {folder}\n    File out.txt\n"
            )
        subprocess.run([binary, "-c", folder + "/main.conf"], capture_output=True, timeout=30)
        out = folder + "/out.txt"
        return open(out).read().splitlines() if os.path.exists(out) else []


def main():
    binary, words = sys.argv[1], sys.argv[2:]
    for path in sorted(glob.glob(FOLDER + "/*.cases")):
        if words and not any(word in path for word in words):
            continue
        text = open(path).read()
        result = text.split("=== ", 1)[0]
        for case in parse(text):
            lines = ["=== " + case["name"], *case["filter"], "--- in", *case["in"], "--- out"]
            lines += run(binary, case)
            if case["ours_head"]:
                lines += [case["ours_head"], *case["ours"]]
            result += "\n".join(lines) + "\n\n"
        with open(path, "w") as f:
            f.write(result.rstrip("\n") + "\n")


main()
