"""The policy for images, obeyed by what stages and installs: real registry, skopeo and GnuPG."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from support.images import build_image, tar_layer, write_oci_layout
from support.installing import disk_image
from support.machine import Machine, image_files
from support.registry import DockerRegistry, run_docker_registry
from support.signed_images import VECTORS

from bootd.cli.main import main
from bootd.model.config import Automatic, TrustSettings
from bootd.model.digest import Digest
from bootd.model.documents import Reason
from bootd.model.errors import REFUSED, ContentError, InvalidTrustPolicyError, NotTrustedError
from bootd.operations.explain import explain
from bootd.operations.host import Host
from bootd.operations.image.fetch import fetched_image
from bootd.operations.image.resolve import resolve
from bootd.operations.install import install_to_disk
from bootd.operations.install_settings import Settings
from bootd.operations.machine.attempts import note_attempt
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.registry.settings import RegistrySettings

REJECT = [{"type": "reject"}]
_SECONDS = 120
_EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""Of ``{}``, which artifacts have for a configuration (image-spec, manifest.md)."""


@pytest.fixture
def registry(tmp_path: Path) -> Any:
    folder = tmp_path / "registry"
    folder.mkdir()
    with run_docker_registry(folder) as one:
        yield one


@pytest.fixture
def machine(tmp_path: Path, registry: DockerRegistry) -> Machine:
    one = Machine(tmp_path / "root", tmp_path / "image")
    one.folder.mkdir()
    registry.configure(one.folder)
    write_oci_layout(tmp_path / "layout", build_image([tar_layer(image_files("v1"))]))
    registry.push(tmp_path / "layout", "os")
    return one


def host_of(machine: Machine, registry: DockerRegistry) -> Host:
    host = machine.host
    followed = host.configuration.model_copy(update={"image": f"{registry.host}/os:latest"})
    return replace(host, configuration=followed, registry=RegistrySettings(root=machine.folder))


def allow(machine: Machine, requirements: Any, **places: Any) -> None:
    """Write a policy for registries, and where signatures lie."""
    folder = machine.folder / "etc/containers"
    (folder / "registries.d").mkdir(parents=True, exist_ok=True)
    policy = {"default": REJECT, "transports": {"docker": {"": requirements}}}
    (folder / "policy.json").write_text(json.dumps(policy))
    (folder / "registries.d/default.yaml").write_text(json.dumps({"default-docker": places}))


def blobs_asked_for(registry: DockerRegistry) -> list[str]:
    return [line for line in registry.requests() if "/blobs/" in line]


@pytest.mark.parametrize(
    "requirements",
    [
        REJECT,
        [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/keys/gpg-a.asc"}],
        [{"type": "sigstoreSigned", "keyPath": "/keys/key-a.pub"}],
        [{"type": "insecureAcceptAnything"}, *REJECT],
    ],
)
@pytest.mark.parametrize("automatic", [True, False])
def test_an_unsigned_image_is_not_fetched(
    machine: Machine, registry: DockerRegistry, requirements: Any, *, automatic: bool
) -> None:
    (machine.folder / "keys").symlink_to(VECTORS / "keys")
    allow(machine, requirements, **{"use-sigstore-attachments": True})
    before = len(blobs_asked_for(registry))

    with pytest.raises(NotTrustedError, match=r"policy\.json does not allow"):
        stage(host_of(machine, registry), Silent(), automatic=automatic)

    # The configuration is the one blob that resolving asks for.
    assert len(blobs_asked_for(registry)) == before + 1
    assert machine.host.sysroot.read_intent().staged is None
    assert not list((machine.host.sysroot.store / "objects").rglob("*/*/*"))


def test_an_image_by_digest_passes_the_same_gate(
    machine: Machine, registry: DockerRegistry
) -> None:
    allow(machine, REJECT)
    digest = Digest(build_image([tar_layer(image_files("v1"))]).digest)
    host = host_of(machine, registry)
    host.sysroot.initialise()

    with host.sysroot.lock(exclusive=True), pytest.raises(NotTrustedError):
        fetched_image(host, digest, Silent())


@pytest.mark.parametrize("text", ["not JSON", "{}", '{"default": []}', ""])
def test_a_policy_that_is_none_stops_everything(
    machine: Machine, registry: DockerRegistry, text: str
) -> None:
    folder = machine.folder / "etc/containers"
    (folder / "policy.json").write_text(text)

    with pytest.raises(InvalidTrustPolicyError, match=r"policy\.json"):
        stage(host_of(machine, registry), Silent())


def test_a_machine_without_a_policy_takes_every_image(
    machine: Machine, registry: DockerRegistry
) -> None:
    assert stage(host_of(machine, registry), Silent()).changed


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("key-a", True),
        ("index-all-signed", True),
        ("key-b", False),
        ("index-signed", False),
        ("altered-signature", False),
        ("other-image", False),
        ("unsigned", False),
    ],
)
def test_sigstore_signatures_in_a_real_registry(
    machine: Machine, registry: DockerRegistry, name: str, *, accepted: bool
) -> None:
    push_signed(registry, name)
    (machine.folder / "keys").symlink_to(VECTORS / "keys")
    identity = {"type": "exactRepository", "dockerRepository": "vectors.example/os"}
    rule = {"type": "sigstoreSigned", "keyPath": "/keys/key-a.pub", "signedIdentity": identity}
    allow(machine, [rule], **{"use-sigstore-attachments": True})
    host = host_of(machine, registry)

    if accepted:
        assert resolve(host, f"{registry.host}/signed:{name}").signers == ("a sigstore key",)
    else:
        with pytest.raises(NotTrustedError):
            resolve(host, f"{registry.host}/signed:{name}")


def test_signatures_beside_are_looked_for_only_where_registries_d_says_so(
    machine: Machine, registry: DockerRegistry
) -> None:
    push_signed(registry, "key-a")
    (machine.folder / "keys").symlink_to(VECTORS / "keys")
    rule = {"type": "sigstoreSigned", "keyPath": "/keys/key-a.pub"}
    allow(machine, [rule])

    with pytest.raises(NotTrustedError) as refused:
        resolve(host_of(machine, registry), f"{registry.host}/signed:key-a")

    assert "use-sigstore-attachments: true" in refused.value.hint


def test_what_skopeo_signs_with_gnupg_is_accepted(
    machine: Machine, registry: DockerRegistry, tmp_path: Path
) -> None:
    keys = GnuPg(tmp_path / "gnupg")
    keys.make("release@signed.example")
    keys.make("other@signed.example")
    places = tmp_path / "places"
    places.mkdir()
    lookaside = machine.folder / "srv/signatures"
    (places / "all.yaml").write_text(f"default-docker: {{lookaside-staging: file://{lookaside}}}\n")
    skopeo(
        *("--registries.d", str(places), "copy", "--src-tls-verify=false"),
        *("--dest-tls-verify=false", "--preserve-digests"),
        *("--sign-by", "release@signed.example"),
        *(f"docker://{registry.host}/os:latest", f"docker://{registry.host}/os:signed"),
        home=keys.home,
    )
    reference = f"{registry.host}/os:signed"
    host = host_of(machine, registry)
    for signer in ("release", "other"):
        (machine.folder / f"{signer}.asc").write_bytes(keys.public(f"{signer}@signed.example"))

    rule = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/release.asc"}
    allow(machine, [rule], lookaside="file:///srv/signatures")
    fingerprint = keys.fingerprint("release@signed.example")
    assert resolve(host, reference).signers == (f"the OpenPGP key {fingerprint}",)
    # The signature names one tag.
    with pytest.raises(NotTrustedError, match="for the name"):
        resolve(host, f"{registry.host}/os:latest")

    allow(machine, [{**rule, "keyPath": "/other.asc"}], lookaside="file:///srv/signatures")
    with pytest.raises(NotTrustedError, match="none of the keys"):
        resolve(host, reference)


class GnuPg:
    """Keys in a folder of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)

    def make(self, name: str) -> None:
        """Make a key without a passphrase."""
        self._run("--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")

    def public(self, name: str) -> bytes:
        """Return a public key in ASCII armour."""
        return self._run("--armor", "--export", name)

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of a key."""
        lines = self._run("--with-colons", "--fingerprint", name).decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr"))

    def _run(self, *arguments: str) -> bytes:
        command = ("gpg", "--homedir", str(self.home), "--batch", *arguments)
        return subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS).stdout


def skopeo(*arguments: str, home: Path) -> None:
    """Run skopeo with the keys of a folder."""
    environment = {**os.environ, "GNUPGHOME": str(home)}
    subprocess.run(["skopeo", *arguments], check=True, timeout=_SECONDS, env=environment)


def put(registry: DockerRegistry, digest: str, tag: str) -> None:
    """Push a manifest of the vectors under a tag, and first what it lists; skopeo takes no
    artifacts."""
    base = f"http://{registry.host}/v2/signed"
    data = blob(digest)
    document = json.loads(data)
    for one in document.get("manifests", []):
        put(registry, one["digest"], one["digest"])
    for one in [document.get("config"), *document.get("layers", [])]:
        if one is not None:
            begun = requests.post(f"{base}/blobs/uploads/", timeout=_SECONDS)
            upload = begun.headers["Location"]
            ending = f"{'&' if '?' in upload else '?'}digest={one['digest']}"
            done = requests.put(upload + ending, data=blob(one["digest"]), timeout=_SECONDS)
            assert done.ok, done.text
    headers = {"Content-Type": document["mediaType"]}
    done = requests.put(f"{base}/manifests/{tag}", data=data, headers=headers, timeout=_SECONDS)
    assert done.ok, done.text


def blob(digest: str) -> bytes:
    """Return a blob of the vectors."""
    if digest == _EMPTY:
        return b"{}"
    return (VECTORS / "layout/blobs" / digest.replace(":", "/")).read_bytes()


def push_signed(registry: DockerRegistry, name: str) -> None:
    """Push an image that real programs signed, and what lies beside its manifests."""
    registry.push(VECTORS / "layout", "signed", name, name)
    index = json.loads((VECTORS / "layout/index.json").read_bytes())
    tags = {
        one["annotations"]["org.opencontainers.image.ref.name"]: one["digest"]
        for one in index["manifests"]
        if "annotations" in one and "org.opencontainers.image.ref.name" in one["annotations"]
    }
    top = json.loads(blob(tags[name]))
    digests = [tags[name], *(one["digest"] for one in top.get("manifests", []))]
    for digest in digests:
        # Registries without the referrers API have the list of them under this tag.
        referrers = digest.replace(":", "-")
        if referrers in tags:
            put(registry, tags[referrers], referrers)
        beside = f"{digest.replace(':', '-')}.sig"
        if beside in tags:
            registry.push(VECTORS / "layout", "signed", beside, beside)


def test_trust_check_judges_and_fetches_no_layer(
    machine: Machine, registry: DockerRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    allow(machine, REJECT)
    before = len(blobs_asked_for(registry))
    reference = f"{registry.host}/os:latest"

    assert main(["trust", "check", reference, "--sysroot", str(machine.folder)]) == REFUSED
    assert "rejects every image" in capsys.readouterr().out
    allow(machine, [{"type": "insecureAcceptAnything"}])
    assert main(["trust", "check", reference, "--sysroot", str(machine.folder)]) == 0
    assert len(blobs_asked_for(registry)) == before + 2


def test_who_signed_what_is_told_until_it_goes(machine: Machine, registry: DockerRegistry) -> None:
    (machine.folder / "keys").symlink_to(VECTORS / "keys")
    push_signed(registry, "key-a")
    identity = {"type": "exactRepository", "dockerRepository": "vectors.example/os"}
    rule = {"type": "sigstoreSigned", "keyPath": "/keys/key-a.pub", "signedIdentity": identity}
    allow(machine, [rule], **{"use-sigstore-attachments": True})
    host = host_of(machine, registry)
    signed = resolve(host, f"{registry.host}/signed:key-a").acceptance
    assert signed.signers == ["a sigstore key"]
    assert signed.scope == "docker:"

    allow(machine, [{"type": "insecureAcceptAnything"}])
    stage(host, Silent())
    known = status(host)
    [deployment] = known.deployments
    assert deployment.accepted is not None
    assert (deployment.accepted.scope, deployment.accepted.signers) == ("docker:", [])
    assert known.trust is not None
    assert known.trust.policy == str(machine.folder / "etc/containers/policy.json")
    assert known.trust.requires == ["insecureAcceptAnything"]

    allow(machine, REJECT)
    with pytest.raises(NotTrustedError) as refused:
        resolve(host, f"{registry.host}/os:latest")
    note_attempt(host, "check", refused.value, automatic=True, user=0)
    known = status(host)
    assert known.trust is not None
    assert known.trust.requires == ["reject"]
    assert known.trust.refused is not None
    assert known.trust.refused.message == refused.value.message
    reasons = explain(known, None, Automatic.STAGE).reasons
    assert Reason.REFUSED in reasons
    # What was let in before is told as it was then.
    assert known.deployments[0].accepted == deployment.accepted

    (machine.folder / "etc/containers/policy.json").write_text("not JSON")
    known = status(host)
    assert known.trust is not None
    assert "policy.json" in (known.trust.problem or "")


def test_an_installer_obeys_the_setting_of_the_machine_it_runs_on(
    machine: Machine, registry: DockerRegistry, tmp_path: Path
) -> None:
    """It is that machine's policy, too; the image of the vectors has no kernel."""
    push_signed(registry, "bundle-key-a")
    (machine.folder / "keys").symlink_to(VECTORS / "keys")
    allow(machine, [{"type": "sigstoreSigned", "keyPath": "/keys/key-a.pub"}])
    disk = disk_image(tmp_path / "disk.img")
    settings = Settings(image=f"{registry.host}/signed:bundle-key-a")
    there = RegistrySettings(root=machine.folder)

    with pytest.raises(NotTrustedError, match="a bundle of cosign 3 would count"):
        install_to_disk(disk, settings, Silent(), registry=there)

    (machine.folder / "etc/bootd").mkdir(parents=True, exist_ok=True)
    (machine.folder / "etc/bootd/bootd.toml").write_text("[trust]\nbundles = true\n")
    with pytest.raises(ContentError):
        install_to_disk(disk, settings, Silent(), registry=there)


def test_a_bundle_in_a_real_registry(machine: Machine, registry: DockerRegistry) -> None:
    push_signed(registry, "bundle-key-a")
    (machine.folder / "keys").symlink_to(VECTORS / "keys")
    rule = {"type": "sigstoreSigned", "keyPath": "/keys/key-a.pub"}
    allow(machine, [rule])
    host = host_of(machine, registry)
    reference = f"{registry.host}/signed:bundle-key-a"

    with pytest.raises(NotTrustedError, match="a bundle of cosign 3 would count"):
        resolve(host, reference)

    trusting = TrustSettings(bundles=True)
    host = replace(host, configuration=host.configuration.model_copy(update={"trust": trusting}))
    assert resolve(host, reference).signers == ("a sigstore key, in a bundle",)
