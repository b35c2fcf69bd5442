"""``bootctl-py``: parse, call the daemon or an operation, render text or JSON."""
