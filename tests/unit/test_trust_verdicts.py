"""Each policy and each image: accepted or refused as skopeo accepts or refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.signed_images import images, judge, policies, trusting_root, verdicts

from bootd.model.errors import InvalidTrustPolicyError, NotTrustedError

_KEY_MISSING = "invalid-key-missing"
"""skopeo reads keys only when a signature needs them, and then refuses the image."""


def _verdict(image: str, root: Path, policy: str) -> str:
    try:
        judge(image, root)
    except NotTrustedError:
        return "refused"
    except InvalidTrustPolicyError:
        return "refused" if policy == _KEY_MISSING else "invalid"
    return "accepted"


@pytest.mark.parametrize("policy", policies())
def test_a_policy_judges_every_image_as_skopeo_does(policy: str, tmp_path: Path) -> None:
    root = trusting_root(tmp_path, policy)
    told = {image: verdicts()[policy, image] for image in images()}

    assert {image: _verdict(image, root, policy) for image in images()} == told


def test_the_table_is_whole() -> None:
    assert len(verdicts()) == len(policies()) * len(images()) == 1_833
    assert set(verdicts().values()) == {"accepted", "refused", "invalid"}
