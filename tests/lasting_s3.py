"""moto's S3 with a memory: what was written before it was killed is there again when it listens.

    python -m tests.lasting_s3 PORT FILE

Run by tests/cluster_kit.py. moto keeps everything in its process; its recorder writes each request into FILE before it is answered, and here they are
said again, to the same process at another port, before anybody can ask at the right one.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

CHANGING = ("PUT", "POST", "DELETE")


def main(port: str, file: Path) -> None:
    """Serve until killed."""
    os.environ["MOTO_RECORDER_FILEPATH"] = str(file)
    from moto.moto_api import recorder
    from moto.server import ThreadedMotoServer
    from moto.server import main as serve
    if file.exists():
        whole = file.read_bytes().rpartition(b"\n")[0]          # the last one may be torn: nobody was told that it was done
        file.write_bytes(whole + b"\n" if whole else b"")
        again = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        again.start()
        recorder.replay_recording("http://{}:{}".format(*again.get_host_and_port()))
        again.stop()
    record, alone = recorder._record_request, threading.Lock()

    def one_by_one(request, body=None) -> None:
        if request.method in CHANGING:
            with alone:
                record(request, body)
    recorder._record_request = one_by_one
    recorder.start_recording()
    serve(["-H", "127.0.0.1", "-p", port])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
