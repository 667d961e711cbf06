#!/usr/bin/env python3
"""Compares balancers side by side in one run: latency when endpoints are in trouble, and how evenly weights are spread.

Ten origins stand behind every proxy and answer at once. Either one of them is slow, or each stands still now and then. Load
is due at a fixed rate far below what a proxy can do, and latency counts from the moment a request was due. The proxies run
at once, each pinned to one core, and are measured in turn, in several rounds whose order rotates; within a round all meet the
same pauses. `none` is an origin without troubles that is asked without a proxy: what the load and the machine add themselves.
"""

import argparse
import collections
import contextlib
import http.client
import json
import statistics
import subprocess
import tempfile
import urllib.request

import proxies

ORIGINS = 10
TROUBLES = {"slow": "one endpoint of ten adds 100 ms to each answer", "pauses": "each endpoint stands still for 200 ms about every 5 s"}
# An answer later than this met a trouble.
CAUGHT_US = 50_000
WEIGHTS = {0: 8, 1: 1, 2: 1}
WINDOWS = [10, 100]
STARTS, SETTLED = 5, 100

NGINX = """
  upstream origin {{ {rule} {servers} keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend origin
backend origin
  balance {rule}
{servers}
"""

SLUICE = """
listeners: [{{ name: in, address: "127.0.0.1:{port}" }}]
services: [{{ name: origin, balancer: {rule}, endpoints: [{servers}] }}]
routes: [{{ service: origin }}]
"""

# Who is compared: the proxy, and its rule as its configuration says it. Nothing stands for what is taken without a word.
CONTENDERS = {
    "sluice round_robin": ("sluice", "round_robin"),
    "sluice least_request": ("sluice", "least_request"),
    "sluice peak_ewma": ("sluice", "peak_ewma"),
    "sluice random": ("sluice", "random"),
    "sluice maglev": ("sluice", "{ maglev: { key: { header: X-User } } }"),
    "sluice maglev, bounded": ("sluice", "{ maglev: { key: { header: X-User }, bounded_load: 125% } }"),
    "haproxy roundrobin": ("haproxy", "roundrobin"),
    "haproxy leastconn": ("haproxy", "leastconn"),
    "nginx round robin": ("nginx", ""),
    "nginx least_conn": ("nginx", "least_conn;"),
}
TURNS = ["sluice round_robin", "haproxy roundrobin", "nginx round robin"]


class Stage(proxies.Stage):
    """The configurations of the contenders in front of the origins' ports."""

    def __init__(self, folder, sluice, generator):
        super().__init__(folder, sluice, forwarding=False)
        self.generator = generator
        # One more, which is asked without a proxy.
        self.origins = [proxies.free_port() for _ in range(ORIGINS + 1)]

    def start_origins(self, core):
        ports = ",".join(map(str, self.origins))
        command = [self.generator, "origins", "--ports", ports]
        # The last to listen.
        return proxies.Running("origins", command, self.origins[-1], core, self.folder / "origins.log")

    def begin(self, trouble):
        url = f"http://127.0.0.1:{self.origins[-1]}/begin/{trouble}"
        urllib.request.urlopen(url, timeout=10).read()

    def contender(self, name, core, weights):
        """Starts a contender before these origins, weighted."""
        kind, rule = CONTENDERS[name]
        port, short = proxies.free_port(), "".join(letter if letter.isalnum() else "-" for letter in name)
        ends = [(f"127.0.0.1:{self.origins[at]}", weight) for at, weight in weights.items()]
        command = getattr(self, f"{kind}_command")(short, port, rule, ends)
        return proxies.Running(name, command, port, core, self.folder / f"{short}.log")

    def nginx_command(self, short, port, rule, ends):
        servers = " ".join(f"server {address} weight={weight};" for address, weight in ends)
        return self.nginx(short, NGINX.format(port=port, rule=rule, servers=servers), single=False)

    def haproxy_command(self, short, port, rule, ends):
        servers = "\n".join(f"  server s{at} {address} weight {weight}" for at, (address, weight) in enumerate(ends))
        return [proxies.program("haproxy"), "-db", "-f", self.write(f"{short}.cfg", HAPROXY.format(port=port, rule=rule, servers=servers))]

    def sluice_command(self, short, port, rule, ends):
        servers = ", ".join(f'{{ address: "{address}", weight: {weight} }}' for address, weight in ends)
        document = self.write(f"{short}.yaml", SLUICE.format(port=port, rule=rule, servers=servers))
        data = str(self.folder / f"{short}-data")
        return [self.sluice, "run", document, "--workers", "1", "--status", f"127.0.0.1:{proxies.free_port()}", "--access-log", "off",
                "--data", data, "--admin", f"unix:{data}/admin.sock"]


def load(stage, port, options, core):
    """For each request that counts: µs until its answer, µs that it was sent late, who answered."""
    line = ["taskset", "-c", str(core), stage.generator, "load", "--to", f"127.0.0.1:{port}"]
    line += ["--rate", str(options.rate), "--seconds", str(options.seconds), "--lead", str(options.lead)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"a request failed, so the figures would say nothing:\n{done.stderr}")
    return [tuple(map(int, one.split())) for one in done.stdout.splitlines()]


def quantile(values, share):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def figures(answers):
    latencies = [latency for latency, _, _ in answers]
    return {
        "p50": quantile(latencies, 0.5) / 1e3,
        "p99": quantile(latencies, 0.99) / 1e3,
        "p999": quantile(latencies, 0.999) / 1e3,
        "caught": sum(latency > CAUGHT_US for latency in latencies) / len(latencies) * 100,
        "late_p999": quantile([late for _, late, _ in answers], 0.999) / 1e3,
        "by": collections.Counter(origin for _, _, origin in answers),
    }


def measure(stage, proxy, trouble, options, core):
    stage.begin(trouble)
    before = proxy.cpu_seconds()
    one = figures(load(stage, proxy.port, options, core))
    one["cpu_us"] = (proxy.cpu_seconds() - before) / (options.rate * (options.lead + options.seconds)) * 1e6
    return one


def measure_none(stage, trouble, options, core):
    stage.begin(trouble)
    return {**figures(load(stage, stage.origins[-1], options, core)), "cpu_us": 0.0}


def rounds_of(stage, started, trouble, options, core):
    """Every contender in each round; the order rotates, and the pauses are those of the round's number."""
    for number in range(options.rounds):
        current = f"{trouble}/{number}" if trouble == "pauses" else trouble
        first = number * len(started) // options.rounds
        one = {proxy.name: measure(stage, proxy, current, options, core) for proxy in started[first:] + started[:first]}
        one["none"] = measure_none(stage, current, options, core)
        yield one


def sequence(proxy, count):
    """Who answered, one request after the other over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    answers = []
    for _ in range(count):
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or answer.will_close:
            raise SystemExit(f"{proxy.name}: status {answer.status}, closes {answer.will_close}: the sequence would say nothing")
        answers.append(int(body))
    connection.close()
    return answers


def longest_run(answers, of):
    longest = current = 0
    for one in answers:
        current = current + 1 if one == of else 0
        longest = max(longest, current)
    return longest


def deviation(answers, window):
    """By how many requests any endpoint was away from its share, in the worst window."""
    whole, worst = sum(WEIGHTS.values()), 0.0
    for end in range(window, len(answers) + 1):
        seen = collections.Counter(answers[end - window:end])
        worst = max([worst, *(abs(seen[origin] - weight * window / whole) for origin, weight in WEIGHTS.items())])
    return worst


def smoothness(stage, core, names, count):
    """The worst of some starts, as a balancer may begin anywhere; and the order once it has settled."""
    rows = {}
    for name in names:
        starts = []
        for _ in range(STARTS):
            with stage.contender(name, core, WEIGHTS) as proxy:
                starts.append(sequence(proxy, count))
        worst = {"run": max(longest_run(one, 0) for one in starts), "settled run": max(longest_run(one[SETTLED:], 0) for one in starts)}
        worst |= {str(window): max(deviation(one, window) for one in starts) for window in WINDOWS}
        rows[name] = {**worst, "order": starts[-1][SETTLED:SETTLED + 20]}
    return rows


def run(options, names):
    proxy_core, load_core = proxies.cores()
    with tempfile.TemporaryDirectory(prefix="sluice-balance-") as folder, contextlib.ExitStack() as running:
        stage = Stage(folder, options.sluice, options.generator)
        kinds = dict.fromkeys(CONTENDERS[name][0] for name in names)
        result = {"versions": [stage.version(kind) for kind in kinds], "machine": proxies.machine(), "options": vars(options)}
        running.enter_context(stage.start_origins(load_core))
        stage.begin("none")
        result["smoothness"] = smoothness(stage, proxy_core, [name for name in TURNS if name in names], options.sequence)
        equal = {origin: 1 for origin in range(ORIGINS)}
        started = [running.enter_context(stage.contender(name, proxy_core, equal)) for name in names]
        result["rounds"] = {trouble: list(rounds_of(stage, started, trouble, options, load_core)) for trouble in options.troubles.split(",")}
    return result


def spread(rounds, name, figure, form):
    values = [one[name][figure] for one in rounds]
    middle, low, high = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def print_trouble(trouble, rounds):
    print(f"\n{TROUBLES[trouble].capitalize()}:\n")
    print("| balancer | p50 ms | p99 ms | p99.9 ms | over 50 ms, % | CPU µs/request |")
    print("|---|---|---|---|---|---|")
    for name in rounds[0]:
        cells = [spread(rounds, name, figure, "{:.2f}") for figure in ("p50", "p99", "p999", "caught")]
        cpu = "" if name == "none" else spread(rounds, name, "cpu_us", "{:.0f}")
        print(f"| {name} | " + " | ".join([*cells, cpu]) + " |")
    late = statistics.median(figure["late_p999"] for one in rounds for figure in one.values())
    print(f"\nThe load was late itself by {late:.2f} ms at p99.9 (median of all measurements).")


def print_smoothness(rows, count):
    print(f"\nWeights 8/1/1, {count:,} requests over one connection, one worker, the worst of {STARTS} starts:\n")
    print(f"| balancer | longest run of the heavy one | after {SETTLED} requests | furthest from its share in a window of 10 | of 100 | order once settled |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        order = "".join("abc"[one] for one in row["order"])
        print(f"| {name} | {row['run']} | {row['settled run']} | " + " | ".join(f"{row[str(window)]:.0f}" for window in WINDOWS) + f" | `{order}` |")


def print_tables(result):
    options, machine = result["options"], result["machine"]
    for trouble, rounds in result["rounds"].items():
        print_trouble(trouble, rounds)
    if result["smoothness"]:
        print_smoothness(result["smoothness"], options["sequence"])
    print(f"\nMedians of {options['rounds']} interleaved rounds of {options['seconds']} s (lowest to highest), {options['rate']} requests/s, latency from ", end="")
    print(f"the moment a request was due; one worker on one core. {machine['cpu']}, Linux {machine['kernel']}, {machine['date']}.")
    print("; ".join(result["versions"]) + ".")


def chosen(options):
    names = [name for name in CONTENDERS if options.only in name]
    if not names:
        raise SystemExit(f"no balancer has {options.only!r} in its name: {', '.join(CONTENDERS)}")
    unknown = [trouble for trouble in options.troubles.split(",") if trouble not in TROUBLES]
    if unknown:
        raise SystemExit(f"unknown trouble {unknown[0]!r}: {' and '.join(TROUBLES)} are known")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="target/release/sluice", help="the binary (default target/release/sluice)")
    parser.add_argument("--generator", default="target/release/bench-balance", help="what answers and loads (default target/release/bench-balance)")
    parser.add_argument("--only", default="", help="balancers whose name has this in it, such as `round` (default all)")
    parser.add_argument("--troubles", default=",".join(TROUBLES), help=f"with commas between (default {','.join(TROUBLES)})")
    parser.add_argument("--rate", type=int, default=400, help="requests a second (default 400)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each balancer is measured (default 5)")
    parser.add_argument("--seconds", type=int, default=10, help="of one measurement (default 10)")
    parser.add_argument("--lead", type=int, default=1, help="seconds of load before it, not counted (default 1)")
    parser.add_argument("--sequence", type=int, default=2_000, help="requests whose order is looked at (default 2000)")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    options = parser.parse_args()
    proxies.allow_many_files()
    result = run(options, chosen(options))
    print_tables(result)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
