"""Pages of a listing: the quick way takes what the parser takes, as it takes it, and leaves it the rest."""

from __future__ import annotations

import pytest

from s32s.backends.base import ListedObject
from s32s.backends.s3.errors import Refusal
from s32s.backends.s3.listing import Page, http_ns, objects, read_page
from s32s.core.errors import StoreError, Unreachable

SECOND_NS = 1_000_000_000
STORED_NS = 1_763_719_200 * SECOND_NS

KEY, TIME, SIZE = "<Key>a/b</Key>", "<LastModified>2025-11-21T10:00:00.000Z</LastModified>", "<Size>3</Size>"
ETAG = "<ETag>&quot;e1&quot;</ETag>"
CLASS = "<StorageClass>STANDARD</StorageClass>"
FOUND = ListedObject("a/b", 3, "e1", STORED_NS)


def listed(*contents: str, encoding: str = "url") -> list[ListedObject]:
    """What a page of these entries is read as."""
    return objects(Page("".join(contents).encode(), is_encoded=encoding == "url"))


def entry(*fields: str) -> str:
    """One object as XML."""
    return f"<Contents>{''.join(fields)}</Contents>"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(entry(KEY, TIME, ETAG, SIZE, CLASS), id="as AWS writes it"),
        pytest.param(
            entry(
                KEY,
                TIME,
                ETAG,
                "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>",
                "<ChecksumType>FULL_OBJECT</ChecksumType>",
                SIZE,
                CLASS,
            ),
            id="with the checksum's name",
        ),
        pytest.param(
            entry(KEY, TIME, ETAG, SIZE, "<Owner><ID>i</ID><DisplayName>n</DisplayName></Owner>", CLASS),
            id="with owner",
        ),
        pytest.param(entry(KEY, TIME, "<ETag>e1</ETag>", SIZE), id="an ETag without quotes"),
        pytest.param(entry(KEY, TIME, "<ETag>&#34;e1&#34;</ETag>", SIZE), id="quotes as numbers"),
        pytest.param("\n  ".join(["<Contents>", KEY, TIME, ETAG, SIZE, CLASS, "</Contents>\n"]), id="with white space"),
        pytest.param(entry(SIZE, ETAG, TIME, KEY), id="in another order"),
        pytest.param(entry("<Key><![CDATA[a/b]]></Key>", TIME, ETAG, SIZE), id="CDATA"),
        pytest.param(entry("<!-- <Key>c</Key> -->", KEY, TIME, ETAG, SIZE), id="a comment"),
        pytest.param(entry("<Key>a&#47;b</Key>", TIME, ETAG, SIZE), id="a character by its number"),
        pytest.param(entry(KEY, TIME, "<ETag>W/&quot;e1&quot;</ETag>", SIZE), id="a weak ETag"),
        pytest.param(entry(KEY, TIME, ETAG, SIZE, "<Restored>yes</Restored>"), id="a field that nobody knows"),
    ],
)
def test_an_object_is_read_however_it_is_written(page: str) -> None:
    """Quick way or parser, alone or after others of the usual look."""
    usual = entry(KEY, TIME, ETAG, SIZE, CLASS)

    assert listed(page) == [FOUND]
    assert listed(usual, page, usual) == [FOUND, FOUND, FOUND]


def test_fields_never_move_to_another_object() -> None:
    """Two objects of which one lacks what the other has twice are not two whole ones."""
    with pytest.raises(StoreError, match="without a key or a size"):
        listed(entry(KEY, KEY, TIME, ETAG, SIZE), entry(TIME, ETAG, SIZE))


@pytest.mark.parametrize(
    ("page", "error"),
    [
        pytest.param("<Contents><Key>a</Key>", Unreachable, id="cut off"),
        pytest.param(entry(KEY, TIME, ETAG, SIZE) + "<Contents>", Unreachable, id="cut off after an object"),
        pytest.param(entry(TIME, ETAG, SIZE), StoreError, id="no key"),
        pytest.param(entry(KEY, TIME, ETAG, "<Size>-1</Size>"), StoreError, id="a size below nothing"),
        pytest.param(entry(KEY, "<LastModified>soon</LastModified>", ETAG, SIZE), StoreError, id="no time"),
    ],
)
def test_what_is_no_listing_is_refused(page: str, error: type[Exception]) -> None:
    """By an error of ours."""
    with pytest.raises(error):
        listed(page)


@pytest.mark.parametrize(
    ("key", "encoding", "expected"),
    [
        pytest.param("a%2Bb+c%20d", "url", "a+b c d", id="encoded"),
        pytest.param("a%2Bb+c", "", "a%2Bb+c", id="as it is"),
    ],
)
def test_a_key_is_decoded_where_the_page_says_so(key: str, encoding: str, expected: str) -> None:
    """S3 encodes keys on demand, as XML cannot hold all of them."""
    assert listed(entry(f"<Key>{key}</Key>", TIME, ETAG, SIZE), encoding=encoding)[0].key == expected


@pytest.mark.parametrize("digits", [19, 20, 5000])
def test_a_size_that_no_object_has_is_refused(digits: int) -> None:
    """64 bits are enough for any."""
    with pytest.raises(StoreError, match="impossible size"):
        listed(entry(KEY, TIME, ETAG, f"<Size>{'9' * digits}</Size>"))


@pytest.mark.parametrize(
    "time",
    ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"],
)
def test_a_time_that_no_object_has_is_refused(time: str) -> None:
    """Nor one that only its zone moves out of the calendar."""
    with pytest.raises(StoreError, match=f"contains the time {time[:10]}".replace("+", ".")):
        listed(entry(KEY, f"<LastModified>{time}</LastModified>", ETAG, SIZE))


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_a_date_in_a_header_that_is_too_far_away_is_none(date: str) -> None:
    """As one that cannot be read."""
    assert http_ns(date) is None


def page(*inside: str, tag: str = "ListBucketResult", more: str = "") -> bytes:
    """A whole answer."""
    return f"<?xml version='1.0'?><{tag} {more}>{''.join(inside)}</{tag}>".encode()


def test_a_page_is_read_in_any_namespace() -> None:
    """Without one, with that of AWS, and where the server writes the names with a prefix."""
    facts = "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
    facts += "<NextContinuationToken>t</NextContinuationToken>"
    one = entry(KEY, TIME, ETAG, SIZE)
    prefixed = (facts + one).replace("</", "</s3:").replace("<", "<s3:").replace("<s3:/s3:", "</s3:")
    for answer in (
        page(facts, one),
        page(facts, one, more='xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'),
        page(prefixed, tag="s3:ListBucketResult", more='xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/"'),
        page(facts, one.replace("<Contents>", '<Contents a="b">')),
    ):
        read = read_page(answer, "s3://b/p")
        assert (read.is_encoded, read.is_last, read.token) == (True, False, "t")
        assert objects(read) == [FOUND]


def test_objects_of_an_odd_page_pass_the_same_checks() -> None:
    """As those of a usual one."""
    odd = entry(KEY, TIME, ETAG, f"<Size>{10**20}</Size>").replace("<Contents>", "<Contents a='b'>")
    with pytest.raises(StoreError, match="impossible size"):
        objects(read_page(page("<IsTruncated>false</IsTruncated>", odd), "s3://b/p"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(page("<Code>InternalError</Code>", tag="Error"), Refusal, id="an error in a 200"),
        pytest.param(page("hello", tag="html"), StoreError, id="a web page"),
        pytest.param(page(entry(KEY))[:-9], Unreachable, id="cut off"),
        pytest.param(b"", Unreachable, id="nothing"),
    ],
)
def test_an_answer_that_is_not_a_page_is_refused(answer: bytes, error: type[Exception]) -> None:
    """And one that may be right the next time is asked for again."""
    with pytest.raises(error):
        read_page(answer, "s3://b/p")
