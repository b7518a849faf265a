"""Usage: rpc.py serve | rpc.py ask PORT HOST FOLDER

Every kind of call of gRPC, with bytes for messages."""

import concurrent.futures
import os
import sys
import threading

import grpc

SERVICE = "/test.Echo/"
LARGE = os.urandom(1 << 20)


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Download": grpc.unary_stream_rpc_method_handler(self.download),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Fails": grpc.unary_unary_rpc_method_handler(self.fails),
            "Waits": grpc.unary_unary_rpc_method_handler(self.waits),
        }
        return handlers.get(details.method.removeprefix(SERVICE))

    def unary(self, message, context):
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-host", metadata["x-forwarded-host"]),))
        context.set_trailing_metadata((("x-sum-bin", bytes([len(message) % 256])),))
        return message

    def download(self, message, context):
        for number in range(int(message)):
            yield str(number).encode()

    def upload(self, messages, context):
        return str(sum(len(message) for message in messages)).encode()

    def chat(self, messages, context):
        for message in messages:
            yield message.upper()

    def fails(self, message, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nein, süß")

    def waits(self, message, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(60)
        return b""


def server():
    # As many threads as calls may be under way: a call holds its thread.
    serving = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    serving.add_generic_rpc_handlers((Echo(),))
    port = serving.add_insecure_port("127.0.0.1:0")
    serving.start()
    print(port, flush=True)
    serving.wait_for_termination()


def channel(port, host, folder, certificate):
    def read(name):
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()

    pair = (read(f"{certificate}.key"), read(f"{certificate}.pem")) if certificate else (None, None)
    credentials = grpc.ssl_channel_credentials(read("ca.pem"), *pair)
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)


def status(call):
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def client(port, host, folder):
    with channel(port, host, folder, "good") as good:
        unary = good.unary_unary(SERVICE + "Unary")
        answer, call = unary.with_call(LARGE, timeout=60)
        assert answer == LARGE
        print("unary", dict(call.initial_metadata())["x-host"], dict(call.trailing_metadata())["x-sum-bin"])
        numbers = [int(number) for number in good.unary_stream(SERVICE + "Download")(b"5000", timeout=60)]
        print("download", numbers == list(range(5000)))
        parts = (b"x" * size for size in range(3000))
        print("upload", good.stream_unary(SERVICE + "Upload")(parts, timeout=60).decode())
        # Each message is sent only after the answer to the one before.
        answers, answered = [], threading.Semaphore(1)

        def asking():
            for word in (b"eins", b"zwei", b"drei"):
                answered.acquire()
                yield word

        for answer in good.stream_stream(SERVICE + "Chat")(asking(), timeout=60):
            answers.append(answer.decode())
            answered.release()
        print("chat", *answers)
        print("fails", status(lambda: good.unary_unary(SERVICE + "Fails")(b"", timeout=60)))
        print("waits", status(lambda: good.unary_unary(SERVICE + "Waits")(b"", timeout=1)).split()[0])
        print("unknown", status(lambda: good.unary_unary("/test.Echo/Nothing")(b"", timeout=60)).split()[0])
        many = [unary.future(str(number).encode(), timeout=60) for number in range(300)]
        print("at once", all(call.result() == str(number).encode() for number, call in enumerate(many)))
    for certificate in ("bad", None):
        with channel(port, host, folder, certificate) as refused:
            call = refused.unary_unary(SERVICE + "Unary")
            print(certificate, status(lambda: call(b"", timeout=60)).split()[0])


if sys.argv[1] == "serve":
    server()
else:
    client(*sys.argv[2:])
