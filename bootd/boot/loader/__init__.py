"""systemd-boot: its programs, its settings, its variables, and what it will start next."""
