#!/usr/bin/env python3
"""Measures what a connection holds that waits after one request: the growth of the resident size, divided by their number.

The proxies are measured one after another, each in a process of its own: plaintext HTTP/1.1, HTTP/1.1 over TLS and HTTP/2
over TLS. What is left after the connections have closed is told, too: memory that is not given back.
"""

import argparse
import contextlib
import json
import socket
import ssl
import tempfile
import time
from pathlib import Path

import proxies

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS = 4, 1
END_STREAM_AND_HEADERS = 0x5
# GET, https, /, and localhost as a literal behind the indexed name of :authority.
GET = bytes([0x82, 0x87, 0x84, 0x41, 9]) + b"localhost"
KINDS = {"h1": (False, None), "h1 over TLS": (True, "http/1.1"), "h2 over TLS": (True, "h2")}


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def read_some(connection, size):
    data = connection.recv(size)
    if not data:
        raise SystemExit("the proxy closed a connection that was to stay")
    return data


def ask_h1(connection):
    connection.sendall(REQUEST)
    answer = b""
    while proxies.BODY.encode() not in answer:
        answer += read_some(connection, 4096)


def ask_h2(connection):
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_STREAM_AND_HEADERS, 1, GET))
    answer = b""
    while proxies.BODY.encode() not in answer:
        answer += read_some(connection, 4096)


def connect(port, tls, protocol):
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    if not tls:
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    wrapped = context.wrap_socket(plain, server_hostname="localhost")
    if wrapped.selected_alpn_protocol() != protocol:
        raise SystemExit(f"the proxy chose {wrapped.selected_alpn_protocol()} in place of {protocol}")
    return wrapped


def open_idle(port, kind, count):
    tls, protocol = KINDS[kind]
    ask = ask_h2 if protocol == "h2" else ask_h1
    connections = []
    for _ in range(count):
        connections.append(connect(port, tls, protocol))
        ask(connections[-1])
    return connections


def settled(proxy):
    """The resident size once it has all but stopped moving, or after some seconds."""
    now = proxy.resident_kib()
    for _ in range(6):
        time.sleep(1)
        last, now = now, proxy.resident_kib()
        if abs(now - last) <= 64:
            break
    return now


def measure(stage, name, kind, count, core):
    with stage.start(name, core) as proxy:
        warm = open_idle(proxy.port, kind, 50)
        for connection in warm:
            connection.close()
        before = settled(proxy)
        held = open_idle(proxy.port, kind, count)
        during = settled(proxy)
        for connection in held:
            connection.close()
        after = settled(proxy)
    return {"kib": (during - before) / count, "left_kib": (after - before) / count}


def run(options, names):
    figures = {}
    proxy_core, load_core = proxies.cores()
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="sluice-idle-") as folder, contextlib.ExitStack() as running:
            stage = proxies.Stage(folder, options.sluice, False, tls=KINDS[kind][0])
            running.enter_context(stage.origin(load_core))
            figures[kind] = {name: measure(stage, name, kind, options.connections, proxy_core) for name in names}
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proxies.common_arguments(parser, "nginx,haproxy,sluice")
    parser.add_argument("--connections", type=int, default=3000, help="open at once (default 3000)")
    options = parser.parse_args()
    proxies.allow_many_files()
    names = proxies.chosen(options)
    figures = run(options, names)
    print("| KiB per idle connection (left after its close) | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for kind, of in figures.items():
        print(f"| {kind} | " + " | ".join(f"{of[name]['kib']:.1f} ({of[name]['left_kib']:.1f})" for name in names) + " |")
    print(f"\n{options.connections} connections, each after one request. {proxies.machine()['cpu']}, {proxies.machine()['date']}.")
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": proxies.machine(), "connections": options.connections, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
