"""``make demo``: the main job from end to end, with real parts, on this machine alone."""
