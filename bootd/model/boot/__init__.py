"""Values and documents about ``$BOOT`` and what boots."""
