"""Take every message out of a queue: the reference's pop, subscribe and alert, and nothing else.

usage: attach.py STATE/run/queue.ipc QUEUE
"""
import os
import sys

import zmq

door, queue = sys.argv[1:]
context = zmq.Context()
asking = context.socket(zmq.REQ)
asking.connect(f"ipc://{door}")
listening = context.socket(zmq.REP)
port = listening.bind_to_random_port("tcp://127.0.0.1")


def say(*message: str) -> list[str]:
    asking.send_multipart([b"", *(part.encode() for part in message)])      # an empty tag, the verb, its parameters
    return [part.decode() for part in asking.recv_multipart()[1:]]


print(say("subscribe", queue, f"socket://127.0.0.1:{port}"), flush=True)
while True:
    while (answer := say("pop", queue))[0] == "ok":
        path = answer[1]
        print("message", os.path.getsize(path), "octets", flush=True)
        os.remove(path)                                                     # handled: that settles it
    if listening.poll(15_000):                                              # an alert is a hint; look now and then anyway
        listening.recv_multipart()
        listening.send_multipart([b"", b"ok"])
