"""What a hostile server answers: each is a function that writes to the wire, by a name for people.

`EVERYWHERE` fits any request. The others are answers of the right form with a wrong content, for one kind of request.
`SLOW` are those that make a client wait; they take long to try.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import zstandard
from support.hostile import Answer, Wire, relay

ERROR = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>no</Message></Error>"
ENTITIES = b'<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">'.encode() for n in range(9)
)


def says(status: int, body: bytes = b"", *headers: str) -> Answer:
    """A well-formed answer."""
    return lambda wire: wire.answer(status, body, *headers)


def raw(data: bytes) -> Answer:
    """Just these bytes, then the end."""
    return lambda wire: wire.send(data)


def announced(status: int, length: str, *, flood: bool = True, more: str = "") -> Answer:
    """A body that is announced with this length; all of it, bounded, or one byte."""

    def reply(wire: Wire) -> None:
        wire.send(f"HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n".encode())
        if flood:
            wire.flood()
        wire.send(b"x")

    return reply


def endless(head: bytes, block: bytes) -> Answer:
    """A beginning, and then the same for ever."""

    def reply(wire: Wire) -> None:
        wire.send(head)
        wire.flood(block)

    return reply


def dripping(head: bytes, piece: bytes, pause_s: float = 1.0) -> Answer:
    """A beginning, and then a piece at a time."""

    def reply(wire: Wire) -> None:
        wire.send(head)
        wire.drip(piece, pause_s)

    return reply


def elsewhere(status: int, location: str = "{other}{target}") -> Answer:
    """A redirect."""

    def reply(wire: Wire) -> None:
        where = location.format(
            other=wire.hostile.other_url,
            host=wire.hostile.other_url.removeprefix("http://"),
            here=wire.hostile.endpoint_url,
            target=wire.asked.target,
        )
        wire.answer(status, b"", *([f"Location: {where}"] if location else []))

    return reply


def region(wire: Wire) -> None:
    """The redirect that S3 itself sends, with an endpoint in the body."""
    host = wire.hostile.other_url.removeprefix("http://")
    body = f"<Error><Code>PermanentRedirect</Code><Endpoint>{host}</Endpoint><Bucket>b</Bucket></Error>".encode()
    wire.answer(301, body, "x-amz-bucket-region: ../../evil.example#")


def twice(wire: Wire) -> None:
    """Two lengths."""
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{}abc")


def nothing(wire: Wire) -> None:
    """No answer, and no end."""
    wire.calm.wait(300)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"

EVERYWHERE: dict[str, Answer] = {
    **{f"{code} to another host": elsewhere(code) for code in (301, 302, 303, 307, 308)},
    **{f"{code} without Location": elsewhere(code, "") for code in (301, 302, 303, 307, 308)},
    "300 to another host": elsewhere(300),
    "305 use proxy": elsewhere(305),
    "302 to //host": elsewhere(302, "//{host}{target}"),
    "307 to user@host": elsewhere(307, "http://127.0.0.1@{host}{target}"),
    "302 to file:///": elsewhere(302, "file:///etc/passwd"),
    "307 to a broken URL": elsewhere(307, "http://[::1"),
    "307 to itself": elsewhere(307, "{here}{target}"),
    "301 of another region": region,
    "400": says(400, ERROR),
    "401": says(401, b"", "WWW-Authenticate: Basic realm=x"),
    "403": says(403, ERROR),
    "404": says(404, b""),
    "407": says(407, b"", "Proxy-Authenticate: Basic realm=x"),
    "412": says(412, ERROR),
    "416": says(416, ERROR),
    "429, retry after a year": says(429, b"", "Retry-After: 31536000"),
    "500": says(500, ERROR),
    "501": says(501, ERROR),
    "503, slow down": says(503, b"<Error><Code>SlowDown</Code></Error>", "Retry-After: 1000000"),
    "204": raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    "205": says(205),
    "304": raw(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"),
    "999": says(999, b"x"),
    "status 000": raw(b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    "an error in a 200": says(200, ERROR),
    "escape codes in an error": says(
        403, b"<Error><Code>\x1b[2J\x1b]0;x\x07</Code><Message>\x1b[31m\r\n</Message></Error>"
    ),
    "invalid UTF-8 in an error": says(403, b"<Error><Code>\xff\xfe\xc0\x80</Code></Error>"),
    "entities in an error": says(403, ENTITIES + b"]><Error><Code>&i;&i;</Code><Message>&i;</Message></Error>"),
    "403 with 3 GiB": announced(403, str(3 * 1024**3)),
    "404 with 3 GiB": announced(404, str(3 * 1024**3)),
    "500 with 3 GiB": announced(500, str(3 * 1024**3)),
    "400 with 3 GiB, chunked": endless(
        b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"
    ),
    "200 with 10^11 announced": announced(200, "100000000000"),
    "403 with 10^11 announced, one byte": announced(403, "100000000000", flood=False),
    "200 with 10^30 announced": announced(200, "1" + "0" * 30, flood=False),
    "a length of 5,000 digits": announced(200, "9" * 5000, flood=False),
    "a negative length": announced(200, "-1", flood=False),
    "a length that is not a number": announced(200, "many", flood=False),
    "two lengths": twice,
    "length and chunks": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    ),
    "a body without end": endless(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * 65536),
    "zeros as chunk size": endless(CHUNKED, b"0" * 1000),
    "a chunk extension without end": endless(CHUNKED + b"5;", b"a" * 1000),
    "trailers without end": endless(CHUNKED + b"0\r\n", b"x-a: b\r\n"),
    "chunks of one byte without end": endless(CHUNKED, b"1\r\nx\r\n"),
    "a negative chunk": raw(CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk of 2^64": raw(CHUNKED + b"ffffffffffffffff\r\nabc"),
    "a chunk size that is not a number": raw(CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"),
    "100 Continue without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103 Early Hints without end": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"),
    "101 Switching Protocols": raw(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nxx"
    ),
    "headers without end": endless(b"HTTP/1.1 200 OK\r\n", b"x-a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n"),
    "a header of 10 MB": raw(b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * 10_000_000 + b"\r\nContent-Length: 0\r\n\r\n"),
    "a status line without end": endless(b"HTTP/1.1 200 ", b"O" * 1000),
    "reset": lambda wire: wire.reset(),
    "the end at once": raw(b""),
    "half a header": raw(b"HTTP/1.1 200 OK\r\nConte"),
    "garbage": raw(bytes(range(256)) * 50),
    "HTTP/0.9": raw(b"<html>hello</html>"),
    "HTTP/9.9": raw(b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "HTTP/2 preface": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a TLS alert": raw(b"\x15\x03\x03\x00\x02\x02\x28"),
    "NUL in a header": raw(b"HTTP/1.1 200 OK\r\nETag: a\0b\r\nContent-Length: 0\r\n\r\n"),
    "a folded header": raw(b"HTTP/1.1 200 OK\r\nETag: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    "a header without colon": raw(b"HTTP/1.1 200 OK\r\nwhat\r\nContent-Length: 0\r\n\r\n"),
    "a second answer behind the first": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "a promised body that ends early": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nabc"),
    "gzip that is not": lambda wire: relay(wire, content_encoding="gzip"),
    "deflate of 300 MB of zeros": says(200, gzip.compress(bytes(300_000_000), 1), "Content-Encoding: gzip"),
    "HTML with 200": says(200, b"<html><body>Please log in</body></html>", "Content-Type: text/html"),
    "a cookie and nothing": says(200, b"", "Set-Cookie: a=b; Domain=.com"),
}

SLOW: dict[str, Answer] = {
    "no answer": nothing,
    "one byte of the header a second": dripping(b"HTTP/1.1 200 OK\r\nx-a: ", b"b"),
    "one byte of the body a second": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"b"),
    "one chunk of a byte a second": dripping(CHUNKED, b"1\r\nb\r\n"),
    "100 Continue each second": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "one byte of an error a second": dripping(b"HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\n", b"<"),
    "silence within the body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"b", 300),
    "a header each five seconds": dripping(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n", 5),
}

# ---- the head ----------------------------------------------------------------------------------------------------


def head(change: Callable[[dict[str, Any]], object]) -> Answer:
    """The true head with a change."""

    def reply(wire: Wire) -> None:
        status, headers, body = wire.truth()
        document = json.loads(body)
        change(document)
        wire.answer(status, json.dumps(document).encode(), f"ETag: {headers.get('etag', '')}")

    return reply


def _ref(**values: object) -> Answer:
    return head(lambda document: document["manifest"].update(values))


HEADS: dict[str, Answer] = {
    "JSON garbage": says(200, b'{"format": 1, "gen'),
    "deep JSON": says(200, b"[" * 60_000),
    "NaN": says(200, b'{"format": NaN}'),
    "a list": says(200, b"[]"),
    "null": says(200, b"null"),
    "invalid UTF-8": says(200, b'{"host": "\xff\xfe"}'),
    "NUL bytes": says(200, bytes(60_000)),
    "64 KiB and a byte": says(200, b" " * 65537),
    "1 GB": announced(200, "1000000000"),
    "a generation below zero": head(lambda d: d.update(generation=-1)),
    "a generation of 5,000 digits": says(200, b'{"format":1,"generation":' + b"9" * 5000 + b"}"),
    "a generation that is a fraction": head(lambda d: d.update(generation=1.5)),
    "a generation from long ago": head(lambda d: d.update(generation=0)),
    "format 2": head(lambda d: d.update(format=2)),
    "no manifest": head(lambda d: d.pop("manifest")),
    "a manifest key with ..": _ref(key="../../secret"),
    "a manifest key of data": _ref(key="a"),
    "a manifest key that is not there": _ref(key=f".s32s/manifest-{'0' * 64}.jsonl.zst"),
    "another SHA-256": _ref(sha256="0" * 64),
    "a manifest of 2 GiB": _ref(size=2**31),
    "a manifest of 2^70 bytes": _ref(size=2**70),
    "a manifest of no bytes": _ref(size=0),
    "escape codes as host": head(lambda d: d.update(host="\x1b[2J\x07", time="\r\n")),
    "a host of 60,000 letters": head(lambda d: d.update(host="h" * 60_000)),
    "a time that is none": head(lambda d: d.update(time="9999-99-99T99:99:99")),
    "files below zero": head(lambda d: d.update(files=-5)),
    "a push that never ends": head(lambda d: d.update(push={"writer": "x", "host": "x", "started": "x"})),
}

# ---- head and manifest, forged together --------------------------------------------------------------------------


def forged(*lines: dict[str, Any] | bytes, data: bytes | None = None) -> Answer:
    """A manifest of these lines with a head that names it truly: what a thief of the bucket can write."""

    def reply(wire: Wire) -> None:
        text = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        packed = data if data is not None else zstandard.compress(text)
        digest = hashlib.sha256(packed).hexdigest()
        if not wire.asked.path.endswith("head.json"):
            wire.answer(200, packed)
            return
        _, _, body = wire.truth()
        document = json.loads(body)
        document["generation"] += 1
        document["manifest"] = {
            "key": f".s32s/manifest-{digest}.jsonl.zst",
            "size": len(packed),
            "sha256": digest,
        }
        wire.answer(200, json.dumps(document).encode(), 'ETag: "0123456789abcdef0123456789abcdef"')

    return reply


def manifests(real: list[dict[str, Any]]) -> dict[str, Answer]:
    """Forgeries after the pattern of a true manifest: its lines with one of them changed.

    None of them is a tree that could be built; the target has to stay as it is.
    """
    where = next(number for number, line in enumerate(real) if "sha256" in json.dumps(line))

    def changed(**values: object) -> Answer:
        lines = [dict(line) for line in real]
        lines[where].update(values)
        return forged(*lines)

    def named(path: str) -> Answer:
        return changed(path=path)

    numbers = [key for key, value in real[where].items() if isinstance(value, int)]
    bad_paths = {
        "..": "../x",
        "/etc/passwd": "/etc/passwd",
        "a//b": "a//b",
        "a/./b": "a/./b",
        "NUL": "a\0b",
        "empty path": "",
        "5,000 bytes": "p" * 5000,
        "a name of 300 bytes": "n" * 300,
        "half a surrogate": "\ud800",
        "reserved": ".s32s/head.json",
        "3,000 deep": "d/" * 3000 + "f",
        "below a file": "d/b/x",
    }
    return {
        **{f"a path: {what}": named(path) for what, path in bad_paths.items()},
        **{f"{number} below zero": changed(**{number: -(2**70)}) for number in numbers},
        **{f"{number} of 2^80": changed(**{number: 2**80}) for number in numbers},
        **{f"{number} as text": changed(**{number: "1"}) for number in numbers},
        "a path twice": forged(*real, real[where]),
        "an empty file": forged(data=b""),
        "not zstd": forged(data=b"\x1f\x8b" + bytes(100)),
        "no lines": forged(),
        "lines without JSON": forged(b"{", b"[]", b"5"),
        "deep JSON": forged(b"[" * 100_000),
        "1 GiB of zeros": forged(data=zstandard.compress(bytes(1 << 30), 1)),
        "1 GiB of blanks in a line": forged(data=zstandard.compress(b" " * (1 << 30), 1)),
        "100 million empty lines": forged(data=zstandard.compress(b"\n" * 100_000_000, 1)),
        "cut off": forged(data=zstandard.compress(b"{}" * 1000)[:-5]),
    }


# ---- bodies of objects -------------------------------------------------------------------------------------------


def body(change: Callable[[bytes], bytes], status: int | None = None, **headers: str) -> Answer:
    """The true answer with another body."""

    def reply(wire: Wire) -> None:
        real, known, data = wire.truth()
        kept = {key: known[key] for key in ("etag", "content-range", "last-modified") if key in known}
        kept.update({key.replace("_", "-"): value for key, value in headers.items()})
        lines = [f"{key}: {value}" for key, value in kept.items() if value]
        wire.answer(status or real, change(data), *lines)

    return reply


BODIES: dict[str, Answer] = {
    "wrong bytes of the right length": body(lambda data: bytes(len(data))),
    "the last byte flipped": body(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "a byte less": body(lambda data: data[:-1]),
    "a byte more": body(lambda data: data + b"x"),
    "no byte": body(lambda data: b""),
    "a MB more": body(lambda data: data + bytes(1_000_000)),
    "packed by gzip": body(gzip.compress, content_encoding="gzip"),
    "with 203": body(lambda data: data, 203),
    "with 206": body(lambda data: data, 206, content_range="bytes 5-9/10"),
    "zeros, 10 GB": announced(200, "10000000000"),
}

RANGES: dict[str, Answer] = {
    "another range": body(lambda data: data, content_range="bytes 0-8388607/99999999999"),
    "a range below zero": body(lambda data: data, content_range="bytes -5--1/-1"),
    "a range that is none": body(lambda data: data, content_range="what"),
    "no Content-Range": body(lambda data: data, content_range=""),
    "200 with a part": body(lambda data: data, 200, content_range=""),
    "half of it": body(lambda data: data[: len(data) // 2]),
    "wrong bytes": body(lambda data: bytes(len(data))),
    "416": says(416, ERROR),
}

# ---- listings ----------------------------------------------------------------------------------------------------


def page(*contents: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    """A page of a listing."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{more}{''.join(contents)}</ListBucketResult>"
    ).encode("utf-8", "surrogatepass")


def item(key: str = "data/web/a", size: str = "5", time: str = "2026-01-01T00:00:00.000Z") -> str:
    """An object in a page."""
    return (
        f"<Contents><Key>{key}</Key><LastModified>{time}</LastModified>"
        f'<ETag>"0123456789abcdef0123456789abcdef"</ETag><Size>{size}</Size></Contents>'
    )


def tokens(key: Callable[[int], str], token: Callable[[int], str]) -> Answer:
    """Page after page without end, each with a key and a token made from its number."""
    numbers = itertools.count()

    def reply(wire: Wire) -> None:
        number = next(numbers)
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token(number)}</NextContinuationToken>"
        wire.answer(200, page(item(key(number)), more=more))

    return reply


LISTS: dict[str, Answer] = {
    "entities": says(200, ENTITIES + b"]>" + page(item("data/web/&i;")).partition(b"?>")[2]),
    "an outer entity": says(
        200,
        b'<?xml version="1.0"?><!DOCTYPE z [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        + page(item("data/web/&x;")).partition(b"?>")[2],
    ),
    "deep XML": says(200, b"<a>" * 100_000),
    "deep XML that closes": says(200, page("<a>" * 50_000 + "</a>" * 50_000)),
    "invalid UTF-8": says(200, page(item("data/web/XX")).replace(b"XX", b"\xff\xfe")),
    "UTF-16": says(200, page(item()).decode().encode("utf-16")),
    "XML cut off": says(200, page(item())[:-30]),
    "no body": says(200),
    "JSON": says(200, b"{}"),
    "another root": says(200, b"<What/>"),
    "truncated without a token": says(200, page(item(), more="<IsTruncated>true</IsTruncated>")),
    "the same token for ever": tokens(lambda n: f"data/web/k{n:09}", lambda _: "t"),
    "alternating tokens": tokens(lambda n: f"data/web/k{n % 2}", lambda n: f"t{n % 2}"),
    "the same key again and again": tokens(lambda _: "data/web/a", lambda n: f"t{n}"),
    "keys that go backwards": tokens(lambda n: f"data/web/k{10**9 - n}", lambda n: f"t{n}"),
    "a token of a MB": tokens(lambda n: f"data/web/k{n}", lambda n: "t" * 1_000_000 + str(n)),
    "a page that never ends": endless(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<?xml version='1.0'?><ListBucketResult>", item().encode()
    ),
    "10 GB": announced(200, "10000000000"),
    "a size of 20 digits": says(200, page(item(size="9" * 20))),
    "a size of 5,000 digits": says(200, page(item(size="9" * 5000))),
    "a size below zero": says(200, page(item(size="-5"))),
    "a size that is none": says(200, page(item(size="many"))),
    "year 9999": says(200, page(item(time="9999-12-31T23:59:59-23:59"))),
    "year 0": says(200, page(item(time="0000-00-00T00:00:00Z"))),
    "a time that is none": says(200, page(item(time="yesterday"))),
    "a key with ..": says(200, page(item("data/web/../../x"))),
    "an absolute key": says(200, page(item("data/web//etc/passwd"))),
    "a key with NUL": says(200, page(item("data/web/a&#0;b"))),
    "a key with a coded NUL": says(200, page(item("data/web/a%00b"), more="<EncodingType>url</EncodingType>")),
    "a key of another prefix": says(200, page(item("other/web/a"))),
    "a key with escape codes": says(200, page(item("data/web/%1B[2J"), more="<EncodingType>url</EncodingType>")),
    "a key of 5,000 bytes": says(200, page(item("data/web/" + "k" * 5000))),
    "a key 3,000 deep": says(200, page(item("data/web/" + "d/" * 3000 + "f"))),
    "a key twice": says(200, page(item(), item(size="6"))),
    "a file below a file": says(200, page(item("data/web/a"), item("data/web/a/b"))),
    "no key": says(200, page("<Contents><Size>5</Size></Contents>")),
    "no size": says(200, page("<Contents><Key>data/web/a</Key></Contents>")),
    "a broken code": says(200, page(item("data/web/%zz%"), more="<EncodingType>url</EncodingType>")),
    "an empty prefix": says(200, page()),
    "a million keys in a page": lambda wire: wire.answer(
        200, page(*(item(f"data/web/k{n:07}") for n in range(300_000)))
    ),
}

# ---- answers to writes -------------------------------------------------------------------------------------------

WRITES: dict[str, Answer] = {
    "another ETag": says(200, b"", 'ETag: "00000000000000000000000000000000"'),
    "no ETag": says(200),
    "an ETag of a MB": says(200, b"", f'ETag: "{"0" * 60_000}"'),
    "an ETag that is none": says(200, b"", "ETag: \xff\x01"),
    "409": says(409, ERROR),
}


def lost(wire: Wire) -> None:
    """The server does it, and the answer is lost."""
    wire.truth()
    wire.reset()


POSTS: dict[str, Answer] = {
    "no XML": says(200, b"what"),
    "XML without content": says(200, b"<?xml version='1.0'?><InitiateMultipartUploadResult/>"),
    "entities": says(
        200, ENTITIES + b"]><InitiateMultipartUploadResult><UploadId>&i;</UploadId></InitiateMultipartUploadResult>"
    ),
    "an upload id of a MB": says(
        200,
        b"<InitiateMultipartUploadResult><UploadId>"
        + b"u" * 1_000_000
        + b"</UploadId></InitiateMultipartUploadResult>",
    ),
    "deep XML": says(200, b"<a>" * 100_000),
    "XML of 10 GB": announced(200, "10000000000"),
    "done, answer lost": lost,
}
