"""The gates: each a module with a `Gate` called ``GATE``; being here is all it takes."""
