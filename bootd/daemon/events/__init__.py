"""What is told to others: the journal, the service manager, the status file."""
