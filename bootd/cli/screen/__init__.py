"""The terminal: its width and colours, the bar, the pager."""
