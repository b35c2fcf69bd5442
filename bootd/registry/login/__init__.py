"""Who asks: challenges, credentials and tokens."""
