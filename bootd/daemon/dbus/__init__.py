"""The bus: connection, messages, objects, callers and their rights; and the client's side of it."""
