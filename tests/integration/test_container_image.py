"""The Containerfile makes an image that the linter has nothing to say about."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.container_image import OS, container_image
from support.layered_image import LayeredImage

from bootd.operations.lint import lint


@pytest.mark.timeout(1_800)
def test_the_image_is_clean(tmp_path: Path) -> None:
    image = LayeredImage(container_image(), tmp_path / "bundle", start=OS)
    assert lint(image.rootfs).findings == []
