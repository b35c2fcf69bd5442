"""Names that only frameworks, tests or the outside world use: vulture must not call them dead.

A name comes here with the reason; what nobody uses at all goes instead.
"""

from __future__ import annotations


class _Anything:
    def __getattr__(self, name: str) -> str:
        return name


used = _Anything()

BY_PYDANTIC = (used.model_config, used._key_goes_with_a_certificate)
BY_PYTHON = (
    used.traceback,  # __exit__
    used.formatMessage,  # logging.Formatter
    used.readable,  # io.RawIOBase
    used.seekable,  # io.RawIOBase
    used.members,  # tarfile.TarFile: emptied to bound its memory
)
BY_REQUESTS_AND_URLLIB3 = (
    used.trust_env,
    used.ConnectionCls,
    used.cert_verify,
    used.cert_reqs,
    used.pool_classes_by_scheme,
    used._new_conn,
)
BY_FILES_FROM_OUTSIDE = (
    used.ALL,  # registries.conf: pull-from-mirror
    used.CONST,  # introspection XML: EmitsChangedSignal
    used.NOTHING,
)
BY_READERS_OF_DOCUMENTS = (used.bootd,)
BY_DOCUMENTATION = (used.phases,)
BY_TESTS_AND_DEMO = (
    used.Silent,
    used.get_property,
    used.has_image,
    used.mounted_tree,
    used.unique_name,
)

for names in (
    BY_PYDANTIC,
    BY_PYTHON,
    BY_REQUESTS_AND_URLLIB3,
    BY_FILES_FROM_OUTSIDE,
    BY_READERS_OF_DOCUMENTS,
    BY_DOCUMENTATION,
    BY_TESTS_AND_DEMO,
):
    assert all(names)
