"""Where images come from: registries, folders, archives and other programs' storage."""
