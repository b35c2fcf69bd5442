"""The labels that an image's own SELinux policy gives to its files."""
