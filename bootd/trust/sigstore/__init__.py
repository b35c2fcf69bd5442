"""Signatures of sigstore: keys, certificates, transparency log, bundles."""
