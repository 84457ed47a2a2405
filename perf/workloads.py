"""What is measured: for each workload the variant of the configuration, the load, and why it is there."""

import os

import peers


class Workload:
    def __init__(self, name, title, load, variant="plain", path="/", quick=True):
        self.name, self.title, self.load, self.variant = name, title, load, variant
        self.path, self.quick = path, quick

    def url(self, port):
        scheme = "https" if self.variant == "tls" else "http"
        return f"{scheme}://127.0.0.1:{port}{self.path}"


def large_headers():
    """36 fields of about 100 bytes on top of the usual four."""
    fields = []
    for number in range(36):
        fields += ["-H", f"x-header-{number:02}: {'v' * 90}"]
    return fields


CALL = ["--http2", "-H", "content-type: application/grpc", "-H", "te: trailers", "--body-size", "64"]


def h2(connections, streams, *more):
    return ["--http2", "-c", str(connections), "-s", str(streams), *more]


WORKLOADS = [
    Workload("keepalive-64", "64 connections, 100 B", ["-c", "64"]),
    Workload("keepalive-1", "1 connection, 100 B", ["-c", "1"]),
    Workload("keepalive-512", "512 connections, 100 B", ["-c", "512"]),
    Workload("rate", "64 connections at 8,000/s", ["-c", "64", "-r", "8k"]),
    Workload("response-64k", "64 KiB responses", ["-c", "32"], path="/bytes/65536"),
    Workload("response-1m", "1 MiB responses", ["-c", "8"], path="/bytes/1048576"),
    Workload("post-64k", "64 KiB POST", ["-c", "32", "--body-size", "64k"]),
    Workload("new-connection", "new connection per request", ["-c", "32", "--new-connection"]),
    Workload("headers-40", "40 request headers (4 KB)", ["-c", "64", *large_headers()]),
    Workload("routes", "1,000 hosts x 10 routes", ["-c", "64", "--urls", "@URLS@"], variant="routes"),
    Workload("log", "with an access log", ["-c", "64"], variant="log"),
    Workload("tcp-pingpong", "L4: 64 connections, 100 B", ["-c", "64"], variant="tcp"),
    Workload("tcp-stream", "L4: 1 MiB streams", ["-c", "8"], variant="tcp", path="/bytes/1048576", quick=False),
    Workload("tls-64", "TLS: 64 connections, 100 B", ["-k", "-c", "64"], variant="tls"),
    Workload("tls-handshakes", "TLS: full handshakes", ["-k", "-c", "16", "--handshakes"], variant="tls"),
    Workload("tls-64k", "TLS: 64 KiB responses", ["-k", "-c", "32"], variant="tls", path="/bytes/65536", quick=False),
    Workload("tls-1m", "TLS: 1 MiB responses", ["-k", "-c", "8"], variant="tls", path="/bytes/1048576"),
    Workload("h2-32", "h2 over TLS: 16 connections, 32 streams", h2(16, 32, "-k"), variant="tls"),
    Workload("h2-4", "h2 over TLS: 16 connections, 4 streams", h2(16, 4, "-k"), variant="tls", quick=False),
    Workload("h2-1", "h2 over TLS: 64 connections, 1 stream", h2(64, 1, "-k"), variant="tls", quick=False),
    Workload("h2c-32", "h2c: 16 connections, 32 streams", h2(16, 32), variant="h2c"),
    Workload("h2c-4", "h2c: 16 connections, 4 streams", h2(16, 4), variant="h2c", quick=False),
    Workload("h2c-1", "h2c: 64 connections, 1 stream", h2(64, 1), variant="h2c"),
    Workload("grpc", "gRPC-like, h2c to h2c: 16 connections, 32 streams", ["-c", "16", "-s", "32", *CALL], variant="grpc"),
]


def write_urls(directory):
    """Every route of every host, in an order that jumps from host to host."""
    lines = []
    for number in range(peers.HOSTS * peers.ROUTES):
        host, route = (number * 389) % peers.HOSTS, number // peers.HOSTS
        lines.append(f"http://{peers.host_name(host)}@PORT@{peers.route_path(route)}x\n")
    path = os.path.join(directory, "urls.txt")
    with open(path, "w") as file:
        file.writelines(line.replace("@PORT@", "") for line in lines)
    return path
