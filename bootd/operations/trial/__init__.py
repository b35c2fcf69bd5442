"""A deployment on trial: health checks, verdicts, and what becomes of one that fails."""
