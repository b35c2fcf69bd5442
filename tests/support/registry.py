"""Registries on loopback: one that misbehaves on demand, and Debian's docker-registry.

`FaultyRegistry` speaks the pull half of the OCI Distribution Specification 1.1 over images held in
memory. Each `Fault` applies to the requests its pattern matches, a given number of times, and every
request is on record. It is meant to be used as a context manager.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from support.images import BuiltImage, digest, encode

USERNAME, PASSWORD = "user", "secret"
_HTPASSWD = f"{USERNAME}:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
_CHUNK = 64 << 10


@dataclass
class Fault:
    """What goes wrong with requests whose ``METHOD /path`` matches a regular expression.

    Attributes:
        pattern: searched in ``METHOD /path``.
        times: how often it applies; -1 is always.
        status: answer with this status and, but for `replace`, no content.
        headers: headers to add, or to leave out where the value is None.
        cut_at: close the connection after this many bytes of the body.
        reset: reset the connection before anything is said.
        pack: what to pack the body with: "gzip", or "deflate".
        corrupt: flip the first byte of what is sent.
        replace: send these bytes as the body instead.
        drip: send single bytes, one each so many seconds.
        drip_head: send status line and headers as single bytes, one each so many seconds.
        stall: send half of the body, then nothing more until the client goes.
        endless: send the body, then go on for ever (chunked, without a length).
        ignore_range: answer 200 and the whole body to a Range request.
        content_range: answer 206 with this Content-Range, whatever was asked.
        only_ranges: it applies to Range requests only.
        wait: a barrier: the request waits until this event is set.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    cut_at: int | None = None
    reset: bool = False
    pack: str = ""
    corrupt: bool = False
    replace: bytes | None = None
    drip: float | None = None
    drip_head: float | None = None
    stall: bool = False
    endless: bool = False
    ignore_range: bool = False
    content_range: str | None = None
    only_ranges: bool = False
    wait: threading.Event | None = None


@dataclass(frozen=True)
class Request:
    """One request on record, and how many bytes the body of its answer has."""

    method: str
    path: str
    headers: dict[str, str]
    status: int
    size: int

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class TokenAuth:
    """Bearer tokens: who gets one, and how many requests each is good for (-1: any number)."""

    username: str | None = None
    password: str | None = None
    identity_token: str | None = None
    uses: int = -1
    expires_in: int | None = 300
    issued: int = 0
    left: dict[str, int] = field(default_factory=dict)


class FaultyRegistry:
    """A registry under a test's thumb; make it with `faulty_registry`.

    Attributes:
        host: ``127.0.0.1:port``, or ``localhost:port`` with TLS.
        faults: applied in order; the first that matches and is not used up.
        requests: all requests so far, in order of their answers.
        connections: how many TCP connections were made.
        etags: whether manifests carry an ETag, and honour If-None-Match.
        digests: whether answers carry Docker-Content-Digest.
        token_auth: set it to ask for bearer tokens.
        basic_auth: set it to (username, password) to ask for them.
        broken_handshakes: how many connections are closed once the client has said something.
        answers_plain_http: with TLS, whether plain HTTP gets 400 as from Go's and other servers.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.etags = True
        self.digests = True
        self.token_auth: TokenAuth | None = None
        self.basic_auth: tuple[str, str] | None = None
        self.broken_handshakes = 0
        self.answers_plain_http = False
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        self.scheme = "https" if tls else "http"
        self.host = f"{'localhost' if tls else '127.0.0.1'}:{self._server.server_port}"
        self.authority = trustme.CA() if tls else None
        if self.authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
            self._server.context = context
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def add_image(self, image: BuiltImage, name: str = "os/image", tag: str = "latest") -> str:
        """Serve an image or index under a tag and by digest; returns its digest."""
        answer = (image.media_type, image.manifest)
        with self.lock:
            self.manifests[name, tag] = self.manifests[name, image.digest] = answer
            self.blobs.update(image.blobs)
            for found, data in image.blobs.items():
                if data.startswith(b"{") and b'"schemaVersion":2' in data[:100_000]:
                    self.manifests[name, found] = (json.loads(data)["mediaType"], data)
        return image.digest

    def reference(self, name: str = "os/image", tag: str = "latest") -> str:
        """Return the reference of a tag here."""
        return f"{self.host}/{name}:{tag}"

    def fail(self, pattern: str, **what: Any) -> Fault:
        """Add a fault; see `Fault`."""
        fault = Fault(pattern, **what)
        with self.lock:
            self.faults.append(fault)
        return fault

    def configure(self, root: Path, *, prefix: str | None = None) -> None:
        """Make this registry known below a root folder: insecure, or by its CA."""
        if self.authority is not None:
            folder = root / "etc/containers/certs.d" / self.host
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "ca.crt").write_bytes(self.authority.cert_pem.bytes())
            return
        folder = root / "etc/containers/registries.conf.d"
        folder.mkdir(parents=True, exist_ok=True)
        text = f'[[registry]]\nprefix = "{prefix or self.host}"\n'
        text += f'location = "{self.host}"\ninsecure = true\n'
        (folder / f"{self._server.server_port}.conf").write_text(text)

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Show other certificates from now on."""
        self._server.context = context

    def demand_certificates(self, authority: trustme.CA) -> None:
        """Take only clients with a certificate of an authority; only with TLS."""
        context = self._server.context
        assert context is not None
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    def count(self, pattern: str) -> int:
        """Return how many requests matched."""
        with self.lock:
            return sum(1 for one in self.requests if re.search(pattern, one.line))

    def sent(self, pattern: str) -> int:
        """Return how many bytes the answers to matching requests have together."""
        with self.lock:
            return sum(one.size for one in self.requests if re.search(pattern, one.line))

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()


@contextmanager
def faulty_registry(*, tls: bool = False) -> Iterator[FaultyRegistry]:
    """Run a `FaultyRegistry` for a while."""
    registry = FaultyRegistry(tls=tls)
    try:
        yield registry
    finally:
        registry.close()


class _Server(ThreadingHTTPServer):
    registry: FaultyRegistry
    context: ssl.SSLContext | None = None
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self.registry.lock:
            self.registry.connections += 1
            is_broken = self.registry.broken_handshakes > 0
            self.registry.broken_handshakes -= is_broken
        if is_broken:
            request.recv(_CHUNK)
            return
        if self.context is not None:
            if self.registry.answers_plain_http and request.recv(1, socket.MSG_PEEK) != b"\x16":
                request.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nThis is an HTTPS server.")
                request.recv(_CHUNK)
                return
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)
            if self.context is not None:
                request.close()

    def close_connections(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    _UNFAULTED: ClassVar[Fault] = Fault("")

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the registry keeps its own record."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        registry = self.server.registry
        path = urlsplit(self.path).path
        challenge = "" if path == "/token" else self._challenge()
        if challenge:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._reply(401, {"WWW-Authenticate": challenge}, b"{}", self._UNFAULTED)
            return
        fault = self._fault()
        if fault.wait is not None:
            fault.wait.wait(30)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if fault.reset:
            with registry.lock:
                asked = Request(self.command, self.path, dict(self.headers.items()), 0, 0)
                registry.requests.append(asked)
            self._reset()
            return
        if fault.status is not None:
            self._reply(fault.status, {}, b"", fault)
            return
        if path == "/token":
            self._reply(*self._token(body), fault)
        elif match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            self._reply(*self._manifest(match[1], match[2]), fault)
        elif match := re.fullmatch(r"(?:/v2/.+/blobs|/elsewhere)/(sha\d+:[0-9a-f]+)", path):
            data = registry.blobs.get(match[1])
            headers = {"Content-Type": "application/octet-stream", "ETag": f'"{match[1]}"'}
            self._reply(404 if data is None else 200, headers, data or b"", fault)
        else:
            self._reply(200 if path in {"/v2/", "/v2"} else 404, {}, b"", fault)

    def _reset(self) -> None:
        # With no time to linger the kernel sends RST (socket(7)).
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _fault(self) -> Fault:
        registry = self.server.registry
        with registry.lock:
            for fault in registry.faults:
                if fault.only_ranges and "Range" not in self.headers:
                    continue
                if fault.times and re.search(fault.pattern, f"{self.command} {self.path}"):
                    fault.times -= 1
                    return fault
        return self._UNFAULTED

    def _challenge(self) -> str:
        registry = self.server.registry
        given = self.headers.get("Authorization", "")
        if registry.basic_auth is not None:
            wanted = base64.b64encode(":".join(registry.basic_auth).encode()).decode()
            return "" if given == f"Basic {wanted}" else 'Basic realm="here, and there"'
        auth = registry.token_auth
        if auth is None or self.path.startswith("/elsewhere"):
            return ""
        token = given.removeprefix("Bearer ")
        with registry.lock:
            left = auth.left.get(token, 0)
            if left:
                auth.left[token] = left - 1
                return ""
        realm = f"{registry.scheme}://{registry.host}/token"
        return f'Bearer realm="{realm}",service="test,registry",scope="repository:x:pull"'

    def _token(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        registry = self.server.registry
        auth = registry.token_auth
        if auth is None:
            return 404, {}, b""
        if auth.identity_token is not None:
            form = parse_qs(body.decode())
            good = form.get("refresh_token") == [auth.identity_token]
        elif auth.username is not None:
            wanted = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
            good = self.headers.get("Authorization") == f"Basic {wanted}"
        else:
            good = "Authorization" not in self.headers
        if not good:
            return 401, {}, b'{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}'
        with registry.lock:
            auth.issued += 1
            token = f"token-{auth.issued}"
            auth.left[token] = auth.uses
        value: dict[str, Any] = {"token": token}
        if auth.expires_in is not None:
            value["expires_in"] = auth.expires_in
        return 200, {"Content-Type": "application/json"}, encode(value)

    def _manifest(self, name: str, which: str) -> tuple[int, dict[str, str], bytes]:
        registry = self.server.registry
        with registry.lock:
            found = registry.manifests.get((name, which))
        if found is None:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return 404, {"Content-Type": "application/json"}, encode(error)
        media_type, data = found
        headers = {"Content-Type": media_type}
        if registry.digests:
            headers["Docker-Content-Digest"] = digest(data)
        if registry.etags:
            headers["ETag"] = f'"{digest(data)}"'
            if self.headers.get("If-None-Match") == headers["ETag"]:
                return 304, headers, b""
        return 200, headers, data

    def _reply(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        status, headers, body = self._ranged(status, headers, body, fault)
        if fault.pack:
            packer = zlib.compressobj(wbits=31 if fault.pack == "gzip" else 15)
            body = packer.compress(body) + packer.flush()
            headers = {**headers, "Content-Encoding": fault.pack}
        if fault.corrupt and body:
            body = bytes([body[0] ^ 0xFF]) + body[1:]
        registry = self.server.registry
        with registry.lock:
            registry.requests.append(
                Request(self.command, self.path, dict(self.headers.items()), status, len(body))
            )
        self._send_head(status, {**headers, "Content-Length": str(len(body))}, fault)
        if self.command != "HEAD" and status != 304:
            self._send_body(body, fault)

    def _ranged(
        self, status: int, headers: dict[str, str], body: bytes, fault: Fault
    ) -> tuple[int, dict[str, str], bytes]:
        if fault.replace is not None:
            body = fault.replace
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        total = len(body)
        if status == 200 and wanted and not fault.ignore_range:
            start = int(wanted[1])
            status = 206 if start < total else 416
            body = body[start : int(wanted[2]) + 1] if wanted[2] else body[start:]
            last = start + len(body) - 1
            headers = {**headers, "Content-Range": f"bytes {start}-{last}/{total}"}
        if fault.content_range is not None:
            status, headers = 206, {**headers, "Content-Range": fault.content_range}
        return status, headers, body

    def _send_head(self, status: int, headers: dict[str, str], fault: Fault) -> None:
        self.send_response(status)
        sent: dict[str, str | None] = {**headers, **fault.headers}
        if fault.endless:
            sent["Content-Length"] = None
        if sent["Content-Length"] is None:
            self.close_connection = True
        for key, value in sent.items():
            if value is not None:
                self.send_header(key, value)
        if fault.drip_head is not None:
            head = b"".join(self._headers_buffer)
            self._headers_buffer: list[bytes] = []
            self._drip(head, fault.drip_head)
        self.end_headers()

    def _send_body(self, body: bytes, fault: Fault) -> None:
        if fault.cut_at is not None:
            self._write(body[: fault.cut_at])
            self.close_connection = True
            with suppress(OSError):
                socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
        elif fault.stall:
            self._write(body[: len(body) // 2])
            self.server.registry.closing.wait(30)
            self.close_connection = True
        elif fault.drip is not None:
            self._drip(body, fault.drip)
        else:
            self._write(body)
            while fault.endless and not self.server.registry.closing.is_set():
                self._write(bytes(_CHUNK))

    def _drip(self, data: bytes, pause: float) -> None:
        for place in range(len(data)):
            self._write(data[place : place + 1])
            if self.server.registry.closing.wait(pause):
                return

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()


_TCP_LISTEN = "0A"
"""Of include/net/tcp_states.h."""


@dataclass(frozen=True)
class DockerRegistry:
    """Debian's docker-registry, running; `host` is ``127.0.0.1:port``."""

    host: str
    storage: Path
    credentials: str = ""

    def requests(self) -> list[str]:
        """The lines of the access log: all requests so far."""
        lines = self.storage.with_name("log").read_text(errors="replace").splitlines()
        return [line for line in lines if '"GET /' in line or '"HEAD /' in line]

    def push(self, layout: Path, name: str, tag: str = "latest", layout_tag: str = "latest") -> str:
        """Push from an OCI layout folder with skopeo; returns the reference."""
        reference = f"{self.host}/{name}:{tag}"
        subprocess.run(
            [
                *("skopeo", "copy", "--quiet", "--all", "--preserve-digests"),
                "--dest-tls-verify=false",
                *([f"--dest-creds={self.credentials}"] if self.credentials else []),
                *(f"oci:{layout}:{layout_tag}", f"docker://{reference}"),
            ],
            check=True,
            timeout=120,
        )
        return reference

    def configure(self, root: Path) -> None:
        """Make this registry known as an insecure one below a root folder."""
        folder = root / "etc/containers/registries.conf.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "docker-registry.conf").write_text(
            f'[[registry]]\nlocation = "{self.host}"\ninsecure = true\n'
        )


@contextmanager
def run_docker_registry(folder: Path, *, private: bool = False) -> Iterator[DockerRegistry]:
    """Run docker-registry with its storage in a folder; a private one wants USERNAME, PASSWORD."""
    for program, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo")):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: apt-get install {package}")
    storage = folder / "storage"
    configuration = folder / "config.yml"
    configuration.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}\n"
        # One drawn here would be free again until the program binds it, for others to take.
        "http: {addr: '127.0.0.1:0'}\n"
        + (f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n" if private else "")
    )
    (folder / "htpasswd").write_text(_HTPASSWD)
    credentials = f"{USERNAME}:{PASSWORD}" if private else ""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(configuration)], stdout=log, stderr=log
        )
        try:
            port = _await_port(process, folder / "log")
            yield DockerRegistry(f"127.0.0.1:{port}", storage, credentials)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A docker-registry for the tests of one module; import it into the module."""
    with run_docker_registry(tmp_path_factory.mktemp("docker-registry")) as registry:
        yield registry


def _await_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until a program listens, and return where."""
    for _ in range(400):
        if process.poll() is not None:
            break
        with suppress(FileNotFoundError):
            port = _port_of(process.pid)
            if port is not None:
                return port
        time.sleep(0.05)
    pytest.fail(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")


def _port_of(pid: int) -> int | None:
    """Return the port on which a process listens for TCP, as the kernel tells (proc(5))."""
    own = {str(opened.readlink()) for opened in Path(f"/proc/{pid}/fd").iterdir()}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == _TCP_LISTEN and f"socket:[{inode}]" in own:
            return int(local.rpartition(":")[2], 16)
    return None
