"""What the clients of seed 004 send: its document's Python client, and the calls of its frontends.

    HUB_URL=… HUB_USER=… HUB_PASSWORD=… CLUSTER_SERVER=… CLUSTER_TOKEN=… CLUSTER_CA=… kubeconfig_client.py

Prints a JSON object: each step with its status and body.
"""

import json
import os
import sys
import time

import requests

HUB = os.environ["HUB_URL"]
NAME = "seed-four"


class KubeConfigClient:
    """As the document writes it."""

    def __init__(self, base_url, token):
        self.base_url = base_url
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method, path, **more):
        return requests.request(method, f"{self.base_url}{path}", headers=self.headers, timeout=45, **more)


def main() -> int:
    steps = {}

    def keep(name, response):
        try:
            body = response.json()
        except ValueError:
            body = response.text
        steps[name] = {"status": response.status_code, "body": body}
        return body

    credentials = {"username": os.environ["HUB_USER"], "password": os.environ["HUB_PASSWORD"]}
    # The frontends send a form, the document JSON.
    form = keep("form", requests.post(f"{HUB}/auth/token", data=credentials, timeout=45))
    keep("json", requests.post(f"{HUB}/auth/login", json=credentials, timeout=45))
    client = KubeConfigClient(f"{HUB}/kubeconfig", form["access_token"])
    later = KubeConfigClient(f"{HUB}/api/v2.0", form["access_token"])

    onboarded = keep("onboard", client.call("POST", "/onboard-cluster", json={
        "cluster_name": NAME,
        "server_url": os.environ["CLUSTER_SERVER"],
        "token": os.environ["CLUSTER_TOKEN"],
        "context_name": NAME,
        "provider_name": "Test",
        "tags": ["production", "test"],
        "use_secure_tls": True,
        "ca_data": os.environ["CLUSTER_CA"],
    }))
    keep("clusters", client.call("GET", "/clusters"))
    number = onboarded.get("id", 0)
    # The hub reaches a cluster within seconds of being told of it.
    for _ in range(60):
        selected = keep("select", client.call("POST", f"/select-cluster-and-get-namespaces/{number}"))
        if selected.get("success"):
            break
        time.sleep(0.25)
    keep("namespaces", client.call("GET", f"/get-namespaces/{number}"))
    keep("credentials", client.call("GET", f"/cluster/{NAME}/credentials"))
    for name, command in {
        "pods": "kubectl get pods -n kube-system",
        "nodes": "kubectl get nodes -o wide",
        "list": "kubectl get deployments -n default -o json",
        "events": "kubectl get events --field-selector involvedObject.name=x -n default --sort-by='.lastTimestamp' -o json",
        "describe": "kubectl describe namespace default",
        "missing": "kubectl logs nothing -n default --tail=100",
        "shell": "kubectl get pods; id",
    }.items():
        keep(name, client.call("POST", f"/execute-kubectl-direct/{number}", json={"command": command}))
    keep("workloads", later.call("GET", f"/clusters/{number}/workloads/kube-system"))
    keep("yaml", later.call("GET", f"/clusters/{number}/yaml/default/serviceaccounts/default"))
    put = requests.put(
        f"{HUB}/api/v2.0/clusters/{number}/yaml/default/serviceaccounts/default",
        headers={"Authorization": later.headers["Authorization"], "Content-Type": "text/plain"},
        data=steps["yaml"]["body"], timeout=45)
    keep("put", put)
    keep("all_nodes", client.call("GET", "/nodes/status/all-clusters"))
    keep("remove", client.call("DELETE", f"/remove-cluster/{number}"))
    keep("after", client.call("GET", f"/get-namespaces/{number}"))
    print(json.dumps(steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
