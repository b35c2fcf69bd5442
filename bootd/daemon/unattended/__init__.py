"""What the daemon does unasked: when it checks, upgrades and restarts, and what holds that up."""
