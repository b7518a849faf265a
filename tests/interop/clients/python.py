"""Usage: python.py VERSION PORT HOST FOLDER CERTIFICATE"""

import os
import socket
import ssl
import sys

version, port, host, folder, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
context.minimum_version = context.maximum_version = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}[version]
if certificate != "none":
    context.load_cert_chain(*(os.path.join(folder, f"{certificate}.{kind}") for kind in ("pem", "key")))

session = None
for _ in range(2):
    with socket.create_connection(("127.0.0.1", int(port))) as plain:
        with context.wrap_socket(plain, server_hostname=host, session=session) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: tls.recv(4096), b""))
            session = tls.session
            print(answer.split()[1].decode(), "resumed" if tls.session_reused else "full")
