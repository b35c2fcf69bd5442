"""Simple signing: GnuPG's signatures, and where they lie."""
