"""Pages of a listing: the quick way takes what the parser takes, as it takes it, and leaves it the rest."""

from __future__ import annotations

import pytest

from s32s.errors import StoreError, Unreachable
from s32s.stores._listing import Listed, objects

SECOND_NS = 1_000_000_000
STORED_NS = 1_763_719_200 * SECOND_NS

KEY, TIME, SIZE = "<Key>a/b</Key>", "<LastModified>2025-11-21T10:00:00.000Z</LastModified>", "<Size>3</Size>"
ETAG = "<ETag>&quot;e1&quot;</ETag>"
CLASS = "<StorageClass>STANDARD</StorageClass>"
FOUND = Listed("a/b", 3, "e1", STORED_NS)


def listed(*contents: str, encoding: str = "url") -> list[Listed]:
    """What a page of these entries is read as."""
    return objects({"S32sContents": "".join(contents).encode(), "EncodingType": encoding})


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
