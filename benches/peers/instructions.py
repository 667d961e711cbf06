#!/usr/bin/env python3
"""Counts instructions and system calls per request: figures that do not move with the machine's mood.

Each proxy runs twice under the counter, with N and with 2N requests; the difference divided by N is free of what
starting and stopping cost. Instructions are user instructions (valgrind's callgrind; it emulates no AVX-512), system calls
are counted by strace.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import proxies


def send(port, requests, connections, core):
    """Exactly that many requests; ends the program if one failed."""
    url = f"http://127.0.0.1:{port}/"
    line = ["taskset", "-c", str(core), proxies.program("h2load", "nghttp2-client"), "--h1", "-n", str(requests), "-c", str(connections), "-t1", url]
    report = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    if f"status codes: {requests} 2xx" not in report:
        raise SystemExit(f"requests failed, so the figures would say nothing:\n{report}")


def callgrind(out):
    return [proxies.program("valgrind"), "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}"]


def instructions(out):
    return int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE).group(1))


def strace(out):
    return [proxies.program("strace"), "--follow-forks", "--summary-only", f"--output={out}"]


def system_calls(out):
    total = re.search(r"^100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s+(?:\d+\s+)?total$", out.read_text(), re.MULTILINE)
    return int(total.group(1))


COUNTERS = {"instructions": (callgrind, instructions), "system calls": (strace, system_calls)}


def count(stage, name, counter, requests, options, cores):
    wrapper, read = COUNTERS[counter]
    out = stage.folder / f"{name}.{requests}.out"
    with stage.start(name, cores[0], single=True, wrapper=wrapper(out)) as proxy:
        send(proxy.port, requests, options.connections, cores[1])
    return read(out)


def per_request(stage, name, counter, options, cores):
    once, twice = (count(stage, name, counter, times * options.requests, options, cores) for times in (1, 2))
    return (twice - once) / options.requests


def run(options, names):
    cores = proxies.cores()
    with tempfile.TemporaryDirectory(prefix="sluice-instructions-") as folder:
        stage = proxies.Stage(Path(folder), options.sluice, options.forwarding)
        versions = {name: stage.version(name) for name in names}
        with stage.origin(cores[1]):
            figures = {name: {counter: per_request(stage, name, counter, options, cores) for counter in COUNTERS} for name in names}
    kept = {key: getattr(options, key) for key in ("requests", "connections", "forwarding")}
    return {"machine": proxies.machine(), "options": kept, "versions": versions, "per_request": figures}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proxies.common_arguments(parser, "sluice")
    parser.add_argument("--requests", type=int, default=5000, help="N (default 5000)")
    parser.add_argument("--connections", type=int, default=4, help="open at once (default 4)")
    options = parser.parse_args()
    proxies.allow_many_files()
    result = run(options, proxies.chosen(options))
    print("| proxy | instructions/request | system calls/request |\n|---|---|---|")
    for name, figures in result["per_request"].items():
        print(f"| {name} | {figures['instructions']:,.0f} | {figures['system calls']:.2f} |")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
