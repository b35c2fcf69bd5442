"""Which images this machine may run: the policy of containers-policy.json(5), obeyed.

`bootd.trust.accept` is the way in. Everything below it is either a rule without I/O (policy,
identity, payload, keys, rekor, certificates, bundle) or one way to what a rule needs (signatures,
lookaside, gpg).
"""
