"""A queue peer as the predecessors wrote them: plain JSON on a durable queue, the answer on the queue's results.

    PEER_URL=amqp://… pika_peer.py cluster_auth '{"request_id": …}'

Prints the answer that carries the request's id.
"""

import json
import os
import sys
import time

import pika

# As long as the predecessors waited for namespaces.
LIMIT = 30


def main() -> int:
    queue, request = sys.argv[1], sys.argv[2]
    parameters = pika.URLParameters(os.environ["PEER_URL"])
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare(f"{queue}_requests", durable=True)
    channel.queue_declare(f"{queue}_results", durable=True)
    properties = pika.BasicProperties(
        delivery_mode=2,
        content_type="application/json",
        # The broker checks that this is who we are; the hub maps it to an account.
        user_id=parameters.credentials.username,
    )
    channel.basic_publish("", f"{queue}_requests", request.encode(), properties)

    wanted = json.loads(request)["request_id"]
    end = time.monotonic() + LIMIT
    for method, answer_properties, body in channel.consume(f"{queue}_results", auto_ack=True, inactivity_timeout=1):
        if method is None:
            if time.monotonic() > end:
                print(f"no answer to {wanted} in {LIMIT} s", file=sys.stderr)
                return 1
            continue
        answer = json.loads(body)
        if answer.get("request_id") == wanted:
            assert answer_properties.content_type == "application/json", answer_properties
            print(json.dumps(answer))
            connection.close()
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
