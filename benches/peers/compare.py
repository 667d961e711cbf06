#!/usr/bin/env python3
"""Compares proxies side by side in one run: CPU time per request, requests/s, latency, memory, and paired ratios.

The proxies run at once, each pinned to one core; the load and the origin share another. They are measured in turn, in
several rounds, and the order rotates. On a shared machine absolute figures drift from minute to minute: a ratio is taken
inside each round, and the median of the rounds is what can be believed.
"""

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import tempfile

import proxies

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}
FIGURES = [
    ("cpu_us", "CPU µs/request", "{:.1f}"),
    ("rps", "requests/s", "{:,.0f}"),
    ("p50_us", "p50 µs", "{:,.0f}"),
    ("p99_us", "p99 µs", "{:,.0f}"),
    ("rss_kib", "RSS KiB", "{:,.0f}"),
]


# What the clients do: TLS or not, and further arguments of wrk. h2 is loaded by h2load.
SCENARIOS = {
    "h1": (False, []),
    "close": (False, ["-H", "Connection: close"]),
    "tls": (True, []),
    "handshakes": (True, ["-H", "Connection: close"]),
    "h2": (True, None),
}
STREAMS = 32


def wrk(port, options, seconds, core):
    tls, further = SCENARIOS[options.scenario]
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    line = ["taskset", "-c", str(core), proxies.program("wrk"), "-t1", f"-c{options.connections}", f"-d{seconds}s", "--latency", *further, url]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def h2load(port, options, seconds, core):
    url = f"https://127.0.0.1:{port}/"
    line = ["taskset", "-c", str(core), proxies.program("h2load", "nghttp2-client"), "-t1", f"-c{options.connections}", f"-m{STREAMS}", f"-D{seconds}", url]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def load_h2(port, options, seconds, core):
    """As `load`; h2load tells no percentiles, so the mean stands for the median and the slowest for the 99th."""
    report = h2load(port, options, seconds, core)
    done, failed = re.search(r"(\d+) succeeded, (\d+) failed", report).groups()
    mean = re.search(r"time for request:\s+\S+\s+(\S+)\s+(\S+)", report)
    if int(failed) or f"{done} 2xx" not in report:
        raise SystemExit(f"requests failed, so the figures would say nothing:\n{report}")
    return {
        "requests": int(done),
        "rps": float(re.search(r"finished in \S+, ([\d.]+) req/s", report).group(1)),
        "p50_us": microseconds(mean.group(2)),
        "p99_us": microseconds(mean.group(1)),
    }


def load(port, options, seconds, core):
    """One load; ends the program if a single request failed."""
    if options.scenario == "h2":
        return load_h2(port, options, seconds, core)
    report = wrk(port, options, seconds, core)
    if "Socket errors" in report or "Non-2xx" in report:
        raise SystemExit(f"requests failed, so the figures would say nothing:\n{report}")
    return {
        "requests": int(re.search(r"(\d+) requests in", report).group(1)),
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", report).group(1)),
        "p50_us": microseconds(re.search(r"50%\s+(\S+)", report).group(1)),
        "p99_us": microseconds(re.search(r"99%\s+(\S+)", report).group(1)),
    }


def measure(proxy, options, core):
    before = proxy.cpu_seconds()
    figures = load(proxy.port, options, options.seconds, core)
    figures["cpu_us"] = (proxy.cpu_seconds() - before) / figures["requests"] * 1e6
    figures["rss_kib"] = proxy.resident_kib()
    return figures


def run(options, names):
    rounds = []
    proxy_core, load_core = proxies.cores()
    with tempfile.TemporaryDirectory(prefix="sluice-peers-") as folder, contextlib.ExitStack() as running:
        stage = proxies.Stage(folder, options.sluice, options.forwarding, tls=SCENARIOS[options.scenario][0])
        versions = {name: stage.version(name) for name in names}
        running.enter_context(stage.origin(load_core))
        started = [running.enter_context(stage.start(name, proxy_core)) for name in names]
        for proxy in started:
            load(proxy.port, options, 1, load_core)
        for number in range(options.rounds):
            first = number % len(names)
            order = started[first:] + started[:first]
            rounds.append({proxy.name: measure(proxy, options, load_core) for proxy in order})
    return versions, rounds


def median(rounds, name, figure):
    return statistics.median(one[name][figure] for one in rounds)


def ratios(rounds, subject, peer, figure):
    values = [one[subject][figure] / one[peer][figure] for one in rounds]
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def print_tables(result):
    names, rounds = result["proxies"], result["rounds"]
    print("| proxy | " + " | ".join(title for _, title, _ in FIGURES) + " |")
    print("|---" * (len(FIGURES) + 1) + "|")
    for name in names:
        cells = [form.format(median(rounds, name, figure)) for figure, _, form in FIGURES]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| paired ratio | " + " | ".join(title for _, title, _ in FIGURES) + " |")
    print("|---" * (len(FIGURES) + 1) + "|")
    for pair, figures in result["ratios"].items():
        cells = ["{median:.2f} ({min:.2f} to {max:.2f})".format(**figures[figure]) for figure, _, _ in FIGURES]
        print(f"| {pair} | " + " | ".join(cells) + " |")


def print_conditions(result):
    options, machine = result["options"], result["machine"]
    print(f"\nMedians of {options['rounds']} interleaved rounds of {options['seconds']} s, scenario {options['scenario']}, {options['connections']} connections, ", end="")
    print(f"128-byte replies; one worker on one core. {machine['cpu']}, Linux {machine['kernel']}, {machine['date']}.")
    print("; ".join(result["versions"].values()) + ".")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proxies.common_arguments(parser, "nginx,haproxy,sluice")
    parser.add_argument("--scenario", choices=SCENARIOS, default="h1", help="h1: kept connections; close: one for each request; tls: kept, over TLS; "
                        "handshakes: a full handshake for each request; h2: over TLS, 32 streams each (mean and slowest in place of percentiles)")
    parser.add_argument("--connections", type=int, default=64, help="open at once (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each proxy is measured (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement (default 3)")
    options = parser.parse_args()
    proxies.allow_many_files()
    names = proxies.chosen(options)
    versions, rounds = run(options, names)
    compared = {f"{names[-1]}/{peer}": {figure: ratios(rounds, names[-1], peer, figure) for figure, _, _ in FIGURES} for peer in names[:-1]}
    kept = {key: getattr(options, key) for key in ("scenario", "connections", "rounds", "seconds", "forwarding")}
    result = {"machine": proxies.machine(), "options": kept, "proxies": names, "versions": versions, "rounds": rounds, "ratios": compared}
    print_tables(result)
    print_conditions(result)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
