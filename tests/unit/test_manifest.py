"""Manifests, indexes and configurations: what is taken, what is refused, and which platform."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import heavy
from support.images import (
    OCI_INDEX,
    OCI_MANIFEST,
    BuiltImage,
    build_image,
    build_index,
    encode,
    tar_layer,
)

from bootd.model.digest import Digest
from bootd.model.errors import (
    ContentError,
    InvalidManifestError,
    ManifestTooLargeError,
    NoMatchingPlatformError,
    UnknownMediaTypeError,
)
from bootd.model.registry.image import (
    Compression,
    Descriptor,
    Index,
    Manifest,
    Platform,
    ResolvedImage,
)
from bootd.registry.manifest import (
    check_platform,
    choose_platform,
    parse_config,
    parse_manifest,
)
from bootd.registry.resolve import Top, chosen_digest, resolve_image

LAYER = tar_layer({"a": b"b"})
IMAGE = build_image([LAYER, LAYER], compression=["gzip", "zstd"], architecture="amd64")
DIGEST = "sha256:" + "00" * 32


def manifest_with(**changes: Any) -> bytes:
    value = {**json.loads(IMAGE.manifest), **changes}
    return encode({key: one for key, one in value.items() if one is not ...})


def config_with(**changes: Any) -> bytes:
    value = {**IMAGE.config, **changes}
    return encode({key: one for key, one in value.items() if one is not ...})


def parsed() -> Manifest:
    found = parse_manifest(IMAGE.manifest, OCI_MANIFEST)
    assert isinstance(found, Manifest)
    return found


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_manifest(docker: bool, told: bool) -> None:
    image = build_image([LAYER], docker=docker, annotations={"k": "v"})
    found = parse_manifest(image.manifest, image.media_type if told else "")
    assert isinstance(found, Manifest)
    assert found.media_type == image.media_type
    assert found.annotations == {"k": "v"}
    assert [layer.compression for layer in found.layers] == [Compression.GZIP]
    assert found.config.digest in image.blobs


@pytest.mark.parametrize("docker", [False, True])
def test_index(docker: bool) -> None:
    image = build_index([(IMAGE, {"os": "linux", "architecture": "amd64"})], docker=docker)
    found = parse_manifest(image.manifest, image.media_type + "; charset=utf-8")
    assert isinstance(found, Index)
    assert str(found.manifests[0].platform) == "linux/amd64"


def test_media_type_may_be_left_out() -> None:
    assert isinstance(parse_manifest(manifest_with(mediaType=...), ""), Manifest)
    assert isinstance(parse_manifest(manifest_with(mediaType=...), "text/plain"), Manifest)
    assert isinstance(parse_manifest(encode({"manifests": []}), ""), Index)


def test_null_maps_are_empty() -> None:
    found = parse_manifest(manifest_with(annotations=None), OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert found.annotations == {}
    assert parse_config(config_with(config=None), parsed()).labels == {}
    assert parse_config(config_with(config={"Labels": None}), parsed()).labels == {}


@pytest.mark.parametrize(
    ("data", "served_as", "error"),
    [
        (b"", "", InvalidManifestError),
        (b"\xff", "", InvalidManifestError),
        (b"[]", OCI_MANIFEST, InvalidManifestError),
        (b"[" * 100_000, OCI_MANIFEST, InvalidManifestError),
        (b'{"size":' + b"9" * 10_000 + b"}", OCI_MANIFEST, InvalidManifestError),
        (b" " * ((4 << 20) + 1), OCI_MANIFEST, ManifestTooLargeError),
        (b"{}", "", UnknownMediaTypeError),
        (b"{}", OCI_MANIFEST, InvalidManifestError),
        (manifest_with(mediaType="a/b"), OCI_MANIFEST, UnknownMediaTypeError),
        (manifest_with(mediaType=5), OCI_MANIFEST, InvalidManifestError),
        (manifest_with(), OCI_INDEX, InvalidManifestError),
        (manifest_with(manifests=[]), OCI_MANIFEST, InvalidManifestError),
        (manifest_with(layers=5), OCI_MANIFEST, InvalidManifestError),
        (manifest_with(layers=[5]), OCI_MANIFEST, InvalidManifestError),
        (manifest_with(layers=IMAGE.layers * 501), OCI_MANIFEST, InvalidManifestError),
        (manifest_with(annotations={"a": 5}), OCI_MANIFEST, InvalidManifestError),
        (manifest_with(annotations={"a": "\ud800"}), OCI_MANIFEST, InvalidManifestError),
        (encode({"schemaVersion": 1, "fsLayers": []}), "", UnknownMediaTypeError),
        (
            encode({"mediaType": OCI_INDEX, "manifests": [{}] * 1_001}),
            OCI_INDEX,
            InvalidManifestError,
        ),
        (
            b"{}",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            UnknownMediaTypeError,
        ),
    ],
)
def test_wrong_manifests(data: bytes, served_as: str, error: type[ContentError]) -> None:
    with pytest.raises(error) as caught:
        parse_manifest(data, served_as)
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"size": -1}, InvalidManifestError),
        ({"size": 1.5}, InvalidManifestError),
        ({"size": "5"}, InvalidManifestError),
        ({"size": True}, InvalidManifestError),
        ({"size": 1 << 50}, InvalidManifestError),
        ({"size": None}, InvalidManifestError),
        ({"digest": "sha256:abc"}, InvalidManifestError),
        ({"digest": "md5:" + "0" * 32}, InvalidManifestError),
        ({"digest": 5}, InvalidManifestError),
        ({"digest": "../../../etc/passwd"}, InvalidManifestError),
        ({"mediaType": "application/vnd.oci.image.layer.v1.tar+lz4"}, UnknownMediaTypeError),
        ({"mediaType": None}, InvalidManifestError),
    ],
)
def test_wrong_layers(changes: dict[str, Any], error: type[ContentError]) -> None:
    with pytest.raises(error):
        parse_manifest(manifest_with(layers=[{**IMAGE.layers[0], **changes}]), OCI_MANIFEST)


OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (OCI_LAYER, Compression.NONE),
        (f"{OCI_LAYER}+gzip; charset=utf-8", Compression.GZIP),
        (f"{OCI_LAYER}+zstd;x=y ; z", Compression.ZSTD),
        (f"{OCI_LAYER}.gzip", Compression.GZIP),
        (f"{OCI_LAYER.upper()}+GZIP", Compression.GZIP),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression.ZSTD),
        (DOCKER_LAYER, Compression.NONE),
        (f"{DOCKER_LAYER}.gzip", Compression.GZIP),
        (f"{DOCKER_LAYER}+gzip", Compression.GZIP),
        (f"{DOCKER_LAYER}.zstd", Compression.ZSTD),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", Compression.NONE),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression.GZIP),
    ],
)
def test_spellings_of_layer_types(media_type: str, compression: Compression) -> None:
    changed = [{**IMAGE.layers[0], "mediaType": media_type}]
    found = parse_manifest(manifest_with(layers=changed), OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert [layer.compression for layer in found.layers] == [compression]


def test_media_types_of_documents_may_have_parameters() -> None:
    typed = json.loads(IMAGE.manifest)
    typed["mediaType"] += "; charset=utf-8"
    typed["config"]["mediaType"] = typed["config"]["mediaType"].upper() + ";v=1"
    assert isinstance(parse_manifest(encode(typed), OCI_MANIFEST), Manifest)
    image = build_index([(IMAGE, AMD64)])
    listed = json.loads(image.manifest)
    listed["manifests"][0]["mediaType"] += "; charset=utf-8"
    assert resolve(BuiltImage(encode(listed), OCI_INDEX, image.blobs)).digest == IMAGE.digest


def test_what_go_writes_for_nothing() -> None:
    found = parse_manifest(manifest_with(annotations={"a": None, "b": "c"}), OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert found.annotations == {"b": "c"}
    config = parse_config(config_with(variant=None, config={"Labels": {"a": None}}), parsed())
    assert (config.variant, config.labels) == ("", {})
    image = build_index([(IMAGE, {**AMD64, "variant": None})])  # type: ignore[dict-item]
    assert resolve(image).digest == IMAGE.digest


def test_labels_that_nobody_uses_may_be_many_and_large() -> None:
    labels = {f"k{number}" * 1_000: "v" for number in range(200)} | {"x": "y" * 1_500_000}
    labels |= {str(number): "" for number in range(1_500)}
    assert parse_config(config_with(config={"Labels": labels}), parsed()).labels == labels


def test_a_long_version_is_cut() -> None:
    version = {"org.opencontainers.image.version": "v" * 5_000}
    found = resolve(build_image([LAYER], architecture="amd64", labels=version)).version
    assert found == "v" * 253 + "..."


def test_artifact_is_no_image() -> None:
    config = {**json.loads(IMAGE.manifest)["config"], "mediaType": "application/vnd.oci.empty.v1"}
    with pytest.raises(UnknownMediaTypeError, match="artifact"):
        parse_manifest(manifest_with(config=config), OCI_MANIFEST)


def test_schema_1_has_a_hint() -> None:
    with pytest.raises(UnknownMediaTypeError, match="schema 1") as caught:
        parse_manifest(b'{"schemaVersion": 1}')
    assert "skopeo" in caught.value.hint


def test_config() -> None:
    config = parse_config(config_with(config={"Labels": {"a": "b"}}), parsed())
    assert (config.os, config.architecture, config.labels) == ("linux", "amd64", {"a": "b"})
    assert [str(one) for one in config.diff_ids] == list(IMAGE.diff_ids)
    assert config.created is not None
    assert config.created.year == 2026


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"5",
        config_with(os=...),
        config_with(architecture=5),
        config_with(rootfs=...),
        config_with(rootfs=5),
        config_with(rootfs={"diff_ids": None}),
        config_with(rootfs={"diff_ids": ["sha256:abc", DIGEST]}),
        config_with(rootfs={"diff_ids": [DIGEST]}),
        config_with(rootfs={"diff_ids": [DIGEST] * 2_000}),
        config_with(created="yesterday"),
        config_with(config={"Labels": {"a": 5}}),
    ],
)
def test_wrong_configs(data: bytes) -> None:
    with pytest.raises(InvalidManifestError):
        parse_config(data, parsed())


def platform(text: str) -> Platform:
    os_name, architecture, *variant = text.split("/")
    return Platform(os=os_name, architecture=architecture, variant="".join(variant))


def entries(*platforms: str | None) -> list[Descriptor]:
    return [
        Descriptor.model_validate(
            {
                "mediaType": OCI_MANIFEST,
                "digest": f"sha256:{number:064x}",
                "size": 1,
                **({"platform": platform(one).model_dump()} if one else {}),
            }
        )
        for number, one in enumerate(platforms)
    ]


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", ["unknown/unknown", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], 2),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v4"], 0),
        ("linux/amd64/v2", ["linux/amd64/v3", "linux/amd64/v1"], 1),
        ("linux/arm64", ["linux/arm64/v8"], 0),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/arm/v7", ["linux/arm"], 0),
        ("linux/riscv64", ["linux/riscv64"], 0),
        ("linux/strange/x", ["linux/strange", "linux/strange/x"], 1),
        ("linux/amd64/v4", ["linux/amd64", "linux/amd64/v1", "linux/amd64/v3"], 2),
        ("linux/amd64/v2", ["linux/amd64/v1", "linux/amd64"], 1),
        ("linux/amd64/v3", ["linux/amd64/v8", "linux/amd64"], 1),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v9"], 1),
        ("linux/arm/v8", ["linux/arm/v6", "linux/arm/v7", "linux/arm/v9"], 1),
        ("linux/ppc64le", ["linux/ppc64le/power9", "linux/ppc64le/power8"], 1),
        ("linux/ppc64le/power10", ["linux/ppc64le", "linux/ppc64le/power9"], 1),
        ("linux/amd64", [None], 0),
        ("linux/amd64", ["linux/arm64", None], 1),
    ],
)
def test_platform_choice(wanted: str, offered: list[str | None], chosen: int) -> None:
    listed = entries(*offered)
    assert choose_platform(listed, platform(wanted)) == listed[chosen]


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", []),
        ("linux/amd64", ["linux/arm64", "windows/amd64"]),
        ("linux/amd64", ["linux/amd64/v3"]),
        ("linux/amd64/v2", ["linux/amd64/v8"]),
        ("linux/arm64", ["linux/arm64/v9"]),
        ("linux/ppc64le/power9", ["linux/ppc64le/power10"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", [None, None]),
    ],
)
def test_no_platform_suits(wanted: str, offered: list[str | None]) -> None:
    with pytest.raises(NoMatchingPlatformError) as caught:
        choose_platform(entries(*offered), platform(wanted))
    for one in offered:
        assert one is None or one in caught.value.message


def test_config_of_another_platform() -> None:
    config = parse_config(config_with(architecture="s390x"), parsed())
    with pytest.raises(NoMatchingPlatformError, match="linux/s390x"):
        check_platform(config, platform("linux/amd64"))


def test_what_an_index_offers_is_told_in_short() -> None:
    offered = entries(*(f"linux/{letter * 50}/v1" for letter in "abcdefghijklmnop"))
    with pytest.raises(NoMatchingPlatformError) as caught:
        choose_platform(offered, platform("linux/amd64"))
    assert len(caught.value.message) <= 300
    config = parse_config(config_with(architecture="x" * 4_000, variant="y" * 4_000), parsed())
    with pytest.raises(NoMatchingPlatformError) as caught:
        check_platform(config, platform("linux/amd64"))
    assert len(caught.value.message) <= 300


@pytest.mark.parametrize(
    ("wanted", "variant", "is_taken"),
    [
        ("linux/amd64/v3", "v2", True),
        ("linux/amd64/v3", "v3", True),
        ("linux/amd64/v2", "v3", False),
        ("linux/amd64", "v2", False),
        ("linux/amd64", "v8", True),
        ("linux/amd64", None, True),
        ("linux/amd64", "", True),
        ("linux/arm64", "v8", True),
        ("linux/arm64", "v9", False),
        ("linux/arm/v7", "v8", False),
        ("linux/ppc64le/power9", "power9", True),
        ("linux/ppc64le", "power10", False),
        ("linux/riscv64", "rva22u64", True),
    ],
)
def test_variant_of_a_plain_image(wanted: str, variant: str | None, *, is_taken: bool) -> None:
    architecture = wanted.split("/")[1]
    config = parse_config(config_with(architecture=architecture, variant=variant), parsed())
    if is_taken:
        check_platform(config, platform(wanted))
        return
    with pytest.raises(NoMatchingPlatformError, match=f"{architecture}/{variant}"):
        check_platform(config, platform(wanted))


def resolve(image: BuiltImage, wanted: str = "linux/amd64") -> ResolvedImage:
    top = Descriptor.model_validate(
        {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    )
    return resolve_image(
        Top("x", top, image.manifest), platform(wanted), lambda one, _: image.blobs[one.digest]
    )


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_version(where: str) -> None:
    version = {"org.opencontainers.image.version": "7"}
    image = build_image([LAYER], architecture="amd64", **{where: version})  # type: ignore[arg-type]
    assert resolve(image).version == "7"
    assert resolve(IMAGE).version == ""


def test_a_layer_may_stand_twice() -> None:
    found = resolve(build_image([LAYER, LAYER], architecture="amd64"))
    [(first, diff_id), second] = found.layers
    assert (first, diff_id) == second


AMD64 = {"os": "linux", "architecture": "amd64"}
OTHER = build_image([LAYER], architecture="amd64", variant="v2")


def test_index_within_an_index() -> None:
    foreign = build_index([(IMAGE, {"os": "linux", "architecture": "s390x"})])
    unnamed = build_index([(OTHER, None)])
    for outer, wanted, chosen in (
        ([(build_index([(IMAGE, AMD64)]), AMD64)], "linux/amd64", IMAGE),
        ([(build_index([(IMAGE, AMD64)]), None)], "linux/amd64", IMAGE),
        ([(foreign, None), (build_index([(IMAGE, AMD64)]), None)], "linux/amd64", IMAGE),
        ([(unnamed, {**AMD64, "variant": "v2"}), (IMAGE, AMD64)], "linux/amd64/v2", OTHER),
        ([(unnamed, {**AMD64, "variant": "v2"}), (IMAGE, AMD64)], "linux/amd64", IMAGE),
        ([(IMAGE, AMD64), (unnamed, {**AMD64, "variant": "v2"})], "linux/amd64/v2", OTHER),
    ):
        assert resolve(build_index(outer), wanted).digest == chosen.digest


def test_index_of_another_platform_is_not_read() -> None:
    missing = build_index([(IMAGE, AMD64)])
    outer = build_index([(missing, {"os": "unknown", "architecture": "unknown"}), (IMAGE, AMD64)])
    del outer.blobs[missing.digest]
    assert resolve(outer).digest == IMAGE.digest


def nested(depth: int) -> BuiltImage:
    return build_index([(IMAGE if not depth else nested(depth - 1), AMD64)])


def test_indexes_within_an_index_have_a_bound() -> None:
    assert resolve(nested(4)).digest == IMAGE.digest
    with pytest.raises(InvalidManifestError, match="more than 4 deep"):
        resolve(nested(5))
    several = [build_index([(IMAGE, AMD64)], docker=True) for _ in range(17)]
    assert resolve(build_index([(one, None) for one in several[:16]])).digest == IMAGE.digest
    with pytest.raises(InvalidManifestError, match="more than 16 indexes"):
        resolve(build_index([(one, None) for one in several]))


def test_a_poll_finds_the_same_in_an_index_within_an_index() -> None:
    outer = nested(2)
    top = Descriptor(media_type=outer.media_type, digest=Digest(outer.digest), size=1)
    found = chosen_digest(
        Top("x", top, outer.manifest),
        platform("linux/amd64"),
        lambda one, _: outer.blobs[one.digest],
    )
    assert found == IMAGE.digest


def test_manifest_that_is_an_index() -> None:
    """The outer index calls it a manifest; its own bytes say otherwise."""
    inner = build_index([(IMAGE, {"os": "linux", "architecture": "amd64"})])
    lying = BuiltImage(inner.manifest, OCI_MANIFEST, inner.blobs)
    outer = build_index([(lying, {"os": "linux", "architecture": "amd64"})])
    with pytest.raises(InvalidManifestError):
        resolve(outer)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=10,
)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A document with one value replaced somewhere, or some bytes."""
    if draw(st.booleans()):
        place = draw(st.integers(0, len(data)))
        return data[:place] + draw(st.binary(max_size=5)) + data[place + draw(st.integers(0, 5)) :]
    value = json.loads(data)
    inner: Any = value
    while True:
        key = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        if not isinstance(inner[key], dict | list) or not inner[key] or draw(st.booleans()):
            inner[key] = draw(json_values)
            return json.dumps(value).encode()
        inner = inner[key]


@heavy(40, full=8_000)
@given(damaged(IMAGE.manifest), st.sampled_from(["", OCI_MANIFEST, OCI_INDEX, "x"]))
def test_damaged_manifests_raise_only_our_errors(data: bytes, served_as: str) -> None:
    with suppress(ContentError):
        assert isinstance(parse_manifest(data, served_as), Manifest | Index)


@heavy(40, full=8_000)
@given(damaged(next(one for one in IMAGE.blobs.values() if b"rootfs" in one)))
def test_damaged_configs_raise_only_our_errors(data: bytes) -> None:
    with suppress(ContentError):
        parse_config(data, parsed())
