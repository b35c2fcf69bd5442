"""The benchmark: bootd beside the tools people use, in one run on one machine."""
