"""Values and documents about ``/etc``."""
