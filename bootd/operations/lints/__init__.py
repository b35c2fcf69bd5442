"""The lints: each module here is one, used because it is here; see `bootd.operations.lint`."""
