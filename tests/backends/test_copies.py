"""Copies within S3: whole, in parts, and how the parts are cut."""

from __future__ import annotations

import itertools
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.faultproxy import FaultProxy, Rule, Status
from support.servers import S3Server, get, make_bucket, put

from s32s.backends.s3.copying import COPY_LIMIT, copy_ranges
from s32s.backends.s3.objects import CopySource
from s32s.backends.s3.service import S3Service
from s32s.config.settings import S3Connection
from s32s.core.errors import AccessDenied, SourceChanged, StoreError, TemporaryFailure

MIB = 1024**2
LARGE = bytes(range(256)) * (4096 * 11)  # 11 MiB: three parts of 5 MiB or less


@pytest.fixture
def buckets(moto: S3Server) -> tuple[str, str]:
    """Two new buckets on moto."""
    made = f"from-{uuid.uuid4().hex}", f"to-{uuid.uuid4().hex}"
    for bucket in made:
        make_bucket(moto, bucket)
    return made


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """What conftest puts its proxy before."""
    return moto


def engine(server: S3Server, monkeypatch: pytest.MonkeyPatch, *, retries: int = 0) -> S3Service:
    """An engine that copies what is larger than 6 MiB in parts of 5."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    settings = S3Connection(endpoint_url=server.endpoint_url, retries=retries)
    return S3Service(settings, copy_limit=6 * MIB, copy_part=5 * MIB)


def original(server: S3Server, bucket: str, key: str, data: bytes) -> CopySource:
    """Store an object that shall be copied."""
    return CopySource(bucket, key, len(data), put(server, bucket, key, data))


@given(st.integers(1, 10_000 * 5 * 1024**3))
def test_parts_cover_an_object_without_gap_or_overlap(size: int) -> None:
    """S3 takes at most 10,000 parts, each of at most 5 GiB, and all but the last of at least 5 MiB."""
    parts = list(copy_ranges(size, part=512 * MIB))

    assert [number for number, _, _ in parts] == list(range(1, len(parts) + 1))
    assert (parts[0][1], parts[-1][2]) == (0, size - 1)
    assert all(before[2] + 1 == after[1] for before, after in itertools.pairwise(parts))
    assert len(parts) <= 10_000
    assert all(5 * MIB <= last - first + 1 <= 5 * 1024**3 for _, first, last in parts[:-1])


def test_only_what_one_copy_cannot_take_is_copied_in_parts() -> None:
    """CopyObject takes 5 GiB, to the byte (S3 API)."""
    assert COPY_LIMIT == 5_368_709_120


def test_a_large_object_is_copied_in_parts(
    moto: S3Server, buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its bytes, headers, metadata and tags; the progress adds up; the ETag is the one that S3 lists."""
    here, there = buckets
    client = moto.client()
    etag = client.put_object(
        Bucket=here,
        Key="big",
        Body=LARGE,
        ContentType="video/mp4",
        CacheControl="max-age=9",
        Metadata={"by": "ada"},
        Tagging="kind=film&place=the%20sea",
    )["ETag"].strip('"')
    moved: list[int] = []

    stored = engine(moto, monkeypatch).copy(
        CopySource(here, "big", len(LARGE), etag), there, "copy/big", progress=moved.append
    )

    facts = client.head_object(Bucket=there, Key="copy/big")
    tags = client.get_object_tagging(Bucket=there, Key="copy/big")["TagSet"]
    assert get(moto, there, "copy/big") == LARGE
    assert facts["ETag"].strip('"') == stored.etag
    assert stored.etag is not None
    assert stored.etag.endswith("-3")
    assert (facts["ContentType"], facts["CacheControl"], facts["Metadata"]) == ("video/mp4", "max-age=9", {"by": "ada"})
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"kind": "film", "place": "the sea"}
    assert sorted(moved) == [MIB, 5 * MIB, 5 * MIB]


def test_a_copy_in_parts_that_fails_leaves_nothing(
    moto: S3Server, buckets: tuple[str, str], proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that nobody sees cost money: the upload is aborted."""
    here, there = buckets
    big = original(moto, here, "big", LARGE)
    proxy.add(Rule(lambda asked: asked.query.get("partNumber") == "2", Status(500, "InternalError")))

    with pytest.raises(TemporaryFailure):
        engine(moto.at(proxy.endpoint_url), monkeypatch).copy(big, there, "big", progress=lambda size: None)

    assert "Uploads" not in moto.client().list_multipart_uploads(Bucket=there)
    assert "Contents" not in moto.client().list_objects_v2(Bucket=there)


def test_a_server_that_cannot_copy_parts_says_so(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """rclone takes the request for the upload of an empty part; nothing is made of it."""
    bucket = f"one-{uuid.uuid4().hex}"
    make_bucket(rclone, bucket)
    big = original(rclone, bucket, "big", LARGE)

    with pytest.raises(StoreError, match=r"cannot copy .* in parts"):
        engine(rclone, monkeypatch).copy(big, bucket, "copy", progress=lambda size: None)

    assert [entry["Key"] for entry in rclone.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["big"]


@pytest.mark.parametrize("size", [100, len(LARGE)], ids=["whole", "in parts"])
def test_an_original_that_is_another_by_now_is_noticed(
    moto: S3Server, buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The server ignores the condition; the copy is compared."""
    here, there = buckets
    listed = original(moto, here, "a", LARGE[:size])
    put(moto, here, "a", LARGE[1 : size + 1])

    with pytest.raises(SourceChanged):
        engine(moto, monkeypatch).copy(listed, there, "a", progress=lambda size: None)


def test_a_version_is_copied_by_its_id(
    moto: S3Server, buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a versioned bucket the generation that a manifest names can be copied while the next one is pushed."""
    here, there = buckets
    moto.client().put_bucket_versioning(Bucket=here, VersioningConfiguration={"Status": "Enabled"})
    first = moto.client().put_object(Bucket=here, Key="a", Body=b"first")
    put(moto, here, "a", b"second")

    engine(moto, monkeypatch).copy(
        CopySource(here, "a", 5, first["ETag"].strip('"'), first["VersionId"]), there, "a", progress=lambda size: None
    )

    assert get(moto, there, "a") == b"first"


def test_a_denied_copy_names_the_side(
    moto: S3Server, buckets: tuple[str, str], proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3's answer does not say whether reading or writing is denied, so the reading is tried."""
    here, there = buckets
    small = original(moto, here, "a", b"photo")
    proxy.add(Rule(lambda asked: asked.method == "PUT", Status(403, "AccessDenied")))

    with pytest.raises(AccessDenied, match=f"{there}/b"):
        engine(moto.at(proxy.endpoint_url), monkeypatch).copy(small, there, "b", progress=lambda size: None)
