"""One file, one story: check, stage, finalize, rollback, bless, collect, fsck."""
