"""Speaks gRPC through a proxy with grpcio, the library that most services use. Without generated code: messages are
bytes. `grpc_peer.py serve` prints its port and serves; `grpc_peer.py call PORT` calls through the proxy at that port
and fails with a message if something is not as it should be."""

import sys
import threading
import time
from concurrent import futures

import grpc

LARGE = b"x" * 3_000_000
SERVICE = "/test.Echo/"


class Handler(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, call):
        method = call.method.rsplit("/", 1)[1]
        if method == "Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        if method == "Stream":
            return grpc.stream_stream_rpc_method_handler(self.stream)
        if method == "Download":
            return grpc.unary_stream_rpc_method_handler(self.download)
        if method == "Upload":
            return grpc.stream_unary_rpc_method_handler(self.upload)
        if method == "Hang":
            return grpc.unary_stream_rpc_method_handler(self.hang)
        if method == "WasCancelled":
            return grpc.unary_unary_rpc_method_handler(self.was_cancelled)
        return None

    def unary(self, request, context):
        if request == b"fail":
            context.set_trailing_metadata((("x-why", "because"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "asked to fail: 100% \u00e9")
        context.set_trailing_metadata((("x-trailer", "1"), ("x-data-bin", b"\x00\x01\xff")))
        return request

    def stream(self, requests, _context):
        for request in requests:
            yield request + b"!"

    def download(self, request, _context):
        for _ in range(int(request)):
            yield LARGE[:100_000]

    def upload(self, requests, _context):
        return str(sum(len(request) for request in requests)).encode()

    def hang(self, _request, context):
        context.add_callback(self.cancelled.set)
        yield b"begun"
        while context.is_active():
            time.sleep(0.02)

    def was_cancelled(self, _request, _context):
        return b"yes" if self.cancelled.wait(10) else b"no"


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=20))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # Ends with whoever holds the other end of standard input.
    sys.stdin.read()
    server.stop(0)


def check(is_right, what):
    if not is_right:
        raise SystemExit(f"wrong: {what}")


def call(port):
    limit = ("grpc.max_receive_message_length", 10_000_000)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[limit])
    unary = channel.unary_unary(SERVICE + "Unary")
    answer, call = unary.with_call(b"hello", metadata=(("x-request-bin", b"\x00\xff"),), timeout=20)
    trailers = dict(call.trailing_metadata())
    check(answer == b"hello", "unary")
    check(trailers.get("x-trailer") == "1" and trailers.get("x-data-bin") == b"\x00\x01\xff", f"trailers {trailers}")
    check(unary(LARGE, timeout=20) == LARGE, "a large message")
    try:
        unary(b"fail", timeout=20)
        check(False, "an error is none")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.FAILED_PRECONDITION, f"status {error.code()}")
        check(error.details() == "asked to fail: 100% \u00e9", f"details {error.details()!r}")
        check(dict(error.trailing_metadata()).get("x-why") == "because", "trailers of an error")
    try:
        channel.unary_unary(SERVICE + "Nothing")(b"", timeout=20)
        check(False, "an unknown method is known")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.UNIMPLEMENTED, f"unknown method: {error.code()}")

    # Each answer before the next request: nothing may wait for the end of a body.
    requests, asked = [b"%d" % number for number in range(200)], threading.Semaphore(1)

    def in_turn():
        for request in requests:
            asked.acquire()
            yield request

    answers = []
    for answer in channel.stream_stream(SERVICE + "Stream")(in_turn(), timeout=30):
        answers.append(answer)
        asked.release()
    check(answers == [request + b"!" for request in requests], "a stream in both directions")
    total = sum(len(part) for part in channel.unary_stream(SERVICE + "Download")(b"100", timeout=30))
    check(total == 10_000_000, f"a download of {total} bytes")
    upload = channel.stream_unary(SERVICE + "Upload")
    check(upload((LARGE[:100_000] for _ in range(100)), timeout=30) == b"10000000", "an upload")

    started = time.monotonic()
    try:
        list(channel.unary_stream(SERVICE + "Hang")(b"", timeout=0.5))
        check(False, "no deadline")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, f"deadline: {error.code()}")
        check(time.monotonic() - started < 10, "a late deadline")
    check(channel.unary_unary(SERVICE + "WasCancelled")(b"", timeout=20) == b"yes", "the deadline did not arrive")
    hanging = channel.unary_stream(SERVICE + "Hang")(b"")
    check(next(hanging) == b"begun", "a stream does not begin")
    hanging.cancel()
    check(hanging.code() == grpc.StatusCode.CANCELLED, "cancelled")
    check(channel.unary_unary(SERVICE + "WasCancelled")(b"", timeout=20) == b"yes", "cancelling did not arrive")

    # Many at once on one connection.
    calls = [unary.future(b"%d" % number, timeout=30) for number in range(500)]
    check([call.result() for call in calls] == [b"%d" % number for number in range(500)], "many at once")
    print("all well")


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(sys.argv[2])
