"""The proxies that are compared, the origin behind them, and how their processes are started, measured and stopped.

Every proxy gets the same job: one worker, two endpoints weighted 3 to 1, connections to the origin kept open, no access
log, no health checks. Clients come by HTTP/1.1, or by TLS with HTTP/1.1 or HTTP/2: one P-256 certificate, TLS 1.3 where the
client speaks it.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BODY = "x" * 128
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/sbin"

NGINX_BASE = """
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
master_process {master};
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
{http}
}}
"""

NGINX_ORIGIN = """
  server {{
    listen 127.0.0.1:{a} backlog=4096; listen 127.0.0.1:{b} backlog=4096;
    default_type text/plain;
    location / {{ return 200 "{body}"; }}
  }}
"""

NGINX_PROXY = """
  upstream origin {{
    server 127.0.0.1:{a} weight=3; server 127.0.0.1:{b} weight=1;
    keepalive 1024; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; {forwarding} }}
  }}
"""

NGINX_FORWARDING = (
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; "
    "proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Request-Id $request_id;"
)

HAPROXY = """
global
  nbthread 1
  maxconn 8000
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096{tls}
  default_backend origin
backend origin
  balance roundrobin
  {forwarding}
  server a 127.0.0.1:{a} weight 3
  server b 127.0.0.1:{b} weight 1
"""

HAPROXY_FORWARDING = """option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id"""

SLUICE = """
listeners: [{{ name: in, address: "127.0.0.1:{port}"{tls} }}]
services:
  - name: origin
    endpoints: [{{ address: "127.0.0.1:{a}", weight: 3 }}, {{ address: "127.0.0.1:{b}", weight: 1 }}]
routes: [{{ service: origin }}]
"""


NGINX_TLS = """ ssl http2;
    ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:peers:8m"""
HAPROXY_TLS = " ssl crt {pem} alpn h2,http/1.1"
SLUICE_TLS = ", tls: {{ certificates: [{{ cert: {pem}, key: {pem} }}] }}"


def cores():
    """Two processors: one for what is measured, one for the load and the origin."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        sys.exit("two processors are needed: one for the proxy, one for the load and the origin")
    return allowed[0], allowed[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name, package=None):
    found = shutil.which(name, path=SYSTEM_PATH)
    if not found:
        sys.exit(f"{name} is missing: apt-get install {package or name}")
    return found


def allow_many_files():
    """Takes the whole limit of open files, for this process and those it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Running:
    """One started proxy or origin: its process, its descendants, its port."""

    def __init__(self, name, command, port, core, log):
        self.name, self.port, self.log = name, port, log
        line = ["taskset", "-c", str(core), *command]
        with log.open("w") as output:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)

    def __enter__(self):
        try:
            self.wait_until_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_listening(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended at once with code {self.process.returncode}:\n{self.log.read_text()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        sys.exit(f"{self.name} does not listen on port {self.port} after {seconds} s:\n{self.log.read_text()}")

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self):
        """User and system time of all its processes and their threads until now."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_SECOND

    def resident_kib(self):
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return sum(int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) for text in texts)

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            sys.exit(f"{self.name} did not leave within 60 s of SIGTERM:\n{self.log.read_text()}")


class Stage:
    """A folder for the configurations, and the origin's two ports."""

    def __init__(self, folder, sluice, forwarding, tls=False):
        self.folder, self.sluice, self.forwarding = Path(folder), sluice, forwarding
        self.ports = {"a": free_port(), "b": free_port()}
        self.pem = self.certificate() if tls else None

    def certificate(self):
        """A self-signed certificate and its key, in one file as HAProxy wants it."""
        key, cert, both = (self.folder / name for name in ("key.pem", "cert.pem", "both.pem"))
        line = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        line += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(line, capture_output=True, check=True)
        both.write_text(cert.read_text() + key.read_text())
        both.chmod(0o600)
        return both

    def tls(self, form):
        return form.format(pem=self.pem) if self.pem else ""

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def nginx(self, name, http, single):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        master = "off" if single else "on"
        configuration = self.write(f"{name}.conf", NGINX_BASE.format(dir=folder, http=http, master=master))
        return [program("nginx"), "-e", f"{folder}/error.log", "-c", configuration]

    def origin(self, core):
        http = NGINX_ORIGIN.format(body=BODY, **self.ports)
        return Running("origin", self.nginx("origin", http, single=True), self.ports["a"], core, self.folder / "origin.log")

    def command(self, name, port, single=False):
        """The command line of a proxy that listens on the port; `single`: in one process where it has a choice."""
        where = {"port": port, **self.ports}
        if name == "nginx":
            http = NGINX_PROXY.format(forwarding=NGINX_FORWARDING if self.forwarding else "", tls=self.tls(NGINX_TLS), **where)
            return self.nginx("nginx", http, single)
        if name == "haproxy":
            text = HAPROXY.format(forwarding=HAPROXY_FORWARDING if self.forwarding else "", tls=self.tls(HAPROXY_TLS), **where)
            return [program("haproxy"), "-db", "-f", self.write("haproxy.cfg", text)]
        if name == "sluice":
            document = self.write("sluice.yaml", SLUICE.format(tls=self.tls(SLUICE_TLS), **where))
            status = f"127.0.0.1:{free_port()}"
            data = str(self.folder / "data")
            return [self.sluice, "run", document, "--workers", "1", "--status", status, "--access-log", "off",
                    "--data", data, "--admin", f"unix:{data}/admin.sock"]
        raise ValueError(name)

    def start(self, name, core, single=False, wrapper=()):
        port = free_port()
        command = [*wrapper, *self.command(name, port, single)]
        return Running(name, command, port, core, self.folder / f"{name}.log")

    def version(self, name):
        command = [self.sluice, "--version"] if name == "sluice" else [program(name), "-v"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).splitlines()[0]


def machine():
    """What the figures were measured on."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return {"cpu": cpu.group(1) if cpu else "unknown", "cores": os.cpu_count(), "kernel": os.uname().release, "date": date}


def chosen(options):
    """The names that were asked for; ends the program if one is unknown or Sluice is not built."""
    names = options.proxies.split(",")
    unknown = [name for name in names if name not in ("nginx", "haproxy", "sluice")]
    if unknown:
        sys.exit(f"unknown proxy {unknown[0]!r}: nginx, haproxy and sluice are known")
    if "sluice" in names and not os.access(options.sluice, os.X_OK):
        sys.exit(f"{options.sluice} is not there: cargo build --release")
    return names


def common_arguments(parser, proxies):
    parser.add_argument("--proxies", default=proxies, help=f"names with commas between; the last is compared to the others (default {proxies})")
    parser.add_argument("--sluice", default="target/release/sluice", help="the binary (default target/release/sluice)")
    parser.add_argument("--forwarding", action="store_true", help="nginx and HAProxy, too, add X-Forwarded-* and a request id, as Sluice always does")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
