"""TLS of the HTTP client against a real TLS server with certificates made by openssl. Run by hand:
KANSOKU_AGENT=... python3 tls_client.py
"""
import os,tempfile as _t
T=_t.mkdtemp()+"/"
MAKE=r'''set -e
ca() { openssl req -x509 -newkey rsa:2048 -nodes -keyout $1.key -out $1.pem -days 30 -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE 2>/dev/null; }
ca ca; ca otherca
leaf() { openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj "/CN=$1" 2>/dev/null; printf "subjectAltName=$2\n" > ext; openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $1.pem $3 $4 $5 $6 -extfile ext 2>/dev/null; }
leaf good "DNS:localhost,IP:127.0.0.1" -days 10
leaf wronghost "DNS:example.org" -days 10
leaf client "DNS:agent" -days 10
leaf expired "DNS:localhost,IP:127.0.0.1" -not_before 20200101000000Z -not_after 20200201000000Z || openssl x509 -req -in expired.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out expired.pem -days -1 -extfile ext 2>/dev/null
openssl pkey -in client.key -aes256 -passout pass:x -out clientenc.key
'''
import subprocess as _s
_s.run(['bash','-c',MAKE],cwd=T,check=True)
open(T+'input.jsonl','w').write('{"log":"x"}\n')
import sys,ssl,subprocess,threading,http.server,tempfile,time
OURS=os.environ.get("KANSOKU_AGENT","kansoku-agent")
def run(cert,opts,need_client=False,maxv=None):
    got=[]
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version="HTTP/1.1"
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"])); got.append(self.connection.version())
            self.send_response(200); self.send_header("Content-Length","0"); self.end_headers()
        def log_message(self,*a): pass
    class S(http.server.ThreadingHTTPServer):
        def handle_error(self,*a): pass
    s=S(("127.0.0.1",0),H)
    c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(T+cert+".pem",T+cert+".key")
    if maxv: c.maximum_version=maxv
    if need_client: c.verify_mode=ssl.CERT_REQUIRED; c.load_verify_locations(T+"ca.pem")
    s.socket=c.wrap_socket(s.socket,server_side=True)
    threading.Thread(target=s.serve_forever,daemon=True).start()
    conf=f"[SERVICE]\n    Flush 0.2\n    Grace 1\n[INPUT]\n    Name tail\n    Path {T}input.jsonl\n    Read_from_Head On\n[OUTPUT]\n    Name http\n    Match *\n    Host 127.0.0.1\n    Port {s.server_address[1]}\n    tls on\n"+"".join(f"    {k} {v}\n" for k,v in opts)
    d=tempfile.mkdtemp(); open(d+"/c.conf","w").write(conf)
    p=subprocess.Popen([OURS,"-c",d+"/c.conf"],stdout=subprocess.PIPE,stderr=subprocess.STDOUT,cwd=d)
    t=time.time()
    while time.time()-t<3 and not got and p.poll() is None: time.sleep(.05)
    time.sleep(.2); p.terminate()
    try: out=p.communicate(timeout=6)[0].decode()
    except subprocess.TimeoutExpired: p.kill(); out=p.communicate()[0].decode()
    s.shutdown()
    why=[l for l in out.splitlines() if "ertific" in l or "TLS" in l or "tls" in l or "handshake" in l]
    return got, (why[0][:260] if why else out[-200:] if not got else "")
ca=("tls.ca_file",T+"ca.pem")
for what,expect,args in [
 ("right CA",True,("good",[ca])),
 ("CA folder",True,("good",[("tls.ca_path",T)])),
 ("wrong CA",False,("good",[("tls.ca_file",T+"otherca.pem")])),
 ("system CAs",False,("good",[])),
 ("wrong host",False,("wronghost",[ca])),
 ("wrong host, verify_hostname off",True,("wronghost",[ca,("tls.verify_hostname","off")])),
 ("wrong host, vhost",True,("wronghost",[ca,("tls.vhost","example.org")])),
 ("verify_hostname off, wrong CA",False,("wronghost",[("tls.ca_file",T+"otherca.pem"),("tls.verify_hostname","off")])),
 ("expired",False,("expired",[ca])),
 ("expired, verify off",True,("expired",[("tls.verify","off")])),
 ("client cert demanded, none",False,("good",[ca],True)),
 ("client cert demanded, given",True,("good",[ca,("tls.crt_file",T+"client.pem"),("tls.key_file",T+"client.key")],True)),
 ("encrypted key",False,("good",[ca,("tls.crt_file",T+"client.pem"),("tls.key_file",T+"clientenc.key"),("tls.key_passwd","x")],True)),
 ("max 1.2",True,("good",[ca,("tls.max_version","TLSv1.2")])),
 ("min 1.3 to a 1.2 server",False,("good",[ca,("tls.min_version","TLSv1.3")],False,ssl.TLSVersion.TLSv1_2)),
]:
    got,why=run(*args); print("OK " if bool(got)==expect else "BAD",what,got,why,flush=True)
