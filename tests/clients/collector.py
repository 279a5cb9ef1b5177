"""A build with the feature `otel` against a collector that reads what OpenTelemetry defines.

    collector.py TOLLGATE CAPTURE

TOLLGATE is the binary; it plays CAPTURE, a pcap of Teltonika trackers, at a gateway that is started
here. The collector is an HTTP server that takes OTLP as opentelemetry's own Python package
(`opentelemetry-proto`, generated from the definition) reads it: what that cannot read is refused.

It looks for each connection's trace under its number, with the spans and numbers that the event log
has of it; for a call of the API on its caller's trace; and at what trackers and calls feel of a
collector that does not answer, is gone, and comes back.
"""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2

TOLLGATE, CAPTURE = sys.argv[1:3]
IDENT = "123456789012345"
LONG = 30
SERVER, INTERNAL = trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_INTERNAL
CALLERS = "0af7651916cd43dd8448eb211c80319c"
UNSAMPLED = "1bf7651916cd43dd8448eb211c80319c"


def until(what, found):
    """What `found` gives, once it is something."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if value := found():
                return value
        time.sleep(0.05)
    raise AssertionError(f"not within {LONG} s: {what}")


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


def named(attributes):
    return {one.key: value_of(one.value) for one in attributes}


class Collector:
    """Takes traces on loopback, and can be told to keep its callers waiting."""

    def __init__(self, port=0):
        self.spans, self.refused, self.resources = [], [], []
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.set()
                outer.answers.wait(LONG)
                try:
                    outer.take(self.path, self.headers["content-type"], body)
                    status, answer = 200, service.ExportTraceServiceResponse().SerializeToString()
                except Exception as error:  # whatever it is, it is told at the end
                    outer.refused.append(repr(error))
                    status, answer = 400, b""
                with contextlib.suppress(OSError):  # who asked may have given up
                    self.send_response(status)
                    self.send_header("content-type", "application/x-protobuf")
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, kind, body):
        assert (path, kind) == ("/v1/traces", "application/x-protobuf"), (path, kind)
        request = service.ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            self.resources.append(named(of_resource.resource.attributes))
            for of_scope in of_resource.scope_spans:
                assert of_scope.scope.name == "tollgate", of_scope.scope
                self.spans.extend(of_scope.spans)

    def trace(self, number):
        return [span for span in self.spans if span.trace_id.hex() == number]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateway:
    def __init__(self, folder, endpoint):
        self.http, self.port = free_port(), free_port()
        self.data = folder / "data"
        self.log = folder / "log"
        config = folder / "tollgate.toml"
        config.write_text(
            f"""
[gateway]
data_dir = "{self.data}"
host = "127.0.0.1"
listen = "127.0.0.1"
[http]
listen = "127.0.0.1:{self.http}"
[traces]
endpoint = "{endpoint}"
one_in = 1
[[accounts]]
name = "acme"
[[channels]]
name = "trackers"
account = "acme"
protocol = "teltonika"
port = {self.port}
[[devices]]
name = "van"
account = "acme"
protocol = "teltonika"
ident = "{IDENT}"
"""
        )
        command = [TOLLGATE, "serve", "--config", config]
        self.process = subprocess.Popen(command, stderr=self.log.open("wb"))
        until("the gateway is ready", lambda: "\nready: " in self.said() or self.ended())
        assert not self.ended(), self.said()
        command = [TOLLGATE, "token", "--data", self.data, "--account", "acme"]
        self.key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def said(self):
        return self.log.read_text()

    def ended(self):
        return self.process.poll() is not None

    def get(self, path, **headers):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", headers=headers)
        request.add_header("authorization", f"FlespiToken {self.key}")
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return json.load(answer)["result"]

    def play(self):
        """Plays the capture; it fails unless every answer comes as it was recorded."""
        command = [TOLLGATE, "replay", CAPTURE, "--to", f"127.0.0.1:{self.port}", "--speed", "max"]
        subprocess.run(command, check=True, capture_output=True, timeout=LONG)

    def ends_of_connections(self):
        rows = self.get("/gw/channels/all/logs")
        return [row for row in rows if row["event_code"] == 102]


def one(spans, name):
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, (name, [span.name for span in spans])
    return found[0]


def connections_are_traces(gateway, collector):
    ends = until("three connections have ended", lambda: len(gateway.ends_of_connections()) >= 3)
    ends = gateway.ends_of_connections()
    for end in ends:
        number = f"746f6c6c67617465{end['connection_id']:016x}"
        whole = lambda: any(span.name == "connection" for span in collector.trace(number))
        until(f"the trace {number}", whole)
        spans = collector.trace(number)
        root = one(spans, "connection")
        assert (root.parent_span_id, root.kind) == (b"", SERVER), root
        told = named(root.attributes)
        host, port = end["source"].rsplit(":", 1)
        expected = {
            "tollgate.connection": end["connection_id"],
            "tollgate.channel": 1,
            "tollgate.device": 1,
            "tollgate.account": 1,
            "tollgate.ident": IDENT,
            "tollgate.close_code": end["close_code"],
            "tollgate.messages": end["msgs"],
            "tollgate.duplicates": end["duplicates"],
            "tollgate.bytes_in": end["recv"],
            "tollgate.bytes_out": end["send"],
            "network.peer.address": host,
            "network.peer.port": int(port),
        }
        assert told == expected, (told, expected)
        identified = one(spans, "identified")
        assert named(identified.attributes)["tollgate.ident"] == IDENT
        answered = [span for span in spans if span.name == "answered"]
        acks = [named(span.attributes)["tollgate.acks"] for span in answered]
        # behind the login's one byte each ack of Teltonika's has four
        assert 4 * sum(acks) == end["send"] - 1, (acks, end)
        ids = {span.span_id for span in spans}
        assert len(ids) == len(spans) and all(len(id) == 8 for id in ids)
        for span in spans:
            assert span.start_time_unix_nano <= span.end_time_unix_nano, span
            if span is not root:
                assert (span.parent_span_id, span.kind) == (root.span_id, INTERNAL), span
                assert root.start_time_unix_nano <= span.start_time_unix_nano, span
                assert span.end_time_unix_nano <= root.end_time_unix_nano, span
    print(f"collector: {len(ends)} connections, {len(collector.spans)} spans, each where it belongs")


def calls_go_on_their_callers_traces(gateway, collector):
    parent = "b7ad6b7169203331"
    gateway.get("/gw/devices/all?fields=id", traceparent=f"00-{CALLERS}-{parent}-01")
    gateway.get("/gw/devices/1", traceparent=f"00-{UNSAMPLED}-{parent}-00")
    spans = until("the call on its caller's trace", lambda: collector.trace(CALLERS))
    call = one(spans, "GET")
    assert (call.parent_span_id.hex(), call.kind) == (parent, SERVER), call
    told = named(call.attributes)
    assert told == {
        "http.request.method": "GET",
        "url.path": "/gw/devices/all",
        "http.response.status_code": 200,
    }, told
    # what its caller does not trace is not traced, a call without a caller's trace begins one
    gateway.get("/gw/channels/all?fields=id")
    path = lambda span: named(span.attributes).get("url.path")
    own = lambda: [span for span in collector.spans if path(span) == "/gw/channels/all"]
    begun = until("a call's own trace", own)[0]
    assert begun.parent_span_id == b"" and begun.trace_id.hex() != CALLERS, begun
    assert collector.trace(UNSAMPLED) == []


def a_collector_that_fails_stops_nobody(gateway, collector):
    collector.asked.clear()
    collector.answers.clear()
    gateway.play()
    assert collector.asked.wait(LONG), "it is asked"
    # and now somebody waits for it
    begun = time.monotonic()
    gateway.play()
    assert gateway.get("/gw/devices/1?fields=id") == [{"id": 1}]
    assert time.monotonic() - begun < LONG / 2
    collector.answers.set()

    collector.close()
    gateway.play()
    lost = "traces are lost until the collector takes them"
    until("it is told that nobody takes them", lambda: lost in gateway.said())
    gateway.play()
    again = Collector(collector.port)
    gateway.play()
    until("it is told that somebody does", lambda: "takes traces again" in gateway.said())
    until("traces come again", lambda: [one for one in again.spans if one.name == "connection"])
    return again


def main():
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector()
        gateway = Gateway(pathlib.Path(folder), f"http://127.0.0.1:{collector.port}")
        try:
            gateway.play()
            connections_are_traces(gateway, collector)
            calls_go_on_their_callers_traces(gateway, collector)
            again = a_collector_that_fails_stops_nobody(gateway, collector)
            again.close()
            # with nobody there who takes the last ones it ends in order all the same
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(LONG) == 0, gateway.said()
            assert "\nstopped" in gateway.said(), gateway.said()
            for one_of in (collector, again):
                assert one_of.refused == [], one_of.refused
                for resource in one_of.resources:
                    assert resource["service.name"] == "tollgate", resource
                    assert resource["service.version"] and resource["service.instance.id"], resource
            subprocess.run([TOLLGATE, "audit", "--data", gateway.data], check=True)
        except BaseException:
            print(gateway.said(), *collector.refused, sep="\n", file=sys.stderr)
            raise
        finally:
            gateway.process.kill()
            gateway.process.wait()


if __name__ == "__main__":
    os.environ.pop("TOLLGATE_LOG", None)
    main()
