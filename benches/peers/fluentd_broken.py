#!/usr/bin/env python3
"""Asks a real Fluentd (--dry-run) and the import about configurations that are broken, and some that only look so.

Usage: FLUENTD="ruby -Ilib bin/fluentd -p PLUGINS" fluentd_broken.py

What Fluentd refuses has to be an error of the import, one of its `not converted`, or a mistake that the agent
names when it reads the result; what Fluentd takes must be no error of the import. AGENT names the program under test; by default target/debug/kansoku-agent.
"""
import concurrent.futures, os, re, shlex, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AGENT = os.environ.get("AGENT", os.path.join(ROOT, "target/debug/kansoku-agent"))
MATCH = "<match **>\n  @type null\n</match>\n"


def source(body, parse="    @type none\n"):
    return f"<source>\n  @type tail\n  path /nonexistent/a.log\n{body}  <parse>\n{parse}  </parse>\n</source>\n"


SOURCE = source("  tag t\n")


def filters(kind, body):
    return f"{SOURCE}<filter **>\n  @type {kind}\n{body}</filter>\n{MATCH}"


CASES = {
    "good": SOURCE + MATCH,
    "empty": "",
    "only a comment": "# nothing\n",
    "no end of a section": SOURCE + "<match **>\n  @type null\n",
    "an end without a section": SOURCE + MATCH + "</match>\n",
    "another section's end": SOURCE + "<match **>\n  @type null\n</source>\n",
    "text behind an end": SOURCE + "<match **>\n  @type null\n</match> x\n",
    "text behind a head": SOURCE + "<match **> x\n  @type null\n</match>\n",
    "a head without its end": SOURCE + "<match **\n  @type null\n</match>\n",
    "an attribute at the root": "key value\n" + SOURCE + MATCH,
    "an unknown section": SOURCE + "<thing>\n</thing>\n" + MATCH,
    "a match within a source": "<source>\n  @type sample\n  tag t\n" + MATCH + "</source>\n" + MATCH,
    "no type": SOURCE + "<match **>\n</match>\n",
    "no type of a source": "<source>\n  tag t\n</source>\n" + MATCH,
    "an unknown type": SOURCE + "<match **>\n  @type nowhere\n</match>\n",
    "an unknown type of a source": "<source>\n  @type nowhere\n</source>\n" + MATCH,
    "an unknown type of a filter": filters("nowhere", ""),
    "an unknown parser": source("  tag t\n", "    @type nowhere\n") + MATCH,
    "no parser": "<source>\n  @type tail\n  path /nonexistent/a.log\n  tag t\n</source>\n" + MATCH,
    "an empty parser": source("  tag t\n", "") + MATCH,
    "no tag": source("") + MATCH,
    "an empty tag": source('  tag ""\n') + MATCH,
    "no path": "<source>\n  @type tail\n  tag t\n  <parse>\n    @type none\n  </parse>\n</source>\n" + MATCH,
    "a regexp without its expression": source("  tag t\n", "    @type regexp\n") + MATCH,
    "a regexp without groups": source("  tag t\n", "    @type regexp\n    expression /^a$/\n") + MATCH,
    "a broken regexp": source("  tag t\n", "    @type regexp\n    expression /(?<a>/\n") + MATCH,
    "a multiline without formats": source("  tag t\n", "    @type multiline\n    format_firstline /^a/\n") + MATCH,
    "a multiline with a gap": source("  tag t\n", "    @type multiline\n    format1 /(?<a>.)/\n    format3 /(?<b>.)/\n") + MATCH,
    "a wrong type": source("  tag t\n", "    @type json\n    types a:number\n") + MATCH,
    "a wrong time_type": source("  tag t\n", "    @type json\n    time_type day\n") + MATCH,
    "a wrong timezone": source("  tag t\n", "    @type json\n    time_format %Y\n    timezone Nowhere/None\n") + MATCH,
    "a wrong switch": source("  tag t\n  read_from_head maybe\n") + MATCH,
    "a wrong size": source("  tag t\n  max_line_size big\n") + MATCH,
    "a wrong time": source("  tag t\n  refresh_interval soon\n") + MATCH,
    "an unknown key": source("  tag t\n  no_such_key 1\n") + MATCH,
    "a key that is given twice": source("  tag t\n  tag u\n") + MATCH,
    "a label that is not there": SOURCE + "<match **>\n  @type relabel\n  @label @NONE\n</match>\n",
    "a label of a source that is not there": source("  tag t\n  @label @NONE\n") + MATCH,
    "a label without @": source("  tag t\n  @label NONE\n") + MATCH,
    "a label twice": SOURCE + MATCH + "<label @A>\n" + MATCH + "</label>\n<label @A>\n" + MATCH + "</label>\n",
    "a label without a name": SOURCE + MATCH + "<label>\n" + MATCH + "</label>\n",
    "an unused label": SOURCE + MATCH + "<label @A>\n" + MATCH + "</label>\n",
    "relabel without a label": SOURCE + "<match **>\n  @type relabel\n</match>\n",
    "copy without stores": SOURCE + "<match **>\n  @type copy\n</match>\n",
    "a store without a type": SOURCE + "<match **>\n  @type copy\n  <store>\n  </store>\n</match>\n",
    "forward without servers": SOURCE + "<match **>\n  @type forward\n</match>\n",
    "forward to a server without a host": SOURCE + "<match **>\n  @type forward\n  <server>\n    port 1\n  </server>\n</match>\n",
    "forward with a wrong port": SOURCE + "<match **>\n  @type forward\n  <server>\n    host a\n    port x\n  </server>\n</match>\n",
    "file without a path": SOURCE + "<match **>\n  @type file\n</match>\n",
    "http without an endpoint": SOURCE + "<match **>\n  @type http\n</match>\n",
    "a pattern without its end": SOURCE + "<match /a>\n  @type null\n</match>\n",
    "a broken pattern": SOURCE + "<match /(/>\n  @type null\n</match>\n",
    "a match without a pattern": SOURCE + "<match>\n  @type null\n</match>\n",
    "grep without rules": filters("grep", ""),
    "grep without a key": filters("grep", "  <regexp>\n    pattern /a/\n  </regexp>\n"),
    "grep without a pattern": filters("grep", "  <regexp>\n    key a\n  </regexp>\n"),
    "grep with a key twice": filters("grep", "  <regexp>\n    key a\n    pattern /a/\n  </regexp>\n  <regexp>\n    key a\n    pattern /b/\n  </regexp>\n"),
    "grep with a broken pattern": filters("grep", "  <regexp>\n    key a\n    pattern /(/\n  </regexp>\n"),
    "parser without a key": filters("parser", "  <parse>\n    @type json\n  </parse>\n"),
    "parser without a parser": filters("parser", "  key_name a\n"),
    "record_transformer with broken Ruby": filters("record_transformer", '  enable_ruby true\n  <record>\n    a ${record["b"}\n  </record>\n'),
    "concat without a way": filters("concat", "  key a\n"),
    "concat with two ways": filters("concat", "  key a\n  n_lines 2\n  multiline_start_regexp /a/\n"),
    "rewrite_tag_filter without rules": SOURCE + "<match **>\n  @type rewrite_tag_filter\n</match>\n",
    "rewrite_tag_filter without a tag": SOURCE + "<match **>\n  @type rewrite_tag_filter\n  <rule>\n    key a\n    pattern /a/\n  </rule>\n</match>\n",
    "an include that is not there": SOURCE + "@include none.conf\n" + MATCH,
    "an include of a pattern without files": SOURCE + "@include none/*.conf\n" + MATCH,
    "a key that begins with @": "<source>\n  @type sample\n  @thing 1\n  tag t\n</source>\n" + MATCH,
    "an open quote": 'x "\n' + SOURCE + MATCH,
    "open JSON": SOURCE + filters("record_transformer", '  <record>\n    a {"b":\n  </record>\n'),
    "open Ruby": source('  tag "#{ENV[\'A\'"\n') + MATCH,
    "wrong Ruby": source('  tag "#{1 +}"\n') + MATCH,
    "a worker beyond their number": "<worker 3>\n" + SOURCE + "</worker>\n" + MATCH,
    "a buffer of an unknown type": SOURCE + "<match **>\n  @type file\n  path /tmp/x\n  <buffer>\n    @type nowhere\n  </buffer>\n</match>\n",
    "a buffer key without its tag": SOURCE + "<match **>\n  @type file\n  path /tmp/x.${tag}\n  <buffer time>\n    timekey 1d\n  </buffer>\n</match>\n",
    "no UTF-8": "# \udcff\n" + SOURCE + MATCH,
}


# What Fluentd refuses and is no mistake here.
TAKEN = {
    "grep with a key twice": "taken: two rules of one key are asked both",
    "a worker beyond their number": "taken: there is one process, which the import tells",
}


def ask(item):
    name, text = item
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/fluent.conf", "w", errors="surrogateescape") as f:
            f.write(text)
        command = shlex.split(os.environ["FLUENTD"]) + ["--dry-run", "-c", "fluent.conf"]
        theirs = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, errors="replace")
        said = [l for l in (theirs.stdout + theirs.stderr).splitlines() if re.search(r"\[error\]|\((Fluent|Regexp|Error)", l)]
        run = lambda *args: subprocess.run([AGENT, *args], cwd=folder, capture_output=True, text=True, timeout=60, errors="replace")
        ours = run("import", "fluentd", "fluent.conf", "-o", folder)
        told, refused = ours.stderr, bool(ours.returncode)
        if theirs.returncode and not refused:
            read = run("-c", "kansoku.conf", "--dry-run")
            mistakes = [l for l in read.stderr.splitlines() if ("[error]" in l or "is not available" in l) and "is no folder" not in l]
            told += "".join(l + "\n" for l in mistakes)
            refused = "not converted: " in told or bool(mistakes)
        return name, theirs.returncode, said[:1], refused, told


def main():
    if not os.environ.get("FLUENTD"):
        sys.exit(__doc__)
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for name, theirs, said, ours, told in pool.map(ask, CASES.items()):
            lost = [l for l in told.splitlines() if "not converted: " in l or l.startswith("[20")] or told.splitlines()[:1]
            note = "same" if bool(theirs) == ours else TAKEN.get(name, "DIFFERENT")
            bad += note == "DIFFERENT"
            if note != "same" or os.environ.get("SHOW"):
                print(f"{note}: {name}\n    fluentd {theirs}: {''.join(said)[:230]}\n    agent {ours}: {' | '.join(lost)[:330]}")
    print(f"{len(CASES)} configurations, {bad} judged otherwise")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
