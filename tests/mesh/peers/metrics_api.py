"""A metrics API as an API server aggregates it: as much of `metrics.k8s.io` as `kubectl top` asks for, with fixed figures.

metrics_api.py CERTIFICATE KEY NODE NAMESPACE POD prints its port and serves until it is ended. Whom the API server says that it
asks for is noted on each object.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE = "/apis/metrics.k8s.io/v1beta1"
CERTIFICATE, KEY, NODE, NAMESPACE, POD = sys.argv[1:]


def metrics(kind, metadata, more):
    when = {"timestamp": "2026-01-01T00:00:00Z", "window": "30s"}
    return {"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata, **when, **more}


def node(who):
    usage = {"cpu": "250m", "memory": "512Mi"}
    return metrics("NodeMetrics", {"name": NODE, "annotations": {"asked-by": who}}, {"usage": usage})


def pod(who):
    metadata = {"name": POD, "namespace": NAMESPACE, "annotations": {"asked-by": who}}
    usage = {"cpu": "7m", "memory": "21Mi"}
    return metrics("PodMetrics", metadata, {"containers": [{"name": "main", "usage": usage}]})


def listed(kind, items):
    return {"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}


def answer(path, who):
    if path == BASE:
        verbs = ["get", "list"]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": "metrics.k8s.io/v1beta1",
            "resources": [
                {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": verbs},
                {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": verbs},
            ],
        }
    pods = f"{BASE}/namespaces/{NAMESPACE}/pods"
    return {
        f"{BASE}/nodes": listed("NodeMetricsList", [node(who)]),
        f"{BASE}/nodes/{NODE}": node(who),
        f"{BASE}/pods": listed("PodMetricsList", [pod(who)]),
        pods: listed("PodMetricsList", [pod(who)]),
        f"{pods}/{POD}": pod(who),
    }.get(path)


class Metrics(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # the name is the library's
        found = answer(self.path.split("?")[0].rstrip("/"), self.headers.get("X-Remote-User", ""))
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(found or missing).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
