#!/usr/bin/env python3
"""Produces with kansoku-agent to librdkafka's own mock cluster and consumes with librdkafka.

Checks that every line of every file arrives once and in the order of its file. By hand:
    pip install confluent-kafka
    python3 benches/peers/kafka.py target/debug/kansoku-agent
"""
import json, os, subprocess, sys, tempfile, time

from confluent_kafka import Consumer, Producer, TopicPartition

AGENT, N_FILES, N_LINES = sys.argv[1], 4, 5000

# A producer that lives as long as the test keeps the mock brokers; their addresses are in its metadata.
host = Producer({"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 3})
brokers = ",".join(f"{b.host}:{b.port}" for b in host.list_topics(timeout=10).brokers.values())
failed = False
for extra in ["", "    rdkafka.compression.codec snappy\n    message_key_field k\n    format raw\n    raw_log_key log\n"]:
    topic = "plain" if not extra else "keyed"
    with tempfile.TemporaryDirectory() as folder:
        for f in range(N_FILES):
            with open(f"{folder}/{f}.log", "w") as out:
                out.writelines(f"{f} {n}\n" for n in range(N_LINES))
        with open(f"{folder}/agent.conf", "w") as out:
            out.write(f"""[SERVICE]
    flush 0.2
[INPUT]
    name tail
    path {folder}/*.log
    read_from_head on
    db {folder}/tail.db
[FILTER]
    name record_modifier
    match *
    record k same
[OUTPUT]
    name kafka
    match *
    brokers {brokers}
    topics {topic}
{extra}""")
        agent = subprocess.Popen([AGENT, "-c", f"{folder}/agent.conf"])
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic, "auto.offset.reset": "earliest",
                             "topic.metadata.refresh.interval.ms": 500, "enable.auto.commit": False})
        host.list_topics(topic, timeout=10)  # makes it
        time.sleep(1)
        parts = host.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in parts])
        seen = {f: [] for f in range(N_FILES)}
        partitions, end = set(), time.time() + 40
        while time.time() < end and sum(map(len, seen.values())) < N_FILES * N_LINES:
            message = consumer.poll(0.5)
            if message is None or message.error():
                continue
            text = message.value().decode()
            f, n = (text if extra else json.loads(text)["log"]).split()
            seen[int(f)].append(int(n))
            partitions.add(message.partition())
        agent.terminate()
        agent.wait(10)
        consumer.close()
    good = all(lines == list(range(N_LINES)) for lines in seen.values())
    failed |= not good
    print(topic, "once and in order" if good else f"WRONG: {[len(v) for v in seen.values()]}", "partitions", sorted(partitions))
sys.exit(failed)
