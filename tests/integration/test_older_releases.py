"""A tag that goes back to an older release, and what then is taken."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.images import BuiltImage, build_image, digest, encode, tar_layer, write_oci_layout
from support.machine import Machine, image_files

from bootd.model.errors import OlderReleaseError
from bootd.operations.kernel_arguments import change_arguments
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status


@dataclass
class Story:
    """A machine and the tag it follows."""

    machine: Machine

    def serve(self, version: str, created: str = "2026-01-01T00:00:00Z", expires: str = "") -> None:
        """Let the tag name a release."""
        labels = {"org.opencontainers.image.version": version}
        labels |= {"org.bootd.expires": expires} if expires else {}
        image = build_image([tar_layer(image_files(version))], labels=labels)
        config = encode({**image.config, "created": created})
        manifest = json.loads(image.manifest)
        manifest["config"].update(digest=digest(config), size=len(config))
        built = BuiltImage(
            encode(manifest), image.media_type, {**image.blobs, digest(config): config}
        )
        write_oci_layout(self.machine.image, built)

    def night(self, **options: bool) -> bool:
        """Let the timer's run stage what is new; return whether there was something."""
        return stage(self.machine.host, Silent(), automatic=True, **options).changed


@pytest.fixture
def story(tmp_path: Path) -> Story:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    one = Story(machine)
    one.serve("v2", "2026-03-01T00:00:00Z")
    assert one.night()
    machine.reboot()
    return one


def test_an_image_that_was_built_earlier_is_refused(story: Story) -> None:
    story.serve("v0", "2019-01-01T00:00:00Z")

    with pytest.raises(OlderReleaseError, match="built on 2019-01-01") as refused:
        story.night()

    assert "--allow-downgrade" in refused.value.hint
    assert story.machine.host.sysroot.read_intent().staged is None


def test_a_lower_version_of_the_same_time_is_refused(story: Story) -> None:
    story.serve("v1", "2026-03-01T00:00:00Z")
    with pytest.raises(OlderReleaseError, match="version is v1"):
        stage(story.machine.host, Silent())


def test_what_is_staged_counts_as_taken(story: Story) -> None:
    story.serve("v4", "2026-05-01T00:00:00Z")
    assert story.night()
    story.serve("v3", "2026-04-01T00:00:00Z")
    with pytest.raises(OlderReleaseError):
        story.night()
    assert story.machine.host.sysroot.read_intent().staged is not None


def test_an_older_release_is_taken_where_that_is_asked_for(story: Story) -> None:
    story.serve("v1", "2026-02-01T00:00:00Z")
    assert story.night(allow_downgrade=True)
    story.machine.reboot()
    # It is what runs now, beside the newer one that is kept.
    assert not story.night()
    story.serve("v1.1", "2026-02-02T00:00:00Z")
    assert story.night()


def test_another_image_is_compared_with_nothing(story: Story) -> None:
    story.serve("v1", "2019-01-01T00:00:00Z")
    reference = f"oci:{story.machine.image}:latest"
    assert stage(story.machine.host, Silent(), reference=reference, remember=True).changed


def test_a_release_that_failed_here_does_not_hold_up_an_older_one(story: Story) -> None:
    story.serve("v3", "2026-04-01T00:00:00Z")
    assert story.night()
    story.machine.reboot()
    rollback(story.machine.host, Silent())
    story.machine.reboot()
    story.serve("v2.1", "2026-03-15T00:00:00Z")
    assert story.night()


def test_a_tag_that_goes_back_to_what_runs_unstages(story: Story) -> None:
    story.serve("v3", "2026-04-01T00:00:00Z")
    assert story.night()
    story.serve("v2", "2026-03-01T00:00:00Z")
    assert not story.night()
    assert story.machine.host.sysroot.read_intent().staged is None


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        ("2020-01-01T00:00:00Z", True),
        ("2020-01-01T00:00:00+02:00", True),
        ("2120-01-01T00:00:00Z", False),
        ("2020-01-01T00:00:00", False),
        ("soon", False),
    ],
)
def test_a_registry_that_serves_nothing_new_is_told(story: Story, expires: str, told: bool) -> None:
    story.serve("v3", "2026-04-01T00:00:00Z", expires)
    assert story.night()
    assert is_overdue(story) is told
    story.machine.reboot()
    assert not story.night()
    assert is_overdue(story) is told

    change_arguments(story.machine.host, Silent(), verb="add", words=["quiet2"])
    assert is_overdue(story) is told, "what is staged again is the same release"

    # It comes at last, and names no time of its own.
    story.serve("v4", "2026-05-01T00:00:00Z")
    assert story.night()
    assert not is_overdue(story)


def is_overdue(story: Story) -> bool:
    problems = status(story.machine.host).problems
    return any("was to have a newer release by 2" in one for one in problems)
