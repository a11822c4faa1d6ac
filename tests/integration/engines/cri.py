"""A client of Kubernetes' container runtime interface, as a program inside an engine's sandbox.

    cri.py PROTO SOCKET     PROTO: the directory of api.proto

A request is a line of JSON on stdin, and so is its answer on stdout:

    {"call": "RunPodSandbox", "with": {...}}    {"answer": {...}} or {"error": "...", "code": "..."}
    {"stream": URL, "input": "...", "until": "..."}     {"answer": {"1": stdout, "2": stderr, ...}}

A stream is what `kubectl attach` and `exec` use: a WebSocket whose messages begin with a number,
0 to 2 for the container's stdio, 3 for how it ended, and 4 for the size of the terminal.
"""

import base64
import json
import os
import socket
import struct
import sys
from urllib.parse import urlsplit

import grpc
from google.protobuf import json_format, message_factory

OPCODES = {"binary": 2, "close": 8}


def methods(protos):
    """{name: (path, class of the request, class of the answer)} of both services."""
    found = {}
    for service in protos.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            request, answer = (
                message_factory.GetMessageClass(kind)
                for kind in (method.input_type, method.output_type)
            )
            found[method.name] = (f"/{service.full_name}/{method.name}", request, answer)
    return found


def call(channel, method, given):
    """One call of a method of methods(); documents in and out."""
    path, request, answer = method
    function = channel.unary_unary(
        path, request_serializer=request.SerializeToString, response_deserializer=answer.FromString
    )
    message = json_format.ParseDict(given, request())
    try:
        result = function(message, timeout=60, wait_for_ready=True)
    except grpc.RpcError as err:
        return {"error": err.details(), "code": err.code().name}
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return {"answer": json_format.MessageToDict(result, **options)}


class WebSocket:
    """What RFC 6455 asks of a client, without what nobody here sends."""

    def __init__(self, url):
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Protocol: v4.channel.k8s.io",
        ]
        self._socket.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        status = self._file.readline()
        while self._file.readline().strip():
            pass
        if b" 101 " not in status:
            raise OSError(status.decode())

    def send(self, data, kind="binary"):
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        # A mask of zeros is one, too.
        self._socket.sendall(bytes([0x80 | OPCODES[kind]]) + length + bytes(4) + data)

    def receive(self):
        """One message; b"" at the end."""
        head = self._file.read(2)
        if len(head) < 2 or head[0] & 15 == OPCODES["close"]:
            return b""
        size = head[1] & 127
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(self._file.read(width), "big")
        return self._file.read(size)

    def close(self):
        self._file.close()
        self._socket.close()


def stream(url, typed, until, size):
    """Type, and collect what comes until the end or, if given, that text; {number: text}."""
    connection = WebSocket(url)
    if size:
        connection.send(b"\4" + json.dumps(size).encode())
    if typed:
        connection.send(b"\0" + typed.encode())
    found = {}
    while message := connection.receive():
        number = str(message[0])
        found[number] = found.get(number, "") + message[1:].decode()
        if until and until in found.get("1", ""):
            break
    connection.close()
    return {"answer": found}


def main():
    sys.path.insert(0, sys.argv[1])
    known = methods(grpc.protos("api.proto"))
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    channel = grpc.insecure_channel(f"unix://{sys.argv[2]}", options)
    for line in sys.stdin:
        given = json.loads(line)
        if "call" in given:
            answer = call(channel, known[given["call"]], given["with"])
        else:
            answer = stream(
                given["stream"], given.get("input"), given.get("until"), given.get("size")
            )
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
