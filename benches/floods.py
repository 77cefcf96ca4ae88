#!/usr/bin/env python3
"""Floods a webhook over loopback, and counts the honest reviews that fail meanwhile.

    benches/floods.py target/debug/writgate-webhook

Each flood runs against a new process, whose soft limit of open files is 1,024. The flood comes from 127.0.0.1, and the honest
reviews come from 127.0.0.2, as an API server has another address than a Pod. `--one-address` sends both from 127.0.0.1. Without
root, CPU or network other than loopback. Requires Linux, Python 3.9 and openssl.
"""

import argparse
import http.client
import json
import multiprocessing
import pathlib
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

NAMESPACE = (
    "{apiVersion: v1, kind: Namespace, metadata: {name: payments, labels: "
    "{writgate.dev/environment: production, writgate.dev/project: payments}}}"
)
POSTURE = (
    "{apiVersion: writgate.dev/v1, kind: Posture, environment: production, actions: {deploy: {approval: none}}}"
)
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "r-1",
        "operation": "CREATE",
        "namespace": "payments",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "userInfo": {"username": "alice"},
        "object": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "orders"},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
        },
    },
}
HEAD = "POST /validate?timeout=5s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Webhook:
    """A running webhook with a posture that requires no approval."""

    def __init__(self, program, folder, open_files):
        self.port, self.admin_port = free_port(), free_port()
        postures = folder / "postures"
        if not postures.exists():
            postures.mkdir()
            (postures / "namespace.yaml").write_text(NAMESPACE)
            (postures / "posture.yaml").write_text(POSTURE)
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                 "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
                check=True, stderr=subprocess.DEVNULL,
            )
        self.process = subprocess.Popen(
            [program, f"--listen=127.0.0.1:{self.port}", f"--admin-listen=127.0.0.1:{self.admin_port}",
             f"--tls-cert-file={folder}/tls.crt", f"--tls-private-key-file={folder}/tls.key",
             f"--posture-dir={postures}", "--drain=0"],
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, max(open_files, 4096))),
        )
        deadline = time.monotonic() + 30
        while not self.probe("/readyz"):
            if time.monotonic() > deadline:
                sys.exit("the webhook is not ready after 30 s")
            time.sleep(0.05)

    def probe(self, path):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=2, source_address=("127.0.0.3", 0))
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False

    def peak_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def client_context():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Flood:
    """Keeps `count` connections open that sent `sent` and nothing more. Closed connections are opened again."""

    PROCESSES, THREADS = 3, 20

    def __init__(self, port, count, sent, tls):
        self.port, self.sent, self.context = port, sent, client_context() if tls else None
        size = count // (self.PROCESSES * self.THREADS)
        self.processes = [multiprocessing.Process(target=self.run, args=(size,)) for _ in range(self.PROCESSES)]
        for process in self.processes:
            process.start()

    def run(self, size):
        for _ in range(self.THREADS):
            threading.Thread(target=self.keep, args=(size,)).start()

    def open(self):
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=8, source_address=("127.0.0.1", 0))
        try:
            if self.context:
                stream = self.context.wrap_socket(stream)
            stream.sendall(self.sent)
            stream.setblocking(False)
        except OSError:
            stream.close()
            raise
        return stream

    def keep(self, size):
        streams = []
        while True:
            kept = []
            for stream in streams:
                try:
                    ended = not stream.recv(4096)
                except (ssl.SSLWantReadError, BlockingIOError):
                    ended = False
                except OSError:
                    ended = True
                if ended:
                    stream.close()
                else:
                    kept.append(stream)
            streams = kept
            try:
                while len(streams) < size:
                    streams.append(self.open())
            except OSError:
                pass
            time.sleep(0.1)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.join()


def review(port, address):
    """Whether a review on a new connection is admitted within 5 s."""
    body = json.dumps(REVIEW)
    try:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=5, context=client_context(), source_address=(address, 0))
        connection.request("POST", "/validate?timeout=5s", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        admitted = answer.status == 200 and json.loads(answer.read())["response"]["allowed"]
        connection.close()
        return admitted
    except (OSError, http.client.HTTPException, ValueError):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=8, help="how long each flood lasts [default: 8]")
    parser.add_argument("--one-address", action="store_true", help="send honest reviews from the flood's address")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    honest = "127.0.0.1" if arguments.one_address else "127.0.0.2"
    large = (HEAD + "Content-Length: 6000000\r\n\r\n{").encode()
    small = (HEAD + "Content-Length: 60000\r\n\r\n{").encode()
    headers = ("GET / HTTP/1.1\r\nx: " + "y" * 380_000).encode()
    answered = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    floods = [
        ("none", "webhook", 0, b"", 4096),
        ("540 bodies of 6 MB, one byte sent", "webhook", 540, large, 4096),
        ("540 bodies of 60 kB, one byte sent", "webhook", 540, small, 4096),
        ("1,500 times 380 kB of unfinished headers", "webhook", 1500, headers, 4096),
        ("the same, to the admin port", "admin", 1500, headers, 4096),
        ("1,500 idle connections after a request, soft limit of 1,024 files", "webhook", 1500, answered, 1024),
    ]
    print("| flood | reviews failed | probes failed | peak of resident memory, MiB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, port, count, sent, open_files in floods:
            webhook = Webhook(arguments.program, pathlib.Path(folder), open_files)
            flooded = webhook.port if port == "webhook" else webhook.admin_port
            flood = Flood(flooded, count, sent, tls=port == "webhook") if count else None
            time.sleep(6 if count else 0)
            until = time.monotonic() + arguments.seconds
            asked = failed = probes = unprobed = 0
            while time.monotonic() < until:
                asked += 1
                failed += not review(webhook.port, honest)
                probes += 1
                unprobed += not webhook.probe("/livez")
                time.sleep(0.05)
            peak = webhook.peak_mib()
            if flood:
                flood.stop()
            webhook.stop()
            print(f"| {name} | {failed} of {asked} | {unprobed} of {probes} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
