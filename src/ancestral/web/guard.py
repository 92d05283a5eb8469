"""Who is served: requests that this page made, in a browser on this machine, with the token that was printed here.

Every rule answers an attack on another local server. A page elsewhere can send requests to this machine: so a Host or
an Origin that is not ours is refused, by exact comparison, and so is what a browser marks as sent by another site. Any
program on this machine can open the port: so all but the page itself, which holds no secret, asks for a token. It
travels in the fragment of the address, which browsers send to nobody, and never as a cookie, which they send to every
port of this machine. What changes something needs a header of its own, which no form can send.

The policy that is sent along lets the page run scripts of this server alone, and lets nobody frame it.
"""

from collections.abc import Callable
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 2**20  # bytes
MOST_UPLOAD = 2**24
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def hosts_of(address: str, port: int) -> Callable[[str], bool]:
    """Whether a Host is that of the page at an address and port."""
    own = f"[{address}]" if ":" in address else address
    return {f"{name}:{port}" for name in (*LOOPBACK, own)}.__contains__


def hosts_of_socket(host: str) -> bool:
    """Whether a Host is one by which a page comes through a tunnel to a Unix socket: any port of the reader's own."""
    name, _, port = host.rpartition(":")
    return name in LOOPBACK and port.isdecimal()


class Guard:
    """Refuses requests, with an empty body, before anything is read of them; adds its headers to all answers."""

    def __init__(self, app: ASGIApp, token: str, is_own: Callable[[str], bool]) -> None:
        self.app, self.token, self.is_own = app, token, is_own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        if scope["type"] == "http" and (status := self.refusal(scope)):
            await Response(status_code=status)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def refusal(self, scope: Scope) -> int:
        """The status by which a request is refused; 0: it is not."""
        headers, path = Headers(scope=scope), str(scope["path"])
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.is_own(hosts[0]):
            return 421
        if any(origin != f"http://{hosts[0]}" for origin in headers.getlist("origin")):
            return 403
        if path == "/api" or path.startswith("/api/"):
            if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
                return 403
            if not compare_digest(headers.get("authorization", "").encode(), f"Bearer {self.token}".encode()):
                return 401
        if scope["method"] not in ("GET", "HEAD") and headers.get("x-studio") != "1":
            return 403
        return self.size_refusal(headers, MOST_UPLOAD if path == "/api/uploads" else MOST_BODY)

    def size_refusal(self, headers: Headers, most: int) -> int:
        """The same for what is too long, or does not say how long it is."""
        if "transfer-encoding" in headers:
            return 411
        length = headers.get("content-length", "0")
        return 0 if length.isdecimal() and int(length) <= most else 413
