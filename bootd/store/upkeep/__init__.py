"""Upkeep: what is needed, what can go, what is damaged, how much room there is."""
