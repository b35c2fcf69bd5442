"""The configuration files: which count, in which order, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootd.configuration import load
from bootd.model.config import (
    ApplySettings,
    Automatic,
    Configuration,
    EtcSettings,
    Integrity,
    RegistriesSettings,
    Sessions,
    TrustSettings,
)
from bootd.model.errors import InvalidConfigurationError
from bootd.model.etc.derived import DerivedRule
from bootd.model.etc.policy import EtcPolicy

VENDOR, RUN, LOCAL = "usr/lib", "run", "etc"
MAIN = "bootd/bootd.toml"


def write(root: Path, tree: str, name: str, text: str | bytes | None) -> None:
    """Write a file; None makes a link to /dev/null."""
    path = root / tree / (MAIN if name == MAIN else f"bootd/bootd.toml.d/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        path.symlink_to("/dev/null")
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_no_file_at_all(tmp_path):
    loaded = load(tmp_path)
    assert loaded.configuration == Configuration()
    assert (loaded.origins, loaded.warnings, loaded.files) == ({}, (), ())
    assert loaded.configuration.automatic is Automatic.STAGE


def test_every_key(tmp_path):
    text = """\
image = "registry.example/os:stable"
automatic = "apply"
integrity = "verity"
keep_deployments = 3
tries = 9
kernel_arguments = ["console=ttyS0", 'name="a b"']
allow_image_arguments = ["init"]
boot_partition = "/efi"
boot_partitions = ["/dev/sda1", "/dev/sdb1"]
parallel_layers = 1
soak_seconds = 60
ignore_old_failures = false
keep_partial_mib = 0
trust_layer_tables = true
[apply]
windows = ["Fri,Sat 22:00 6h"]
sessions = "any"
battery = 50
load = 2
deadline_days = 14
[trust]
allow_downgrade = true
bundles = true
[registries]
proxy = "http://proxy.example:3128"
no_proxy = ["os.example", "10.0.0.0/8"]
ca_file = "/etc/pki/company.pem"
client_certificate = "/etc/pki/machine.pem"
client_key = "/etc/pki/machine.key"
connect_seconds = 1
first_byte_seconds = 3600
stall_seconds = 1
total_seconds = 60
attempts = 20
[etc]
security = ["/etc/ssh/**"]
keep_days = 0
keep_mib = 1
drift_ignore = []
own = ["/etc/mine"]
[etc.policy]
"/etc/ssh/sshd_config" = "merge"
[etc.derived.list]
command = []
"""
    write(tmp_path, LOCAL, MAIN, text)
    loaded = load(tmp_path)
    found = loaded.configuration
    assert found == Configuration(
        image="registry.example/os:stable",
        automatic=Automatic.APPLY,
        integrity=Integrity.VERITY,
        keep_deployments=3,
        tries=9,
        kernel_arguments=["console=ttyS0", 'name="a b"'],
        allow_image_arguments=["init"],
        boot_partition=Path("/efi"),
        boot_partitions=[Path("/dev/sda1"), Path("/dev/sdb1")],
        parallel_layers=1,
        soak_seconds=60,
        ignore_old_failures=False,
        keep_partial_mib=0,
        trust_layer_tables=True,
        apply=ApplySettings(
            windows=["Fri,Sat 22:00 6h"],
            sessions=Sessions.ANY,
            battery=50,
            load=2.0,
            deadline_days=14,
        ),
        trust=TrustSettings(allow_downgrade=True, bundles=True),
        registries=RegistriesSettings(
            proxy="http://proxy.example:3128",
            no_proxy=["os.example", "10.0.0.0/8"],
            ca_file=Path("/etc/pki/company.pem"),
            client_certificate=Path("/etc/pki/machine.pem"),
            client_key=Path("/etc/pki/machine.key"),
            connect_seconds=1,
            first_byte_seconds=3600,
            stall_seconds=1,
            total_seconds=60,
            attempts=20,
        ),
        etc=EtcSettings(
            policy={"/etc/ssh/sshd_config": EtcPolicy.MERGE},
            security=["/etc/ssh/**"],
            keep_days=0,
            keep_mib=1,
            drift_ignore=[],
            own=["/etc/mine"],
            derived={"list": DerivedRule()},
        ),
    )
    below = {f"etc.{name}" for name in EtcSettings.model_fields}
    below |= {f"apply.{name}" for name in ApplySettings.model_fields}
    below |= {f"trust.{name}" for name in TrustSettings.model_fields}
    below |= {f"registries.{name}" for name in RegistriesSettings.model_fields}
    assert set(loaded.origins) == {
        *Configuration.model_fields,
        *below,
        "etc.policy./etc/ssh/sshd_config",
        "etc.derived.list",
        "etc.derived.list.command",
    }
    assert set(loaded.origins.values()) == {"/etc/bootd/bootd.toml"}


# (tree, name, text) ..., then the value of `image` and the file it is from.
PRECEDENCE = {
    "the vendor's": ([(VENDOR, MAIN, "vendor")], "vendor", "/usr/lib/bootd/bootd.toml"),
    "run beats the vendor": (
        [(VENDOR, MAIN, "vendor"), (RUN, MAIN, "run")],
        "run",
        "/run/bootd/bootd.toml",
    ),
    "etc beats run": (
        [(RUN, MAIN, "run"), (LOCAL, MAIN, "local")],
        "local",
        "/etc/bootd/bootd.toml",
    ),
    "a drop-in beats the main file": (
        [(LOCAL, MAIN, "local"), (VENDOR, "10-a.toml", "drop-in")],
        "drop-in",
        "/usr/lib/bootd/bootd.toml.d/10-a.toml",
    ),
    "a later name beats an earlier one, wherever it is": (
        [(VENDOR, "20-b.toml", "b"), (LOCAL, "10-a.toml", "a")],
        "b",
        "/usr/lib/bootd/bootd.toml.d/20-b.toml",
    ),
    "the same name: etc beats run beats vendor": (
        [(VENDOR, "a.toml", "v"), (LOCAL, "a.toml", "l"), (RUN, "a.toml", "r")],
        "l",
        "/etc/bootd/bootd.toml.d/a.toml",
    ),
    "an empty file masks": (
        [(VENDOR, "a.toml", "v"), (RUN, "a.toml", "")],
        None,
        None,
    ),
    "a link to /dev/null masks": (
        [(VENDOR, MAIN, "v"), (LOCAL, MAIN, None)],
        None,
        None,
    ),
    "a masked main file does not mask drop-ins": (
        [(VENDOR, MAIN, "v"), (LOCAL, MAIN, None), (VENDOR, "a.toml", "drop-in")],
        "drop-in",
        "/usr/lib/bootd/bootd.toml.d/a.toml",
    ),
    "a mask in run does not mask etc": (
        [(RUN, "a.toml", None), (LOCAL, "a.toml", "l")],
        "l",
        "/etc/bootd/bootd.toml.d/a.toml",
    ),
    "only .toml, and nothing hidden": (
        [(LOCAL, "a.toml.dpkg-old", "x"), (LOCAL, ".a.toml", "y"), (LOCAL, "README", "z")],
        None,
        None,
    ),
    "no drop-ins of drop-ins": ([(LOCAL, "a.toml.d/b.toml", "x")], None, None),
    "a folder is no file": ([(VENDOR, "a.toml", "v"), (LOCAL, "a.toml/x", "x")], "v", ...),
}


@pytest.mark.parametrize(("files", "image", "origin"), PRECEDENCE.values(), ids=PRECEDENCE.keys())
def test_precedence(tmp_path, files, image, origin):
    for tree, name, value in files:
        write(tmp_path, tree, name, f'image = "{value}"\n' if value else value)
    loaded = load(tmp_path)
    assert loaded.configuration.image == image
    if origin is not ...:
        assert loaded.origins.get("image") == origin


trees = st.sampled_from([VENDOR, RUN, LOCAL])
names = st.sampled_from([MAIN, "10-a.toml", "20-b.toml", "30-c.toml"])
contents = st.one_of(st.none(), st.just(""), st.integers(1, 9).map("tries = {}\n".format))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.tuples(trees, names), contents, max_size=12))
def test_precedence_is_that_of_the_specification(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("root")
    for (tree, name), text in files.items():
        write(root, tree, name, text)
    expected = 3
    for name in [MAIN, "10-a.toml", "20-b.toml", "30-c.toml"]:
        strongest = [tree for tree in (LOCAL, RUN, VENDOR) if (tree, name) in files][:1]
        text = files[strongest[0], name] if strongest else None
        if text:
            expected = int(text.split("=")[1])
    loaded = load(root)
    assert loaded.configuration.tries == expected
    assert ("tries" in loaded.origins) == bool(loaded.files)


def test_a_value_replaces_the_one_before_whole(tmp_path):
    write(tmp_path, VENDOR, MAIN, 'kernel_arguments = ["a"]\ntries = 5\n')
    write(tmp_path, LOCAL, "a.toml", 'kernel_arguments = ["b"]\n')
    loaded = load(tmp_path)
    assert loaded.configuration.kernel_arguments == ["b"]
    assert loaded.configuration.tries == 5
    assert loaded.files == ("/usr/lib/bootd/bootd.toml", "/etc/bootd/bootd.toml.d/a.toml")


def test_a_table_is_added_to(tmp_path):
    write(tmp_path, VENDOR, MAIN, '[etc.policy]\n"/etc/a" = "merge"\n"/etc/b" = "merge"\n')
    write(tmp_path, LOCAL, "a.toml", '[etc.policy]\n"/etc/b" = "keep-both"\n[etc]\n')
    loaded = load(tmp_path)
    assert loaded.configuration.etc.policy == {
        "/etc/a": EtcPolicy.MERGE,
        "/etc/b": EtcPolicy.KEEP_BOTH,
    }
    assert loaded.origins["etc.policy./etc/a"] == "/usr/lib/bootd/bootd.toml"
    assert loaded.origins["etc.policy./etc/b"] == "/etc/bootd/bootd.toml.d/a.toml"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[etc]\npolize = 1", "'etc.polize' is not known and ignored; did you mean 'etc.policy'?"),
        ("triez = 3", "'triez' is not known and ignored; did you mean 'tries'?"),
        ("[automatik]\nx = 1", "'automatik' is not known and ignored; did you mean 'automatic'?"),
        ("zzz = 1", "'zzz' is not known and ignored"),
        (f'"{"x" * 5_000}" = 1', "is not known and ignored"),
    ],
)
def test_unknown_keys_are_only_warned_about(tmp_path, text, warning):
    write(tmp_path, LOCAL, MAIN, text)
    loaded = load(tmp_path)
    assert loaded.configuration == Configuration()
    [found] = loaded.warnings
    assert found.startswith("/etc/bootd/bootd.toml: the key ")
    assert found.endswith(warning)
    assert len(found) < 300


BAD = {
    "not TOML": ("tries =", "is not TOML"),
    "not UTF-8": (b"image = '\xff'", "is not TOML"),
    "deep": ("image = " + "[" * 20_000, "is not TOML"),
    "too many digits": ("tries = " + "9" * 20_000, "is not TOML"),
    "large": ("#" * 70_000, "more than 65536 bytes"),
    "a string for a number": ('tries = "3"', "tries = '3'"),
    "a number for a string": ("image = 3", "image = 3"),
    "a truth for a number": ("tries = true", "tries = True"),
    "a fraction": ("tries = 1.5", "tries = 1.5"),
    "too few": ("tries = 0", "tries = 0"),
    "too many": ("tries = 10", "tries = 10"),
    "no deployments": ("keep_deployments = 0", "keep_deployments = 0"),
    "no such policy": ('automatic = "always"', "automatic = 'always'"),
    "an empty image": ('image = ""', "image = ''"),
    "a relative path": ('boot_partition = "efi"', "boot_partition = 'efi'"),
    "a relative path in a list": ('boot_partitions = ["sda1"]', "boot_partitions = ['sda1']"),
    "a string for a list": ('kernel_arguments = "a"', "kernel_arguments = 'a'"),
    "an argument with a space": ('kernel_arguments = ["a b"]', "kernel_arguments ="),
    "an argument with a line break": ('kernel_arguments = ["a\\n"]', "kernel_arguments ="),
    "an open quote": ("kernel_arguments = ['a\"b']", "kernel_arguments ="),
    "a table that is none": ("etc = 1", "etc = 1"),
    "no policy for a path": ('[etc.policy]\n"/etc/a" = "x"', "etc.policy./etc/a = 'x'"),
    "no path in /etc": ('[etc.policy]\n"/usr/a" = "merge"', "etc.policy./usr/a = 'merge'"),
    "a list that is none": ('[etc]\nsecurity = "/etc/a"', "etc.security = '/etc/a'"),
    "a long value": (f"tries = '{'x' * 50_000}'", "tries ="),
}


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_named_with_the_key(tmp_path, text, problem):
    write(tmp_path, VENDOR, "a.toml", text)
    with pytest.raises(InvalidConfigurationError) as caught:
        load(tmp_path)
    assert caught.value.message.startswith("/usr/lib/bootd/bootd.toml.d/a.toml")
    assert problem in caught.value.message
    assert len(caught.value.message) < 500


def test_a_link_to_nowhere_is_named(tmp_path):
    path = tmp_path / LOCAL / MAIN
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere")
    with pytest.raises(InvalidConfigurationError, match=r"bootd\.toml cannot be read"):
        load(tmp_path)


def test_too_many_files(tmp_path):
    for number in range(1_001):
        write(tmp_path, LOCAL, f"{number}.toml", "tries = 1\n")
    with pytest.raises(InvalidConfigurationError, match="1001 files"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        'image = "me:SECRET@os.example/os"',
        'image = "docker://me:SEC@RET@os.example/os@sha256:00"',
        '[registries]\nproxy = "http://me:SECRET@proxy:x"',
        '[registries]\nproxy = "socks5://me:SECRET@proxy"',
        '[registries]\nproxy = ["http://me:SECRET@proxy"]',
        '[registries]\nproxy = "http://me:SECRET@proxy"\nclient_key = "/k"',
    ],
)
def test_passwords_are_not_repeated(text, tmp_path):
    write(tmp_path, LOCAL, MAIN, text)
    with pytest.raises(InvalidConfigurationError, match=r"/etc/bootd/bootd\.toml: ") as caught:
        load(tmp_path)
    assert "SEC" not in caught.value.message


def test_settings_are_shown_without_the_proxys_password(tmp_path):
    write(tmp_path, LOCAL, MAIN, '[registries]\nproxy = "http://me:SECRET@proxy"')
    assert "SECRET" not in repr(load(tmp_path))


def test_a_drop_in_that_is_not_read_is_warned_of(tmp_path: Path) -> None:
    folder = tmp_path / "etc/bootd/bootd.toml.d"
    folder.mkdir(parents=True)
    read = {"50-on.toml"}
    silent = {"50-on.toml~", "a.toml.bak", "b.toml.dpkg-old", "README", ".hidden", "c.toml.rpmsave"}
    told = {"90-off.yaml", "91-off.conf", "92-off", "93-off.TOML"}
    for name in read | silent | told:
        (folder / name).write_text("tries = 4\n")

    loaded = load(tmp_path)

    assert loaded.configuration.tries == 4
    assert {warning.split(" ")[0].rpartition("/")[2] for warning in loaded.warnings} == told
