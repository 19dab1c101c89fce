"""Goes through what people do with the `kubernetes` package; fails on the first thing that is not as it must be.

    client.py KUBECONFIG NAMESPACE
"""

import hashlib
import os
import sys
import time

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

POD = "hold"
ECHO_PORT = 7
# Through one exec, there and back.
SIZE = 1 << 20
# Longer than any step takes on a busy machine.
LIMIT = 60


def check(condition, *said):
    if not condition:
        raise AssertionError(" ".join(map(str, said)))


def config_maps(core, namespace):
    """Create, list by pages, patch in three ways, replace with a stale version, delete."""
    names = [f"page-{number}" for number in range(7)]
    for name in names:
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"step": "pages"}), data={"a": "1"})
        core.create_namespaced_config_map(namespace, body)
    seen, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="step=pages", limit=3, _continue=token)
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    check(seen == names, "pages gave", seen)
    stale = core.read_namespaced_config_map("page-0", namespace)
    core.patch_namespaced_config_map("page-0", namespace, {"data": {"b": "2"}})
    patch = [{"op": "add", "path": "/data/c", "value": "3"}]
    patched = core.patch_namespaced_config_map("page-0", namespace, patch)
    check(patched.data == {"a": "1", "b": "2", "c": "3"}, "patched to", patched.data)
    try:
        core.replace_namespaced_config_map("page-0", namespace, stale)
        check(False, "a stale version was taken")
    except ApiException as fault:
        check(fault.status == 409, "a stale version was answered with", fault.status)
    core.delete_collection_namespaced_config_map(namespace, label_selector="step=pages")


def watching(core, namespace):
    """Every change once, from the version of a list on."""
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    wanted = []
    for number in range(20):
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"watched-{number}"))
        core.create_namespaced_config_map(namespace, body)
        core.patch_namespaced_config_map(f"watched-{number}", namespace, {"data": {"a": "1"}})
        core.delete_namespaced_config_map(f"watched-{number}", namespace)
        wanted += [(kind, f"watched-{number}") for kind in ("ADDED", "MODIFIED", "DELETED")]
    seen, watcher = [], watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=LIMIT
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == len(wanted):
            watcher.stop()
    check(seen == wanted, "watched", seen)
    # One that is asked to end after a second does.
    began = time.monotonic()
    for _ in watch.Watch().stream(core.list_namespaced_config_map, namespace, timeout_seconds=1):
        pass
    check(0.5 < time.monotonic() - began < 20, "a watch of one second took", time.monotonic() - began)


def pod(core, namespace):
    container = client.V1Container(name="main", image="roadstead.dev/simulated:1")
    body = client.V1Pod(metadata=client.V1ObjectMeta(name=POD), spec=client.V1PodSpec(containers=[container]))
    core.create_namespaced_pod(namespace, body)
    for event in watch.Watch().stream(
        core.list_namespaced_pod, namespace, field_selector=f"metadata.name={POD}", timeout_seconds=LIMIT
    ):
        if event["object"].status.phase == "Running":
            return
    check(False, "the pod does not run")


def logs(core, namespace):
    answer = core.read_namespaced_pod_log(
        POD, namespace, follow=True, tail_lines=1, insecure_skip_tls_verify_backend=True, _preload_content=False
    )
    lines = [line for _, line in zip(range(3), answer)]
    check(len(lines) == 3 and all(b"roadstead: tick" in line for line in lines), "the log says", lines)
    answer.close()


def execute(core, namespace):
    said = stream(
        core.connect_get_namespaced_pod_exec, POD, namespace, command=["echo", "ahoy"],
        stdin=False, stdout=True, stderr=True, tty=False,
    )
    check(said.strip() == "ahoy", "exec said", said)
    # Not over before a line says that all has come back: what a simulated node has not sent by then is lost, also without a hub.
    session = stream(
        core.connect_get_namespaced_pod_exec, POD, namespace, command=["sh", "-c", f"head -c {SIZE} && read -r _"],
        stdin=True, stdout=True, stderr=True, tty=False, binary=True, _preload_content=False,
    )
    sent, received = os.urandom(SIZE), b""
    for start in range(0, SIZE, 16384):
        session.write_stdin(sent[start : start + 16384])
    until = time.monotonic() + LIMIT
    while len(received) < SIZE and time.monotonic() < until:
        session.update(timeout=1)
        received += session.read_channel(1, timeout=0) if session.peek_channel(1) else b""
    session.write_stdin(b"\n")
    session.close()
    check(len(received) == SIZE, len(received), "bytes came back")
    check(hashlib.sha256(sent).digest() == hashlib.sha256(received).digest(), "the bytes came back changed")


def forward(core, namespace):
    tunnel = portforward(core.connect_get_namespaced_pod_portforward, POD, namespace, ports=str(ECHO_PORT))
    connection = tunnel.socket(ECHO_PORT)
    connection.settimeout(LIMIT)
    sent, received = os.urandom(64 << 10), b""
    connection.sendall(sent)
    while len(received) < len(sent):
        some = connection.recv(16384)
        check(some, "the connection ended after", len(received), tunnel.error(ECHO_PORT))
        received += some
    connection.close()
    check(sent == received, "the bytes came back changed")


def main(kubeconfig, namespace):
    config.load_kube_config(kubeconfig)
    core = client.CoreV1Api()
    check(client.VersionApi().get_code().major == "1", "no version")
    check(any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups), "no group apps")
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
    try:
        for step in (config_maps, watching, pod, logs, execute, forward):
            began = time.monotonic()
            step(core, namespace)
            print(f"{step.__name__}: {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
    finally:
        core.delete_namespace(namespace)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
