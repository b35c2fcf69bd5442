"""Writes the published JSON schemas: ``python -m bootd.cli.schemas DIRECTORY``.

One file a kind, ``<kind>-v<version>.schema.json``, in kebab case, made from the models.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from bootd.cli.render.by_kind import RENDERINGS
from bootd.model.documents import ErrorDocument

_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def schemas() -> dict[str, str]:
    """Return the text of each schema by its file name."""
    models: list[type[BaseModel]] = [*(one.model for one in RENDERINGS.values()), ErrorDocument]
    return {_file_name(model): _text(model) for model in models}


def main() -> None:
    """Write all schemas to the folder that is named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text)


def _text(model: type[BaseModel]) -> str:
    schema: dict[str, Any] = {"$schema": GenerateJsonSchema.schema_dialect}
    schema |= model.model_json_schema(mode="serialization")
    # They have defaults in the models, yet every document carries them.
    schema["required"] = ["version", "kind", *schema.get("required", ())]
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _file_name(model: type[BaseModel]) -> str:
    fields = model.model_fields
    kind = _CAPITAL.sub("-", str(fields["kind"].default)).lower()
    return f"{kind}-v{fields['version'].default}.schema.json"


if __name__ == "__main__":
    main()
