"""What somebody who means harm sends to a server's socket, and the statuses that answer it.

A connection that is closed without an answer is an answer too: CLOSED.
"""

from __future__ import annotations

CLOSED = 0
HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
SOUND = b'{"model": "gpt", "text": "a"}'
REFUSED = {400, CLOSED}
Case = tuple[bytes, set[int]]


def get(target: bytes, *headers: bytes, host: bytes = HOST) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"GET " + target + b" HTTP/1.1\r\n" + host + lines + b"\r\n"


def post(body: bytes, *headers: bytes, path: bytes = b"/api/v1/tokenize") -> bytes:
    """`headers` say how long the body is, or do not."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON + lines + b"\r\n" + body


def sized(body: bytes, *headers: bytes) -> bytes:
    return post(body, b"Content-Length: %d" % len(body), *headers)


def chunks(body: bytes) -> bytes:
    return post(body, b"Transfer-Encoding: chunked")


WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SOUND), SOUND)
LENGTHS: dict[str, Case] = {
    "two lengths": (post(SOUND, b"Content-Length: 4", b"Content-Length: 29"), REFUSED),
    "two lengths in one": (post(SOUND, b"Content-Length: 4, 29"), REFUSED),
    "a length with a sign": (post(SOUND, b"Content-Length: +29"), REFUSED),
    "a length below 0": (post(SOUND, b"Content-Length: -1"), REFUSED),
    "a length in sixteens": (post(SOUND, b"Content-Length: 0x1d"), REFUSED),
    "a length of 30 digits": (post(SOUND, b"Content-Length: " + b"9" * 30), {400, 413, CLOSED}),
    "a length of 10,000 digits": (post(SOUND, b"Content-Length: " + b"9" * 10_000), {400, CLOSED}),
    "a length in other digits": (post(SOUND, "Content-Length: ٢٩".encode()), REFUSED),
    "a length and chunks": (
        post(WHOLE + get(b"/smuggled"), b"Content-Length: 4", b"Transfer-Encoding: chunked"),
        {200, *REFUSED},
    ),
    "chunks of no kind": (post(WHOLE, b"Transfer-Encoding: xchunked"), {400, 501, CLOSED}),
    "chunks twice": (post(WHOLE, b"Transfer-Encoding: chunked, chunked"), {400, 501, CLOSED}),
    "a chunk of no number": (chunks(b"zz\r\nab\r\n0\r\n\r\n"), REFUSED),
    "a chunk of 2⁶⁴": (chunks(b"10000000000000000\r\nab"), {408, *REFUSED}),
    "a chunk below 0": (chunks(b"-5\r\nab\r\n0\r\n\r\n"), REFUSED),
    "a chunk of 10⁶ digits": (chunks(b"0" * 1_000_000 + b"1\r\na\r\n0\r\n\r\n"), {422, *REFUSED}),
    "a chunk with 2 MB about it": (chunks(b"1;" + b"a" * 2_000_000 + b"\r\na\r\n"), REFUSED),
    "300,000 chunks": (chunks(b"1\r\n \r\n" * 300_000 + WHOLE), REFUSED),
    "words after the chunks": (
        chunks(WHOLE[:-2] + b"Host: evil\r\nContent-Length: 9\r\n\r\n"),
        {200, *REFUSED},
    ),
}
HEADERS: dict[str, Case] = {
    "100,000 headers": (get(b"/healthz", *[b"A: b"] * 100_000), {200, 400, 431, CLOSED}),
    "a header of 5 MB": (get(b"/healthz", b"A: " + b"b" * 5_000_000), REFUSED),
    "a name with a space": (get(b"/healthz", b"A B: c"), REFUSED),
    "a name with nothing": (get(b"/healthz", b": c"), REFUSED),
    "no colon": (get(b"/healthz", b"abc"), REFUSED),
    "a line that goes on": (get(b"/healthz", b"A: b\r\n c"), {200, *REFUSED}),
    "a NUL": (get(b"/healthz", b"A: b\0c"), REFUSED),
    "a line of its own": (get(b"/healthz", b"X-Request-ID: a\rSet-Cookie: b"), REFUSED),
    "no host": (get(b"/healthz", host=b"Connection: close\r\n"), {400, 403, CLOSED}),
    "two hosts": (get(b"/healthz", b"Host: evil"), {400, 403, CLOSED}),
    "a host with a user": (get(b"/healthz", host=b"Host: 127.0.0.1@evil\r\n"), {400, 403}),
    "a host that is open": (get(b"/healthz", host=b"Host: [::1\r\n"), {400, 403}),
    "a host below ours": (get(b"/healthz", host=b"Host: localhost.evil\r\n"), {403}),
    "another host in the address": (get(b"http://evil/healthz"), {200, 404, *REFUSED}),
    "1,000 languages": (
        get(b"/", b"Accept-Language: " + b",".join(b"x-%d;q=0.%d" % (n, n) for n in range(1000))),
        {200},
    ),
    "codings that are none": (
        get(b"/models.json", b"Accept-Encoding: br;q=1e999,*;q=nan,," + b",gzip;q=2" * 5_000),
        {200},
    ),
    "10,000 tags": (get(b"/models.json", b"If-None-Match: " + b'W/"a",' * 10_000), {200}),
    "another protocol": (get(b"/", b"Upgrade: websocket", b"Connection: upgrade"), {200, 400}),
    "an expectation that is none": (get(b"/healthz", b"Expect: the-impossible"), {200, 417}),
    "a range of 10,000": (
        get(b"/openapi.json", b"Range: bytes=" + b"0-," * 10_000), {200, 206, 400, 416},
    ),
    "a range beyond all": (get(b"/openapi.json", b"Range: bytes=%d-" % 10**40), {200, 416}),
}  # fmt: skip
OPEN = {200, 307, 308, 400, 404, 405, 422, CLOSED}
TARGETS: dict[str, Case] = {
    "up": (get(b"/static/../../etc/passwd"), OPEN - {200}),
    "up, in code": (get(b"/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), OPEN - {200}),
    "slashes in code": (get(b"/static/..%2f..%2f..%2fetc%2fpasswd"), OPEN - {200}),
    "slashes in code twice": (get(b"/static/..%252f..%252fetc%252fpasswd"), OPEN - {200}),
    "the other slash": (get(b"/static/..\\..\\app\\main.py"), OPEN - {200}),
    "a NUL in code": (get(b"/static/%00"), OPEN - {200}),
    "a NUL": (get(b"/static/\0"), REFUSED),
    "a model's name up": (get(b"/models/..%2f..%2f..%2fetc%2fpasswd"), OPEN - {200}),
    "no text": (get(b"/explore?text=%ff%fe"), {200, 404, 422}),
    "half a code": (get(b"/explore?text=%zz&model=%"), {200, 404, 422}),
    "another host": (get(b"//evil/models/"), OPEN - {200}),
    "another host's page": (get(b"/%2f%2fevil/"), OPEN - {200}),
    "a new line in code": (get(b"/models%0d%0aSet-Cookie:a=b"), OPEN - {200}),
    "a new line to go to": (get(b"/arithmetic?text=%0d%0aSet-Cookie:a=b"), OPEN),
    "300,000 bytes": (get(b"/explore?text=" + b"a" * 300_000), {414}),
    "100,000 fields": (get(b"/explore?" + b"a=b&" * 50_000), {400}),
    "everything": (get(b"*"), OPEN - {200}),
}
METHODS: dict[str, Case] = {
    "trace": (b"TRACE /healthz HTTP/1.1\r\n" + HOST + b"\r\n", {405}),
    "connect": (b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404, 405, CLOSED}),
    "10,000 letters": (b"G" * 10_000 + b" /healthz HTTP/1.1\r\n" + HOST + b"\r\n", {405, *REFUSED}),
    "version 0.9": (b"GET /healthz\r\n", REFUSED),
    "version 9.9": (b"GET /healthz HTTP/9.9\r\n" + HOST + b"\r\n", {200, 505, *REFUSED}),
    "version 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {403, *REFUSED}),
    "bytes": (bytes(range(256)) * 100 + b"\r\n\r\n", REFUSED),
    "500 at once": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500 + get(b"/healthz"),
                    {200}),
}  # fmt: skip
BODIES: dict[str, Case] = {
    "deep": (sized(b'{"a":' * 50_000), {400, 422}),
    "a number of 100,000 digits": (
        sized(b'{"model": "gpt", "text": ' + b"9" * 10**5 + b"}"),
        {400, 422},
    ),
    "NaN": (sized(b'{"model": "gpt", "text": NaN}'), {422}),
    "a key twice": (sized(b'{"model": "gpt", "text": "a", "text": 1}'), {422}),
    "half a character": (sized(b'{"model": "gpt", "text": "\\ud800"}'), {422}),
    "a NUL": (sized(b'{"model": "gpt", "text": "\\u0000"}'), {422}),
    "another coding": (sized('{"model": "gpt"}'.encode("utf-16")), {400, 422}),
    "packed": (sized(b"\x1f\x8b\x08" + b"\0" * 99, b"Content-Encoding: gzip"), {400, 415, 422}),
    "no object": (sized(b"[1]"), {422}),
    "a proxy of objects": (sized(b'{"__proto__": {"a": 1}, "model": "gpt", "text": "a"}'), {422}),
    "too long": (post(b"", b"Content-Length: 1000001"), {413}),
    "text that turns": (sized('{"model": "gpt", "text": "\u202e\u2066\ufeff"}'.encode()), {200}),
}
WIRE = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("length", LENGTHS),
        ("header", HEADERS),
        ("target", TARGETS),
        ("method", METHODS),
        ("body", BODIES),
    )
    for name, case in cases.items()
}
