"""The linter: a clean image passes, each fault is found by its lint and by no other."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.images import compress
from support.selinux import CONTEXTS, policy_files

from bootd.model.errors import BootdError, InvalidArgumentError
from bootd.model.lint import LintSeverity
from bootd.operations import lints
from bootd.operations.image.initramfs import member_names
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import all_lints, lint

BOOTCTL = str(Path(sys.executable).with_name("bootctl-py"))
MODULES = "usr/lib/modules/6.12.0"
KERNEL = ("drivers/block/loop", "fs/erofs/erofs")
UNITS = "usr/lib/systemd/system"
ENABLED = ("bootd.service", "bootd-bless.service", "bootd-deadline.timer", "bootd-health.service")
STARTED = ("bootd-deadline.service", "bootd-finalize.service", "bootd-trial-failed.service")
LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
FSCK = "usr/sbin/fsck.vfat"
WANTS = "etc/systemd/system/multi-user.target.wants"


def cpio(*names: str, content: bytes = b"content") -> bytes:
    """A cpio archive in the new ASCII format."""
    data = b""
    for number, name in enumerate([*names, "TRAILER!!!"]):
        body = content if number < len(names) else b""
        fields = [number, 0o100644, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name) + 1, 0]
        data += b"070701" + b"".join(b"%08X" % field for field in fields)
        data += name.encode() + b"\0"
        data += bytes(-len(data) % 4) + body
        data += bytes(-len(data) % 4)
    return data


IN_IT = ("init", "usr/libexec/bootd-root", *(f"{MODULES}/kernel/{name}.ko.xz" for name in KERNEL))
INITRAMFS = cpio(*IN_IT)


def put(root: Path, name: str, content: bytes | str = b"x", mode: int = 0o644) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image that nothing is wrong with."""
    root = tmp_path / "image"
    for folder in ("home", "root", "srv", "mnt", "opt"):
        (root / "var" / folder).mkdir(parents=True)
        (root / folder).symlink_to(f"var/{folder}")
    for folder in ("boot", "run", "tmp", "proc", "sys", "dev", "etc/ssh", "var/lib/app", WANTS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    put(root, f"{MODULES}/vmlinuz", b"kernel" * 99)
    put(root, f"{MODULES}/initramfs.img", gzip.compress(INITRAMFS))
    (root / "usr/lib/modules/6.11.0").mkdir()
    for path in ("usr/bin/bootctl-py", "usr/libexec/bootd"):
        put(root, path, mode=0o755)
    put(root, f"{MODULES}/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n")
    put(root, f"{MODULES}/modules.dep", "".join(f"kernel/{name}.ko.xz:\n" for name in KERNEL))
    put(root, LOADER)
    put(root, FSCK)
    put(root, "etc/hostname", "localhost\n")
    for unit in ENABLED + STARTED:
        put(root, f"{UNITS}/{unit}")
    for unit in ENABLED:
        (root / WANTS / unit).symlink_to(f"/{UNITS}/{unit}")
    put(root, "usr/lib/os-release", "ID=test\nVERSION_ID=1\n")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    put(root, "etc/machine-id", "")
    put(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:101:101::/:/bin/false\n")
    put(root, "etc/group", "root:x:0:\nweb:x:101:\nnogroup:x:65534:\n")
    put(root, "usr/lib/sysusers.d/web.conf", "u! web 101 -\n")
    put(root, "usr/lib/bootc/kargs.d/10.toml", 'kargs = ["quiet"]\n')
    put(root, "usr/lib/bootd/health.d/10-web", "#!/bin/sh\n", mode=0o755)
    put(root, "usr/lib/bootd/health.d/10-web.toml", "attempts = 2\n")
    put(root, "var/lib/dpkg/status", "Package: bootd\n")
    put(root, "var/lib/selinux/default/active/commit_num")
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/local").symlink_to("../var/usrlocal")
    put(root, "usr/lib/tmpfiles.d/folders.conf", "d /var/usrlocal 0755 root root -\n")
    (root / "var/run").symlink_to("/run")
    return root


def real_folder(name: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return change


def put_policy(root: Path, mode: str = "enforcing", contexts: str | None = CONTEXTS) -> None:
    for name, content in policy_files(mode, contexts).items():
        put(root, name, content)


def non_utf8(root: Path) -> None:
    descriptor = os.open(os.fsencode(root) + b"/usr/x\xe9", os.O_CREAT | os.O_WRONLY)
    os.close(descriptor)


FAULTS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "no kernel": (
        lambda root: (root / MODULES / "vmlinuz").unlink(),
        "kernel",
        "fatal",
        "/usr/lib/modules",
    ),
    "two kernels": (
        lambda root: (
            put(root, "usr/lib/modules/6.13.0/vmlinuz", b"k" * 99),
            put(root, "usr/lib/modules/6.13.0/initrd.img", INITRAMFS),
        ),
        "kernel",
        "fatal",
        "/usr/lib/modules",
    ),
    "no initramfs": (
        lambda root: (root / MODULES / "initramfs.img").unlink(),
        "kernel",
        "fatal",
        f"/{MODULES}",
    ),
    "an empty kernel": (
        lambda root: put(root, f"{MODULES}/vmlinuz", b""),
        "kernel",
        "fatal",
        f"/{MODULES}/vmlinuz",
    ),
    "an initramfs without bootd": (
        lambda root: put(root, f"{MODULES}/initramfs.img", cpio("init", *IN_IT[2:])),
        "initramfs",
        "fatal",
        f"/{MODULES}/initramfs.img",
    ),
    "an initramfs nobody can read": (
        lambda root: put(root, f"{MODULES}/initramfs.img", b"what is this" * 99),
        "initramfs",
        "warning",
        f"/{MODULES}/initramfs.img",
    ),
    "no daemon": (
        lambda root: (root / "usr/libexec/bootd").unlink(),
        "bootd",
        "fatal",
        "/usr/libexec/bootd",
    ),
    "a unit that is off": (
        lambda root: (root / WANTS / "bootd-bless.service").unlink(),
        "bootd",
        "fatal",
        f"/{UNITS}/bootd-bless.service",
    ),
    "a unit that is masked": (
        lambda root: (root / "etc/systemd/system/bootd.service").symlink_to("/dev/null"),
        "bootd",
        "fatal",
        "/etc/systemd/system/bootd.service",
    ),
    "a unit that is masked and not enabled": (
        lambda root: (root / "etc/systemd/system" / STARTED[1]).symlink_to("/dev/null"),
        "bootd",
        "fatal",
        f"/etc/systemd/system/{STARTED[1]}",
    ),
    "a unit that is not there": (
        lambda root: (root / UNITS / STARTED[2]).unlink(),
        "bootd",
        "fatal",
        f"/{UNITS}/{STARTED[2]}",
    ),
    "a kernel without EROFS": (
        lambda root: put(root, f"{MODULES}/modules.dep", f"kernel/{KERNEL[0]}.ko.xz:\n"),
        "kernel-modules",
        "fatal",
        f"/{MODULES}",
    ),
    "an initramfs without a module": (
        lambda root: put(root, f"{MODULES}/initramfs.img", cpio(*IN_IT[:-1])),
        "kernel-modules",
        "fatal",
        f"/{MODULES}/initramfs.img",
    ),
    "an old kernel": (
        lambda root: (root / MODULES).rename(root / "usr/lib/modules/6.1.0-30-amd64"),
        "kernel-modules",
        "fatal",
        "/usr/lib/modules/6.1.0-30-amd64",
    ),
    "no boot loader": (
        lambda root: (root / LOADER).unlink(),
        "boot-loader",
        "warning",
        "/usr/lib/systemd/boot/efi",
    ),
    "a boot partition that nothing mends": (
        lambda root: (root / FSCK).unlink(),
        "boot-partition-check",
        "warning",
        "/usr/sbin",
    ),
    "a link that leads nowhere": (
        lambda root: (root / "usr/lib/tmpfiles.d/folders.conf").unlink(),
        "dangling-folders",
        "warning",
        "/usr/local",
    ),
    "the builder's name": (
        lambda root: put(root, "etc/hostname", "builder-7\n"),
        "builder",
        "warning",
        "/etc/hostname",
    ),
    "the builder's name servers": (
        lambda root: put(root, "etc/resolv.conf", "search lan\nnameserver 192.0.2.1\n"),
        "builder",
        "warning",
        "/etc/resolv.conf",
    ),
    "an empty file that an engine left": (
        lambda root: put(root, "etc/resolv.conf", ""),
        "builder",
        "info",
        "/etc/resolv.conf",
    ),
    "a UKI only": (
        lambda root: (
            (root / MODULES / "vmlinuz").unlink(),
            put(root, f"{MODULES}/6.12.0.efi", b"MZ" * 99),
        ),
        "kernel",
        "fatal",
        f"/{MODULES}/6.12.0.efi",
    ),
    "bad settings": (
        lambda root: put(root, "usr/lib/bootd/bootd.toml", "tries = 0\n"),
        "configuration",
        "fatal",
        "/etc/bootd/bootd.toml",
    ),
    "unknown settings": (
        lambda root: put(root, "etc/bootd/bootd.toml", "colour = 1\n"),
        "configuration",
        "warning",
        "/etc/bootd/bootd.toml",
    ),
    "rules for /etc that cannot be used": (
        lambda root: put(root, "usr/lib/bootd/etc.toml", '[policy]\n"/etc/a" = "mine"\n'),
        "configuration",
        "warning",
        "/usr/lib/bootd/etc.toml",
    ),
    "two kinds of defaults": (
        lambda root: put(root, "usr/etc/motd"),
        "etc-twice",
        "fatal",
        "/usr/etc",
    ),
    "kernel arguments that are no TOML": (
        lambda root: put(root, "usr/lib/bootc/kargs.d/20.toml", "quiet"),
        "kernel-arguments",
        "fatal",
        "/usr/lib/bootc/kargs.d/20.toml",
    ),
    "kernel arguments nobody reads": (
        lambda root: put(root, "usr/lib/bootc/kargs.d/20.conf", "quiet"),
        "kernel-arguments",
        "warning",
        "/usr/lib/bootc/kargs.d/20.conf",
    ),
    "a real home": (real_folder("home"), "machine-folders", "fatal", "/home"),
    "a real srv": (real_folder("srv"), "machine-folders", "warning", "/srv"),
    "software in opt": (real_folder("opt"), "machine-folders", "info", "/opt"),
    "files in var": (
        lambda root: [put(root, f"var/lib/web/{name}") for name in "abc"],
        "var-content",
        "warning",
        "/var/lib/web",
    ),
    "files in boot": (
        lambda root: put(root, "boot/grub/grub.cfg"),
        "lost-content",
        "warning",
        "/boot/grub",
    ),
    "files in run": (lambda root: put(root, "run/a/b"), "lost-content", "warning", "/run/a"),
    "files in dev": (lambda root: put(root, "dev/x"), "lost-content", "warning", "/dev/x"),
    "files in tmp": (lambda root: put(root, "tmp/left"), "lost-content", "warning", "/tmp/left"),
    "a user of no sysusers.d": (
        lambda root: put(root, "etc/passwd", "db:x:102:65534::/:/bin/false\n"),
        "accounts",
        "warning",
        "/etc/passwd",
    ),
    "a number that the next build may draw anew": (
        lambda root: put(root, "usr/lib/sysusers.d/web.conf", "u web -\ng web 101\n"),
        "accounts",
        "info",
        "/etc/passwd",
    ),
    "a group whose number is left open": (
        lambda root: put(root, "usr/lib/sysusers.d/web.conf", "u web 101:101\ng web -\n"),
        "accounts",
        "info",
        "/etc/group",
    ),
    "a user with another number than sysusers.d says": (
        lambda root: put(root, "usr/lib/sysusers.d/web.conf", "u web 102:102\ng web 101\n"),
        "accounts",
        "warning",
        "/etc/passwd",
    ),
    "a number of sysusers.d that another user has": (
        lambda root: put(root, "usr/lib/sysusers.d/db.conf", "u db 101:65534 -\n"),
        "accounts",
        "warning",
        "/etc/passwd",
    ),
    "a derived file that nothing makes anew": (
        lambda root: [
            put(root, "etc/ssl/certs/ca-certificates.crt"),
            put(root, "etc/ca-certificates.conf"),
        ],
        "derived-files",
        "warning",
        "/etc/ssl/certs/ca-certificates.crt",
    ),
    "a table without a rule": (
        lambda root: [put(root, "etc/app/map"), put(root, "etc/app/map.db")],
        "derived-files",
        "warning",
        "/etc/app/map.db",
    ),
    "a rule whose program is missing": (
        lambda root: put(
            root,
            "usr/lib/bootd/etc.toml.d/10.toml",
            "[derived.x]\npaths = ['/etc/x']\ncommand = ['make-x']\n",
        ),
        "derived-files",
        "warning",
        "/usr/lib/bootd/etc.toml.d/10.toml",
    ),
    "a drop-in for /etc that cannot be used": (
        lambda root: put(root, "usr/lib/bootd/etc.toml.d/10.toml", "policy = 1\n"),
        "configuration",
        "warning",
        "/usr/lib/bootd/etc.toml.d/10.toml",
    ),
    "derived files that are not made anew": (
        lambda root: put(root, f"{UNITS}/bootd-derive.service"),
        "bootd",
        "warning",
        f"/{UNITS}/bootd-derive.service",
    ),
    "halves of an array that stay different": (
        lambda root: put(root, f"{UNITS}/bootd-boot-array.service"),
        "bootd",
        "warning",
        f"/{UNITS}/bootd-boot-array.service",
    ),
    "a name in Latin-1": (non_utf8, "names", "warning", "/usr/x\\xe9"),
    "no os-release": (
        lambda root: (root / "usr/lib/os-release").unlink(),
        "os-release",
        "warning",
        "/usr/lib/os-release",
    ),
    "no version": (
        lambda root: put(root, "usr/lib/os-release", "ID=test\n"),
        "os-release",
        "warning",
        "/etc/os-release",
    ),
    "a machine ID": (
        lambda root: put(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        "identity",
        "warning",
        "/etc/machine-id",
    ),
    "a host key": (
        lambda root: put(root, "etc/ssh/ssh_host_rsa_key"),
        "identity",
        "fatal",
        "/etc/ssh/ssh_host_rsa_key",
    ),
    "a key that a package made": (
        lambda root: put(root, "etc/ssl/private/ssl-cert-snakeoil.key", "-----BEGIN PRIVATE KEY"),
        "identity",
        "fatal",
        "/etc/ssl/private/ssl-cert-snakeoil.key",
    ),
    "a key of the name server": (
        lambda root: put(root, "etc/bind/rndc.key", 'key "rndc-key" { secret "x"; };\n'),
        "identity",
        "fatal",
        "/etc/bind/rndc.key",
    ),
    "a key somewhere": (
        lambda root: put(root, "etc/app/tls.pem", "x\n-----BEGIN EC PRIVATE KEY-----\n"),
        "identity",
        "warning",
        "/etc/app/tls.pem",
    ),
    "a name on a storage network": (
        lambda root: put(root, "etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:1\n"),
        "identity",
        "fatal",
        "/etc/nvme/hostnqn",
    ),
    "an initiator's name": (
        lambda root: put(root, "etc/iscsi/initiatorname.iscsi", "# x\nInitiatorName=iqn.1\n"),
        "identity",
        "fatal",
        "/etc/iscsi/initiatorname.iscsi",
    ),
    "a root in fstab": (
        lambda root: put(root, "etc/fstab", "# comment\nLABEL=x / ext4 defaults\n"),
        "file-system-table",
        "warning",
        "/etc/fstab",
    ),
    "a check that cannot run": (
        lambda root: put(root, "usr/lib/bootd/health.d/20-db", "#!/bin/sh\n"),
        "health-checks",
        "warning",
        "/usr/lib/bootd/health.d/20-db",
    ),
    "settings of a check that cannot be read": (
        lambda root: put(root, "usr/lib/bootd/health.d/10-web.toml", "attempts = 'many'\n"),
        "health-checks",
        "warning",
        "/usr/lib/bootd/health.d/10-web",
    ),
    "an SELinux policy that labels no file": (
        lambda root: put_policy(root, contexts=None),
        "selinux",
        "fatal",
        "/etc/selinux/config",
    ),
    "an SELinux policy that labels no file and is not enforced": (
        lambda root: put_policy(root, "permissive", contexts="/usr(/.*)? (\n"),
        "selinux",
        "info",
        "/etc/selinux/config",
    ),
    "an expression that nothing is labelled by": (
        lambda root: put_policy(root, "permissive", contexts="/usr(/.*)? a\n/opt/((( b\n"),
        "selinux",
        "warning",
        "/etc/selinux/config",
    ),
    "an unmerged usr": (real_folder("lib"), "merged-usr", "warning", "/lib"),
}


def test_a_clean_image_passes(image: Path) -> None:
    document = lint(image)
    assert document.findings == []
    assert len(document.rules) == len(all_lints())


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_its_lint(image: Path, fault: str) -> None:
    change, identifier, severity, path = FAULTS[fault]
    change(image)
    found = [(one.lint, str(one.severity), one.path) for one in lint(image).findings]
    assert found == [(identifier, severity, path)]
    assert lint(image, skip=[identifier]).findings == []
    json.dumps(lint(image).model_dump(mode="json")).encode()


NEW_LINT = """
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.lint import Found, Lint

LINT = Lint(
    rule=LintRule(id="poetry", severity=LintSeverity.INFO, reason="It rhymes.", mend="Prose."),
    look=lambda image: [Found("etc/motd", image.text("etc/motd"))],
)
"""


def test_one_more_lint_is_one_file(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "more/poetry.py", NEW_LINT)
    put(image, "etc/motd", "roses are red")
    monkeypatch.setattr(lints, "__path__", [*lints.__path__, str(tmp_path / "more")])
    (finding,) = lint(image).findings
    assert (finding.lint, finding.path) == ("poetry", "/etc/motd")
    assert lint(image, skip=["poetry"]).skipped == ["poetry"]
    del sys.modules[f"{lints.__name__}.poetry"]


@pytest.mark.parametrize("tree", ["etc", "usr/etc"])
def test_the_policy_that_labels_is_told(image: Path, tree: str) -> None:
    for name, content in policy_files().items():
        put(image, name.replace("etc", tree, 1), content)
    found = [
        (str(one.severity), one.path, one.problem)
        for one in lint(image).findings
        if one.lint == "selinux"
    ]
    policy = f"/{tree}/selinux/test/policy"
    assert found == [
        (
            "info",
            f"/{tree}/selinux/config",
            "the policy test (enforcing) labels the files of the image",
        ),
        ("warning", policy, "holds no compiled policy, and it is to be enforced"),
    ]
    put(image, f"{policy}/policy.33".lstrip("/"))
    assert [one.path for one in lint(image).findings if one.lint == "selinux"] == [found[0][1]]


@pytest.mark.parametrize("name", ["random-seed", "credential.secret"])
def test_what_a_host_draws_for_itself_is_in_no_image(image: Path, name: str) -> None:
    path = f"var/lib/systemd/{name}"
    put(image, path)
    found = [(one.lint, str(one.severity), one.path) for one in lint(image).findings]
    assert ("identity", "fatal", f"/{path}") in found


def test_device_nodes_and_links_in_dev_are_nobodys_loss(image: Path) -> None:
    (image / "dev/fd").symlink_to("/proc/self/fd")
    os.mkfifo(image / "dev/initctl")
    assert lint(image).findings == []


def test_every_lint_has_a_fault_here() -> None:
    # What is too large for an image is too large for most file systems, and has a test below.
    assert {identifier for _, identifier, _, _ in FAULTS.values()} | {"limits"} == {
        one.rule.id for one in all_lints()
    }


@pytest.mark.parametrize("size", [30_000, 40_000])
def test_extended_attributes_that_no_inode_holds(
    image: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = image / "usr/bin/bootctl-py"

    def names(path: Path, **_: object) -> list[str]:
        return ["user.large"] if path == target else []

    monkeypatch.setattr(os, "listxattr", names)
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: bytes(size))
    found = [(one.lint, str(one.severity), one.path) for one in lint(image).findings]
    assert found == ([("limits", "fatal", "/usr/bin/bootctl-py")] if size > 32_767 else [])


def test_a_folder_that_is_mounted_on_hosts_may_be_real(image: Path) -> None:
    real_folder("home")(image)
    real_folder("srv")(image)
    put(image, f"{UNITS}/home.mount")
    put(image, "etc/fstab", "LABEL=srv /srv ext4 defaults\n")
    assert lint(image).findings == []


def test_many_findings_are_cut_short(image: Path) -> None:
    for number in range(80):
        put(image, f"var/lib/{number:02}/file")
    found = lint(image).findings
    assert len(found) == 51
    assert "not shown" in found[-1].problem


def test_an_unknown_lint_and_an_unknown_folder_are_refused(image: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="'poetry'"):
        lint(image, skip=["poetry"])
    with pytest.raises(InvalidArgumentError, match="not a folder"):
        lint(image / "etc/passwd")


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "xz"])
@pytest.mark.parametrize("early", [b"", cpio("kernel/x86/microcode/GenuineIntel.bin") + bytes(512)])
def test_names_in_an_initramfs(compression: str, early: bytes) -> None:
    main = cpio("init", "usr/libexec/bootd-root", content=bytes(300_001))
    packed = lzma.compress(main) if compression == "xz" else compress(main, compression)
    names = list(member_names(io.BytesIO(early + packed)))
    assert names[-2:] == ["init", "usr/libexec/bootd-root"]
    assert len(names) == 2 + bool(early)


@pytest.mark.parametrize(
    "data",
    [
        INITRAMFS[:200],
        gzip.compress(INITRAMFS)[:-20],
        b"\x02\x21\x4c\x18" * 9,
        cpio("init").replace(b"00000005", b"0000GOOD"),
        cpio("init").replace(b"00000005", b"00FFFFFF"),
        cpio("a").replace(b"070701", b"070709")[:110] + bytes(10),
    ],
    ids=["cut", "cut gzip", "lz4", "no number", "long name", "other format"],
)
def test_a_damaged_initramfs_is_no_clean_one(data: bytes) -> None:
    with pytest.raises(BootdError):
        list(member_names(io.BytesIO(data)))


def test_symlinks_stay_in_the_image(tmp_path: Path) -> None:
    put(tmp_path, "secret", "outside")
    root = tmp_path / "image"
    put(root, "usr/lib/file", "inside")
    links = {
        "absolute": "/usr/lib/file",
        "relative": "usr/../usr/lib/file",
        "up": "../../../secret",
        "loop": "loop",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    image = ImageRoot(root)
    found = {name: image.text(name) for name in links}
    assert found == {"absolute": "inside", "relative": "inside", "up": "", "loop": ""}


def test_what_is_mounted_is_not_the_images() -> None:
    image = ImageRoot(Path("/"))
    assert image.is_mounted("proc")
    assert "proc" not in image.names("")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 0),
        (["--fatal-warnings"], 1),
        (["--fatal-warnings", "--skip", "var-content"], 0),
        (["--skip", "nothing"], 2),
    ],
)
def test_the_exit_status(image: Path, words: list[str], status: int) -> None:
    put(image, "var/lib/web/file")
    done = subprocess.run(
        [BOOTCTL, "lint", str(image), *words], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == status


def test_the_verb_speaks_json_and_lists(image: Path) -> None:
    put(image, "usr/etc/motd")
    command = [BOOTCTL, "lint", str(image), "--json=short"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    document = json.loads(done.stdout)
    assert (done.returncode, document["kind"]) == (1, "Lint")
    assert document["findings"][0]["severity"] == LintSeverity.FATAL
    listed = subprocess.run([BOOTCTL, "lint", "--list"], capture_output=True, check=True, text=True)
    assert {line.split()[0] for line in listed.stdout.splitlines()} == {
        one.rule.id for one in all_lints()
    }
