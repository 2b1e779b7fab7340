"""Bodies of http, es, opensearch, loki and splunk beside the real Fluent Bit on the same records.

Run by hand: FLUENT_BIT=... KANSOKU_AGENT=... python3 http_bodies.py [case numbers]
Differences that are meant: msgpack header widths; one record that can be no GELF does not fail the
others; `remove_keys a.b` removes the key `a.b`.
"""
import sys,subprocess,threading,http.server,json,os,gzip,time,tempfile
WORK=tempfile.mkdtemp()
INPUT=r'''{"t":"2023-11-14T22:13:20.123456789","log":"plain line","stream":"stdout","n":1,"f":2.5,"b":true,"x":null}
{"t":"2023-11-14T22:13:20.5","log":"quote \" back \\ tab \t nl \n del \u007f uni \u89b3 emoji \ud83d\ude00","level":"warn","a.b":1}
{"t":"2023-11-14T22:13:21.25","log":"nested","nested":{"k.1":"v","deep":{"z":[1,2,{"q.q":"r"}]}},"arr":[1,"two",3.5,null,false]}
{"t":"2023-11-14T23:59:59.999999999","log":"","empty":{},"earr":[],"neg":-5,"big":12345678901234567,"small":1e-7,"huge":1.5e300,"one":1.0}
{"t":"2023-11-15T00:00:00.000001","message":"only message","kubernetes":{"pod_name":"p1","labels":{"app":"web","app.kubernetes.io/name":"shop"}},"level":"info","tenant":"t2"}
'''
PARSERS='''[PARSER]
    Name   j
    Format json
    Time_Key t
    Time_Format %Y-%m-%dT%H:%M:%S.%L
    Time_Keep Off
'''
open(WORK+'/input.jsonl','w').write(INPUT); open(WORK+'/parsers.conf','w').write(PARSERS)
def capture(binary, name, opts, n=1, inp=WORK+"/input.jsonl", answer=(200,b'{"errors":false,"items":[]}'), wait=8, tag="app.web", parsers=WORK+"/parsers.conf", fmt=True):
    got=[]
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version="HTTP/1.1"
        def do_POST(self):
            n=int(self.headers.get("content-length") or 0)
            body=self.rfile.read(n)
            got.append((self.command,self.path,dict((k.lower(),v) for k,v in self.headers.items()),body))
            self.send_response(answer[0]); self.send_header("Content-Length",str(len(answer[1]))); self.send_header("Content-Type","application/json"); self.end_headers(); self.wfile.write(answer[1])
        do_PUT=do_POST
        def log_message(self,*a): pass
    s=http.server.ThreadingHTTPServer(("127.0.0.1",0),H)
    threading.Thread(target=s.serve_forever,daemon=True).start()
    port=s.server_address[1]
    d=tempfile.mkdtemp()
    conf=f"[SERVICE]\n    Flush 0.5\n    Grace 1\n    Log_Level error\n    Parsers_File {parsers}\n[INPUT]\n    Name tail\n    Path {inp}\n    Tag {tag}\n    Parser j\n    Read_from_Head On\n[OUTPUT]\n    Name {name}\n    Match *\n    Host 127.0.0.1\n    Port {port}\n"
    for k,v in opts: conf+=f"    {k} {v}\n"
    open(d+"/c.conf","w").write(conf)
    p=subprocess.Popen([binary,"-c",d+"/c.conf"],stdout=subprocess.PIPE,stderr=subprocess.STDOUT,cwd=d)
    t=time.time()
    while time.time()-t<wait and len(got)<n: time.sleep(0.05)
    time.sleep(0.3)
    p.terminate()
    try: out=p.communicate(timeout=8)[0].decode(errors="replace")
    except subprocess.TimeoutExpired: p.kill(); out=p.communicate()[0].decode(errors="replace")
    s.shutdown()
    return got,out
REAL=os.environ.get("FLUENT_BIT","fluent-bit")
OURS=os.environ.get("KANSOKU_AGENT","kansoku-agent")
import gzip
def num(o):
    if isinstance(o,dict): return {k:num(v) for k,v in o.items()}
    if isinstance(o,list): return [num(v) for v in o]
    if isinstance(o,float): return float("%.15g"%o)
    return o
def objs(text):
    d=json.JSONDecoder(); out=[]; i=0
    while i<len(text):
        if text[i] in " \n\r": i+=1; continue
        o,i=d.raw_decode(text,i); out.append(num(o))
    return out
def norm(name,reqs):
    out=[]
    for m,p,h,b in reqs:
        if h.get("content-encoding")=="gzip": b=gzip.decompress(b)
        head=(m,p,h.get("content-type"),h.get("authorization"),h.get("x-scope-orgid"),h.get("x-tag"),h.get("content-encoding"))
        if name in("es","opensearch"):
            o=objs(b.decode())
            for e in o:
                for op in("create","index","update"):
                    if op in e and isinstance(e[op],dict): 
                        if IDLESS: e[op].pop("_id",None)
            out.append((head,o))
        elif name=="loki":
            flat=[]
            for s in json.loads(b)["streams"]:
                for v in s["values"]:
                    line=v[1]
                    try: line=num(json.loads(line))
                    except ValueError: pass
                    flat.append((tuple(sorted(s["stream"].items())),v[0],json.dumps(line,sort_keys=True),json.dumps(v[2:],sort_keys=True)))
            out.append((head,flat))
        elif h.get("content-type")=="application/msgpack": out.append((head,b))
        else: out.append((head,objs(b.decode())))
    return out
cases=[("http",[]),("http",[("format","json_lines"),("json_date_format","iso8601"),("header_tag","X-Tag")]),("http",[("format","json_stream"),("json_date_format","epoch_ms"),("json_date_key","ts")]),
("http",[("format","json"),("json_date_format","java_sql_timestamp"),("compress","gzip"),("http_user","u"),("http_passwd","p")]),("http",[("format","json"),("json_date_format","epoch"),("json_date_key","false")]),("http",[("format","msgpack")]),
("http",[("format","gelf"),("gelf_short_message_key","log")]),
("es",[]),("es",[("logstash_format","on"),("replace_dots","on"),("include_tag_key","on"),("suppress_type_name","on"),("time_key_nanos","on"),("id_key","log")]),
("es",[("index","a-b"),("type","t"),("time_key","ts"),("time_key_format","%Y/%m/%d %H"),("write_operation","upsert"),("id_key","$log"),("pipeline","p1"),("path","/x")]),
("es",[("logstash_format","on"),("logstash_prefix","pp"),("logstash_prefix_key","$level"),("logstash_prefix_separator","_"),("logstash_dateformat","%Y-%W"),("compress","gzip"),("http_api_key","k")]),
("opensearch",[("index","i-$level"),("suppress_type_name","on"),("write_operation","index")]),
("loki",[]),("loki",[("labels","job=x, lvl=$level, app=$kubernetes['labels']['app']"),("label_keys","$stream,$nested['k.1']"),("auto_kubernetes_labels","on"),("line_format","key_value")]),
("loki",[("structured_metadata","$level,n=$n"),("structured_metadata_map_keys","$nested"),("remove_keys","log,nested"),("drop_single_key","raw"),("tenant_id_key","tenant"),("tenant_id","t1")]),
("loki",[("labels","a=b"),("remove_keys","level,a.b"),("drop_single_key","on"),("compress","gzip"),("bearer_token","tok")]),
("splunk",[("splunk_token","t")]),("splunk",[("splunk_token","t"),("event_key","$log"),("event_host","h"),("event_field","lev $level"),("event_source","$stream"),("event_index","ix"),("event_index_key","$level"),("event_sourcetype","st"),("channel","c")]),("splunk",[("http_user","u"),("http_passwd","p"),("splunk_send_raw","on")])]
only=sys.argv[1:] 
bad=0
for i,(name,opts) in enumerate(cases):
    if only and str(i) not in only: continue
    IDLESS = not any(k in("id_key","generate_id") for k,_ in opts)
    n=2 if any(k=="tenant_id_key" for k,_ in opts) else 1
    a,ao=capture(REAL,name,opts,n=n); b,bo=capture(OURS,name,opts,n=n)
    x,y=norm(name,a),norm(name,b)
    same = x==y and x!=[]
    print(i,name,opts,"SAME" if same else "DIFFERENT", flush=True)
    if not same:
        bad+=1
        if not a: print("  real nothing:",ao[-400:])
        if not b: print("  ours nothing:",bo[-600:])
        for p,q in zip(x,y):
            if p[0]!=q[0]: print("  head",p[0],"\n      ",q[0])
            if isinstance(p[1],bytes): print("  ",p[1][:300],"\n  ",q[1][:300]); continue
            if len(p[1])!=len(q[1]): print("  n",len(p[1]),len(q[1]))
            for r,s in zip(p[1],q[1]):
                if r!=s: print("   real",json.dumps(r)[:700]); print("   ours",json.dumps(s)[:700])
        if len(x)!=len(y): print("  requests",len(x),len(y))
print("bad",bad)
