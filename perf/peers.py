"""The proxies that are compared: how each is configured for speed, started and found to be ready.

Every configuration has one worker, keep-alive on both sides, no limit that the workloads would meet, and no log unless
the workload is about it.
"""

import os
import resource
import shutil
import subprocess

HOSTS, ROUTES = 1000, 10
# What is asked of a proxy: HTTP/1.1; many routes; a log; raw TCP; TLS with both protocols; HTTP/2 without TLS; HTTP/2
# without TLS on both sides. Origins speak HTTP/1.1 but for the last one.
VARIANTS = ("plain", "routes", "log", "tcp", "tls", "h2c", "grpc")


def host_name(number):
    return f"host-{number:04}.example.com"


def route_path(number):
    return f"/service-{number}/"


class Peer:
    """A proxy program. `write` puts its configuration into a directory and returns the command that starts it; `cannot`
    says why a variant is beyond it."""

    def __init__(self, name, program, write, cannot=None, unwanted=()):
        self.name, self.program, self.write = name, program, write
        self.cannot, self.unwanted = cannot or {}, unwanted

    def can(self, variant):
        return variant not in self.cannot and variant not in self.unwanted

    def is_there(self):
        return shutil.which(self.program) is not None


def save(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def certificate(directory):
    """An ECDSA certificate and its key, beside the peers' directories; made once."""
    shared = os.path.dirname(directory)
    chain, key = os.path.join(shared, "certificate.pem"), os.path.join(shared, "key.pem")
    if not os.path.exists(chain):
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        make += ["-keyout", key, "-out", chain, "-days", "30", "-subj", "/CN=proxy.test"]
        make += ["-addext", "subjectAltName=DNS:proxy.test"]
        subprocess.run(make, check=True, capture_output=True, timeout=30)
    return chain, key


# Envoy's configuration, which is Ringway's, too.

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
HTTP_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
DOWNSTREAM_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def envoy_yaml(directory, variant, port, origin):
    if variant == "tcp":
        network_filter = f"""
      - name: tcp
        typed_config: {{"@type": {TCP_PROXY}, stat_prefix: tcp, cluster: origin}}"""
    else:
        network_filter = f"""
      - name: http
        typed_config:
          "@type": {HCM}
          stat_prefix: http
          codec_type: {"HTTP2" if variant in ("h2c", "grpc") else "AUTO"}
          generate_request_id: false{envoy_log(directory) if variant == "log" else ""}
          http_filters:
          - {{name: router, typed_config: {{"@type": {ROUTER}, suppress_envoy_headers: true}}}}
          route_config:
            virtual_hosts:{envoy_hosts(variant)}"""
    return f"""
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:{network_filter}{envoy_tls(directory) if variant == "tls" else ""}
  clusters:
  - name: origin{envoy_http2_origin() if variant == "grpc" else ""}
    circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]}}
    load_assignment:
      cluster_name: origin
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {origin}}}}}}}}}]}}]
"""


def envoy_tls(directory):
    chain, key = certificate(directory)
    return f"""
      transport_socket:
        name: tls
        typed_config:
          "@type": {DOWNSTREAM_TLS}
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {key}}}}}]"""


def envoy_http2_origin():
    return f"""
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {HTTP_OPTIONS}
        explicit_http_config: {{http2_protocol_options: {{}}}}"""


def envoy_log(directory):
    return f"""
          access_log:
          - name: file
            typed_config: {{"@type": {FILE_LOG}, path: {directory}/access.log}}"""


def envoy_hosts(variant):
    if variant != "routes":
        return '\n            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: origin}}]}'
    lines = []
    for number in range(HOSTS):
        routes = ", ".join(
            f'{{match: {{prefix: "{route_path(route)}"}}, route: {{cluster: origin}}}}' for route in range(ROUTES)
        )
        lines.append(f'\n            - {{name: h{number}, domains: ["{host_name(number)}"], routes: [{routes}]}}')
    return "".join(lines)


def envoy(directory, variant, port, origin):
    path = save(directory, "envoy.yaml", envoy_yaml(directory, variant, port, origin))
    return ["envoy", "-c", path, "--concurrency", "1", "-l", "off", "--disable-hot-restart"]


def ringway(binary, driver):
    def write(directory, variant, port, origin):
        path = save(directory, "ringway.yaml", envoy_yaml(directory, variant, port, origin))
        return [binary, "-c", path, "--concurrency", "1", "-l", "off", "--io-driver", driver]

    return write


def nginx_tls(directory):
    chain, key = certificate(directory)
    return f"ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:a:8m;"


def nginx(directory, variant, port, origin):
    log = f"access_log {directory}/access.log combined buffer=64k flush=1s;" if variant == "log" else "access_log off;"
    proxy = 'proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";'
    if variant == "routes":
        servers = "\n".join(
            f"server {{ listen 127.0.0.1:{port}; server_name {host_name(number)}; "
            + " ".join(f"location {route_path(route)} {{ {proxy} }}" for route in range(ROUTES))
            + " }"
            for number in range(HOSTS)
        )
    else:
        options = {"tls": " ssl http2", "h2c": " http2", "grpc": " http2"}.get(variant, "")
        tls = nginx_tls(directory) if variant == "tls" else ""
        proxy = "grpc_pass grpc://origin;" if variant == "grpc" else proxy
        servers = f"server {{ listen 127.0.0.1:{port}{options} backlog=4096; {tls} location / {{ {proxy} }} }}"
    http = f"""
http {{ {log} keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on;
  server_names_hash_max_size 16384; server_names_hash_bucket_size 128;
  client_body_buffer_size 128k; proxy_buffer_size 16k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;
  proxy_max_temp_file_size 0; proxy_request_buffering off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 300s; }}
  {servers} }}"""
    stream = f"""
load_module modules/ngx_stream_module.so;
stream {{ server {{ listen 127.0.0.1:{port} backlog=4096; tcp_nodelay on; proxy_pass 127.0.0.1:{origin}; }} }}"""
    # Loading a module must come first.
    load, _, rest = stream.strip().partition("\n")
    common = f"""worker_processes 1; worker_rlimit_nofile {hard_limit()}; daemon off;
pid {directory}/nginx.pid; error_log {directory}/nginx.err crit;
events {{ worker_connections 19000; }}"""
    text = f"{load}\n{common}\n{rest}" if variant == "tcp" else f"{common}\n{http}"
    return ["nginx", "-c", save(directory, "nginx.conf", text + "\n")]


def haproxy_bind(directory, variant):
    if variant != "tls":
        return " proto h2" if variant in ("h2c", "grpc") else ""
    texts = [open(path).read() for path in certificate(directory)]
    return f" ssl crt {save(directory, 'both.pem', ''.join(texts))} alpn h2,http/1.1"


def haproxy(directory, variant, port, origin):
    mode = "tcp" if variant == "tcp" else "http"
    log = "log stdout format raw local0" if variant == "log" else ""
    routing = "default_backend origin"
    if variant == "routes":
        entries = (f"{host_name(h)}{route_path(r)} origin\n" for h in range(HOSTS) for r in range(ROUTES))
        routing = f"use_backend %[base,map_beg({save(directory, 'routes.map', ''.join(entries))})]"
    text = f"""
global
  nbthread 1
  maxconn {min(12000, (hard_limit() - 100) // 2)}
  {log}
defaults
  mode {mode}
  {"log global" if log else ""}
  {"option httplog" if log else ""}
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  {"http-reuse always" if mode == "http" else ""}
frontend front
  bind 127.0.0.1:{port} backlog 4096{haproxy_bind(directory, variant)}
  {routing}
backend origin
  server origin 127.0.0.1:{origin}{" proto h2" if variant == "grpc" else ""}
"""
    return ["haproxy", "-f", save(directory, "haproxy.cfg", text)]


def h2o_tls(directory):
    chain, key = certificate(directory)
    return f", ssl: {{certificate-file: {chain}, key-file: {key}}}"


def h2o(directory, variant, port, origin):
    proxy = f'{{proxy.reverse.url: "http://127.0.0.1:{origin}/"}}'
    if variant == "routes":
        hosts = "\n".join(
            f'  "{host_name(number)}:{port}":\n    paths:\n'
            + "\n".join(f'      "{route_path(route)}": {proxy}' for route in range(ROUTES))
            for number in range(HOSTS)
        )
    else:
        hosts = f'  "default":\n    paths:\n      "/": {proxy}'
    log = f"access-log: {directory}/access.log" if variant == "log" else ""
    text = f"""
num-threads: 1
max-connections: 19000
user: root
pid-file: {directory}/h2o.pid
error-log: {directory}/h2o.err
http1-request-timeout: 300
proxy.timeout.keepalive: 300000
proxy.preserve-host: ON
{log}
listen: {{host: 127.0.0.1, port: {port}{h2o_tls(directory) if variant == "tls" else ""}}}
hosts:
{hosts}
"""
    return ["h2o", "-c", save(directory, "h2o.yaml", text)]


def hard_limit():
    """Files that a process may open here."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def relay(loadgen):
    def write(_directory, _variant, port, origin):
        return [loadgen, "relay", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{origin}"]

    return write


def all_peers(ringway_binary, loadgen_binary, with_epoll):
    peers = [Peer("ringway", ringway_binary, ringway(ringway_binary, "ring"))]
    if with_epoll:
        peers.append(Peer("ringway epoll", ringway_binary, ringway(ringway_binary, "epoll")))
    no_stream = {} if nginx_has_stream() else {"tcp": "ngx_stream_module is not installed"}
    h2o_cannot = {"tcp": "it has no raw TCP", "grpc": "it speaks no HTTP/2 to origins"}
    relay_unwanted = tuple(variant for variant in VARIANTS if variant not in ("plain", "tcp"))
    peers += [
        Peer("nginx", "nginx", nginx, no_stream),
        Peer("haproxy", "haproxy", haproxy),
        Peer("h2o", "h2o", h2o, h2o_cannot),
        Peer("envoy", "envoy", envoy),
        Peer("relay", loadgen_binary, relay(loadgen_binary), unwanted=relay_unwanted),
    ]
    return [peer for peer in peers if peer.is_there()]


def nginx_has_stream():
    return any(
        os.path.exists(os.path.join(directory, "ngx_stream_module.so"))
        for directory in ("/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules")
    )


def version(peer):
    """What the program says it is, in a few words."""
    flag = {"nginx": "-v", "haproxy": "-v", "h2o": "--version"}.get(peer.program, "--version")
    try:
        said = subprocess.run([peer.program, flag], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (said.stdout + said.stderr).strip().splitlines()
    return " ".join(lines[0].split()[:6]) if lines else "unknown"
