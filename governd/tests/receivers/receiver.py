"""Receives what exporters post, and prints each request as one line of JSON.

Usage: receiver.py [CERTIFICATE KEY]. The first line that it prints is its port. A path with `flaky` in it
answers every other request with 503; one with `picky` refuses bodies that contain `refuse-me`.
"""

import http.server
import json
import ssl
import sys


def read_otlp(body):
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

    request = logs_service_pb2.ExportLogsServiceRequest.FromString(body)
    records = []
    for resource in request.resource_logs:
        host = {a.key: a.value.string_value for a in resource.resource.attributes}
        for scope in resource.scope_logs:
            for log in scope.log_records:
                attributes = {}
                for a in log.attributes:
                    kind = a.value.WhichOneof("value")
                    attributes[a.key] = getattr(a.value, kind)
                records.append(
                    {
                        "host": host["host.name"],
                        "service": host["service.name"],
                        "time": log.time_unix_nano,
                        "severity": log.severity_number,
                        "body": log.body.string_value,
                        "attributes": attributes,
                    }
                )
    answer = logs_service_pb2.ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = len(
        [r for r in records if "refuse-me" in r["body"]]
    )
    return records, answer.SerializeToString()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Handler.requests += 1
        status, answer, seen = 200, b"", None
        if "flaky" in self.path and Handler.requests % 2 == 1:
            status, answer = 503, b"later\n"
        elif "picky" in self.path and b"refuse-me" in body:
            status, answer = 422, b"not this one\n"
        elif self.headers["Content-Type"] == "application/x-protobuf":
            seen, answer = read_otlp(body)
        else:
            seen = body.decode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = {"status": status, "path": self.path, "headers": headers, "seen": seen}
        print(json.dumps(line), flush=True)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
