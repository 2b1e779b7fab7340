#!/usr/bin/env python3
"""Produces with kansoku-agent over TLS and SASL to a broker that is restarted and killed meanwhile; consumes with librdkafka.

BROKER is a program that serves Kafka's protocol and takes `-port N -dir FOLDER -cert FILE -key FILE -sasl MECHANISM -user U
-pass P`, such as a few lines around franz-go's kfake. Checks per mechanism that no line is lost and that each
file's lines are in order, wrong passwords and unknown authorities are refused and the lines wait. By hand:
    pip install confluent-kafka
    python3 benches/peers/kafka_secure.py target/debug/kansoku-agent BROKER
"""
import os, signal, socket, subprocess, sys, tempfile, time

from confluent_kafka import Consumer, TopicPartition
from agent import free_port

AGENT, BROKER, N_FILES, N_LINES, N_PARTITIONS = sys.argv[1], sys.argv[2], 4, 6000, 3
folder = tempfile.mkdtemp()


def certificates():
    run = lambda *a: subprocess.run(["openssl", *a], cwd=folder, check=True, capture_output=True)
    for name in ("ca", "stranger"):
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    with open(f"{folder}/names", "w") as f:
        f.write("subjectAltName=IP:127.0.0.1,DNS:localhost")
    run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr")
    run("x509", "-req", "-in", "broker.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9", "-out", "broker.crt", "-extfile", "names")


class Broker:
    def __init__(self, port, mechanism):
        self.args = [BROKER, "-port", str(port), "-dir", f"{folder}/{mechanism}", "-cert", f"{folder}/broker.crt", "-key", f"{folder}/broker.key",
                     "-partitions", str(N_PARTITIONS), "-user", "app", "-pass", "se cret,=x"] + (["-sasl", mechanism] if mechanism != "none" else [])
        self.port = port
        os.makedirs(f"{folder}/{mechanism}", exist_ok=True)

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=subprocess.DEVNULL, stderr=open(f"{folder}/broker.log", "a"))
        for _ in range(100):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise SystemExit(open(f"{folder}/broker.log").read()[-2000:])

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait()


def agent(name, port, mechanism, password, ca, topic):
    here = f"{folder}/{name}"
    os.makedirs(here, exist_ok=True)
    protocol = "ssl" if mechanism == "none" else "sasl_ssl"
    sasl = "" if mechanism == "none" else f"    rdkafka.sasl.mechanism {mechanism}\n    rdkafka.sasl.username app\n    rdkafka.sasl.password {password}\n"
    with open(f"{here}/agent.conf", "w") as out:
        out.write(f"""[SERVICE]
    flush 0.2
    storage.path {here}/state
    scheduler.base 1
    scheduler.cap 2
[INPUT]
    name tail
    path {here}/*.log
    read_from_head on
    db {here}/tail.db
[OUTPUT]
    name kafka
    match *
    brokers localhost:{port}
    topics {topic}
    format raw
    raw_log_key log
    rdkafka.compression.codec snappy
    rdkafka.request.timeout.ms 5000
    rdkafka.security.protocol {protocol}
    rdkafka.ssl.ca.location {folder}/{ca}.crt
{sasl}""")
    return subprocess.Popen([AGENT, "-c", f"{here}/agent.conf"], stdout=subprocess.DEVNULL, stderr=open(f"{here}/err", "a"))


def consumer(port, mechanism):
    options = {"bootstrap.servers": f"localhost:{port}", "group.id": "count", "auto.offset.reset": "earliest", "enable.auto.commit": False,
               "security.protocol": "ssl" if mechanism == "none" else "sasl_ssl", "ssl.ca.location": f"{folder}/ca.crt"}
    if mechanism != "none":
        options |= {"sasl.mechanism": mechanism, "sasl.username": "app", "sasl.password": "se cret,=x"}
    return Consumer(options)


def read_all(port, mechanism, topic, wanted, patience=60):
    """Every message by partition, in order; ends when all wanted lines were seen and no more come."""
    c = consumer(port, mechanism)
    c.assign([TopicPartition(topic, p, 0) for p in range(N_PARTITIONS)])
    got, seen, end, quiet = {}, set(), time.time() + patience, 0
    while time.time() < end and quiet < 4:
        message = c.poll(0.5)
        if message is None or message.error():
            quiet += len(seen) >= wanted
            continue
        quiet = 0
        got.setdefault(message.partition(), []).append(message.value().decode())
        seen.add(message.value())
    c.close()
    return got


certificates()
failed = False
for mechanism in ["none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]:
    port = free_port()
    broker = Broker(port, mechanism)
    broker.start()
    here = f"{folder}/{mechanism}-run"
    os.makedirs(here)
    # Neither a wrong password nor an unknown authority gets anything in; the lines wait.
    refusals = [("wrong", "stranger")] if mechanism == "none" else [("wrong", "ca"), ("se cret,=x", "stranger")]
    with open(f"{here}/0.log", "w") as out:
        out.writelines(f"0 {n}\n" for n in range(100))
    for password, ca in refusals:
        refused = agent(f"{mechanism}-run", port, mechanism, password, ca, "logs")
        time.sleep(9)
        refused.kill()
        refused.wait()
        said = [l for l in open(f"{here}/err").read().splitlines() if "kafka" in l.lower() and ("warn" in l.lower() or "error" in l.lower())]
        print(f"{mechanism}: with {'a wrong password' if ca == 'ca' else 'an unknown authority'} it says: {said[-1][-160:] if said else 'NOTHING'}")
        failed |= not said
    first = read_all(port, mechanism, "logs", 1, 3)
    failed |= any(first.values())

    logs = [open(f"{here}/{f}.log", "a") for f in range(N_FILES)]
    written = [100] + [0] * (N_FILES - 1)
    process = agent(f"{mechanism}-run", port, mechanism, "se cret,=x", "ca", "logs")
    kills = 0
    for step in range(12):
        for f, log in enumerate(logs):
            until = N_LINES * (step + 1) // 12
            log.writelines(f"{f} {n}\n" for n in range(written[f], until))
            log.flush()
            written[f] = max(written[f], until)
        time.sleep(0.4)
        if step in (2, 6):
            broker.stop(signal.SIGTERM if step == 2 else signal.SIGKILL)
            time.sleep(1.5)
            broker.start()
        if step in (4, 6, 9):
            process.kill()
            process.wait()
            kills += 1
            process = agent(f"{mechanism}-run", port, mechanism, "se cret,=x", "ca", "logs")
    got = read_all(port, mechanism, "logs", N_FILES * N_LINES)
    process.terminate()
    process.wait(20)
    lines = [line for messages in got.values() for line in messages]
    lost = N_FILES * N_LINES - len(set(lines))
    # First appearances in the order of the file: a repeat after a kill comes behind what it repeats.
    disorder = 0
    for messages in got.values():
        newest = {}
        for line in dict.fromkeys(messages):
            f, n = map(int, line.split())
            disorder += n < newest.get(f, -1)
            newest[f] = n
    print(f"{mechanism}: {len(set(lines))} lines, lost {lost}, repeated {len(lines) - len(set(lines))} after {kills} kills of the agent and "
          f"2 restarts of the broker (1 kill), out of order {disorder}, partitions {sorted(got)}", flush=True)
    failed |= bool(lost or disorder)
    if lost:
        print(open(f"{here}/err").read()[-1500:])
    broker.stop(signal.SIGTERM)
sys.exit(failed)
