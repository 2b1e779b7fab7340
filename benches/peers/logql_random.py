"""Random LogQL beside Loki: nasty lines are pushed to both, made-up queries are asked of both, and status and data or error text must be equal. What is
known to differ (docs/aggregator.md) is not made up. A seed gives the same lines and queries again. By hand:
    LOKI=loki AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/logql_random.py [SEED [COUNT]]
"""
import concurrent.futures, json, random, re, sys, time

from logql import OURS, THEIRS, requests, sorted_data
from loki_pair import aggregator, loki, ns
from prometheus_wire import integer, raw, snappy

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 1
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
pick = random.Random(SEED)
one = pick.choice

KEYS = ["level", "status", "took", "size", "user", "msg", "ip", "n", "f", "a", "b", "a_b", "app", "path-name", "a b", "1x", "k.l", "", "deep", "Ünï", "__x", "ts", "a.b", "_", "A"]
TEXTS = ["info", "ERROR", "warn", "", " ", "x y", 'q"uo', "back\\slash", "tab\t", "new\nline", "日本語", "\U0001f600", "10.1.2.3", "2001:db8::1", "192.168.0.300", "a=b", "<nil>", "{}", "%d", "nul\0", "é", "‮x", "\u007f", "\ufffd", "&<>'", "null", "true"]
NUMBERS = ["0", "1", "-1", "200", "404", "1e3", "1.50", "-0", "0.1", "1E400", "12345678901234567890", "1e-7", "123456789.123456789", "0x1f", "1_000", "+5", ".5", "5.", "NaN", "Inf", "-inf", "1e21", "1e20", "00", "9007199254740993", "1e6", "1000000", "21474836480"]
UNITS = ["5ms", "1.5s", "1h2m3s", "-3s", "1d", "2w", "100us", "5µs", "1ns", "0", "0s", "1m0.5s", ".5s", "5", "1y", "s", "1h 2m", "5KB", "1.5KiB", "3MB", "10B", "1kb", "2 GB", "1,000 B", "-1KB", "5k", "1TiB", "7mb", "1e3B", "B", "1.KB", "12345"]


def scalar():
    return one([lambda: json.dumps(one(TEXTS)), lambda: json.dumps(one(TEXTS), ensure_ascii=False), lambda: one(NUMBERS), lambda: json.dumps(one(UNITS)), lambda: one(["true", "false", "null", "True", "nul"]),
                lambda: json.dumps(one(NUMBERS)), lambda: '"\\u00e9\\n\\/\\b\\f\\r\\t\\ud83d\\ude00"', lambda: '"\\ud83d"', lambda: '"\\x41"'])()


def value(depth):
    kind = pick.random()
    if depth and kind < 0.15:
        return json_object(depth - 1)
    if depth and kind < 0.25:
        return "[" + one([",", ", "]).join(value(depth - 1) for _ in range(pick.randrange(4))) + "]"
    return scalar()


def json_object(depth=3):
    space = one(["", "", " ", "  ", "\n"])
    return "{" + f",{space}".join(f"{json.dumps(one(KEYS), ensure_ascii=pick.random() < 0.5)}{one(['', '', ' '])}:{space}{value(depth)}" for _ in range(pick.randrange(8))) + "}"


def logfmt_line():
    pairs = []
    for _ in range(pick.randrange(9)):
        key, text = one(KEYS + ["level", "took", "size", "n"]), one(TEXTS + NUMBERS + UNITS)
        pairs.append(one([f"{key}={text}", f'{key}={json.dumps(text)}', f'{key}="{text}"', key, f"{key}=", f"={text}", f'{key}=""', f"{key}='{text}'", f"{key}={text}", f"{key}==x", f'{key}="{text}']))
    return one([" ", "  ", "\t", ", "]).join(pairs)


def access_line():
    return f'{one(["10.0.0.%d" % pick.randrange(9), "::1", "-", "fe80::1%eth0"])} - {one(["bob", "-"])} [{pick.randrange(28)}/Nov/2024] "{one(["GET", "POST", ""])} /p{pick.randrange(5)}{one(["", "?q=1", "?a=b&c=%20"])} HTTP/1.1" {one(["200", "404", "500", "-"])} {one(NUMBERS + UNITS)}'


def damaged(line):
    """The line cut, doubled, or with a byte in it that is none of its own."""
    data = line.encode("utf-8", "surrogatepass")
    at = pick.randrange(len(data) + 1)
    return one([lambda: data[:at], lambda: data[:at] + data[max(0, at - 5):], lambda: data[:at] + bytes([pick.randrange(256)]) + data[at:], lambda: data + b"}", lambda: b" " + data + b" ", lambda: data + data, lambda: data[:at] + b"\xff\xfe" + data[at:]])()


def line():
    text = one([json_object, json_object, logfmt_line, logfmt_line, access_line, lambda: one(TEXTS), lambda: '{"_entry": %s, %s: %s}' % (scalar(), json.dumps(one(KEYS)), scalar()), lambda: "\x1b[3%dm%s\x1b[0m" % (pick.randrange(9), one(TEXTS)),
                lambda: "[" * 40 + "]" * 40, lambda: one(["long ", "a=b "]) * 800])()
    return damaged(text) if pick.random() < 0.15 else text.encode("utf-8", "surrogatepass")


def pushed():
    """A request in protobuf, which takes lines of any bytes."""
    streams = []
    for n, selector in enumerate(['{app="one", env="prod"}', '{app="two", env="dev", level="stream"}', '{app="three"}', '{app="clean", env="prod"}', '{app="clean", env="dev"}']):
        entries = b""
        for i in range(80):
            at = ns(i * 7 + n * 0.5)
            body = clean(i) if "clean" in selector else line()
            entry = raw(1, integer(1, at // 10**9) + integer(2, at % 10**9)) + raw(2, body)
            for name in pick.sample(["trace_id", "level", "n", "took", "a"], one([0, 0, 1, 3])):
                entry += raw(3, raw(1, name) + raw(2, one(["t1", "5", "3ms", "x y", "7"])))
            entries += raw(2, entry)
        streams.append(raw(1, raw(1, selector) + entries))
    return snappy(b"".join([*streams, *edges()]))


def clean(i):
    """Lines whose fields metric queries may take without errors."""
    return json.dumps({"level": one(["info", "warn", "error"]), "n": pick.randrange(-9, 99), "f": pick.random() * 100, "took": f"{pick.randrange(900)}ms", "size": f"{pick.randrange(90)}KiB", "user": {"id": pick.randrange(4)}, "ip": f"10.0.{pick.randrange(3)}.{i}"}).encode()


# Lines at the edges of what parsers take, each in a stream without and with labels of the same names.
JSON_LINES = r'''{
{}
{"a"
{"a":
{"a":1
{"a":1,
{"a":1,}
{"a":1}x
{"a":1 "b":2}
{"a":1 x}
{"a":,"b":2}
{"a":}
{a:1}
{,}
{"a":1,,"b":2}
{"a":"x
{"a":"x"
{"a":"x\
{"a":"x\"
{"a":{"b":1
{"a":{"b":1}
{"a":{"b":1,}}
{"a":{"b":{"c":1}},"d":2
{"a":[1,2
{"a":[1,2],"b":3}
{"a":tru}
{"a":nul,"b":1}
{"a":-}
{"a":+1}
{"a":1.5.5}
{"a":1e}
{"a":0x10}
{"a":1a}
{"a":NaN}
{"a":Infinity}
{"a":'x'}
{"\u0061":"esc key"}
{"a\qb":1,"c":2}
{"\ud83d":1,"c":2}
{"a":"\ud83d"}
{"a":"\ud83d\u0041"}
{"a":"\udc00\udc00"}
{"a":"\ud83d\ude00"}
{"a":"\u00"}
{"a":"\u00ZZ"}
{"a":"\u0000"}
{"a":"\ufffd"}
{"a":"x\u0020y"}
{"_entry":"e","a":"\ud83d"}
{"_entry":"\ud83d","a":"1"}
{"_entry":"\q"}
{"_entry":5,"a":"b"}
{"_entry":"x","b":5,"c":true,"d":"t"}
{"_entry":"x","b":"1"
{"_entry":"x","":"1"}
{"_entry":"x","a b":"1","1c":"2","é":"3"}
{"_entry":"x","app":"1","level":"2"}
 {"_entry":"x","b":"1"}
{"_entry":"x","_entry":"y","a":"1","a":"2"}
{"":1}
{" ":1}
{"a":{" ":{"b":1}}}
{"_":1,"a":{"_":2}}
{"a":{"_":{"b":1}}}
{"a":{" b":1,"c ":2}}
{" a":1,"b ":2}
{"1":1,"2a":{"3":1}}
{"":{"b":1,"1":2}}
{"é":1,"a":{"é":2}}
{"a.b":1,"a":{"b":2},"a_b":3}
{"a":{"b":2},"a.b":1}
{"a":{"a":{"a":1}}}
{"a":1,"a":2}
{"app":1,"level":2}
{"app":{"x":1}}
{"x":{"app":1}}
{"a_extracted":1,"app":2,"app_extracted":3}
[1,2]
"a"
5
null

{"a":null,"b":""}
{"a":true,"b":false,"c":True}
{"a":1}{"b":2}
{"a":"b"}}
{"a":[{"b":1},{"b":2}]}
{"a":[[1,2],[3,[4]]]}
{"a":{"b":[{"c":[5]}]}}
{"a":"x","b":{"a":"y"},"c":[{"a":"z"}]}
{"a":{"b":"1"},"a":{"b":"2"}}
{"a" : 1 , "b" : "x"}
{"a":"{\"b\":1}"}
{"a":"tab	x"}
{"level":"x","msg":"y"}
{"a":1,"b":2,"c":}
{"x":"y","a":{"b":tru},"z":1}
{"x":{"y":1,"z"},"w":2}
{"a":"\/\b\f\n\r\t\"\\"}
{"__error__":"x","a":1}
{"a-b":1,"a.b":2,"a b":3}
{"ünï":1}
{"日本":1,"a":{"日本":2}}
{"a":"日本","b":"😀"}
{"a\"b":1}
{"a\\b":1}
{"a":1;"b":2}
{"a"="b"}
{"a":"b",}
{"a":"b", }
{"a":"b",
{"a":"b" ,"c":"d"
{ "a":"b"
{"a":{"b":"c"
{"a":{"b":"c"},
{"a":{"b"
{"a":{
{"a":{}}
{"a":[]}
{"a":["x","y"],"b":["p"]}'''.split("\n")
LOGFMT_LINES = r'''a=1
a=1 b=2
a
a=
=1
==
a==b
a=b=c d=1
a="x" b="y z"
a="x"b="y"
a="x"y b=1
a="x
a=x" b=1
a="x\"y" b=1
a="\n\t\\" b=1
a="\u00e9" b=1
a="\ud83d" b=1
a="\ud83d\ude00"
a="\q" b=1
a="\
a='x y' b=1
a b c=1
"a"=1 b=2
a"b=1 c=2
é=1 b=é
1a=x
a-b=1 a.b=2
a,b=1, c=2,
a=1,b=2
a= b=2
a=	b=1
a="" b=
app=x level=y
app=x app=y
a=1 a=2
a= a=2
a=2 a=
_=1 __=2
日本=x
a=日本
{a=b}
a={"b":1}
a=[1 2]
msg="a=b c=d" x=1
a=\x b=1
a=x\n
a = b
a : b
a="x"  ,b="y"
a=�
a="�" b=x�y
�=1 b=2
a�=1 b=2
a=1 b�
x="1" y=2" z=3
level=info a=5ms n=1
lvl= level="" x=1
==== a=1
a=1 = b=2
"
""
" "=1
a="x" "y" b=1
a=""b"" c=1
__error__=x a=1
a.b.c=1 a_b=2
1=2 3=4'''.split("\n")
BYTES = [b"a\xffb=1 c=2", b"a=\xff b=1", b"a=\"\xff\xfe\" b=2", b'{"a\xff":1,"b":"\xfe\xff"}', b'\xff{"a":1}', b'{"a":"\xe6\x97","_entry":"\xffx"}', b"\xff\xff=1", b"x \xe2\x82 y", b"a=\x00 b=1", b'{"a":"\x00\x01"}',
     b"\x1b[31mred\x1b[0m", b"\x1b[ab", b"\x1b]0;t\x07x", b"\x1b]0;t\x1b\\x", b"a\x1b[1;31mb\x1b[mc", b"\x1b[?25lx", b"\x1b(Bx", b"\x1b#8x", b"\x1bMx\x1b7y", b"\x1b[38;2;1;2;3mx", b"\x1b[31", b"\x1b", b"\x1b[31mx\x1b", b"\x1b\x1b[1mx", b"\xc2\x9b31mx", b"\x9b31mx", b"\x1b[1 qx", b"\x1b[12345678901mx", b"\x1b[;;mx", b"\x1b[<1mx", b"\x1b[1;2Hx", b"\x1bPq#1\x1b\\x", b"\x1b=x\x1b>y", b"\x1b[!px", b"\x1b[0Kx", b"\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", b"\x1bcx", b"\x1b[31;1;4;mx", b"\x1b[A\x1b[10Bx", b"\x1b[\x1b[31mx"]
# What is asked of them.
EDGES = r'''{t="json"} | json
{t="logfmt"} | logfmt
{t="logfmt"} | logfmt --strict
{t="logfmt"} | logfmt --keep-empty
{t="logfmt"} | logfmt --strict --keep-empty
{t="logfmt"} | logfmt a, q="b", app
{t="logfmt"} | logfmt --strict a, q="b"
{t="logfmt"} | logfmt --keep-empty a, level
{t="json"} | unpack
{t="json"} | json a
{t="json"} | json a="a.b", app
{t="json"} | json x="a[0]", y="a[1].b", z="a.b[0].c[0]"
{t="json"} | json x="[\"a.b\"]", y="[\"\"]", w="[\"a b\"]"
{t="json"} | json a="a", b="b", c="c"
{t="json"} | json level, a
{t="bytes"}
{t="bytes"} | decolorize
{t="bytes"} | json
{t="bytes"} | logfmt
{t="bytes"} | logfmt --strict
{t="bytes"} | unpack
{t="bytes"} | logfmt a, c
{t="bytes"} | line_format "{{__line__}}"
{t="json"} | line_format "{{ fromJson __line__ }}"
{t="json"} | line_format "{{ range $k, $v := fromJson __line__ }}{{ $k }}={{ $v }};{{ end }}"
{t="json"} | line_format "{{ (fromJson __line__).a }}"
{t="json"} | line_format "{{ len (fromJson __line__) }}"
{t="json"} | line_format "{{ index (fromJson __line__) \"a\" }}"
{t="json"} | json | a > 1
{t="json"} | json | a_b = "1" | line_format "{{.a}} {{.a_b}}"
{t="json"} | json | __error__!="" | drop __error__
{t="json"} | json | keep a, b
{t="logfmt"} | logfmt | logfmt
{t="json"} | json | json a
{t="json"} | json a | json
{t="json"} | pattern "{<a>:<b>}"
{t="logfmt"} | regexp "(?P<a>\\w+)=(?P<b>\\S*)"
{t="json"} | unpack | json
{t="logfmt"} | line_format "{{ ToUpper __line__ | trunc 5 }}"
{t="bytes"} | line_format "{{ __line__ | len }} {{ trunc 3 __line__ }} {{ printf \"%q %x\" __line__ __line__ }} {{ urlencode __line__ }} {{ b64enc __line__ }}"
{t="bytes"} | line_format "{{ ToUpper __line__ }} {{ title __line__ }} {{ substr 0 2 __line__ }} {{ alignRight 5 __line__ }}"'''.split("\n")


def edges():
    """Their streams."""
    for n, (selector, lines) in enumerate([('t="json"', JSON_LINES), ('t="logfmt"', LOGFMT_LINES), ('t="bytes"', BYTES)]):
        for m, more in enumerate(["", ', app="a", level="l"']):
            entries = b""
            for i, text in enumerate(lines):
                at = ns(i * 3 + n * 0.25 + m)
                entry = raw(1, integer(1, at // 10**9) + integer(2, at % 10**9)) + raw(2, text)
                entries += raw(2, entry + (raw(3, raw(1, "a") + raw(2, "meta")) if m and i % 2 else b""))
            yield raw(1, raw(1, "{" + selector + more + "}") + entries)


SELECTORS = ['{app=~".+"}', '{app="one"}', '{app="two"}', '{app="three"}', '{app=~"one|three"}', '{env="prod"}', '{app=~".+", env=""}', '{app="clean"}', '{app="clean", env!="dev"}']
FIELDS = ["level", "status", "took", "size", "user", "msg", "ip", "n", "f", "a", "b", "a_b", "app", "path_name", "deep", "user_id", "level_extracted", "app_extracted", "n_extracted", "missing", "ts", "_", "A", "trace_id", "__error__", "a_extracted", "env"]


def quoted(text):
    return json.dumps(text, ensure_ascii=False).replace("\\u0000", "\\x00").replace("\\u007f", "\\x7f")


def line_filter():
    texts = ["info", "a", '"', "=", "\\", "é", "10.", "{", "ERROR", "日", "", " ", "null", "x"]
    patterns = ["(?i)error", "^\\{", "[0-9]{3}", "a.b", "^$", "\\bx\\b", "(info|warn)", ".*", "\\s+$", "[^a-z]", "\\p{Han}", "\\x1b", "(?s)new.line", "[[:digit:]]", "\\d+ms", ".+é"]
    return one([lambda: f"|= {quoted(one(texts))}", lambda: f"!= {quoted(one(texts))}", lambda: f"|~ {quoted(one(patterns))}", lambda: f"!~ {quoted(one(patterns))}", lambda: f"|= {quoted(one(texts))} or {quoted(one(texts))}",
                lambda: f"!~ {quoted(one(patterns))} or {quoted(one(patterns))}", lambda: f'|= ip("{one(["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "10.0.0.1-10.0.0.7", "::1"])}")', lambda: f'|> "{one(["<_>info<_>", "<_>=<_>", "{<_>}", "<_> - <_>"])}"', lambda: '!> "<_>\\"<_>"'])()


def parser():
    paths = ["user", "a.b", "deep.a", "[\\\"path-name\\\"]", "user.id", "[\\\"a b\\\"]", "a[0]", "a[1].b", "msg", "[\\\"\\\"]", "k.l", "[\\\"k.l\\\"]", "deep[\\\"a b\\\"]"]
    return one([lambda: "| json", lambda: "| json", lambda: "| logfmt", lambda: "| logfmt", lambda: "| logfmt" + one([" --strict", " --keep-empty", " --strict --keep-empty"]), lambda: "| unpack",
                lambda: "| json " + ", ".join(one([f"{f}", f'{f}="{one(paths)}"']) for f in pick.sample(["level", "x", "n", "took", "zz", "a", "app"], one([1, 2]))),
                lambda: "| logfmt " + one(["", "--strict ", "--keep-empty "]) + ", ".join(one([f"{f}", f'{f}="{one(["level", "took", "a", "n", "a_b", "a.b"])}"']) for f in pick.sample(["level", "x", "n", "took", "app"], one([1, 2]))),
                lambda: "| regexp " + quoted(one(["(?P<first>\\w+) (?P<rest>.*)", "level=(?P<level>\\S*)", "(?P<n>\\d+)", "^(?P<ip>\\S+) .*\"(?P<m>\\w*) (?P<path>[^ ?]*)", "(?P<a>[a-z]*)(?P<b>=?)", "(?P<app>\\w+)", "(?P<é>x)?(?P<q>.)"])),
                lambda: "| pattern " + quoted(one(["<ip> - <user> [<_>] \"<m> <path> <_>\" <status> <size>", "<a>=<b> <_>", "<_>:<x>,<_>", "<first> <second>", "{<inner>}", "level=<level> ", "<app> <n>"]))])()


def label_filter(depth=1):
    def simple():
        f = one(FIELDS)
        return one([lambda: f'{f}{one(["=", "!=", "=~", "!~"])}{quoted(one(["info", "", ".*", "5", "200", "x y", ".+", "(?i)error", "true", "prod"]))}', lambda: f'{f} {one([">", ">=", "<", "<=", "==", "!=", "="])} {one(["5", "200", "-1", "1.5", "1e3", "0"])}',
                    lambda: f'{f} {one([">", ">=", "<", "<=", "==", "!="])} {one(["5ms", "1s", "1h30m", "1m0s", "0s", "2d"])}', lambda: f'{f} {one([">", ">=", "<", "<=", "==", "!="])} {one(["5KB", "1.5KiB", "1MB", "10B", "1GiB"])}',
                    lambda: f'{f} {one(["=", "!="])} ip("{one(["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "10.0.0.1-10.0.1.7"])}")', lambda: one(['__error__=""', '__error__!=""', '__error__="JSONParserErr"', '__error__=~".*Err"', '__error_details__=""'])])()
    if depth and pick.random() < 0.3:
        return one(["{} and {}", "{} or {}", "{}, {}", "({} or {})", "{} {}"]).format(label_filter(0), label_filter(0))
    return simple()


def argument():
    return one([lambda: "." + one([f for f in FIELDS if f != "__error__" and f[0] != "_" or f == "_"]), lambda: "__line__", lambda: quoted(one(TEXTS)), lambda: one(["1", "-3", "2.5", "0", "7"]), lambda: "(" + call() + ")", lambda: quoted(one(NUMBERS + UNITS))])


FUNCTIONS = {"ToLower": 1, "ToUpper": 1, "Replace": "ttti", "Trim": 2, "TrimLeft": 2, "TrimRight": 2, "TrimPrefix": 2, "TrimSuffix": 2, "TrimSpace": 1, "regexReplaceAll": "rtt", "regexReplaceAllLiteral": "rtt", "count": "rt", "urldecode": 1, "urlencode": 1,
             "bytes": 1, "duration": 1, "duration_seconds": 1, "unixEpochMillis": "d", "unixEpoch": "d", "unixEpochNanos": "d", "toDateInZone": "tzt", "unixToTime": 1, "alignLeft": "it", "alignRight": "it", "b64enc": 1, "b64dec": 1, "lower": 1, "upper": 1, "title": 1, "trunc": "it", "substr": "iit",
             "contains": 2, "hasPrefix": 2, "hasSuffix": 2, "indent": "it", "nindent": "it", "replace": 3, "repeat": "st", "trim": 1, "trimAll": 2, "trimSuffix": 2, "trimPrefix": 2, "int": 1, "float64": 1, "add": 2, "sub": 2, "mul": 2, "div": "tp", "mod": "tp", "addf": 2, "subf": 2,
             "mulf": 2, "divf": "tp", "max": 2, "min": 2, "maxf": 2, "minf": 2, "ceil": 1, "floor": 1, "round": "ti", "default": 2, "date": "fd", "toDate": "ft", "len": 1, "print": 2, "println": 1, "printf": "%t", "html": 1, "js": 1, "urlquery": 1, "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2,
             "and": 2, "or": 2, "not": 1, "index": "jk", "slice": "tii", "fromJson": 1}


def call():
    name = one(list(FUNCTIONS))
    kinds = FUNCTIONS[name]
    kinds = "t" * kinds if isinstance(kinds, int) else kinds
    if pick.random() < 0.04:
        kinds = one([kinds[:-1], kinds + "t"])
    made = [{"t": argument(), "i": lambda: one(["0", "1", "-1", "5", "-4", "100", ".n"]), "s": lambda: one(["0", "1", "3", "-1"]), "p": lambda: one(["1", "3", "-2", '"4"', ".n | default 2"]) if False else one(["1", "3", "-2", '"4"']), "r": lambda: quoted(one(["[a-z]+", "(\\w)(\\d)?", "e", "^", "\\s*", ".", "x*"])),
             "d": lambda: "__timestamp__", "z": lambda: quoted(one(["UTC", "Asia/Tokyo", "nowhere"])), "f": lambda: quoted(one(["2006-01-02T15:04:05.000Z07:00", "02 Jan 06 MST", "Mon _2 3:04PM", "2006"])), "%": lambda: quoted(one(["%s", "%d", "%q", "%v|%5s", "%x", "%.2f", "%-8s|", "%T", "%%", "%t", "%c", "%08.3f", "%U", "%+v", "%[1]s %[1]s", "%!"])),
             "j": lambda: "(fromJson __line__)", "k": lambda: quoted(one(KEYS))}[k]() for k in kinds]
    if made and pick.random() < 0.4:
        return f"{made[-1]} | {' '.join([name] + made[:-1])}"
    return " ".join([name] + made)


def template():
    def part():
        return one([lambda: "{{ %s }}" % call(), lambda: "{{ %s }}" % call(), lambda: "{{.%s}}" % one(["level", "n", "a", "missing", "took"]), lambda: "{{ if %s }}y{{ else }}n{{ end }}" % call(), lambda: "-", lambda: "{{ with .%s }}{{ . }}{{ end }}" % one(["level", "n", "missing"]),
                    lambda: "{{- __line__ -}} x", lambda: "{{ $x := %s }}{{ $x }}" % call(), lambda: "{{ range $k, $v := fromJson __line__ }}{{ $k }}={{ $v }};{{ end }}", lambda: "{{/* c */}}", lambda: "{{ __timestamp__ }}", lambda: "{{ . | len }}", lambda: "{{ %s | %s }}" % (call(), one(["len", "print", "printf \"%v\"", "ToUpper"]))])()
    return "".join(part() for _ in range(one([1, 1, 2])))


def backquoted(text):
    return "`" + text.replace("`", "'") + "`"


def stage(state):
    """One stage; `state` keeps what a label filter had better not ask for."""
    kind = pick.random()
    if kind < 0.25 and not state.get("decolorized"):
        return line_filter()
    if kind < 0.45:
        return parser()
    if kind < 0.65 and not state.get("formatted"):
        return "| " + label_filter()
    if kind < 0.8:
        return "| line_format " + backquoted(template())
    if kind < 0.88:
        state["formatted"] = True
        a, b = pick.sample(["x", "level", "n", "fresh", "took", "app", "a"], 2)
        return one([lambda: f"| label_format {a}={b}", lambda: f"| label_format {a}={backquoted(template())}", lambda: f"| label_format {a}={b}, {b}2={backquoted(template())}"])()
    if kind < 0.96:
        return f"| {one(['drop', 'keep'])} " + ", ".join(one([f, f'{f}{one(["=", "!=", "=~", "!~"])}{quoted(one(["info", ".+", "5", ""]))}']) for f in pick.sample(FIELDS, one([1, 2])))
    state["decolorized"] = True
    return "| decolorize"


def pipeline(most=4):
    state = {}
    return one(SELECTORS) + "".join(" " + stage(state) for _ in range(pick.randrange(most + 1)))


def grouping():
    return f" {one(['by', 'without'])} ({', '.join(pick.sample(['app', 'env', 'level', 'trace_id', 'user_id', 'none'], pick.randrange(3)))})"


def metric(depth=2):
    kind = pick.random()
    if depth == 0 or kind < 0.4:
        window = one(["1m", "2m", "90s", "5m"])
        offset = one(["", "", "", " offset 1m", " offset -30s"])
        if pick.random() < 0.5:
            base = '{app="clean"} | json' if pick.random() < 0.6 else pipeline(3)
            unwrap = one(["n", "f", "duration(took)", "bytes(size)", "duration_seconds(took)", "n", "missing", "level"])
            after = one(["", "", ' | __error__=""', " | n > 5"])
            name = one(["sum", "avg", "min", "max", "stddev", "stdvar", "first", "last", "quantile", "rate", "rate_counter"])
            group = grouping() if name in ("avg", "min", "max", "stddev", "stdvar", "first", "last", "quantile") and pick.random() < 0.7 else ""
            call = name if name.startswith("rate") else name + "_over_time"
            first = one(["0.5, ", "0.99, ", "0, ", "1, "]) if name == "quantile" else ""
            return f"{call}({first}{base} | unwrap {unwrap}{after} [{window}]{offset}){group}"
        clean_end = one([' | __error__=""', "", " | drop __error__, __error_details__"])
        return f"{one(['count_over_time', 'rate', 'bytes_over_time', 'bytes_rate', 'absent_over_time'])}({pipeline(3)}{clean_end} [{window}]{offset})"
    if kind < 0.7:
        name = one(["sum", "avg", "min", "max", "count", "stddev", "stdvar"])
        inner = metric(depth - 1)
        return f"{name}{grouping()} ({inner})" if pick.random() < 0.7 else f"{name}({inner})"
    if kind < 0.9:
        a = f"sum by (app, level) ({metric(0)})" if pick.random() < 0.5 else metric(depth - 1)
        b = one([lambda: one(["2", "0.5", "-1", "0"]), lambda: f"sum by (app) ({metric(0)})", lambda: metric(depth - 1), lambda: "vector(2)"])()
        operator = one(["+", "-", "*", "/", "%", "^", ">", "<", ">=", "<=", "==", "!=", "> bool", "== bool", "and", "or", "unless"])
        if operator in ("and", "or", "unless") and b[0] in "20-":
            operator = "+"
        match = one(["", "", " on (app)", " ignoring (level)", " on (app) group_left", " ignoring (level) group_left ()"]) if "(" in b and "vector" not in b else ""
        if operator in ("and", "or", "unless"):
            match = match.split(" group")[0]
        return f"{a} {operator}{match} {b}"
    inner = metric(depth - 1)
    return one([f'label_replace({inner}, "{one(["new", "level"])}", "{one(["$1", "x$1-${1}", "", "c"])}", "{one(["app", "level", "none"])}", "{one(["(.*)", "(.).*", "e.*", ""])}")', f"-1 * ({inner})", f"({inner})"])


def plain(answer):
    """An answer without what is known to differ: where in a template something failed."""
    if isinstance(answer, str):
        answer = re.sub(r'template: (line|label):\d+:\d+: executing "\w+" at <.*?>: |error calling \w+: ', "", answer, flags=re.S)
        # Of many series with an error any may be told; bytes that are no UTF-8 are spaces in our labels.
        return re.sub(r"pipeline error: '\w+'", "pipeline error", answer).replace("\ufffd", " ")
    if isinstance(answer, list):
        return [plain(a) for a in answer]
    return {k: plain(v) for k, v in answer.items()} if isinstance(answer, dict) else answer


def flat(answer):
    """Entries by their times, which are all different, or samples by labels and time."""
    data = answer.get("data") if isinstance(answer, dict) else None
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(result, list) or not all(isinstance(r, dict) for r in result):
        return {"": answer}
    out = {}
    for item in result:
        if "stream" in item:
            out.update({v[0]: (item["stream"], v[1]) for v in item["values"]})
        else:
            labels = json.dumps(item["metric"], sort_keys=True, ensure_ascii=False)
            out.update({(labels, v[0]): v[1] for v in item.get("values", [item.get("value")])})
    return out


def differences(peers, line):
    """What differs, in few words, and how many requests there were."""
    told, asked = [], list(requests(line))
    for path, parameters in asked:
        answers = [(status, plain(sorted_data(text.strip(), False))) for status, text in (p.ask(path, **parameters) for p in peers)]
        # Loki cannot write labels that are no UTF-8.
        if answers[0] == answers[1] or answers[0][0] == 500 and "invalid UTF-8" in str(answers[0][1]):
            continue
        theirs, ours = ({"status": status} | flat(answer) for status, answer in answers)
        keys = [k for k in {**theirs, **ours} if theirs.get(k) != ours.get(k)]
        told.append(f"--- {line}  [{path.split('/')[-1]} limit={parameters.get('limit')}] {len(keys)} of {len(theirs)}")
        told += [f"    {key}\n      loki    {theirs.get(key)}\n      kansoku {ours.get(key)}" for key in keys[:2]]
    return told, len(asked)


def main():
    body = pushed()
    lines = [f"log {query}" for query in EDGES]
    lines += list(dict.fromkeys([f"log {pipeline()}" if pick.random() < 0.6 else f"metric {metric()}" for _ in range(COUNT)]))
    peers = [loki(THEIRS), aggregator(OURS)]
    try:
        for peer in peers:
            status, text = peer.ask("/loki/api/v1/push", body, {"Content-Type": "application/x-protobuf"})
            assert status == 204, f"{peer.name}: {status} {text}"
        time.sleep(1)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda line: differences(peers, line), lines))
    finally:
        for peer in peers:
            peer.stop()
    differing = [told for told, _ in found if told]
    print("\n".join(text for told in differing for text in told))
    print(f"seed {SEED}: {len(lines)} queries, {sum(n for _, n in found)} requests, {len(differing)} queries differ")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
