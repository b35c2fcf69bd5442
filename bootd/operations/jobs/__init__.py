"""What can be asked of operations: the table of jobs, and that of looks, which change nothing."""
