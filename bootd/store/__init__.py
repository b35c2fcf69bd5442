"""The composefs store: layers become objects and one EROFS image; the kernel mounts both."""
