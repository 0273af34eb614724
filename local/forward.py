"""Serves the local API at http://localhost:8000, without a stage in the path.

On AWS, a custom domain does this. The emulator supports custom domains too, by a Host header that contains a dot. So this
server only forwards requests with that header, and with the caller's address in X-Forwarded-For, where the emulator expects
it; API Gateway takes it from the connection. Everything else is forwarded as the client sent it.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.client
import http.server
import sys
import threading
from collections.abc import Iterator

from peers import is_own_user

# RFC 9110 section 7.6.1: these belong to one connection, not to the message.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
# API Gateway's own limit for a request.
MAX_BODY = 10 * 1024 * 1024


@contextlib.contextmanager
def forwarding(port: int, to_port: int, domain: str, compress_from: int = sys.maxsize) -> Iterator[None]:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`to_port`, as requests for `domain`. Like API Gateway, and unlike the emulator, it
    compresses responses of `compress_from` bytes or more for clients that accept gzip."""

    class Forward(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Less than the 75 seconds after which the emulator closes an idle connection.
        timeout = 60
        # Head and body are written separately: with Nagle's algorithm the body waits 40 ms for the client's delayed ACK.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            # One per client connection. One per request would leave thousands of closed connections in the
            # table that is_own_user reads.
            self.upstream = http.client.HTTPConnection("127.0.0.1", to_port, timeout=30)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        @functools.cached_property
        def is_own_user(self) -> bool:
            return is_own_user(self.client_address, port)

        def forward(self) -> None:
            if not self.is_own_user:
                return self.send_error(403, "This local stack belongs to another user: start your own on other ports")
            # Another host name may belong to a web page that resolves its own name to this machine to share its origin.
            if self.headers.get_all("host", []) not in ([f"localhost:{port}"], [f"127.0.0.1:{port}"]):
                return self.send_error(403, f"The local stack's address is http://localhost:{port}")
            # `self.path` has already lost a second leading slash.
            target = self.requestline.split()[1]
            if not target.startswith("/"):
                return self.send_error(400, "The request target must be a path")
            if "transfer-encoding" in self.headers:
                return self.send_error(411, "Send a Content-Length")
            lengths = self.headers.get_all("content-length", ["0"])
            if len(lengths) != 1 or not lengths[0].isdecimal():
                return self.send_error(400, "Send exactly one Content-Length")
            if int(lengths[0]) > MAX_BODY:
                return self.send_error(413, "API Gateway accepts at most 10 MB")
            body = self.rfile.read(int(lengths[0]))
            upstream = self.upstream
            try:
                upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
                upstream.putheader("Host", f"{domain}:{to_port}")
                for name, value in self.headers.items():
                    if name.lower() not in HOP_BY_HOP | {"host", "x-forwarded-for"}:
                        upstream.putheader(name, value)
                upstream.putheader("X-Forwarded-For", self.client_address[0])
                upstream.endheaders(body)
                answer = upstream.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                upstream.close()
                return self.send_error(502, "The emulator did not respond")
            self.send_response_only(answer.status, answer.reason)
            accepted = {coding.split(";")[0].strip() for coding in self.headers.get("accept-encoding", "").split(",")}
            if len(content) >= compress_from and "gzip" in accepted and answer.getheader("content-encoding") is None:
                content = gzip.compress(content)
                self.send_header("Content-Encoding", "gzip")
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = forward

        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing: the functions log the decisions."""

    server = Server(("127.0.0.1", port), Forward)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that disconnects is no error: browsers do so whenever somebody leaves a page."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
