"""The steps from an image in the store to a deployment that boots next."""
