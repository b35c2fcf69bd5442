"""The ``/etc`` of deployments: its merge, its changes, and what nobody has decided yet."""
