"""The image's SELinux policy can label its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.store.selinux.policy import CONFIG, Reader, read_configuration, read_policy
from bootd.store.selinux.specifications import FILE_LIMIT, SpecificationError

_TREES: Final = ("etc", "usr/etc")


def _look(image: ImageRoot) -> Iterator[Found]:
    tree = next((one for one in _TREES if image.kind(f"{one}/{CONFIG}") != "nothing"), None)
    if tree is None:
        return
    path = f"{tree}/{CONFIG}"
    read = _reader(image, tree)
    enforcing = False
    try:
        configuration = read_configuration(read)
        assert configuration is not None
        enforcing = configuration.is_enforcing
        read_policy(read, configuration.name).check()
    except SpecificationError as error:
        severity = LintSeverity.FATAL if enforcing else LintSeverity.WARNING
        yield Found(path, f"names a policy that labels no file: {error}", severity)
        return
    mode = configuration.mode or "without a mode"
    said = f"the policy {configuration.name} ({mode}) labels the files of the image"
    yield Found(path, said, LintSeverity.INFO)
    binary = f"{tree}/selinux/{configuration.name}/policy"
    if enforcing and not any(one.startswith("policy.") for one in image.names(binary)):
        yield Found(binary, "holds no compiled policy, and it is to be enforced")


def _reader(image: ImageRoot, tree: str) -> Reader:
    def read(name: str) -> bytes | None:
        path = f"{tree}/{name}"
        kind = image.kind(path)
        if kind == "nothing":
            return None
        if kind != "file":
            raise SpecificationError(f"/etc/{name} is no file")
        data = image.read(path)
        if len(data) > FILE_LIMIT:
            raise SpecificationError(f"/etc/{name} has more than {FILE_LIMIT} bytes")
        return data

    return read


LINT = Lint(
    rule=LintRule(
        id="selinux",
        severity=LintSeverity.WARNING,
        reason=(
            "The files of a deployment get the labels that the image's own policy gives them, and "
            "an image that enforces a policy which cannot do that is refused."
        ),
        mend=(
            "Install the whole policy; where systemd does not run in the build, 'semodule -n -B' "
            "makes file_contexts and the compiled policy."
        ),
    ),
    look=_look,
)
